//! Synod's own commands: what Redis has no word for.
//!
//! `SYNOD.VERSIONS` and `SYNOD.SETTINGS` are reads that the session of a client makes for it
//! (WATCH, CONFIG GET), so that they are as linearizable as any other.

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::Context;
use crate::introspection::help;
use crate::reject::Reject;
use crate::settings::Settings;

const SYNOD: &[Command] = &[
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("snapshot", 2, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Session(None))
        .doc(Group::Server, "7.0.0", "O(1)", "Begins a snapshot of this node's state"),
    Command::new("status", 2, Flags::SESSION, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "7.0.0",
        "O(N) in the nodes and groups",
        "Tells the state of the cluster, as JSON",
    ),
];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new("synod", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Server, "7.0.0", "Depends on the subcommand", "Commands about the cluster")
        .with(SYNOD),
    Command::new("synod.settings", 1, Flags::READONLY, Keys::None, Run::Read(settings)).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "Lists the settings that all replicas share",
    ),
    Command::new(
        "synod.versions",
        -1,
        Flags::READONLY,
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Read(versions),
    )
    .doc(Group::Transactions, "7.0.0", "O(N) in the keys", "Tells the versions of keys"),
];

fn settings(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let pairs: Vec<(&str, String)> =
        Settings::names().filter_map(|name| Some((name, cx.settings().get(name)?))).collect();
    reply.array(pairs.len() * 2);
    for (name, value) in pairs {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn versions(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        reply.int(cx.version(key) as i64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;

    #[test]
    fn a_version_changes_with_its_key_and_not_without() {
        let mut client = Client::new();
        let absent = client.run("synod.versions k");
        client.run("set k 1");
        let first = client.run("synod.versions k");
        assert_ne!(absent, first);
        client.run("set other 1");
        assert_eq!(client.run("synod.versions k"), first);
        client.run("incr k");
        assert_ne!(client.run("synod.versions k"), first);
    }
}
