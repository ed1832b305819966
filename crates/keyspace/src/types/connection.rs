//! The connection: its rows of the table. `server` does the work, where it is about a session.

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::Context;
use crate::introspection::help;
use crate::limits::DATABASES;
use crate::number::integer;
use crate::reject::Reject;

/// The subcommands of CLIENT.
const CLIENT: &[Command] = &[
    Command::new("caching", 3, Flags::SESSION, Keys::None, Run::Pure(client_caching)).doc(
        Group::Connection,
        "6.0.0",
        "O(1)",
        "Says what to track next; tracking is not there yet",
    ),
    Command::new("getname", 2, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Connection,
        "2.6.9",
        "O(1)",
        "Tells the name of the connection",
    ),
    Command::new("getredir", 2, Flags::SESSION, Keys::None, Run::Pure(client_getredir)).doc(
        Group::Connection,
        "6.0.0",
        "O(1)",
        "Tells where invalidations go; nowhere yet",
    ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Connection,
        "5.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("id", 2, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Connection,
        "5.0.0",
        "O(1)",
        "Tells the number of the connection",
    ),
    Command::new("info", 2, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Connection,
        "6.2.0",
        "O(1)",
        "Tells about the connection",
    ),
    Command::new("kill", -3, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None)).doc(
        Group::Connection,
        "2.4.0",
        "O(N) in the connections",
        "Closes connections",
    ),
    Command::new("list", -2, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None)).doc(
        Group::Connection,
        "2.4.0",
        "O(N) in the connections",
        "Lists the connections",
    ),
    Command::new("no-evict", 3, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None))
        .doc(
            Group::Connection,
            "7.0.0",
            "O(1)",
            "Keeps the connection from being closed for its memory",
        ),
    Command::new("no-touch", 3, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Connection,
        "7.2.0",
        "O(1)",
        "Keeps the calls of the connection from counting as use",
    ),
    Command::new("pause", -3, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None))
        .doc(Group::Connection, "2.9.50", "O(1)", "Lets the calls of clients wait for a while"),
    Command::new("reply", 3, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Connection,
        "3.2.0",
        "O(1)",
        "Chooses whether calls are answered",
    ),
    Command::new("setinfo", 4, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Connection,
        "7.2.0",
        "O(1)",
        "Notes the name or version of the client library",
    ),
    Command::new("setname", 3, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Connection,
        "2.6.9",
        "O(1)",
        "Names the connection",
    ),
    Command::new("tracking", -3, Flags::SESSION, Keys::None, Run::Pure(client_tracking)).doc(
        Group::Connection,
        "6.0.0",
        "O(1)",
        "Turns the tracking of keys on or off; it is not there yet",
    ),
    Command::new("trackinginfo", 2, Flags::SESSION, Keys::None, Run::Pure(client_trackinginfo))
        .doc(Group::Connection, "6.2.0", "O(1)", "Tells how keys are tracked"),
    Command::new("unblock", -3, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None))
        .doc(
            Group::Connection,
            "5.0.0",
            "O(log(N)) in the connections",
            "Ends the wait of another connection",
        ),
    Command::new("unpause", 2, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None))
        .doc(Group::Connection, "6.2.0", "O(N) in the paused connections", "Lets clients go on"),
];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new(
        "auth",
        -2,
        Flags::SESSION.and(Flags::FAST).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY),
        Keys::None,
        Run::Session(None),
    )
    .doc(
        Group::Connection,
        "1.0.0",
        "O(N) in the passwords of the user",
        "Proves who the client is",
    ),
    Command::new("client", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Connection, "2.4.0", "Depends on the subcommand", "Works on connections")
        .with(CLIENT),
    Command::new("echo", 2, Flags::ANYTIME.and(Flags::FAST), Keys::None, Run::Pure(echo)).doc(
        Group::Connection,
        "1.0.0",
        "O(1)",
        "Answers with the argument",
    ),
    Command::new(
        "hello",
        -1,
        Flags::SESSION.and(Flags::FAST).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY),
        Keys::None,
        Run::Session(None),
    )
    .doc(
        Group::Connection,
        "6.0.0",
        "O(1)",
        "Chooses the protocol, and may authenticate and name the connection",
    ),
    Command::new("ping", -1, Flags::FAST, Keys::None, Run::Session(Some(ping))).doc(
        Group::Connection,
        "1.0.0",
        "O(1)",
        "Answers",
    ),
    Command::new(
        "quit",
        -1,
        Flags::SESSION.and(Flags::ALLOW_BUSY).and(Flags::FAST).and(Flags::NO_AUTH),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Connection, "1.0.0", "O(1)", "Closes the connection"),
    Command::new(
        "reset",
        1,
        Flags::SESSION.and(Flags::FAST).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Connection, "6.2.0", "O(1)", "Takes the connection back to its beginning"),
    Command::new(
        "select",
        2,
        Flags::ANYTIME.and(Flags::FAST),
        Keys::None,
        Run::Session(Some(select)),
    )
    .doc(Group::Connection, "1.0.0", "O(1)", "Chooses the database of the connection"),
];

