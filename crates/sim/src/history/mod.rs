//! What clients asked and what they were told: one history, whoever the clients were.
//!
//! ```text
//! simulator ─┐                          ┌─▶ checker::check          (linearizable? serializable?)
//!            ├─ begin, end ─▶ History ──┤
//! real runs ─┘                          └─▶ EDN, JSON lines ─▶ Elle, Knossos, porcupine, `synod check`
//! ```
//!
//! An operation is a list of calls that take effect at one moment, or not at all: one command, a
//! MULTI block or a script. It has an outcome: done, with what each call answered; failed, which
//! means *did not happen*; or unknown, which means that it may have happened, or may still.
//!
//! What always holds: the indices of beginnings and ends are one count, so "ended before that
//! began" is exact. The times are for people, and for what expires.
//! The files are described in docs/history.md.

mod call;
mod datum;
mod edn;
mod file;

pub use call::{Call, Verb};
pub use datum::Datum;
pub use file::{Format, read, write};

/// When something was seen: its place among all events, and the time, in nanoseconds of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub index: u64,
    pub time: u64,
}

/// What a client knows of an operation in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, and each call answered this.
    Ok(Vec<Datum>),
    /// It did not happen and never will; why.
    Failed(String),
    /// It may have happened, or may still; why nobody knows.
    Unknown(String),
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whoever asked. Has one operation open at a time.
    pub process: u64,
    pub start: Moment,
    /// `None` while it is open, or if nobody waited for the end.
    pub end: Option<Moment>,
    /// They take effect together.
    pub calls: Vec<Call>,
    pub outcome: Outcome,
}

impl Operation {
    /// The index at which it was over: never, as long as it may still take effect.
    pub fn end_index(&self) -> u64 {
        match (self.end, &self.outcome) {
            (_, Outcome::Unknown(_)) | (None, _) => u64::MAX,
            (Some(end), _) => end.index,
        }
    }

    /// The time at which it was over.
    pub fn end_time(&self) -> u64 {
        match (self.end, &self.outcome) {
            (_, Outcome::Unknown(_)) | (None, _) => u64::MAX,
            (Some(end), _) => end.time,
        }
    }

    /// What its calls answered, if it is known to have happened.
    pub fn results(&self) -> Option<&[Datum]> {
        match &self.outcome {
            Outcome::Ok(results) => Some(results),
            Outcome::Failed(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Did it not happen, for sure?
    pub fn is_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }

    /// May it have happened, or not?
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }
}

impl std::fmt::Display for Operation {
    /// `client 3 [12, 17]: incrby counter1 2 → 5`, as a person wants to read it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "client {} [{}, ", self.process, self.start.index)?;
        match self.end {
            Some(end) => write!(f, "{}]:", end.index)?,
            None => write!(f, "…]:")?,
        }
        for (at, call) in self.calls.iter().enumerate() {
            let comma = if at == 0 { "" } else { ";" };
            write!(f, "{comma} {call}")?;
            if let Some(result) = self.results().and_then(|results| results.get(at)) {
                write!(f, " → {result}")?;
            }
        }
        match &self.outcome {
            Outcome::Ok(_) => Ok(()),
            Outcome::Failed(why) => write!(f, " → failed ({why})"),
            Outcome::Unknown(why) => write!(f, " → unknown ({why})"),
        }
    }
}

/// All operations of a run, in the order in which they began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
    next: u64,
}

impl History {
    /// Nothing yet.
    pub fn new() -> History {
        History::default()
    }

    /// An operation begins, at this time. Gives its number, for `end`.
    pub fn begin(&mut self, process: u64, time: u64, calls: Vec<Call>) -> usize {
        assert!(!calls.is_empty(), "an operation asks for something");
        let start = self.moment(time);
        let outcome = Outcome::Unknown("open".to_owned());
        self.operations.push(Operation { process, start, end: None, calls, outcome });
        self.operations.len() - 1
    }

    /// It ends.
    pub fn end(&mut self, number: usize, time: u64, outcome: Outcome) {
        let end = self.moment(time);
        let operation = &mut self.operations[number];
        assert!(operation.end.is_none(), "an operation ends once");
        if let Outcome::Ok(results) = &outcome {
            assert!(results.len() == operation.calls.len(), "each call has its result");
        }
        (operation.end, operation.outcome) = (Some(end), outcome);
    }

    /// What an operation asks is known better than when it began: a WATCH was answered.
    pub fn amend(&mut self, number: usize, calls: Vec<Call>) {
        let operation = &mut self.operations[number];
        assert!(operation.end.is_none(), "what has ended is not changed");
        operation.calls = calls;
    }

    /// All operations, in the order in which they began.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    fn moment(&mut self, time: u64) -> Moment {
        let index = self.next;
        self.next += 1;
        Moment { index, time }
    }
}
