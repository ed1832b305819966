//! Commands about the node that was asked: their rows. What is true for every node is answered
//! here; the rest by `server`.

use wire::{Args, Reply};

use crate::command::{Command, Flags, Group, Keys, Run};
use crate::introspection::{acl_cat, help};
use crate::reject::Reject;

/// The subcommands of ACL.
const ACL: &[Command] = &[
    Command::new("cat", -2, Flags::SESSION, Keys::None, Run::Pure(acl_cat)).doc(
        Group::Server,
        "6.0.0",
        "O(1)",
        "Lists the categories, or the commands of one",
    ),
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "6.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("users", 2, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Pure(acl_users))
        .doc(Group::Server, "6.0.0", "O(N) in the users", "Lists the users; there is one"),
    Command::new("whoami", 2, Flags::SESSION, Keys::None, Run::Pure(acl_whoami)).doc(
        Group::Server,
        "6.0.0",
        "O(1)",
        "Names the user of the connection",
    ),
];

/// The subcommands of LATENCY.
const LATENCY: &[Command] = &[
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "2.8.13",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new(
        "history",
        3,
        Flags::SESSION.and(Flags::ADMIN),
        Keys::None,
        Run::Pure(latency_history),
    )
    .doc(Group::Server, "2.8.13", "O(1)", "Lists the slow moments of an event; none are kept"),
    Command::new(
        "latest",
        2,
        Flags::SESSION.and(Flags::ADMIN),
        Keys::None,
        Run::Pure(latency_latest),
    )
    .doc(
        Group::Server,
        "2.8.13",
        "O(1)",
        "Lists the latest slow moment of each event; none are kept",
    ),
    Command::new(
        "reset",
        -2,
        Flags::SESSION.and(Flags::ADMIN),
        Keys::None,
        Run::Pure(latency_reset),
    )
    .doc(Group::Server, "2.8.13", "O(1)", "Drops the slow moments; none are kept"),
];

/// The subcommands of MODULE.
const MODULE: &[Command] = &[
    Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
        Group::Server,
        "5.0.0",
        "O(1)",
        "Lists the subcommands",
    ),
    Command::new("list", 2, Flags::ADMIN.and(Flags::NOSCRIPT), Keys::None, Run::Pure(module_list))
        .doc(Group::Server, "4.0.0", "O(N) in the modules", "Lists the modules; there are none"),
];

/// The subcommands of SLOWLOG.
const SLOWLOG: &[Command] =
    &[
        Command::new("get", -2, Flags::ANYTIME.and(Flags::ADMIN), Keys::None, Run::Session(None))
            .doc(Group::Server, "2.2.12", "O(N) in the calls returned", "Lists slow calls"),
        Command::new("help", 2, Flags::ANYTIME, Keys::None, Run::Pure(help)).doc(
            Group::Server,
            "6.2.0",
            "O(1)",
            "Lists the subcommands",
        ),
        Command::new("len", 2, Flags::ANYTIME.and(Flags::ADMIN), Keys::None, Run::Session(None))
            .doc(Group::Server, "2.2.12", "O(1)", "Counts the slow calls kept"),
        Command::new("reset", 2, Flags::ANYTIME.and(Flags::ADMIN), Keys::None, Run::Session(None))
            .doc(Group::Server, "2.2.12", "O(N) in the calls kept", "Drops the slow calls kept"),
    ];

/// The rows of this file.
pub(crate) const COMMANDS: &[Command] = &[
    Command::new("acl", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Server, "6.0.0", "Depends on the subcommand", "Looks into access rights")
        .with(ACL),
    Command::new(
        "bgrewriteaof",
        1,
        Flags::NO_ASYNC_LOADING.and(Flags::ADMIN).and(Flags::NOSCRIPT),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Server, "1.0.0", "O(1)", "Begins a snapshot, behind which the log can be cut"),
    Command::new(
        "bgsave",
        -1,
        Flags::NO_ASYNC_LOADING.and(Flags::ADMIN).and(Flags::NOSCRIPT),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Server, "1.0.0", "O(1)", "Begins a snapshot"),
    Command::new("debug", -2, Flags::SESSION.and(Flags::ADMIN), Keys::None, Run::Pure(debug)).doc(
        Group::Server,
        "1.0.0",
        "Depends on the subcommand",
        "Has no subcommands here",
    ),
    Command::new("info", -1, Flags::ANYTIME, Keys::None, Run::Session(None)).doc(
        Group::Server,
        "1.0.0",
        "O(1)",
        "Tells about the server",
    ),
    Command::new("lastsave", 1, Flags::ANYTIME.and(Flags::FAST), Keys::None, Run::Session(None))
        .doc(Group::Server, "1.0.0", "O(1)", "Tells when the last snapshot was made"),
    Command::new("latency", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Server, "2.8.13", "Depends on the subcommand", "Looks into latencies")
        .with(LATENCY),
    Command::new("lolwut", -1, Flags::READONLY.and(Flags::FAST), Keys::None, Run::Pure(lolwut))
        .doc(Group::Server, "5.0.0", "O(1)", "Shows a picture and the version"),
    Command::new("module", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Server, "4.0.0", "Depends on the subcommand", "Looks into modules")
        .with(MODULE),
    Command::new("role", 1, Flags::SESSION.and(Flags::FAST), Keys::None, Run::Session(None)).doc(
        Group::Server,
        "2.8.12",
        "O(1)",
        "Tells the part that this node plays",
    ),
    Command::new(
        "save",
        1,
        Flags::NO_ASYNC_LOADING.and(Flags::ADMIN).and(Flags::NOSCRIPT).and(Flags::NO_MULTI),
        Keys::None,
        Run::Session(None),
    )
    .doc(Group::Server, "1.0.0", "O(N) in the keys", "Makes a snapshot"),
    Command::new(
        "shutdown",
        -1,
        Flags::SESSION.and(Flags::ADMIN).and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY),
        Keys::None,
        Run::Session(None),
    )
    .doc(
        Group::Server,
        "1.0.0",
        "O(N) in the keys if it saves, O(1) otherwise",
        "Stops the node",
    ),
    Command::new("slowlog", -2, Flags::NONE, Keys::None, Run::Container)
        .doc(Group::Server, "2.2.12", "Depends on the subcommand", "Looks into slow calls")
        .with(SLOWLOG),
];

/// There is one user.
const USER: &[u8] = b"default";

fn acl_whoami(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.bulk(USER);
    Ok(())
}

fn acl_users(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.array(1);
    reply.bulk(USER);
    Ok(())
}

fn debug(_: Args<'_>, _: &mut Reply<'_>) -> Result<(), Reject> {
    Err(Reject::text("ERR DEBUG command not allowed: Synod has none of its subcommands"))
}

fn latency_latest(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.array(0);
    Ok(())
}

fn latency_history(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.array(0);
    Ok(())
}

fn latency_reset(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.int(0);
    Ok(())
}

fn module_list(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    reply.array(0);
    Ok(())
}

/// A synod: everybody in a circle, and what they agree on in the middle.
fn lolwut(_: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Reject> {
    let picture = "\n      o  o  o\n    o    |    o\n    o  --*--  o\n    o    |    o\n      \
                   o  o  o\n\n";
    let text = format!("{picture}Redis ver. 7.0.15, as Synod speaks it\n");
    reply.verbatim("txt", text.as_bytes());
    Ok(())
}
