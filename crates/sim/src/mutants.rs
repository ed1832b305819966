//! The bugs that can be planted, each with the story that it stands for.
//!
//! A check that never failed has proved nothing. Each of these is one line in the product, wrong in
//! a way in which some system of the world was wrong, and compiled in only under the feature
//! `planted`; `cargo xtask mutants` switches one on at a time and counts the seeds until it is seen.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// As `stdx::planted!` has it.
    pub name: &'static str,
    /// What breaks, and who it happened to.
    pub story: &'static str,
}

const fn mutant(name: &'static str, story: &'static str) -> Mutant {
    Mutant { name, story }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant(
        "entries are acknowledged before they are durable",
        "a majority that forgets: what etcd 11456 and many a benchmark did",
    ),
    mutant(
        "a vote is shown before it is durable",
        "a voter that crashes votes again, for another: two leaders in a term",
    ),
    mutant("two votes in one term", "two leaders in a term"),
    mutant("a candidate with an old log is voted for", "a leader without what was agreed"),
    mutant(
        "entries of an earlier term are committed by counting",
        "Raft paper, figure 8: what was committed is overwritten",
    ),
    mutant("half of the voters are a majority", "two majorities that do not meet"),
    mutant(
        "a leader counts what its own disk does not have",
        "Raft allows it only if the leader's disk is not in the majority",
    ),
    mutant(
        "a log keeps what its leader does not have",
        "Redis-Raft: the tail of a deposed leader survives",
    ),
    mutant(
        "an append is taken whatever comes before it",
        "logs that differ below entries that are equal",
    ),
    mutant(
        "a commit is learned beyond what was sent",
        "a follower applies what its leader is about to replace",
    ),
    mutant("a leader reads without a lease", "stale reads after a partition or a pause"),
    mutant("a lease outlives the hand-over of leadership", "stale reads while another leads"),
    mutant("a new leader reads before its first commit", "reads that miss what was acknowledged"),
    mutant("a lease takes all clocks for equal", "stale reads where clocks drift"),
    mutant("a restart forgets the leader's lease", "a leader elected within another's lease"),
    mutant("a vote is given within the leader's lease", "stale reads: the lease protects nothing"),
    mutant("a request that comes twice is taken twice", "Redis-Raft: one INCR counts two"),
    mutant(
        "a request is sent again before its term is settled",
        "Redis-Raft: a proxied command is executed twice",
    ),
    mutant(
        "a proposal is repeated before the log has settled it",
        "a deposed leader executes a command twice",
    ),
    mutant(
        "a request is repeated that a snapshot may hold",
        "a follower that was behind executes a command twice",
    ),
    mutant(
        "what was sent and not answered is called not executed",
        "Redis-Raft: an error for what has happened",
    ),
    mutant("an answer goes to another request", "Redis-Raft: replies to the wrong client"),
    mutant("a restart numbers its requests anew", "answers and duplicates of a former life"),
    mutant("clients that wait do not hear of a new leader", "a client waits for ever"),
    mutant("keys expire by the clock of each replica", "replicas that differ for good"),
    mutant("EXEC does not compare what was watched", "lost updates"),
    mutant("the log is written and not synced", "acknowledged and lost when power fails"),
    mutant("votes are not written with the log", "a vote forgotten when power fails"),
    mutant(
        "a snapshot is named before it is durable",
        "a snapshot torn, and the log behind it gone",
    ),
    mutant("an installed snapshot leaves the old log", "an old log behind a new snapshot"),
    mutant(
        "the log is trimmed before the snapshot is durable",
        "entries that are nowhere any more",
    ),
];
