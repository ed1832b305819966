//! What a run brought about: kinds of faults that struck, and rare places that were reached.
//!
//! A kind of fault that never strikes proves nothing, so every round of seeds prints this table,
//! and a mark that stays at zero over a whole round fails it.

use std::collections::BTreeMap;

/// Something that a good round of seeds has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    MessageLost,
    MessageDuplicated,
    MessageReordered,
    MessageLate,
    VoteLate,
    SnapshotEchoed,
    LinkBroken,
    CutSymmetric,
    CutLeader,
    CutAsymmetric,
    CutBridge,
    CutLink,
    CutFlapping,
    CutLeaderAtCommit,
    LeaderEndedEarly,
    HandedOver,
    CutAtPriorCommit,
    ElectedNearLease,
    Leapt,
    UnansweredLong,
    ReadAtOldLeader,
    PowerFailed,
    PowerFailedInCommit,
    PowerFailedBeforeSave,
    PowerFailedAfterSave,
    PowerFailedInSnapshot,
    PowerFailedInInstall,
    Killed,
    KilledAll,
    Paused,
    PausedLeaderPastLease,
    ClockDrifted,
    ClockJumped,
    DiskStalled,
    DiskError,
    DiskFull,
    DiskRotten,
    RefusedDamage,
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
    AnswerUnknown,
    AnswerRefused,
    ReadServed,
    WriteServed,
    Forwarded,
    TransactionAborted,
    TransactionDone,
    ScriptDone,
    KeyExpired,
    Blocked,
    Unblocked,
    DigestsCompared,
    SearchUndecided,
}

impl Mark {
    /// All of them.
    pub const ALL: [Mark; 59] = [
        Mark::MessageLost,
        Mark::MessageDuplicated,
        Mark::MessageReordered,
        Mark::MessageLate,
        Mark::VoteLate,
        Mark::SnapshotEchoed,
        Mark::LinkBroken,
        Mark::CutSymmetric,
        Mark::CutLeader,
        Mark::CutAsymmetric,
        Mark::CutBridge,
        Mark::CutLink,
        Mark::CutFlapping,
        Mark::CutLeaderAtCommit,
        Mark::LeaderEndedEarly,
        Mark::HandedOver,
        Mark::CutAtPriorCommit,
        Mark::ElectedNearLease,
        Mark::Leapt,
        Mark::UnansweredLong,
        Mark::ReadAtOldLeader,
        Mark::PowerFailed,
        Mark::PowerFailedInCommit,
        Mark::PowerFailedBeforeSave,
        Mark::PowerFailedAfterSave,
        Mark::PowerFailedInSnapshot,
        Mark::PowerFailedInInstall,
        Mark::Killed,
        Mark::KilledAll,
        Mark::Paused,
        Mark::PausedLeaderPastLease,
        Mark::ClockDrifted,
        Mark::ClockJumped,
        Mark::DiskStalled,
        Mark::DiskError,
        Mark::DiskFull,
        Mark::DiskRotten,
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
        Mark::AnswerUnknown,
        Mark::AnswerRefused,
        Mark::ReadServed,
        Mark::WriteServed,
        Mark::Forwarded,
        Mark::TransactionAborted,
        Mark::TransactionDone,
        Mark::ScriptDone,
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

/// How often each was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<Mark, u64>,
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
    }

    /// Those that must be seen and were not.
    pub fn missing(&self) -> Vec<Mark> {
        Mark::ALL.into_iter().filter(|mark| self.count(*mark) == 0).collect()
    }

    /// One line for each.
    pub fn table(&self) -> String {
        let mut marks = Mark::ALL.to_vec();
        marks.extend([Mark::Unblocked, Mark::SearchUndecided]);
        marks.iter().map(|mark| format!("{:>10}  {}\n", self.count(*mark), mark.title())).collect()
    }
}
