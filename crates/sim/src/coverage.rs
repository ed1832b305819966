//! What a run brought about: kinds of faults that struck, and rare places that were reached.
//!
//! A kind of fault that never strikes proves nothing, so every round of seeds prints this table,
//! and a mark that stays at zero over a whole round fails it.

use std::collections::BTreeMap;

use stdx::marks::Hits;

/// Something that a good round of seeds has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    MessageLost,
    MessageDuplicated,
    MessageReordered,
    MessageLate,
    VoteLate,
    VoteForLater,
    SnapshotEchoed,
    SnapshotRenewed,
    MessagesHoursLate,
    LinkBroken,
    CutSymmetric,
    CutLeader,
    CutAsymmetric,
    CutBridge,
    CutLink,
    CutFlapping,
    CutLeaderAtCommit,
    CutLeaderAtChange,
    CutLeaderInChange,
    LeaderEndedEarly,
    HandedOver,
    CutAtPriorCommit,
    ElectedNearLease,
    Leapt,
    UnansweredLong,
    LeaptOverShards,
    OneDecided,
    FencedLate,
    WaitersDied,
    WaitersParked,
    AskedTheForgetful,
    AnswerOvertaken,
    LeftAmidWaits,
    CameBackToLagging,
    ServedAfterReturn,
    ReadBeforeFirstCommit,
    CutInHibernation,
    ReadAtOldLeader,
    LearnerAdded,
    LearnerPromoted,
    VoterDemoted,
    NodeRemoved,
    NodeReplaced,
    NodeRetired,
    NodeCame,
    ReplicaJoined,
    CameWithoutData,
    MembersAmidSnapshots,
    MajorityServed,
    PowerFailed,
    PowerFailedInCommit,
    PowerFailedBeforeSave,
    PowerFailedAfterSave,
    PowerFailedInSend,
    PowerFailedInCompaction,
    PowerFailedInSnapshot,
    PowerFailedInInstall,
    PowerFailedInJoin,
    PowerFailedInLeave,
    Killed,
    KilledAll,
    Paused,
    PausedLeaderPastLease,
    ClockDrifted,
    ClockJumped,
    ClockStrobed,
    DiskStalled,
    DiskErrorOnRead,
    DiskErrorOnWrite,
    DiskErrorOnSync,
    DiskFull,
    DiskRotten,
    LogRotten,
    SnapshotRotten,
    VotesRotten,
    VoteLost,
    WriteMisdirected,
    ReadFailedAtStart,
    DiskWiped,
    RefusedDamage,
    DamageUnseen,
    StartedFaulty,
    Repaired,
    SnapshotTaken,
    SnapshotSent,
    SnapshotInstalled,
    LeaderElected,
    StalestWooed,
    LogCut,
    ClientLost,
    ClientGaveUp,
    ClientTrickled,
    AnswerUnknown,
    AnswerRefused,
    RetryAnswered,
    ReadServed,
    WriteServed,
    Forwarded,
    TransactionAborted,
    RolledBack,
    TransactionDone,
    ScriptDone,
    WalkDone,
    KeyExpired,
    Blocked,
    Unblocked,
    DigestsCompared,
    SearchUndecided,
}

