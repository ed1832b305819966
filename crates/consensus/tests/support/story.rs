//! What happened, in lines that a person can read.

use consensus::{
    Config, Effects, Entry, EntryKind, Envelope, Message, NodeId, Record, Replica, Role,
};

use super::Cluster;

pub(crate) fn name(id: NodeId) -> String {
    format!("n{}", id.0)
}

fn entry(entry: &Entry) -> String {
    let what = match entry.kind {
        EntryKind::Noop => "noop".to_owned(),
        EntryKind::Config => config(&Config::decode(&entry.data).expect("it was encoded")),
        EntryKind::Command if entry.data.len() > 24 => format!("({} bytes)", entry.data.len()),
        EntryKind::Command => String::from_utf8_lossy(&entry.data).into_owned(),
    };
    format!("{}@{} {what}", entry.index.0, entry.term.0)
}

pub(crate) fn config(config: &Config) -> String {
    let list = |nodes: &std::collections::BTreeSet<NodeId>| {
        nodes.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ")
    };
    let mut text = format!("voters {}", list(&config.voters));
    if config.is_joint() {
        text += &format!(" leaving {}", list(&config.outgoing));
    }
    if !config.learners.is_empty() {
        text += &format!(" learners {}", list(&config.learners));
    }
    format!("[{text}]")
}

pub(crate) fn message(envelope: &Envelope) -> String {
    let what = match &envelope.message {
        Message::Vote { pre, force, last_index, last_term } => {
            let kind = match (pre, force) {
                (true, _) => "PreVote",
                (false, true) => "Vote forced",
                (false, false) => "Vote",
            };
            format!("{kind} last={}@{}", last_index.0, last_term.0)
        }
        Message::VoteReply { pre, granted } => {
            let kind = if *pre { "PreVoteReply" } else { "VoteReply" };
            format!("{kind} {}", if *granted { "granted" } else { "refused" })
        }
        Message::Append { previous_index, previous_term, commit, sequence, entries, .. } => {
            let list: Vec<_> = entries.iter().map(entry).collect();
            format!(
                "Append after={}@{} commit={} round={sequence} [{}]",
                previous_index.0,
                previous_term.0,
                commit.0,
                list.join(", ")
            )
        }
        Message::AppendReply { sequence, result: Ok(index) } => {
            format!("AppendReply match={} round={sequence}", index.0)
        }
        Message::AppendReply { sequence, result: Err(conflict) } => format!(
            "AppendReply rejects={} hint={}@{} round={sequence}",
            conflict.rejected.0, conflict.hint_index.0, conflict.hint_term.0
        ),
        Message::Heartbeat { commit, sequence, hibernate } => {
            let last = if *hibernate { " hibernate" } else { "" };
            format!("Heartbeat commit={} round={sequence}{last}", commit.0)
        }
        Message::HeartbeatReply { sequence } => format!("HeartbeatReply round={sequence}"),
        Message::Snapshot { meta, offset, data, last, sequence } => format!(
            "Snapshot {}@{} bytes={offset}..{}{} round={sequence}",
            meta.index.0,
            meta.term.0,
            offset + data.len() as u64,
            if *last { " last" } else { "" }
        ),
        Message::SnapshotReply { snapshot, offset, done, refused, sequence } => {
            let state = match (done, refused) {
                (true, _) => "done".to_owned(),
                (_, true) => "refused".to_owned(),
                _ => format!("has={offset}"),
            };
            format!("SnapshotReply {} {state} round={sequence}", snapshot.0)
        }
        Message::TimeoutNow => "TimeoutNow".to_owned(),
    };
    let (source, target) = (name(envelope.source), name(envelope.target));
    format!("{source} → {target} term={} {what}", envelope.term.0)
}

impl Cluster {
    pub(super) fn tell_standing(&mut self, id: NodeId) {
        let (role, term, leader) = self.replica(id).standing();
        let line = match (role, leader) {
            (Role::Leader, _) => format!("{} leads in term {}", name(id), term.0),
            (Role::Candidate, _) => format!("{} is a candidate in term {}", name(id), term.0),
            (_, Some(leader)) => {
                format!("{} follows {} in term {}", name(id), name(leader), term.0)
            }
            (_, None) => format!("{} follows nobody in term {}", name(id), term.0),
        };
        self.story.push(line);
    }

    pub(super) fn tell(&mut self, id: NodeId, out: &Effects) {
        let who = name(id);
        for record in &out.save {
            let what = match record {
                Record::Entry(it) => entry(it),
                Record::Vote { term, vote: None } => format!("term={}", term.0),
                Record::Vote { term, vote: Some(vote) } => {
                    format!("term={} vote={}", term.0, name(*vote))
                }
            };
            self.story.push(format!("{who} saves {what}"));
        }
        for chunk in &out.install {
            let end = if chunk.last { " to the end" } else { "" };
            let (index, offset) = (chunk.meta.index.0, chunk.offset);
            self.story.push(format!("{who} keeps snapshot {index} from byte {offset}{end}"));
        }
        for it in &out.apply {
            self.story.push(format!("{who} applies {}", entry(it)));
        }
        for fetch in &out.fetch {
            let (target, snapshot) = (name(fetch.target), fetch.snapshot.0);
            let offset = fetch.offset;
            self.story.push(format!("{who} fetches snapshot {snapshot} at {offset} for {target}"));
        }
        for target in &out.wants {
            self.story.push(format!("{who} wants a snapshot for {}", name(*target)));
        }
        for it in &out.accept {
            self.story
                .push(format!("{who} accepts #{} as {}@{}", it.token.0, it.index.0, it.term.0));
        }
        for token in &out.reject {
            self.story.push(format!("{who} rejects #{}", token.0));
        }
        for read in &out.read {
            let line = match read.index {
                Some(index) => format!("{who} may read #{} at {}", read.token.0, index.0),
                None => format!("{who} cannot read #{}", read.token.0),
            };
            self.story.push(line);
        }
    }
}
