//! What clients felt, second by second: how many were answered, how many were not, how long it took.
//!
//! Waits for an item of a queue are left out of the times: they take as long as they are told to.

use hdrhistogram::Histogram;
use sim::history::{History, Outcome, Verb};

use super::nemesis::Span;

const SECOND: u64 = 1_000_000_000;

/// Times above this count as this, in microseconds.
const MICROS_MAX: u64 = 60_000_000;

/// One part of the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Slice {
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    /// Microseconds, of those that were answered.
    pub(super) p50: u64,
    pub(super) p99: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Timeline {
    /// One for each second.
    pub(super) slices: Vec<Slice>,
    pub(super) total: Slice,
    /// The longest time in which nobody was answered: its length in nanoseconds, and where it began.
    pub(super) silence: (u64, u64),
}

impl Timeline {
    /// Of the operations that ended before `end`, in nanoseconds of the run.
    pub(super) fn new(history: &History, end: u64) -> Timeline {
        let seconds = end.div_ceil(SECOND).max(1) as usize;
        let mut slices = vec![Slice::default(); seconds];
        let histogram =
            || Histogram::<u64>::new_with_max(MICROS_MAX, 2).expect("the bounds are constants");
        let mut times: Vec<Histogram<u64>> = (0..seconds).map(|_| histogram()).collect();
        let mut all = histogram();
        let mut answers = vec![0, end];
        for operation in history.operations() {
            let Some(ended) = operation.end else { continue };
            let Some(slice) = slices.get_mut((ended.time / SECOND) as usize) else { continue };
            match operation.outcome {
                Outcome::Failed(_) => slice.refused += 1,
                Outcome::Unknown(_) => slice.unknown += 1,
                Outcome::Ok(_) => {
                    slice.answered += 1;
                    answers.push(ended.time);
                    if operation.calls.iter().any(|call| call.verb == Verb::BlPop) {
                        continue;
                    }
                    let micros = (ended.time.saturating_sub(operation.start.time) / 1000).max(1);
                    times[(ended.time / SECOND) as usize].saturating_record(micros);
                    all.saturating_record(micros);
                }
            }
        }
        let mut total = Slice::default();
        for (slice, times) in slices.iter_mut().zip(&times) {
            total.answered += slice.answered;
            total.refused += slice.refused;
            total.unknown += slice.unknown;
            (slice.p50, slice.p99) = (times.value_at_quantile(0.5), times.value_at_quantile(0.99));
        }
        (total.p50, total.p99) = (all.value_at_quantile(0.5), all.value_at_quantile(0.99));
        answers.sort_unstable();
        let gaps = answers.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
        let silence = gaps.max().unwrap_or((end, 0));
        Timeline { slices, total, silence }
    }

    /// Of 100 seconds, those in which somebody was answered.
    pub(super) fn available(&self) -> f64 {
        let served = self.slices.iter().filter(|slice| slice.answered > 0).count();
        served as f64 * 100.0 / self.slices.len() as f64
    }

    /// Answers over time as a line of bars, and below it a letter for the fault of that time.
    pub(super) fn sparkline(&self, spans: &[Span]) -> String {
        const COLUMNS: usize = 72;
        const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let columns = COLUMNS.min(self.slices.len());
        let bounds = |column: usize| {
            let of = |column| column * self.slices.len() / columns;
            of(column)..of(column + 1)
        };
        let mean = |column: usize| {
            let range = bounds(column);
            let sum: u64 = self.slices[range.clone()].iter().map(|slice| slice.answered).sum();
            sum as f64 / range.len() as f64
        };
        let most = (0..columns).map(mean).fold(1.0, f64::max);
        let bar = |column| BARS[(mean(column) / most * 8.0).ceil() as usize];
        let bars: String = (0..columns).map(bar).collect();
        let letter = |column| {
            let range = bounds(column);
            let (from, to) = (range.start as u64 * SECOND, range.end as u64 * SECOND);
            let share = |span: &Span| span.end.min(to).saturating_sub(span.start.max(from));
            let hit = spans.iter().filter(|span| span.start < to && span.end >= from);
            hit.max_by_key(|span| share(span)).map_or('·', |span| span.kind.letter())
        };
        let letters: String = (0..columns).map(letter).collect();
        format!("  {bars}  up to {most:.0} answers a second\n  {letters}\n")
    }
}

#[cfg(test)]
mod tests {
    use sim::history::{Call, Datum};

    use super::*;
    use crate::chaos::schedule::Kind;

    #[test]
    fn the_longest_silence_and_the_dark_seconds_are_found() {
        let mut history = History::new();
        let mut answer = |at: u64, outcome: Outcome| {
            let calls = vec![Call::new(Verb::Get, "k", vec![])];
            let number = history.begin(1, at - 1_000_000, calls);
            history.end(number, at, outcome);
        };
        let fine = || Outcome::Ok(vec![Datum::Nil]);
        answer(SECOND / 2, fine());
        answer(4 * SECOND, fine());
        answer(5 * SECOND, Outcome::Unknown("timeout".to_owned()));
        let timeline = Timeline::new(&history, 6 * SECOND);
        assert_eq!(timeline.silence, (SECOND / 2 * 7, SECOND / 2));
        assert_eq!((timeline.total.answered, timeline.total.unknown), (2, 1));
        assert!((timeline.available() - 100.0 / 3.0).abs() < 1e-9);
        assert!((950..1050).contains(&timeline.total.p50), "{}", timeline.total.p50);
        let span = |kind, start, end| Span { kind, what: String::new(), start, end };
        let spans = [span(Kind::Kill, SECOND, SECOND * 3), span(Kind::Cut, SECOND * 4, SECOND * 5)];
        let shown = timeline.sparkline(&spans);
        assert!(shown.starts_with("  █   █   up to 1 answers a second\n"), "{shown}");
        assert!(shown.ends_with("\n  ·kkkcc\n"), "{shown}");
    }
}
