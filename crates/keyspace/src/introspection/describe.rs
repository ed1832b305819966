//! The replies of COMMAND and its subcommands, and of ACL CAT.

use wire::{Args, Reply};

use super::keyspec::{self, Find, Spec};
use super::{category, full_name};
use crate::command::{self, Command, Flags};
use crate::glob;
use crate::reject::Reject;

/// Flags by the names that Redis shows, in its order. Some it keeps to itself.
const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLEKEYS, "movablekeys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

/// A row and the container it is in.
type Found = (Option<&'static Command>, &'static Command);

/// Finds `get` or `config|get`.
fn find(name: &[u8]) -> Option<Found> {
    let mut parts = name.split(|&byte| byte == b'|');
    let row = command::find_name(parts.next()?)?;
    match (parts.next(), parts.next()) {
        (None, _) => Some((None, row)),
        (Some(word), None) => Some((Some(row), row.subcommand(word)?)),
        (Some(_), Some(_)) => None,
    }
}

/// All rows, each container before its subcommands.
fn all() -> impl Iterator<Item = Found> {
    command::all().iter().copied().flat_map(|row| {
        let subs = row.subcommands.iter().map(move |sub| (Some(row), sub));
        std::iter::once((None, row)).chain(subs)
    })
}

pub(super) fn command(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.array(command::all().len());
    command::all().iter().for_each(|row| put_info(reply, None, row));
    Ok(())
}

pub(super) fn command_count(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.count(command::all().len());
    Ok(())
}

pub(super) fn command_info(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if args.len() == 2 {
        return command(args, reply);
    }
    reply.array(args.len() - 2);
    for name in args.from(2).iter() {
        match find(name) {
            Some((container, row)) => put_info(reply, container, row),
            None => reply.null(),
        }
    }
    Ok(())
}

pub(super) fn command_docs(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let found: Vec<Found> = if args.len() == 2 {
        command::all().iter().map(|row| (None, *row)).collect()
    } else {
        args.from(2).iter().filter_map(find).collect()
    };
    reply.map(found.len());
    for (container, row) in found {
        reply.bulk(full_name(container, row).as_bytes());
        put_docs(reply, row);
    }
    Ok(())
}

pub(super) fn command_list(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let filter = match args.len() {
        2 => Filter::All,
        5 if args.is(2, "filterby") => Filter::parse(args)?,
        _ => return Err(Reject::Syntax),
    };
    let names: Vec<String> = all()
        .filter(|(container, row)| filter.keeps(*container, row))
        .map(|(container, row)| full_name(container, row))
        .collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

/// FILTERBY of COMMAND LIST.
enum Filter<'a> {
    All,
    /// There are no modules.
    Module,
    Category(&'a [u8]),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Filter<'a>, Reject> {
        let operand = args.at(4);
        if args.is(3, "module") {
            Ok(Filter::Module)
        } else if args.is(3, "aclcat") {
            Ok(Filter::Category(operand))
        } else if args.is(3, "pattern") {
            Ok(Filter::Pattern(operand))
        } else {
            Err(Reject::Syntax)
        }
    }

    fn keeps(&self, container: Option<&Command>, row: &Command) -> bool {
        match self {
            Filter::All => true,
            Filter::Module => false,
            Filter::Category(wanted) => {
                let is = |name: &&str| name.as_bytes().eq_ignore_ascii_case(wanted);
                category::names(container, row).iter().any(is)
            }
            Filter::Pattern(pattern) => {
                glob::matches_any_case(pattern, full_name(container, row).as_bytes())
            }
        }
    }
}

pub(super) fn command_getkeys(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let keys = keys_of_call(args)?;
    reply.array(keys.len());
    keys.iter().for_each(|(at, _)| reply.bulk(&args[at + 2]));
    Ok(())
}

pub(super) fn command_getkeysandflags(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let keys = keys_of_call(args)?;
    reply.array(keys.len());
    for (at, uses) in keys {
        reply.array(2);
        reply.bulk(&args[at + 2]);
        put_words(reply, uses);
    }
    Ok(())
}

/// The keys of the call behind `COMMAND GETKEYS`, by their position in that call.
fn keys_of_call(args: Args<'_>) -> Result<Vec<(usize, &'static str)>, Reject> {
    let call = args.from(2);
    let parent = command::find_name(&call[0]);
    let row = command::find(call);
    let (Some(parent), Some(row)) = (parent, row) else {
        return Err(Reject::text("ERR Invalid command specified"));
    };
    let is_sub = !std::ptr::eq(parent, row);
    if !is_sub && !parent.subcommands.is_empty() && call.len() > 1 {
        return Err(Reject::text("ERR Invalid command specified"));
    }
    let container = is_sub.then_some(parent);
    if keyspec::specs(container, row).iter().all(|spec| spec.uses == "not_key") {
        return Err(Reject::text("ERR The command has no key arguments"));
    }
    if !row.arity_fits(call.len()) {
        return Err(Reject::text("ERR Invalid number of arguments specified for command"));
    }
    let keys = keyspec::keys_of(container, row, call);
    if keys.is_empty() && !row.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(Reject::text("ERR Invalid arguments specified for command"));
    }
    Ok(keys)
}

