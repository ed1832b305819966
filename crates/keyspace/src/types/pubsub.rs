//! Publish and subscribe: rows of the table. Subscriptions live in `server`; a message sent by
//! EXEC or a script leaves the shard as an effect, on every replica.

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::{Context, Mode};
use crate::introspection::help;
use crate::reject::Reject;
use crate::shard::Publish;

/// The subcommands of PUBSUB.
const PUBSUB: &[Command] = &[
    Command::new("channels", -2, Flags::ANYTIME.and(Flags::PUBSUB), Keys::None, Run::Session(None))
        .doc(
            Group::Pubsub,
            "2.8.0",
            "O(N) in the channels",
            "Lists the channels that somebody listens to",
        ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Pubsub,
        "6.2.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("numpat", 2, Flags::ANYTIME.and(Flags::PUBSUB), Keys::None, Run::Session(None))
        .doc(Group::Pubsub, "2.8.0", "O(1)", "Counts the patterns that somebody listens to"),
    Command::new("numsub", -2, Flags::ANYTIME.and(Flags::PUBSUB), Keys::None, Run::Session(None))
        .doc(
            Group::Pubsub,
            "2.8.0",
            "O(N) in the channels asked for",
            "Counts the listeners of channels",
        ),
    Command::new(
        "shardchannels",
        -2,
        Flags::ANYTIME.and(Flags::PUBSUB),
        Keys::None,
        Run::Session(None),
    )
    .doc(
        Group::Pubsub,
        "7.0.0",
        "O(N) in the channels",
        "Lists the shard channels that somebody listens to",
    ),
    Command::new(
        "shardnumsub",
        -2,
        Flags::ANYTIME.and(Flags::PUBSUB),
        Keys::None,
        Run::Session(None),
    )
    .doc(
        Group::Pubsub,
        "7.0.0",
        "O(N) in the channels asked for",
        "Counts the listeners of shard channels",
    ),
];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new(
        "psubscribe",
        -2,
        Flags::SESSION.and(Flags::PUBSUB),
        Keys::None,
        Run::Session(None),
    )
    .doc(
        Group::Pubsub,
        "2.0.0",
        "O(N) in the patterns",
        "Listens to the channels that match patterns",
    ),
    Command::new(
        "publish",
        3,
        Flags::ANYTIME.and(Flags::PUBSUB).and(Flags::FAST).and(Flags::MAY_REPLICATE),
        Keys::None,
        Run::Session(Some(publish)),
    )
    .doc(
        Group::Pubsub,
        "2.0.0",
        "O(N+M) in the listeners of the channel and in all patterns",
        "Sends a message to a channel",
    ),
    Command::new("pubsub", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(
            Group::Pubsub,
            "2.8.0",
            "Depends on the subcommand",
            "Looks into publish and subscribe",
        )
        .with(PUBSUB),
    Command::new(
        "punsubscribe",
        -1,
        Flags::SESSION.and(Flags::PUBSUB),
        Keys::None,
        Run::Session(None),
    )
    .doc(
        Group::Pubsub,
        "2.0.0",
        "O(N+M) in the patterns of the client and of all",
        "Stops listening to patterns",
    ),
    Command::new(
        "spublish",
        3,
        Flags::ANYTIME.and(Flags::PUBSUB).and(Flags::FAST).and(Flags::MAY_REPLICATE),
        Keys::one(1),
        Run::Session(Some(spublish)),
    )
    .doc(
        Group::Pubsub,
        "7.0.0",
        "O(N) in the listeners of the channel",
        "Sends a message to a shard channel",
    ),
    Command::new(
        "ssubscribe",
        -2,
        Flags::SESSION.and(Flags::PUBSUB),
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Session(None),
    )
    .doc(Group::Pubsub, "7.0.0", "O(N) in the channels", "Listens to shard channels"),
    Command::new(
        "subscribe",
        -2,
        Flags::SESSION.and(Flags::PUBSUB),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Pubsub, "2.0.0", "O(N) in the channels", "Listens to channels"),
    Command::new(
        "sunsubscribe",
        -1,
        Flags::SESSION.and(Flags::PUBSUB),
        Keys::Range { first: 1, last: -1, step: 1 },
        Run::Session(None),
    )
    .doc(Group::Pubsub, "7.0.0", "O(N) in the channels", "Stops listening to shard channels"),
    Command::new(
        "unsubscribe",
        -1,
        Flags::SESSION.and(Flags::PUBSUB),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Pubsub, "2.0.0", "O(N) in the channels", "Stops listening to channels"),
];

fn publish(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    send(cx, args, reply, false)
}

fn spublish(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    send(cx, args, reply, true)
}

/// The number of receivers is not part of the state, so no replica can tell it: 0.
fn send(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    shard: bool,
) -> Result<(), Reject> {
    if cx.mode == Mode::Read {
        return Err(Reject::text("ERR Write commands are not allowed from read-only scripts."));
    }
    cx.effects.publish.push(Publish {
        channel: args[1].to_vec(),
        message: args[2].to_vec(),
        shard,
    });
    reply.int(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shard::Publish;
    use crate::testing::Client;

    #[test]
    fn a_message_leaves_the_shard_as_an_effect() {
        let mut client = Client::new();
        client.check("publish news hello", ":0\r\n");
        client.check("spublish news hello", ":0\r\n");
        let sent = |shard| Publish { channel: b"news".to_vec(), message: b"hello".to_vec(), shard };
        assert_eq!(client.effects.publish, [sent(false), sent(true)]);
    }
}
