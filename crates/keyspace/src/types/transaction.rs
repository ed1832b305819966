//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: rows of the table. The queue lives in the session, by
//! `server`; the shard runs it as one operation (`op::Body::Exec`).

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::Context;
use crate::reject::Reject;

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new(
        "discard",
        1,
        Flags::SESSION.and(Flags::FAST).and(Flags::ALLOW_BUSY),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Transactions, "2.0.0", "O(N) in the queued calls", "Drops the queued calls"),
    Command::new(
        "exec",
        1,
        Flags::SESSION.and(Flags::SKIP_SLOWLOG),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Transactions, "1.2.0", "Depends on the calls", "Runs the queued calls as one"),
    Command::new(
        "multi",
        1,
        Flags::SESSION.and(Flags::FAST).and(Flags::ALLOW_BUSY),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Transactions, "1.2.0", "O(1)", "Begins to queue calls"),
    Command::new(
        "synod.multi",
        2,
        Flags::SESSION.and(Flags::FAST).and(Flags::ALLOW_BUSY),
        Keys::None,
        Run::Session(None),
    )
    .doc(
        Group::Transactions,
        "7.0.0",
        "O(1)",
        "With ROLLBACK: as MULTI, but EXEC changes nothing if one of the calls fails",
    ),
    Command::new(
        "unwatch",
        1,
        Flags::SESSION.and(Flags::FAST).and(Flags::ALLOW_BUSY),
        Keys::None,
        Run::Session(Some(unwatch)),
    )
    .doc(Group::Transactions, "2.2.0", "O(1)", "Forgets the watched keys"),
    Command::new(
        "watch",
        -2,
        Flags::SESSION.and(Flags::FAST).and(Flags::ALLOW_BUSY),
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Session(None),
    )
    .doc(
        Group::Transactions,
        "2.2.0",
        "O(1) for each key",
        "Lets EXEC run only if these keys stay as they are",
    ),
];

/// Inside EXEC the watches were compared already.
fn unwatch(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.ok();
    Ok(())
}
