//! Redis Cluster's commands: their rows, and those that look at the keys of a slot. The map itself is
//! known to the session.

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::context::Context;
use crate::introspection::help;
use crate::number::integer;
use crate::reject::Reject;
use crate::str::Str;

/// The subcommands of CLUSTER.
const CLUSTER: &[Command] = &[
    Command::new("countkeysinslot", 3, Flags::READONLY, Keys::None, Run::Read(count_keys)).doc(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Counts the keys of a slot",
    ),
    Command::new("getkeysinslot", 4, Flags::READONLY, Keys::None, Run::Read(get_keys)).doc(
        Group::Cluster,
        "3.0.0",
        "O(log(N)) in the keys asked for",
        "Lists keys of a slot",
    ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Cluster,
        "5.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("info", 2, Flags::ANYTIME, Keys::None, Run::Session(None)).doc(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Tells the state of the cluster",
    ),
    Command::new("keyslot", 3, Flags::ANYTIME, Keys::None, Run::Session(None)).doc(
        Group::Cluster,
        "3.0.0",
        "O(N) in the bytes of the key",
        "Tells the slot of a key",
    ),
    Command::new("myid", 2, Flags::ANYTIME, Keys::None, Run::Session(None)).doc(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Tells the name of the node",
    ),
    Command::new("nodes", 2, Flags::ANYTIME, Keys::None, Run::Session(None)).doc(
        Group::Cluster,
        "3.0.0",
        "O(N) in the nodes",
        "Lists the nodes",
    ),
    Command::new(
        "reset",
        -2,
        Flags::ADMIN.and(Flags::STALE).and(Flags::NOSCRIPT),
        Keys::None,
        Run::Session(None),
    )
    .doc(
        Group::Cluster,
        "3.0.0",
        "O(N) in the nodes",
        "Is refused: members change by Synod's own commands",
    ),
    Command::new("shards", 2, Flags::ANYTIME, Keys::None, Run::Session(None)).doc(
        Group::Cluster,
        "7.0.0",
        "O(N) in the nodes",
        "Lists the shards",
    ),
    Command::new("slots", 2, Flags::ANYTIME, Keys::None, Run::Session(None)).doc(
        Group::Cluster,
        "3.0.0",
        "O(N) in the nodes",
        "Lists the slots",
    ),
];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new("asking", 1, Flags::FAST, Keys::None, Run::Pure(agreed)).doc(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Is agreed to: any node serves any key",
    ),
    Command::new("cluster", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Cluster, "3.0.0", "Depends on the subcommand", "Looks into the cluster")
        .with(CLUSTER),
    Command::new("readonly", 1, Flags::ANYTIME.and(Flags::FAST), Keys::None, Run::Session(None))
        .doc(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Lets a follower answer reads, as fresh as its leader would",
        ),
    Command::new("readwrite", 1, Flags::ANYTIME.and(Flags::FAST), Keys::None, Run::Session(None))
        .doc(Group::Cluster, "3.0.0", "O(1)", "Has leaders answer all reads again"),
];

/// Any node serves any key, linearizably: there is nothing to switch.
fn agreed(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.ok();
    Ok(())
}

fn slot_of(number: i64) -> Option<u16> {
    let slot = u16::try_from(number).ok().and_then(hashring::Slot::new);
    slot.map(hashring::Slot::number)
}

/// The keys of a slot, in the first database, as in Redis Cluster, which has no other.
fn keys_of(cx: &mut Context<'_>, slot: u16, most: usize) -> Vec<Str> {
    let now = cx.now();
    let keys = cx.database().dict().iter();
    let live =
        keys.filter(|(key, entry)| entry.expires > now && hashring::Slot::of(key).number() == slot);
    live.take(most).map(|(key, _)| key.clone()).collect()
}

fn count_keys(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let slot = slot_of(integer(&args[2])?).ok_or(Reject::text("ERR Invalid slot"))?;
    reply.count(keys_of(cx, slot, usize::MAX).len());
    Ok(())
}

fn get_keys(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let (slot, most) = (slot_of(integer(&args[2])?), usize::try_from(integer(&args[3])?).ok());
    let (Some(slot), Some(most)) = (slot, most) else {
        return Err(Reject::text("ERR Invalid slot or number of keys"));
    };
    let keys = keys_of(cx, slot, most);
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(key));
    Ok(())
}