/// ACL CAT: the categories, or the commands of one.
pub(crate) fn acl_cat(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let names: Vec<String> = match args.len() {
        2 => category::ALL.iter().map(|name| (*name).to_owned()).collect(),
        3 => {
            let wanted = String::from_utf8_lossy(&args[2]).to_lowercase();
            if !category::ALL.contains(&&*wanted) {
                let shown = String::from_utf8_lossy(&args[2]).into_owned();
                return Err(Reject::from(format!("ERR Unknown category '{shown}'")));
            }
            let in_it =
                |(container, row): &Found| category::names(*container, row).contains(&&*wanted);
            all().filter(in_it).map(|(container, row)| full_name(container, row)).collect()
        }
        _ => {
            let problem = "unknown subcommand or wrong number of arguments for 'CAT'";
            return Err(Reject::from(format!("ERR {problem}. Try ACL HELP.")));
        }
    };
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

/// The ten fields of COMMAND INFO.
fn put_info(reply: &mut Reply<'_>, container: Option<&Command>, row: &'static Command) {
    reply.array(10);
    reply.bulk(full_name(container, row).as_bytes());
    reply.int(i64::from(row.arity));
    let flags = FLAG_NAMES.iter().filter(|(flag, _)| row.flags.has(*flag));
    let flags: Vec<&str> = flags.map(|(_, name)| *name).collect();
    reply.set(flags.len());
    flags.iter().for_each(|name| reply.status(name));
    let (first, last, step) = keyspec::legacy_range(container, row);
    [first, last, step].iter().for_each(|number| reply.int(i64::from(*number)));
    let categories = category::names(container, row);
    reply.set(categories.len());
    categories.iter().for_each(|name| reply.status(&format!("@{name}")));
    reply.set(0);
    let specs = keyspec::specs(container, row);
    reply.set(specs.len());
    specs.iter().for_each(|spec| put_spec(reply, spec));
    if row.subcommands.is_empty() {
        reply.set(0);
        return;
    }
    reply.array(row.subcommands.len());
    row.subcommands.iter().for_each(|sub| put_info(reply, Some(row), sub));
}

fn put_spec(reply: &mut Reply<'_>, spec: &Spec) {
    reply.map(3);
    reply.bulk(b"flags");
    put_words(reply, spec.uses);
    let fields = |reply: &mut Reply<'_>, kind: &str, fields: &[(&str, i32)]| {
        reply.map(2);
        reply.bulk(b"type");
        reply.bulk(kind.as_bytes());
        reply.bulk(b"spec");
        reply.map(fields.len());
        for (name, value) in fields {
            reply.bulk(name.as_bytes());
            reply.int(i64::from(*value));
        }
    };
    reply.bulk(b"begin_search");
    match spec.find {
        Find::Range { first: index, .. } | Find::Counted { at: index } => {
            fields(reply, "index", &[("index", index)]);
        }
        Find::Unknown => fields(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, .. } => {
            fields(reply, "range", &[("lastkey", last), ("keystep", step), ("limit", 0)]);
        }
        Find::Counted { .. } => {
            fields(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]);
        }
        Find::Unknown => fields(reply, "unknown", &[]),
    }
}