impl Mark {
    /// All of them.
    pub const ALL: [Mark; 105] = [
        Mark::MessageLost,
        Mark::MessageDuplicated,
        Mark::MessageReordered,
        Mark::MessageLate,
        Mark::VoteLate,
        Mark::VoteForLater,
        Mark::SnapshotEchoed,
        Mark::SnapshotRenewed,
        Mark::MessagesHoursLate,
        Mark::LinkBroken,
        Mark::CutSymmetric,
        Mark::CutLeader,
        Mark::CutAsymmetric,
        Mark::CutBridge,
        Mark::CutLink,
        Mark::CutFlapping,
        Mark::CutLeaderAtCommit,
        Mark::CutLeaderAtChange,
        Mark::CutLeaderInChange,
        Mark::LeaderEndedEarly,
        Mark::HandedOver,
        Mark::CutAtPriorCommit,
        Mark::ElectedNearLease,
        Mark::Leapt,
        Mark::UnansweredLong,
        Mark::LeaptOverShards,
        Mark::OneDecided,
        Mark::FencedLate,
        Mark::WaitersDied,
        Mark::WaitersParked,
        Mark::AskedTheForgetful,
        Mark::AnswerOvertaken,
        Mark::LeftAmidWaits,
        Mark::CameBackToLagging,
        Mark::ServedAfterReturn,
        Mark::ReadBeforeFirstCommit,
        Mark::CutInHibernation,
        Mark::ReadAtOldLeader,
        Mark::LearnerAdded,
        Mark::LearnerPromoted,
        Mark::VoterDemoted,
        Mark::NodeRemoved,
        Mark::NodeReplaced,
        Mark::NodeRetired,
        Mark::NodeCame,
        Mark::ReplicaJoined,
        Mark::CameWithoutData,
        Mark::MembersAmidSnapshots,
        Mark::MajorityServed,
        Mark::PowerFailed,
        Mark::PowerFailedInCommit,
        Mark::PowerFailedBeforeSave,
        Mark::PowerFailedAfterSave,
        Mark::PowerFailedInSend,
        Mark::PowerFailedInCompaction,
        Mark::PowerFailedInSnapshot,
        Mark::PowerFailedInInstall,
        Mark::PowerFailedInJoin,
        Mark::PowerFailedInLeave,
        Mark::Killed,
        Mark::KilledAll,
        Mark::Paused,
        Mark::PausedLeaderPastLease,
        Mark::ClockDrifted,
        Mark::ClockJumped,
        Mark::ClockStrobed,
        Mark::DiskStalled,
        Mark::DiskErrorOnRead,
        Mark::DiskErrorOnWrite,
        Mark::DiskErrorOnSync,
        Mark::DiskFull,
        Mark::DiskRotten,
        Mark::LogRotten,
        Mark::SnapshotRotten,
        Mark::VotesRotten,
        Mark::VoteLost,
        Mark::WriteMisdirected,
        Mark::ReadFailedAtStart,
        Mark::DiskWiped,
        Mark::RefusedDamage,
        Mark::StartedFaulty,
        Mark::Repaired,
        Mark::SnapshotTaken,
        Mark::SnapshotSent,
        Mark::SnapshotInstalled,
        Mark::LeaderElected,
        Mark::StalestWooed,
        Mark::LogCut,
        Mark::ClientLost,
        Mark::ClientGaveUp,
        Mark::ClientTrickled,
        Mark::AnswerUnknown,
        Mark::AnswerRefused,
        Mark::RetryAnswered,
        Mark::ReadServed,
        Mark::WriteServed,
        Mark::Forwarded,
        Mark::TransactionAborted,
        Mark::RolledBack,
        Mark::TransactionDone,
        Mark::ScriptDone,
        Mark::WalkDone,
        Mark::KeyExpired,
        Mark::Blocked,
        Mark::DigestsCompared,
    ];

    /// As a person says it: `PowerFailedInCommit` is "power failed in commit".
    pub fn title(self) -> String {
        let mut title = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !title.is_empty() {
                title.push(' ');
            }
            title.extend(letter.to_lowercase());
        }
        title
    }
}

/// The rare branches of the product that carry a mark (`stdx::mark!`), and that a long round of
/// seeds must reach.
pub const PLACES: &[&str] = &[
    // consensus
    "a peer lacks what has left the memory and is in no snapshot",
    "a change of members is refused",
    "a configuration is taken back",
    "a group hibernates",
    "a hand-over is given up",
    "a leader that nobody hears steps down",
    "a leader that was removed names an heir",
    "a leader wakes its group",
    "a voter that is being removed stands for election",
    "leadership is taken over by order",
    // node
    "a read waits for a transaction",
    "a batch was not committed, and goes again",
    "a change of the map met another",
    "a follower cannot answer a read, and hands it on",
    "a follower waits until it has applied what it is asked about",
    "a follower was told nothing, and hands its reads on",
    "a forwarded write comes twice",
    "a guest asks the next leader again",
    "a guest's retry is answered from memory",
    "a guest's retry was never agreed on, and is taken",
    "a leader hands over because it is not wanted",
    "a leader without room hands its place on",
    "a replica wakes because a node is silent",
    "whether a transaction is aborted is asked once more",
    "a replica comes back",
    "a replica is said to be out, and has come back since",
    "a replica leaves its data behind",
    "a snapshot leaps over requests that were sent",
    // storage
    "a crash left a log that was not trimmed",
    "a torn tail is cut off",
    "both copies of a vote are lost",
    "one copy of a vote is repaired from the other",
    "the log goes on behind damage",
    "the log leaves the rest of the disk to the next snapshot",
    "what pins an old segment is moved",
];

