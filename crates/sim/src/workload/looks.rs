//! Looks: reads of lists that are sent in one go with a task that appends to them. Those sent before it
//! must not see its values, those sent behind it must.
//!
//! ```text
//!         sent  LRANGE list1 · MULTI, RPUSH list1 7, RPUSH list2 8, EXEC · EVAL_RO of LRANGE list1, list2
//!  must answer  without 7      done                                        with 7 and 8
//!          or   anything       refused                                     without 7 and 8
//!          or   anything       unknown                                     both or none
//! ```
//!
//! A look is a task of its own, and no part of the history. What is refused shows nothing. Which forms the
//! looks have is told by the number of the first value that is appended, without dice.
//!
//! Only lists that nothing is ever taken from have looks. Every look names a list that its task appends to,
//! for calls of a shard that name different keys may overtake each other (`docs/shards.md`).

use super::draw::{self, LISTS};
use super::task::{How, Next, Said, Task};
use crate::history::{Call, Outcome, Verb};

/// What is sent along with a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) before: Vec<Task>,
    pub(super) behind: Vec<Task>,
}

/// What a look shows of the values that its task appends to the lists it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It was not answered.
    Dark,
    None,
    All,
}

/// The looks on one side of a task, in their order. `Plain` is of one list, the others are of several. Those
/// that need not go through the log, `Plain` and `Peek`, come more often: it does not keep their order.
const SIDES: [&[How]; 8] = [
    &[How::Plain],
    &[How::Plain],
    &[How::Peek],
    &[How::Multi],
    &[How::Script],
    &[How::Peek, How::Plain],
    &[How::Script, How::Plain],
    &[How::Plain, How::Multi],
];

/// So many numbers that follow each other look at other lists: it has no divisor in common with the sides, and
/// beyond `LISTS` it is for looks at no list more.
const PICKS: u64 = 7;

impl Task {
    /// If it appends to lists, looks are sent along with every other.
    pub fn between_reads(mut self) -> Task {
        let number = self.appends().next().and_then(|call| call.args[0].int()).unwrap_or(0) as u64;
        if !number.is_multiple_of(2) {
            self.looks.before = self.side(number / 2, number % PICKS);
            self.looks.behind = self.side(number / 16, number % PICKS);
        }
        self
    }

    fn side(&self, digit: u64, pick: u64) -> Vec<Task> {
        SIDES[digit as usize % SIDES.len()].iter().map(|how| self.look(*how, pick)).collect()
    }