/// A number of a database, as SELECT, MOVE and COPY take it.
pub fn database_index(text: &[u8]) -> Result<usize, Reject> {
    let number = int(text)?;
    let in_range = usize::try_from(number).ok().filter(|db| *db < DATABASES);
    in_range.ok_or(Reject::text("ERR DB index is out of range"))
}

/// The database that this call selects, if it is a SELECT that works. A session that queues
/// calls between MULTI and EXEC asks this for each, so that every queued call names its database,
/// and goes on with the last one once EXEC has run.
pub fn selects(args: Args<'_>) -> Option<usize> {
    let fits = args.len() == 2 && args.is(0, "select");
    fits.then(|| database_index(&args[1]).ok()).flatten()
}

/// A C `int`.
fn int(text: &[u8]) -> Result<i32, Reject> {
    i32::try_from(integer(text)?).map_err(|_| {
        let (low, high) = (i32::MIN, i32::MAX);
        Reject::from(format!("ERR value is out of range, value must between {low} and {high}"))
    })
}

/// Inside EXEC or a script. The database holds for the rest of that; see `selects`.
fn select(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    cx.db = database_index(&args[1])?;
    reply.ok();
    Ok(())
}

fn ping(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    match args.len() {
        1 => reply.status("PONG"),
        2 => reply.bulk(&args[1]),
        _ => {
            return Err(Reject::text("ERR wrong number of arguments for 'ping' command"));
        }
    }
    Ok(())
}

fn echo(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.bulk(&args[1]);
    Ok(())
}

/// Only the switch that is off can be turned.
fn client_tracking(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    if args.is(2, "off") && args.len() == 3 {
        reply.ok();
        return Ok(());
    }
    if args.is(2, "on") {
        return Err(Reject::text("ERR Synod does not track keys for clients yet"));
    }
    Err(Reject::Syntax)
}

fn client_caching(_: Args<'_>, _: &mut Reply<'_>) -> Result<(), Reject> {
    Err(Reject::text(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
         OPTOUT mode enabled",
    ))
}

fn client_getredir(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.int(-1);
    Ok(())
}

fn client_trackinginfo(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.int(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use wire::ArgsBuf;

    use super::selects;
    use crate::testing::Client;

    #[test]
    fn what_may_run_anywhere_answers() {
        Client::new().check_all(&[
            ("ping", "+PONG\r\n"),
            ("ping hi", "$2\r\nhi\r\n"),
            ("ping a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
            ("echo hi", "$2\r\nhi\r\n"),
            ("select 16", "-ERR DB index is out of range\r\n"),
            ("select x", "-ERR value is not an integer or out of range\r\n"),
            ("client getredir", ":-1\r\n"),
            ("client tracking off", "+OK\r\n"),
            ("client tracking maybe", "-ERR syntax error\r\n"),
            ("client nosuch", "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP.\r\n"),
        ]);
    }

    #[test]
    fn a_select_in_exec_holds_for_the_calls_behind_it() {
        let mut client = Client::new();
        let calls: [&[&[u8]]; 3] = [&[b"set", b"a", b"1"], &[b"SELECT", b"3"], &[b"dbsize"]];
        let (mut db, mut queue) = (0, Vec::new());
        for call in calls {
            let args: ArgsBuf = call.iter().copied().collect();
            let selected = selects(args.args());
            queue.push((db as u8, args));
            db = selected.unwrap_or(db);
        }
        assert_eq!(db, 3);
        assert_eq!(client.exec(queue), "*3\r\n+OK\r\n+OK\r\n:0\r\n");
        let bad: ArgsBuf = [&b"select"[..], b"99"].into_iter().collect();
        assert_eq!(selects(bad.args()), None);
    }
}