/// Marked branches that are too rare for a round of seeds. Each is proved by the test beside it, and
/// counted here if a seed comes to it after all.
pub const RARER: &[(&str, &str)] = &[
    (
        "a read that waits for a transaction is overtaken by what came behind it",
        "synod/tests/processes/order.rs",
    ),
    ("a learner stands in for voters with older logs", "scripts/raft/learner_stands_in"),
    ("a snapshot is gone while it is being sent", "consensus/tests/random.rs"),
    ("a snapshot is refused by the follower", "consensus/tests/random.rs"),
    ("a snapshot tells a commit that the log holds", "consensus/tests/random.rs"),
    ("entries come while a snapshot is being installed", "consensus/tests/random.rs"),
    ("the log on the disk is older than the snapshot", "consensus/src/raft/follower.rs"),
    ("a replica comes, and there is no room to note it", "server/src/arrivals.rs"),
    ("a replica goes, and there is no room to note it", "sim, in a few hundred seeds"),
    ("a replica leaves, and its clients wait for keys", "sim, in seeds with a map"),
    ("a guest waits for what its replica was asked for", "sim, in seeds with a map"),
    ("a replica that is to go still owes something", "node::mover, and sim, in seeds with a map"),
    ("a call waits on where its replica was", "node/src/guest.rs; sim, in seeds with a map"),
    ("a guest asks for a read anew", "sim, in seeds with a map"),
    ("what waited for a replica's reads gets a new number", "sim, in seeds with a map"),
    ("a read that waits for a transaction is leapt over", "sim, in seeds with a map"),
    ("a snapshot says that a guest waits", "sim, in a few hundred seeds"),
    ("a snapshot finds no room", "sim, in a few hundred seeds"),
    ("a part of a snapshot comes behind one that was refused", "server/src/keeper/snapshots.rs"),
    ("entries that wait for room are in a snapshot already", "server/src/keeper/log.rs"),
    ("a segment is recycled while it is read", "storage/tests/wal.rs"),
    ("a crash left a log that an install had voided", "storage/tests/snapshot.rs"),
    ("the log knows a newer vote than the file of votes", "storage/tests/damage.rs"),
];

/// How often each was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<Mark, u64>,
    /// Rare branches of the product.
    places: Hits,
}

impl Coverage {
    /// It was seen.
    pub fn hit(&mut self, mark: Mark) {
        *self.counts.entry(mark).or_default() += 1;
    }

    /// How often it was seen.
    pub fn count(&self, mark: Mark) -> u64 {
        self.counts.get(&mark).copied().unwrap_or(0)
    }

    /// Takes in what another run saw.
    pub fn add(&mut self, other: &Coverage) {
        for (mark, count) in &other.counts {
            *self.counts.entry(*mark).or_default() += count;
        }
        self.reach(&other.places);
    }

    /// Rare branches of the product were taken.
    pub fn reach(&mut self, places: &Hits) {
        for (place, count) in places {
            *self.places.entry(place).or_default() += count;
        }
    }

    /// What a long round must bring about, and this one did not: kinds of faults, and rare branches.
    pub fn missing(&self) -> Vec<String> {
        let marks = Mark::ALL.into_iter().filter(|mark| self.count(*mark) == 0).map(Mark::title);
        let places = PLACES.iter().filter(|place| !self.places.contains_key(*place));
        marks.chain(places.map(|place| (*place).to_owned())).collect()
    }

    /// One line for each.
    pub fn table(&self) -> String {
        let mut marks = Mark::ALL.to_vec();
        marks.extend([Mark::Unblocked, Mark::SearchUndecided, Mark::DamageUnseen]);
        // Only where there is a map.
        marks.extend([Mark::NodeCame, Mark::ReplicaJoined, Mark::CameWithoutData]);
        marks.extend([Mark::PowerFailedInJoin, Mark::PowerFailedInLeave]);
        let marks = marks.into_iter().map(|mark| (self.count(mark), mark.title()));
        let count = |place: &str| self.places.get(place).copied().unwrap_or(0);
        let places = PLACES.iter().map(|place| (count(place), format!("reached: {place}")));
        let rarer = RARER.iter();
        let rarer = rarer.map(|(place, _)| (count(place), format!("reached, seldom: {place}")));
        marks
            .chain(places)
            .chain(rarer)
            .map(|(count, title)| format!("{count:>10}  {title}\n"))
            .collect()
    }
}
