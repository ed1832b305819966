//! The commands that run in a client's session, one file for each family.
//!
//! A command that looks at or changes more than its own words waits until all that is owed to the
//! client was given (`Flow::Hold`), so that its effect and its reply are in their place.

mod admin;
mod backup;
mod client;
mod cluster;
mod config;
mod connection;
mod info;
mod nodes;
mod pubsub;
mod status;
mod transaction;

use keyspace::Reject;
use keyspace::command::{self, Command, Flags};
use node::Moment;
use wire::Args;

use super::{Flow, Front};
pub use info::Vitals;

/// Does this command end MULTI or is it told off inside it, rather than queued?
pub(super) fn ends_multi(command: &Command) -> bool {
    matches!(
        command.name,
        "exec" | "discard" | "multi" | "synod.multi" | "watch" | "quit" | "reset"
    )
}

/// May a RESP2 client that listens to channels call this?
pub(super) fn allowed_to_subscribers(command: &Command) -> bool {
    matches!(
        command.name,
        "subscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "ssubscribe"
            | "sunsubscribe"
            | "ping"
            | "quit"
            | "reset"
    )
}

/// Is this a line of an HTTP request? A web page may have made a browser send it here, with
/// commands in its body: none of them is run, as in Redis.
pub(super) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// May this call take more memory? A script that says nothing about itself is let through, since
/// many only read; one that does must say that it writes nothing or may write all the same.
pub(super) fn may_grow(command: &Command, args: Args<'_>) -> bool {
    command.flags.has(Flags::DENYOOM)
        || shebang(command, args)
            .is_some_and(|line| !line.contains("no-writes") && !line.contains("allow-oom"))
}

/// Is this a script that says of itself that it writes nothing?
fn says_no_writes(command: &Command, args: Args<'_>) -> bool {
    shebang(command, args).is_some_and(|line| line.contains("no-writes"))
}

/// The first line of a script, if it is one that says something about the script.
fn shebang(command: &Command, args: Args<'_>) -> Option<String> {
    let is_script = command.name == "eval" && args.get(1)?.starts_with(b"#!");
    let line = args.get(1)?.split(|byte| *byte == b'\n').next()?;
    is_script.then(|| String::from_utf8_lossy(line).into_owned())
}

impl Front {
    /// Runs a command of the session.
    pub(super) fn run_session(
        &mut self,
        moment: Moment,
        key: usize,
        command: &'static Command,
        args: Args<'_>,
    ) -> Flow {
        match command.name {
            "multi" if args.len() == 1 => return self.multi(key, false),
            "synod.multi" if args.is(1, "rollback") => return self.multi(key, true),
            "synod.multi" => return self.answer(key, |_| Err(Reject::Syntax)),
            "ping" => return self.ping(key, args),
            "select" => return self.select(key, args),
            _ if self.client(key).owed() > 0 => return Flow::Hold,
            _ => {}
        }
        // Subcommands are rows of their own, found again by their container's name.
        let container = command::find_name(&args[0]).map_or("", |row| row.name);
        match (container, command.name) {
            ("exec", _) => self.exec(moment, key),
            ("discard", _) => self.discard(key),
            ("watch", _) => self.watch(moment, key, args),
            ("unwatch", _) => self.unwatch(key),
            ("auth", _) => self.auth(key, args),
            ("hello", _) => self.hello(key, args),
            ("quit", _) => self.quit(key),
            ("reset", _) => self.reset(key),
            ("client", word) => self.run_client(moment, key, word, args),
            ("cluster", word) => self.run_cluster(moment, key, word, args),
            ("config", word) => self.run_config(moment, key, word, args),
            ("info", _) => self.info(moment, key, args),
            ("readonly", _) => self.set_readonly(key, true),
            ("readwrite", _) => self.set_readonly(key, false),
            ("pubsub", word) => self.run_pubsub(key, word, args),
            ("publish", _) => self.publish(key, args),
            ("spublish", _) => self.publish(key, args),
            ("subscribe" | "psubscribe" | "ssubscribe", word) => self.subscribe(key, word, args),
            ("unsubscribe" | "punsubscribe" | "sunsubscribe", word) => {
                self.unsubscribe(key, word, args)
            }
            ("synod.backup", word) => self.run_backup(moment, key, word, args),
            ("synod.node", word) => self.run_node(moment, key, word, args),
            ("synod.rebalance", _) => self.run_rebalance(moment, key, args),
            (container, word) => self.run_admin(moment, key, container, word, args),
        }
    }
}