    fn appends(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.verb == Verb::Append)
    }

    /// A look at one of the lists that it appends to, or at all of them and, by times, at another.
    fn look(&self, how: How, pick: u64) -> Task {
        let mut lists: Vec<String> = self.appends().map(|call| call.key.clone()).collect();
        if how == How::Plain {
            lists = vec![lists.swap_remove(pick as usize % lists.len())];
        } else {
            lists.extend((0..LISTS).nth(pick as usize).map(draw::list));
        }
        lists.sort();
        lists.dedup();
        let reads = lists.into_iter().map(|list| Call::new(Verb::Range, list, vec![]));
        Task::new(how, reads.collect())
    }

    /// What looks of its show, by the next of the answers.
    pub(super) fn sights(
        &self,
        looks: &[Task],
        said: &mut impl Iterator<Item = Said>,
    ) -> Result<Vec<Sight>, String> {
        let mut answers = |look: &Task| said.take(look.commands().len()).collect();
        looks.iter().map(|look| self.sight(look.clone(), answers(look))).collect()
    }

    fn sight(&self, mut look: Task, said: Vec<Said>) -> Result<Sight, String> {
        let Next::End(Outcome::Ok(lists)) = look.answered(said)? else { return Ok(Sight::Dark) };
        let (mut shown, mut hidden) = (0, 0);
        for (read, list) in look.calls.iter().zip(&lists) {
            let items = list.list().ok_or_else(|| format!("no list for {look:?}: {list}"))?;
            for append in self.appends().filter(|append| append.key == read.key) {
                let is_there = items.contains(&append.args[0]);
                *if is_there { &mut shown } else { &mut hidden } += 1;
            }
        }
        match (shown, hidden) {
            (0, _) => Ok(Sight::None),
            (_, 0) => Ok(Sight::All),
            _ => Err(format!("a read sees a part of what was done at once: {self}")),
        }
    }

    /// Is what the looks show what its outcome allows? An earlier try of a task with an id may be seen at any time.
    pub(super) fn compare(
        &self,
        before: &[Sight],
        outcome: &Outcome,
        behind: &[Sight],
    ) -> Result<(), String> {
        let is_tried_once = self.id.is_none();
        let odd = match outcome {
            _ if is_tried_once && before.contains(&Sight::All) => {
                "a read sees what was sent behind it"
            }
            Outcome::Ok(_) if behind.contains(&Sight::None) => {
                "a read does not see what was sent before it"
            }
            Outcome::Failed(_) if is_tried_once && behind.contains(&Sight::All) => {
                "a read sees what was refused"
            }
            _ => return Ok(()),
        };
        Err(format!("{odd}: {self}: {outcome:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::task::{How, Next, Said, Task};
    use super::SIDES;
    use crate::history::{Call, Datum, Outcome, Verb};

    fn append(list: &str, value: i64) -> Call {
        Call::new(Verb::Append, list, vec![value.into()])
    }

    fn list(items: &[i64]) -> Datum {
        Datum::List(items.iter().map(|item| (*item).into()).collect())
    }

    fn lists(lists: &[&[i64]]) -> Said {
        Said::Value(Datum::List(lists.iter().map(|items| list(items)).collect()))
    }

    fn value(datum: impl Into<Datum>) -> Said {
        Said::Value(datum.into())
    }

    fn refused(code: &str) -> Said {
        Said::Error(format!("{code} why"))
    }

    fn sees(items: &[i64]) -> Said {
        Said::Value(list(items))
    }

    #[test]
    fn looks_at_a_command_see_it_or_not() {
        assert_eq!(
            Task::plain(append("list1", 32)).between_reads(),
            Task::plain(append("list1", 32))
        );
        let task = Task::plain(append("list1", 129)).between_reads();
        let read = vec!["LRANGE", "list1", "0", "-1"];
        assert_eq!(task.ask(), [read.clone(), vec!["RPUSH", "list1", "129"], read]);
        let told = |before, result, behind| task.clone().answered(vec![before, result, behind]);
        let done = Next::End(Outcome::Ok(vec![2.into()]));
        assert_eq!(told(sees(&[1]), value(2), sees(&[1, 129])), Ok(done.clone()));
        assert_eq!(told(refused("LOADING"), value(2), refused("UNKNOWN")), Ok(done));
        let failed = Next::End(Outcome::Failed("LOADING".to_owned()));
        assert_eq!(told(sees(&[]), refused("LOADING"), sees(&[])), Ok(failed));
        let unknown = Next::End(Outcome::Unknown("UNKNOWN".to_owned()));
        assert_eq!(told(sees(&[]), refused("UNKNOWN"), sees(&[])), Ok(unknown.clone()));
        assert_eq!(told(sees(&[]), refused("UNKNOWN"), sees(&[129])), Ok(unknown));
        assert!(told(sees(&[1, 129]), value(2), sees(&[1, 129])).is_err(), "sent behind it");
        assert!(told(sees(&[129]), refused("UNKNOWN"), sees(&[129])).is_err(), "sent behind it");
        assert!(told(sees(&[1]), value(2), sees(&[1])).is_err(), "sent before it");
        assert!(told(sees(&[1]), refused("LOADING"), sees(&[1, 129])).is_err(), "refused");
        assert!(told(value(1), value(2), sees(&[129])).is_err(), "no list");
    }

    #[test]
    fn looks_at_a_block_are_blocks_and_scripts() {
        let calls = vec![append("list2", 55), append("list0", 56)];
        let task = Task::new(How::Multi, calls).between_reads();
        let forms = |looks: &[Task]| looks.iter().map(|look| look.how).collect::<Vec<How>>();
        assert_eq!(forms(&task.looks.before), [How::Multi]);
        assert_eq!(forms(&task.looks.behind), [How::Multi]);
        let read = |list| vec!["LRANGE", list, "0", "-1"];
        let look = [vec!["MULTI"], read("list0"), read("list2"), vec!["EXEC"]];
        let own = vec![vec!["RPUSH", "list2", "55"], vec!["RPUSH", "list0", "56"]];
        let own = [vec![vec!["MULTI"]], own, vec![vec!["EXEC"]]].concat();
        assert_eq!(task.ask(), [look.to_vec(), own, look.to_vec()].concat());
        let block = |exec| vec![value("OK"), value("QUEUED"), value("QUEUED"), exec];
        let told = |before, result, behind| {
            task.clone().answered([block(before), block(result), block(behind)].concat())
        };
        let done = || Said::Value(list(&[4, 3]));
        let end = Next::End(Outcome::Ok(vec![4.into(), 3.into()]));
        assert_eq!(told(lists(&[&[], &[]]), done(), lists(&[&[56], &[55]])), Ok(end.clone()));
        assert_eq!(told(refused("EXECABORT"), done(), refused("LOADING")), Ok(end));
        assert!(told(lists(&[&[56], &[55]]), done(), lists(&[&[56], &[55]])).is_err());
        assert!(told(lists(&[&[], &[]]), done(), lists(&[&[], &[]])).is_err());
        let half = lists(&[&[56], &[]]);
        assert!(told(lists(&[&[], &[]]), refused("UNKNOWN"), half).is_err(), "at once");
        assert!(told(lists(&[&[]]), done(), lists(&[&[56], &[55]])).is_err(), "one list of two");
    }

    #[test]
    fn an_earlier_try_of_a_script_with_an_id_may_be_seen() {
        let mut task = Task::new(How::Script, vec![append("bank-journal", 553)]).between_reads();
        assert_eq!((task.looks.before[0].how, task.looks.behind[0].how), (How::Script, How::Peek));
        task.id = Some("once1".to_owned());
        let words = |at: usize| task.ask()[at][0].clone();
        assert_eq!([words(0), words(1), words(2)], ["EVAL", "SYNOD.IDEM", "EVAL_RO"]);
        let keys = |at: usize| task.ask()[at][2..].to_vec();
        assert_eq!(keys(0), ["2", "bank-journal", "list0", "0", "-1", "0", "-1"]);
        let told = |before: &[i64], result, behind: &[i64]| {
            task.clone().answered(vec![lists(&[before, &[]]), result, lists(&[behind, &[]])])
        };
        let done = Next::End(Outcome::Ok(vec![1.into()]));
        assert_eq!(told(&[553], lists_of_one(1), &[553]), Ok(done));
        assert!(told(&[], refused("LOADING"), &[553]).is_ok());
        assert!(told(&[], lists_of_one(1), &[]).is_err(), "sent before it");
    }

    fn lists_of_one(item: i64) -> Said {
        Said::Value(list(&[item]))
    }

    #[test]
    fn all_looks_come_before_and_behind_all_others() {
        let looks = |value| {
            let task = Task::new(How::Multi, vec![append("list0", value)]).between_reads();
            let forms = |looks: &[Task]| looks.iter().map(|look| look.how).collect::<Vec<How>>();
            [forms(&task.looks.before), forms(&task.looks.behind)]
        };
        assert_eq!(looks(2).concat(), []);
        let all: Vec<[Vec<How>; 2]> = (0..64).map(|n| looks(2 * n + 1)).collect();
        for (before, behind) in SIDES.iter().flat_map(|one| SIDES.map(|other| (*one, other))) {
            assert!(all.contains(&[before.to_vec(), behind.to_vec()]), "{before:?}, {behind:?}");
        }
    }
}
