//! The bugs that can be planted, each with where it is known from.
//!
//! A check that never failed has proved nothing. Each of these is a line or two in the product,
//! wrong in a way in which some system of the world was wrong, and compiled in only under the
//! feature `planted`; `cargo xtask mutants` switches one on at a time and counts the seeds until it
//! is seen.

use crate::plan::Theme;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// As `stdx::planted!` has it.
    pub name: &'static str,
    /// What is wrong then.
    pub what: &'static str,
    /// Who it happened to, or who warned of it.
    pub source: &'static str,
    /// The seeds in which it is looked for first.
    pub theme: Option<Theme>,
    /// It may take longer than the budget of CI to be seen.
    pub rare: bool,
}

const fn mutant(name: &'static str, what: &'static str, source: &'static str) -> Mutant {
    Mutant { name, what, source, theme: None, rare: false }
}

impl Mutant {
    const fn about(self, theme: Theme) -> Mutant {
        Mutant { theme: Some(theme), ..self }
    }

    const fn rare(self) -> Mutant {
        Mutant { rare: true, ..self }
    }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant(
        "ack-before-fsync",
        "a follower acknowledges entries before they are durable",
        "etcd 14140, 14143",
    ),
    mutant(
        "vote-before-fsync",
        "a vote is shown before it is durable",
        "Raft paper, figure 2; NodeDB 161",
    ),
    mutant("two-votes-in-a-term", "a second vote in a term", "Raft paper, section 5.2")
        .about(Theme::Election),
    mutant(
        "votes-of-an-older-term",
        "a candidate counts late votes of an earlier term",
        "Raft paper, section 5.2",
    )
    .about(Theme::Election)
    .rare(),
    mutant(
        "vote-for-an-old-log",
        "a candidate with an old log gets votes",
        "Raft paper, section 5.4.1; NuRaft 185",
    ),
    mutant(
        "vote-of-the-forgetful",
        "a replica that lost entries votes before it has them again",
        "Protocol-Aware Recovery, FAST 2018",
    )
    .about(Theme::Rot),
    mutant(
        "commit-of-a-prior-term",
        "entries of an earlier term are committed by counting",
        "Raft paper, figure 8; LogCabin 44",
    )
    .about(Theme::PriorTerm),
    mutant("half-is-a-majority", "half of the voters are a majority", "Redis-Raft 44"),
    mutant(
        "leader-counts-unsynced",
        "a leader counts what its own disk does not have",
        "Raft thesis, section 10.2.1; etcd 14370",
    ),
    mutant(
        "tail-survives-its-leader",
        "a log keeps what its leader does not have",
        "Raft paper, section 5.3",
    ),
    mutant(
        "append-without-a-match",
        "an append is taken whatever comes before it",
        "Raft paper, section 5.3",
    ),
    mutant(
        "heartbeat-tells-too-much",
        "a heartbeat carries the commit index to followers with other logs",
        "etcd raft, bcastHeartbeat",
    ),
    mutant(
        "lease-in-hibernation",
        "a leader that wakes believes that its lease has lasted",
        "Raft thesis, section 6.4.1; TiKV: hibernate regions",
    )
    .rare(),
    mutant(
        "hibernation-without-a-watch",
        "nobody wakes a group that hibernates behind a node that is gone",
        "CockroachDB: quiescent ranges",
    )
    .about(Theme::Lease),
    mutant(
        "read-without-a-lease",
        "a leader reads its own state and asks nobody",
        "Redis-Raft 19; etcd 20418",
    )
    .about(Theme::Drift),
    mutant(
        "follower-reads-unasked",
        "a follower answers reads and does not ask the leader",
        "Redis Cluster, READONLY",
    ),
    mutant(
        "follower-reads-early",
        "a follower answers reads before it has applied what the leader told it",
        "etcd 3879; Raft thesis, section 6.4",
    ),
    mutant(
        "lease-of-a-minority",
        "a round that one peer answered is confirmed, and renews the lease",
        "Redis-Raft 19; etcd 20418",
    )
    .about(Theme::Pause),
    mutant(
        "read-before-first-commit",
        "a new leader reads before it knows what is committed",
        "Redis-Raft 18",
    )
    .about(Theme::Election),
    mutant(
        "lease-outlives-hand-over",
        "a leader that handed over reads until its lease ends",
        "Raft thesis, section 6.4.1",
    )
    .about(Theme::HandOver),
    mutant(
        "lease-ignores-drift",
        "a lease takes all clocks for equal",
        "Raft thesis, section 6.4.1",
    )
    .about(Theme::Drift),
    mutant(
        "restart-forgets-lease",
        "a voter that was started anew helps to elect another within the lease",
        "Raft thesis, section 6.4.1",
    )
    .about(Theme::Lease)
    .rare(),
    mutant(
        "vote-within-a-lease",
        "voters help to elect another while they hear their leader",
        "Raft thesis, section 6.4.1",
    )
    .about(Theme::Lease)
    .rare(),
    mutant(
        "joint-needs-one-side",
        "a joint configuration elects with the majority of one side",
        "Raft paper, section 6; Redis-Raft 17",
    )
    .about(Theme::Members),
    mutant(
        "members-survive-a-snapshot",
        "the members are not reset by a snapshot",
        "OpenRaft 1808",
    )
    .about(Theme::Members),
    mutant(
        "old-snapshot-installed",
        "a snapshot that came late takes the state back",
        "Redis-Raft 42",
    )
    .about(Theme::Snapshot)
    .rare(),
    mutant(
        "install-without-the-data",
        "a snapshot moves the index and not the state",
        "NodeDB 162",
    )
    .about(Theme::Snapshot),
    mutant(
        "snapshot-sees-later-writes",
        "keys changed while a snapshot is written are saved as they became",
        "ZooKeeper's fuzzy snapshots; etcd 14685",
    )
    .about(Theme::Snapshot),
    mutant(
        "truncated-snapshot-taken",
        "a snapshot that is cut short is taken for whole",
        "Redis-Raft 43",
    )
    .about(Theme::Snapshot)
    .rare(),
    mutant(
        "snapshot-without-fsync",
        "a snapshot gets its name before it is durable",
        "ZOOKEEPER-2310",
    )
    .about(Theme::Snapshot),
    mutant(
        "rename-without-fsync",
        "the name of a snapshot is not durable when the log is trimmed",
        "etcd 6368",
    )
    .about(Theme::Snapshot),
    mutant(
        "install-keeps-the-log",
        "an installed snapshot leaves the old log in place",
        "Redis-Raft 43",
    )
    .about(Theme::Snapshot),
    mutant(
        "trim-before-snapshot",
        "the log is trimmed before the snapshot is durable",
        "Redis-Raft 43",
    )
    .about(Theme::Snapshot)
    .rare(),
    mutant("log-without-fsync", "the log is written and not synced", "etcd 14370"),
    mutant(
        "fsync-error-ignored",
        "a failed sync of the log is passed over",
        "PostgreSQL's fsync bug of 2018",
    )
    .about(Theme::Power),
    mutant(
        "full-disk-ignored",
        "what found no room on the disk is called durable",
        "the same, for ENOSPC",
    ),
    mutant(
        "log-fills-the-disk",
        "the log leaves no room on a small disk for the snapshot that would cut it",
        "this project",
    ),
    mutant("votes-not-written", "the file of votes is not written", "Raft paper, figure 2"),
    mutant(
        "damaged-vote-is-none",
        "a vote with one damaged copy is taken for none",
        "Protocol-Aware Recovery, FAST 2018",
    )
    .about(Theme::Rot),
    mutant(
        "log-cut-at-damage",
        "the log is cut in its middle, at damage, as if that were its torn end",
        "Protocol-Aware Recovery, FAST 2018",
    )
    .about(Theme::Rot)
    .rare(),
    mutant("torn-entry-believed", "an entry is believed without its checksum", "etcd 14098")
        .about(Theme::Power)
        .rare(),
    mutant(
        "duplicate-taken-twice",
        "a forwarded command that arrives twice is executed twice",
        "Redis-Raft 13",
    ),
    mutant(
        "forward-retried-too-early",
        "a forwarded command is sent to a new leader while the old may still commit it",
        "Redis-Raft 13",
    )
    .about(Theme::Leap),
    mutant(
        "proposal-repeated-too-early",
        "a deposed leader proposes again what its log may still commit",
        "Redis-Raft 13",
    ),
    mutant(
        "retry-behind-a-snapshot",
        "a command that a snapshot may hold is sent again",
        "Redis-Raft 13",
    )
    .about(Theme::Leap),
    mutant(
        "unknown-told-as-failed",
        "a forwarded command without an answer is called not executed",
        "Jepsen on Redis-Raft: aborted reads",
    )
    .about(Theme::Leap),
    mutant(
        "deposed-leader-says-failed",
        "a deposed leader calls what it proposed not executed",
        "Jepsen on Redis-Raft: aborted reads",
    ),
    mutant("reply-to-wrong-request", "an answer goes to another request", "Jepsen on Redis-Raft"),
    mutant(
        "numbers-used-again",
        "a restart numbers its requests from the beginning",
        "Raft thesis, section 6.3",
    ),
    mutant(
        "waiters-forgotten",
        "clients whose wait a new leader has ended do not hear of it",
        "Redis 7.0, unblockClient on failover",
    )
    .about(Theme::Pause)
    .rare(),
    mutant(
        "waiters-outlive-their-node",
        "a new leader lets clients of dead nodes wait on, and serves them",
        "found by hand when waits were to outlive a leader",
    )
    .about(Theme::Shards),
    mutant(
        "parked-waiter-forgotten",
        "clients of dead nodes that wait behind a transaction outlive their node, and are served",
        "Synod, seed 3400341",
    )
    .about(Theme::Shards),
    mutant(
        "waiter-served-twice",
        "a blocked client is woken twice",
        "Redis 7.0, handleClientsBlockedOnKeys",
    ),
    mutant("exec-ignores-watch", "EXEC does not compare what was watched", "Jepsen: lost updates"),
    mutant("expiry-by-local-clock", "keys expire by the clock of each replica", "etcd 15247"),
    mutant(
        "log-clock-stands-still",
        "the clock of the log waits for a wall clock that was set back",
        "Synod, seeds 23 and 46",
    )
    .about(Theme::Pause),
    mutant(
        "locked-key-read",
        "a key that a transaction has prepared to change is read and changed by others",
        "Sinfonia, section 4.1",
    )
    .about(Theme::Shards),
    mutant(
        "shards-read-once",
        "a read over several shards does not look twice",
        "Sinfonia, section 4.1; Jepsen: read skew",
    )
    .about(Theme::Shards),
    mutant(
        "late-refusal-is-believed",
        "what an earlier leader has refused is told as not executed, though a later one takes it",
        "Synod, seed 3401693",
    )
    .rare(),
    mutant(
        "names-without-locks",
        "the names of all keys are told while keys come and go",
        "Jepsen: predicate reads, phantoms (Adya, G2)",
    )
    .about(Theme::Shards),
    mutant(
        "recovery-commits-one",
        "a recovery commits what one participant has prepared, whatever the others say",
        "Jepsen: fractured writes",
    )
    .about(Theme::Shards),
    mutant(
        "recovery-asks-once",
        "a recovery takes what was forgotten, because it is committed everywhere, for aborted",
        "Synod, seed 1000886",
    )
    .about(Theme::Shards),
    mutant(
        "unknown-vote-is-yes",
        "a participant that did not answer counts for a YES",
        "TiDB: undetermined errors taken for success",
    )
    .about(Theme::Shards),
    mutant(
        "orphan-locks",
        "nobody settles what a gateway left undecided",
        "TiKV: orphan pessimistic locks",
    )
    .about(Theme::Shards),
    mutant(
        "prepare-after-rollback",
        "a prepare is taken though the transaction was rolled back",
        "TiKV: late prewrite behind a rollback",
    )
    .about(Theme::Shards)
    .rare(),
    mutant(
        "rollback-without-record",
        "a rollback leaves no record, so a late prepare is taken",
        "TiKV 5 to 7: collapsed rollback records",
    )
    .about(Theme::Shards)
    .rare(),
    mutant(
        "commit-leaves-no-record",
        "a participant forgets a transaction once it has committed it, and calls it aborted when asked",
        "presumed abort: Mohan, Lindsay, Obermarck, 1986",
    )
    .about(Theme::Shards),
    mutant(
        "parked-share-a-version",
        "what waited for one transaction runs with one version for all",
        "Synod, seed 30025",
    )
    .about(Theme::Shards),
    mutant(
        "done-below-a-restart",
        "a gateway that was started anew has its former transactions forgotten",
        "Synod, seed 60001",
    )
    .about(Theme::Shards)
    .rare(),
    mutant(
        "receipt-ends-early",
        "the reply to an id is forgotten before the window is over",
        "Raft thesis, section 6.3: sessions that expire",
    )
    .about(Theme::Leap),
    mutant(
        "receipt-beside-the-transaction",
        "the reply to an id is no part of the transaction over several shards",
        "RIFL, SOSP 2015, section 3",
    )
    .about(Theme::Shards),
    mutant(
        "failed-call-is-a-yes",
        "a participant whose call failed agrees to a transaction that was to be undone then",
        "Bernstein, Hadzilacos, Goodman, 1987, chapter 7",
    )
    .about(Theme::Shards),
    mutant(
        "wait-for-everybody",
        "a younger transaction waits for an older one",
        "Rosenkrantz, Stearns, Lewis, 1978",
    )
    .about(Theme::Shards),
    mutant(
        "waits-behind-who-waits-for-older",
        "a transaction waits behind a call that waits for an older one",
        "Synod, found by reading",
    )
    .about(Theme::Shards),
    mutant(
        "silent-leader-has-all",
        "what was sent to a leader before it was silent is not sent again if its connection is made anew meanwhile",
        "Synod, found by a seed",
    )
    .about(Theme::Shards)
    .rare(),
    mutant(
        "held-under-its-old-number",
        "what a guest holds back for a client's earlier reads is sent under a number below those that went before",
        "Synod, found beside another",
    )
    .about(Theme::Shards)
    .rare(),
    mutant(
        "leap-forgets-what-was-passed",
        "a read that a follower is to answer is answered behind a write that its client has sent later",
        "Synod, found beside another",
    )
    .about(Theme::Shards)
    .rare(),
    mutant(
        "guest-forgets-that-it-asked",
        "a node without a replica asks the next leader as if it had asked nobody",
        "Raft thesis, section 6.3",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "second-retry-is-new",
        "what is asked of the next leader twice is no retry the second time",
        "Synod, found by reading",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "ended-wait-forgotten",
        "a new leader ends the wait of a guest, and takes its retry for a new call",
        "Synod, found by reading",
    )
    .about(Theme::Moves),
    mutant(
        "adopted-read-overtakes",
        "a read behind a write that was not sent before the replica leapt is sent before it",
        "Synod, seed 6692001",
    )
    .rare(),
    mutant(
        "parked-is-overtaken",
        "a call that waits for a transaction is overtaken by one that its client has sent later",
        "Synod, found by reading",
    )
    .about(Theme::Shards),
    mutant(
        "read-behind-its-write",
        "a read that waits for a transaction runs behind what its client has sent later",
        "Synod, found by reading",
    )
    .about(Theme::Shards),
    mutant(
        "wanted-snapshot-not-taken",
        "what a peer lacks has left the leader's memory, and no snapshot is taken for it",
        "Raft paper, section 7; etcd, SnapshotCatchUpEntries",
    )
    .about(Theme::Moves),
    mutant(
        "snapshot-forgets-the-replies",
        "who is sent a snapshot knows nothing of what became of the newest requests",
        "Raft thesis, section 6.3: the replies are part of the state",
    )
    .about(Theme::Calm)
    .rare(),
    mutant(
        "memo-claims-never",
        "what is older than the memory was never executed",
        "Raft thesis, section 6.3: sessions that expire",
    )
    .about(Theme::Moves),
    mutant(
        "numbers-used-again-after-a-move",
        "a replica that comes back numbers its requests from the beginning",
        "Synod, found by hand",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "leaver-lies-to-waiters",
        "a replica that leaves tells who waits that nothing was executed, before that is agreed",
        "Synod, found by reading",
    )
    .about(Theme::Moves),
    mutant(
        "leaver-is-not-waited-for",
        "a replica leaves its group before it knows what became of what it was asked for",
        "Synod, seed 218",
    )
    .about(Theme::Calm)
    .rare(),
    mutant(
        "leaves-before-it-is-agreed",
        "a voter is taken out at once, and gives up its data before that is agreed on",
        "Raft thesis, section 4.2.2",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "leaves-on-an-old-word",
        "a replica gives up its data for what was said before it came back",
        "etcd 7334: removed members",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "new-leader-tells-old-members",
        "a leader tells who its group is before it knows what is agreed",
        "Synod, seed 223",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "comes-back-and-votes",
        "a replica that comes back with nothing helps to elect who lacks what it had",
        "Raft thesis, section 4.1; TiKV: tombstones",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "vote-leaves-with-the-data",
        "a replica that leaves forgets how it has voted",
        "TiKV: tombstones",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "mark-without-fsync",
        "what says whether a replica is here is not durable",
        "Synod, presence of replicas",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "map-goes-back",
        "a node takes an older map for a newer one",
        "Elasticsearch 2488: stale cluster states",
    )
    .about(Theme::Moves)
    .rare(),
    mutant(
        "voter-without-the-log",
        "a replica votes before it has the log",
        "Raft thesis, section 4.2.1",
    )
    .about(Theme::Moves)
    .rare(),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::MUTANTS;

    #[test]
    fn every_planted_bug_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), MUTANTS.len());
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(names.iter().all(|name| name.bytes().all(plain)));
    }
}
