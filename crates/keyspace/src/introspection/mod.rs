//! What the table of commands tells about itself: COMMAND, its subcommands, HELP and ACL CAT.
//!
//! All of it is derived from the rows, and answers without a shard or a session. Redis's rows say
//! more than ours in two places, which are tables here: how a command uses its keys (`keyspec`),
//! and the categories that its group and flags do not give (`category`).

mod category;
mod describe;
mod keyspec;

use wire::{Args, Reply};

use crate::command::{self, Command, Flags, Group, Keys, Run};
use crate::reject::Reject;

pub(crate) use describe::acl_cat;
use describe::{
    command, command_count, command_docs, command_getkeys, command_getkeysandflags, command_info,
    command_list,
};

/// The subcommands of COMMAND.
const COMMAND: &[Command] = &[
    Command::new("count", 2, Flags::ANYTIME, Keys::None, Run::Pure(command_count)).doc(
        Group::Server,
        "2.8.13",
        "O(1)",
        "Counts the commands",
    ),
    Command::new("docs", -2, Flags::ANYTIME, Keys::None, Run::Pure(command_docs)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the commands asked for",
        "Documents commands",
    ),
    Command::new("getkeys", -4, Flags::ANYTIME, Keys::None, Run::Pure(command_getkeys)).doc(
        Group::Server,
        "2.8.13",
        "O(N) in the arguments of the call",
        "Finds the keys of a call",
    ),
    Command::new(
        "getkeysandflags",
        -4,
        Flags::ANYTIME,
        Keys::None,
        Run::Pure(command_getkeysandflags),
    )
    .doc(
        Group::Server,
        "7.0.0",
        "O(N) in the arguments of the call",
        "Finds the keys of a call and how it uses them",
    ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "5.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("info", -2, Flags::ANYTIME, Keys::None, Run::Pure(command_info)).doc(
        Group::Server,
        "2.8.13",
        "O(N) in the commands asked for",
        "Describes commands",
    ),
    Command::new("list", -2, Flags::ANYTIME, Keys::None, Run::Pure(command_list)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the commands",
        "Lists the names of commands",
    ),
];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] =
    &[Command::new("command", -1, Flags::ANYTIME, Keys::None, Run::Pure(command))
        .doc(Group::Server, "2.8.13", "O(N) in the commands", "Describes all commands")
        .with(COMMAND)];

/// HELP of a container: its subcommands, each with a line about it; then the commands whose names
/// begin with its own.
pub(crate) fn help(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let container = command::find_name(&args[0]).expect("a row was found by this name");
    let name = container.name.to_uppercase();
    let beside = |row: &&&Command| {
        row.name.strip_prefix(container.name).is_some_and(|rest| rest.starts_with('.'))
    };
    let beside: Vec<_> = command::all().iter().filter(beside).collect();
    let heads = 1 + usize::from(!beside.is_empty());
    reply.array((container.subcommands.len() + beside.len()) * 2 + heads);
    let first = "<subcommand> [<arg> [value] [opt] ...]. Subcommands are:";
    reply.status(&format!("{name} {first}"));
    for sub in container.subcommands {
        reply.status(&sub.name.to_uppercase());
        reply.status(&format!("    {}.", sub.summary));
    }
    if !beside.is_empty() {
        reply.status("Commands of their own are:");
    }
    for row in beside {
        reply.status(&row.name.to_uppercase());
        reply.status(&format!("    {}.", row.summary));
    }
    Ok(())
}

/// The name of a row, a subcommand's behind that of its container: `config|get`.
fn full_name(container: Option<&Command>, row: &Command) -> String {
    match container {
        Some(container) => format!("{}|{}", container.name, row.name),
        None => row.name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{category, full_name};
    use crate::command::{self, Command, Keys, Run};

    /// Every row with its container.
    fn rows() -> Vec<(Option<&'static Command>, &'static Command)> {
        let with_subs = |row: &'static Command| {
            let subs = row.subcommands.iter().map(move |sub| (Some(row), sub));
            std::iter::once((None, row)).chain(subs)
        };
        command::all().iter().copied().flat_map(with_subs).collect()
    }

    #[test]
    fn every_row_is_documented() {
        for (container, row) in rows() {
            let name = full_name(container, row);
            assert_eq!(row.name, row.name.to_lowercase(), "{name}");
            assert!(!row.since.is_empty(), "{name}");
            assert!(!row.complexity.is_empty(), "{name}");
            assert!(!row.summary.is_empty(), "{name}");
            assert_ne!(row.arity, 0, "{name}");
        }
    }

    #[test]
    fn a_container_has_subcommands_and_a_help() {
        for (_, row) in rows() {
            let is_container = matches!(row.run, Run::Container);
            assert!(!is_container || !row.subcommands.is_empty(), "{}", row.name);
            let helps = row.subcommands.iter().any(|sub| sub.name == "help");
            assert_eq!(helps, !row.subcommands.is_empty(), "{} help", row.name);
        }
    }

    #[test]
    fn what_writes_goes_through_the_log_and_what_reads_does_not() {
        use crate::command::Flags;
        for (container, row) in rows() {
            let name = full_name(container, row);
            if row.flags.has(Flags::WRITE) {
                assert!(matches!(row.run, Run::Write(_)), "{name}");
            }
            if matches!(row.run, Run::Read(_)) {
                assert!(!row.flags.has(Flags::WRITE), "{name}");
            }
            assert!(!row.flags.has(Flags::WRITE.and(Flags::READONLY)), "{name}");
            let finds = matches!(row.keys, Keys::Find(_));
            let movable = row.flags.has(Flags::MOVABLEKEYS);
            assert!(!finds || movable, "{name}: keys that are found are movable");
        }
    }

    #[test]
    fn every_row_is_fast_or_slow() {
        for (container, row) in rows() {
            let names = category::names(container, row);
            let fast = names.contains(&"fast");
            assert_ne!(fast, names.contains(&"slow"), "{}", full_name(container, row));
        }
    }
}
