//! Redis Cluster's commands: their rows. Slots are not spread over nodes yet, so all but HELP are
//! refused as a Redis without cluster support refuses them.

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::introspection::help;
use crate::reject::Reject;

/// The subcommands of CLUSTER.
const CLUSTER: &[Command] = &[
    Command::new("countkeysinslot", 3, Flags::STALE, Keys::None, Run::Pure(cluster_disabled)).doc(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Would count the keys of a slot",
    ),
    Command::new("getkeysinslot", 4, Flags::STALE, Keys::None, Run::Pure(cluster_disabled)).doc(
        Group::Cluster,
        "3.0.0",
        "O(log(N)) in the keys asked for",
        "Would list keys of a slot",
    ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Cluster,
        "5.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("info", 2, Flags::STALE, Keys::None, Run::Pure(cluster_disabled)).doc(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Would tell the state of the cluster",
    ),
    Command::new("keyslot", 3, Flags::STALE, Keys::None, Run::Pure(cluster_disabled)).doc(
        Group::Cluster,
        "3.0.0",
        "O(N) in the bytes of the key",
        "Would tell the slot of a key",
    ),
    Command::new("myid", 2, Flags::STALE, Keys::None, Run::Pure(cluster_disabled)).doc(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Would tell the name of the node",
    ),
    Command::new("nodes", 2, Flags::STALE, Keys::None, Run::Pure(cluster_disabled)).doc(
        Group::Cluster,
        "3.0.0",
        "O(N) in the nodes",
        "Would list the nodes",
    ),
    Command::new(
        "reset",
        -2,
        Flags::ADMIN.and(Flags::STALE).and(Flags::NOSCRIPT),
        Keys::None,
        Run::Pure(cluster_disabled),
    )
    .doc(Group::Cluster, "3.0.0", "O(N) in the nodes", "Would take a node out of the cluster"),
    Command::new("shards", 2, Flags::STALE, Keys::None, Run::Pure(cluster_disabled)).doc(
        Group::Cluster,
        "7.0.0",
        "O(N) in the nodes",
        "Would list the shards",
    ),
    Command::new("slots", 2, Flags::STALE, Keys::None, Run::Pure(cluster_disabled)).doc(
        Group::Cluster,
        "3.0.0",
        "O(N) in the nodes",
        "Would list the slots",
    ),
];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new("asking", 1, Flags::FAST, Keys::None, Run::Pure(cluster_disabled)).doc(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Would let a call through during a move of slots",
    ),
    Command::new("cluster", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Cluster, "3.0.0", "Depends on the subcommand", "Looks into the cluster")
        .with(CLUSTER),
    Command::new(
        "readonly",
        1,
        Flags::ANYTIME.and(Flags::FAST),
        Keys::None,
        Run::Pure(cluster_disabled),
    )
    .doc(Group::Cluster, "3.0.0", "O(1)", "Would allow reads on a replica"),
    Command::new(
        "readwrite",
        1,
        Flags::ANYTIME.and(Flags::FAST),
        Keys::None,
        Run::Pure(cluster_disabled),
    )
    .doc(Group::Cluster, "3.0.0", "O(1)", "Would end READONLY"),
];

fn cluster_disabled(_: Args<'_>, _: &mut Reply<'_>) -> Result<(), Reject> {
    Err(Reject::text("ERR This instance has cluster support disabled"))
}
