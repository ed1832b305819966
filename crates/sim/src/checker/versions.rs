//! Linearizability of what counts its own changes: a counter that goes up by one. Every answer
//! names a version, so there is one order to check, and no search, however long the history.

use crate::history::{Operation, Verb};

/// One operation that is known to have taken effect at `version`: a write made it, a read saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    call: u64,
    /// `u64::MAX` if it never ended.
    end: u64,
    version: u64,
    writes: bool,
}

/// Checks a part of a history that is one such counter; `None` if it is something else.
pub(super) fn check_counter(operations: &[&Operation]) -> Option<Result<(), String>> {
    let (mut seen, mut unknown) = (Vec::new(), 0);
    for operation in operations {
        let [call] = operation.calls.as_slice() else { return None };
        let writes = match call.verb {
            Verb::Get => false,
            Verb::IncrBy if call.args[0].int() == Some(1) => true,
            _ => return None,
        };
        let Some(results) = operation.results() else {
            unknown += u64::from(writes && operation.is_unknown());
            continue;
        };
        let version = results[0].int().unwrap_or(0) as u64;
        let (call, end) = (operation.start.index, operation.end_index());
        seen.push(Seen { call, end, version, writes });
    }
    let known = seen.iter().filter(|one| one.writes).count() as u64;
    let largest = seen.iter().map(|one| one.version).max().unwrap_or(0);
    if largest > known + unknown {
        let what = format!("{largest} after {known} and perhaps {unknown} increments");
        return Some(Err(what));
    }
    Some(check(&seen))
}

/// Checks that no version was made twice, and that whatever ended before something else began
/// comes before it. The error says which two contradict each other.
fn check(seen: &[Seen]) -> Result<(), String> {
    let mut writes: Vec<&Seen> = seen.iter().filter(|one| one.writes).collect();
    writes.sort_by_key(|one| one.version);
    for pair in writes.windows(2) {
        if pair[0].version == pair[1].version {
            return Err(format!("version {} was made twice: {pair:?}", pair[0].version));
        }
    }
    let mut by_end: Vec<&Seen> = seen.iter().collect();
    by_end.sort_by_key(|one| one.end);
    let mut by_call: Vec<&Seen> = seen.iter().collect();
    by_call.sort_by_key(|one| one.call);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<&Seen> = None;
    for one in by_call {
        while let Some(earlier) = ended.next_if(|earlier| earlier.end < one.call) {
            if newest.is_none_or(|newest| newest.version < earlier.version) {
                newest = Some(earlier);
            }
        }
        let least = newest.map_or(0, |newest| newest.version + u64::from(one.writes));
        if one.version < least {
            return Err(format!("{one:?} began after {:?} had ended", newest));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Seen, check};

    fn seen(call: u64, end: u64, version: u64, writes: bool) -> Seen {
        Seen { call, end, version, writes }
    }

    #[test]
    fn what_ended_earlier_has_an_earlier_version() {
        assert!(check(&[seen(1, 4, 1, true), seen(2, 3, 2, true), seen(5, 6, 2, false)]).is_ok());
        assert!(check(&[seen(1, 2, 2, true), seen(3, 4, 1, true)]).is_err());
        assert!(check(&[seen(1, 2, 2, true), seen(3, 4, 1, false)]).is_err(), "a stale read");
        assert!(check(&[seen(1, 2, 1, false), seen(3, 4, 1, true)]).is_err(), "seen too early");
        assert!(check(&[seen(1, 2, 1, true), seen(1, 2, 1, true)]).is_err(), "made twice");
    }
}
