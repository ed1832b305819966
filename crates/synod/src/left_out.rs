//! What could not be taken along, counted and named: nothing is dropped in silence.

use std::collections::BTreeMap;
use std::fmt;

/// Reasons, and how many things each of them kept out.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftOut {
    reasons: BTreeMap<String, u64>,
}

impl LeftOut {
    /// So many more for this reason.
    pub(crate) fn add(&mut self, reason: impl Into<String>, count: u64) {
        if count > 0 {
            *self.reasons.entry(reason.into()).or_insert(0) += count;
        }
    }

    /// What another counted, too.
    pub(crate) fn merge(&mut self, other: &LeftOut) {
        other.reasons.iter().for_each(|(reason, count)| self.add(reason.as_str(), *count));
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return writeln!(f, "left out: nothing");
        }
        writeln!(f, "left out:")?;
        self.reasons.iter().try_for_each(|(reason, count)| writeln!(f, "{count:>14}  {reason}"))
    }
}
