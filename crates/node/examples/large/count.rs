//! What the nodes say to each other, counted by kind.

use std::collections::BTreeMap;

use consensus::Message as Speech;
use node::Message;

/// Messages and their bytes, as they are encoded: framing and TCP come on top.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    kinds: BTreeMap<&'static str, (u64, u64)>,
    /// Bytes of entries and snapshots.
    copied: u64,
    /// Turns of all nodes' loops.
    pub(crate) turns: u64,
    /// How long that was.
    pub(crate) millis: u64,
}

impl Traffic {
    pub(crate) fn count(&mut self, message: &Message, bytes: usize) {
        let kind = self.kinds.entry(kind(message)).or_default();
        *kind = (kind.0 + 1, kind.1 + bytes as u64);
        if let Message::Consensus { envelope, .. } = message {
            self.copied += match &envelope.message {
                Speech::Append { entries, .. } => entries.iter().map(|e| e.data.len() as u64).sum(),
                Speech::Snapshot { data, .. } => data.len() as u64,
                _ => 0,
            };
        }
    }

    pub(crate) fn copied(&self) -> u64 {
        self.copied
    }

    fn total(&self) -> (u64, u64) {
        let sum = |sum: (u64, u64), kind: &(u64, u64)| (sum.0 + kind.0, sum.1 + kind.1);
        self.kinds.values().fold((0, 0), sum)
    }

    /// Messages and bytes beside those that a quiet cluster would have sent in that time.
    pub(crate) fn beyond(&self, quiet: &Traffic, millis: u64) -> (f64, f64) {
        let part = millis as f64 / quiet.millis.max(1) as f64;
        let (all, idle) = (self.total(), quiet.total());
        (all.0 as f64 - idle.0 as f64 * part, all.1 as f64 - idle.1 as f64 * part)
    }

    /// By kind, for each second.
    pub(crate) fn table(&self, nodes: usize) {
        let seconds = self.millis as f64 / 1e3;
        println!(
            "  {:<20} {:>12} {:>12} {:>14}",
            "in each second", "messages", "KiB", "of each node"
        );
        let line = |kind: &str, (messages, bytes): (u64, u64)| {
            let (messages, kib) = (messages as f64 / seconds, bytes as f64 / seconds / 1024.0);
            let (each, each_kib) = (messages / nodes as f64, kib / nodes as f64);
            println!("  {kind:<20} {messages:>12.0} {kib:>12.0} {each:>7.1}, {each_kib:.1} KiB");
        };
        self.kinds.iter().for_each(|(kind, counted)| line(kind, *counted));
        line("all", self.total());
        let turns = self.turns as f64 / seconds / nodes as f64;
        println!("  {:<20} {turns:>12.0}", "turns of a node");
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Consensus { envelope, .. } => match &envelope.message {
            Speech::Vote { .. } | Speech::VoteReply { .. } | Speech::TimeoutNow => "votes",
            Speech::Append { .. } => "append",
            Speech::AppendReply { .. } => "append reply",
            Speech::Heartbeat { .. } => "heartbeat",
            Speech::HeartbeatReply { .. } => "heartbeat reply",
            Speech::Snapshot { .. } | Speech::SnapshotReply { .. } => "snapshot",
        },
        Message::Forward { .. } => "forward",
        Message::Answers { .. } => "answers",
        Message::ReadIndex { .. } | Message::ReadReady { .. } => "read index",
        Message::Publish(_) => "publish",
        Message::Health(_) => "health",
        Message::Astray { .. } => "astray",
        Message::Map(_) => "map",
    }
}

fn of_proc(file: &str, at: usize) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // Behind the command, which is in brackets and may be anything.
    let rest = text.rsplit_once(')').map_or(text.as_str(), |(_, rest)| rest);
    rest.split_whitespace().nth(at).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// What this process has taken of the processors.
pub(crate) fn cpu_seconds() -> f64 {
    let ticks = of_proc("/proc/self/stat", 11) + of_proc("/proc/self/stat", 12);
    ticks as f64 / 100.0
}

/// What it has of the memory.
pub(crate) fn resident_bytes() -> u64 {
    of_proc("/proc/self/statm", 1) * 4_096
}