/// Flags of a key: status words in a set.
fn put_words(reply: &mut Reply<'_>, words: &str) {
    reply.set(words.split(' ').count());
    words.split(' ').for_each(|word| reply.status(word));
}

/// An entry of COMMAND DOCS. The tree of arguments is left out.
fn put_docs(reply: &mut Reply<'_>, row: &'static Command) {
    let facts = [
        ("summary", row.summary),
        ("since", row.since),
        ("group", row.group.name()),
        ("complexity", row.complexity),
    ];
    reply.map(facts.len() + usize::from(!row.subcommands.is_empty()));
    for (name, fact) in facts {
        reply.bulk(name.as_bytes());
        reply.bulk(fact.as_bytes());
    }
    if row.subcommands.is_empty() {
        return;
    }
    reply.bulk(b"subcommands");
    reply.map(row.subcommands.len());
    for sub in row.subcommands {
        reply.bulk(full_name(Some(row), sub).as_bytes());
        put_docs(reply, sub);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    #[test]
    fn a_command_describes_itself_as_in_redis() {
        Client::new().check(
            "command info get nosuch get|key",
            "*3\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
             *3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n\
             +access\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n\
             *2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n\
             $4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n\
             *0\r\n$-1\r\n$-1\r\n",
        );
    }

    #[test]
    fn keys_are_found_with_their_uses() {
        Client::new().check_all(&[
            ("command getkeys get key", "*1\r\n$3\r\nkey\r\n"),
            ("command getkeys memory usage key", "*1\r\n$3\r\nkey\r\n"),
            ("command getkeysandflags set k v", "*1\r\n*2\r\n$1\r\nk\r\n*2\r\n+OW\r\n+update\r\n"),
            (
                "command getkeysandflags rename a b",
                "*2\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+delete\r\n\
                 *2\r\n$1\r\nb\r\n*2\r\n+OW\r\n+update\r\n",
            ),
            ("command getkeys ping x", "-ERR The command has no key arguments\r\n"),
            (
                "command getkeys nosuch",
                "-ERR wrong number of arguments for 'command|getkeys' command\r\n",
            ),
            ("command getkeys nosuch x", "-ERR Invalid command specified\r\n"),
            (
                "command getkeys get a b",
                "-ERR Invalid number of arguments specified for command\r\n",
            ),
        ]);
    }

    #[test]
    fn names_are_listed_by_category_and_pattern() {
        Client::new().check_all(&[
            (
                "command list filterby pattern EXPIR*",
                "*3\r\n$6\r\nexpire\r\n$8\r\nexpireat\r\n$10\r\nexpiretime\r\n",
            ),
            ("command list filterby aclcat nosuch", "*0\r\n"),
            ("command list filterby module nosuch", "*0\r\n"),
            ("command list filterby pattern object|f*", "*1\r\n$11\r\nobject|freq\r\n"),
            ("command list bad", "-ERR syntax error\r\n"),
            ("command list filterby bad", "-ERR syntax error\r\n"),
            ("command list filterby bad bad", "-ERR syntax error\r\n"),
            ("command nosuch", "-ERR unknown subcommand 'nosuch'. Try COMMAND HELP.\r\n"),
            ("acl cat nosuch", "-ERR Unknown category 'nosuch'\r\n"),
        ]);
    }

    #[test]
    fn docs_have_the_fields_that_clients_read() {
        Client::resp3().check(
            "command docs ttl",
            "%1\r\n$3\r\nttl\r\n%4\r\n$7\r\nsummary\r\n$39\r\nTells in how many seconds a key expires\r\n\
             $5\r\nsince\r\n$5\r\n1.0.0\r\n$5\r\ngroup\r\n$7\r\ngeneric\r\n$10\r\ncomplexity\r\n\
             $4\r\nO(1)\r\n",
        );
    }
}
