//! A task: calls that take effect together, how they are put to a server, and what its answers
//! mean.
//!
//! ```text
//! Plain    the one call                      Script   EVAL of all calls
//! Multi    MULTI, the calls, EXEC            Watch    WATCH, GET, then MULTI, the calls, EXEC
//! Walk     the same, if KEYS in it agrees    Names    EXISTS of all, told by KEYS alone
//! Rollback SYNOD.MULTI ROLLBACK, the calls, one that fails, EXEC: nothing may happen
//! Peek     EVAL_RO of all calls, which only read
//! ```
//!
//! Reads may be sent along with it, in one go (`looks.rs`).
//!
//! A task is never repeated by itself, unless it has an id: then it is put by SYNOD.IDEM, as often as it
//! takes, and is one operation all the same. Whatever a client does not know to have happened, or not,
//! stays unknown in the history.

use super::looks::Looks;
use crate::history::{Call, Datum, Outcome, Verb};

/// How calls are put to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// There is one call, and it is the command.
    Plain,
    Multi,
    Rollback,
    Script,
    /// A script that compares what KEYS tells with what it meets.
    Walk,
    /// A script that touches no key, and is told by KEYS which there are.
    Names,
    /// A script that says that it only reads.
    Peek,
    /// The calls begin with a guard, whose value is known once GET was answered.
    Watch,
}

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub calls: Vec<Call>,
    pub how: How,
    /// Names it in all tries. For a command, or a script.
    pub id: Option<String>,
    /// What is sent along with it.
    pub(super) looks: Looks,
    /// WATCH and GET were answered.
    watched: bool,
}

/// What to do after the replies have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the commands of `ask` again: the task has come further.
    Ask,
    End(Outcome),
}

/// What a server said to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Value(Datum),
    Error(String),
}

/// An error if KEYS does not tell the truth about the script's own keys.
const WALK: &str = "local found = {} \
    for _, key in ipairs(redis.call('KEYS', '*')) do found[key] = 1 end \
    for _, key in ipairs(KEYS) do if redis.call('EXISTS', key) ~= (found[key] or 0) then \
    return redis.error_reply('MISSED ' .. key) end end ";

/// Which of its arguments are keys.
const NAMES: &str = "local found, r = {}, {} \
    for _, key in ipairs(redis.call('KEYS', '*')) do found[key] = 1 end \
    for at, key in ipairs(ARGV) do r[at] = found[key] or 0 end return r";

/// Errors by which a server says that a command did not happen and will not.
const REFUSALS: [&str; 6] =
    ["LOADING", "TRYAGAIN", "DISKFULL", "UNBLOCKED", "EXECABORT", "CLUSTERDOWN"];

impl Task {
    /// Calls that are put to a server like this.
    pub fn new(how: How, calls: Vec<Call>) -> Task {
        assert!(how != How::Plain || calls.len() == 1, "a command is one call");
        let guards = calls.first().is_some_and(|call| call.verb == Verb::Guard);
        assert!(guards == (how == How::Watch), "whoever watches begins with a guard");
        Task { calls, how, id: None, looks: Looks::default(), watched: false }
    }

    /// One command.
    pub fn plain(call: Call) -> Task {
        Task::new(How::Plain, vec![call])
    }

    /// Asks which of its keys are there.
    pub fn names(&self) -> Task {
        let calls = self.calls.iter().map(|call| Call::new(Verb::Exists, &call.key, vec![]));
        Task::new(How::Names, calls.collect())
    }

    /// The commands to send, in one go.
    pub fn ask(&self) -> Vec<Vec<String>> {
        let Looks { before, behind } = &self.looks;
        let (before, behind) =
            (before.iter().flat_map(Task::ask), behind.iter().flat_map(Task::ask));
        before.chain(self.commands()).chain(behind).collect()
    }

    /// Those that do its calls.
    pub(super) fn commands(&self) -> Vec<Vec<String>> {
        let word = |text: &str| vec![text.to_owned()];
        let key = || self.calls[0].key.clone();
        match self.how {
            How::Plain => vec![self.once(self.calls[0].words())],
            How::Script => vec![self.once(self.script("EVAL", ""))],
            How::Walk => vec![self.once(self.script("EVAL", WALK))],
            How::Peek => vec![self.script("EVAL_RO", "")],
            How::Names => {
                let words = ["EVAL", NAMES, "0"].map(str::to_owned).into_iter();
                vec![words.chain(self.calls.iter().map(|call| call.key.clone())).collect()]
            }
            How::Watch if !self.watched => {
                vec![vec!["WATCH".to_owned(), key()], vec!["GET".to_owned(), key()]]
            }
            How::Multi | How::Watch | How::Rollback => {
                let mut commands = vec![word("MULTI")];
                commands.extend(self.queued().map(Call::words));
                if self.how == How::Rollback {
                    commands[0] = vec!["SYNOD.MULTI".to_owned(), "ROLLBACK".to_owned()];
                    commands.push(["INCRBY", "poison", "much"].map(str::to_owned).to_vec());
                }
                commands.push(word("EXEC"));
                commands
            }
        }
    }

    /// Can it be put by SYNOD.IDEM?
    pub fn takes_id(&self) -> bool {
        matches!(self.how, How::Plain | How::Script | How::Walk) && !self.reads()
    }

    fn once(&self, words: Vec<String>) -> Vec<String> {
        match &self.id {
            None => words,
            Some(id) => ["SYNOD.IDEM".to_owned(), id.clone()].into_iter().chain(words).collect(),
        }
    }

    fn queued(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.verb != Verb::Guard)
    }

    /// One script that does all calls: each on its key, with its words as arguments.
    fn script(&self, command: &str, before: &str) -> Vec<String> {
        let (mut keys, mut args) = (Vec::new(), Vec::new());
        let mut text = format!("{before}local r = {{}} ");
        for (at, call) in self.calls.iter().enumerate() {
            let words = call.words();
            keys.push(call.key.clone());
            text.push_str(&format!("r[{}] = redis.call('{}', KEYS[{0}]", at + 1, words[0]));
            for word in &words[2..] {
                args.push(word.clone());
                text.push_str(&format!(", ARGV[{}]", args.len()));
            }
            text.push_str(") ");
        }
        text.push_str("return r");
        let mut words = vec![command.to_owned(), text, keys.len().to_string()];
        words.extend(keys);
        words.extend(args);
        words
    }

    /// All commands of `ask` were answered. The error is an answer that no server may give.
    pub fn answered(&mut self, said: Vec<Said>) -> Result<Next, String> {
        let mut said = said.into_iter();
        let before = self.sights(&self.looks.before, &mut said)?;
        let own = said.by_ref().take(self.commands().len()).collect();
        let next = self.told(own)?;
        let behind = self.sights(&self.looks.behind, &mut said)?;
        if let Next::End(outcome) = &next {
            self.compare(&before, outcome, &behind)?;
        }
        Ok(next)
    }

    /// The commands that do its calls were answered.
    fn told(&mut self, said: Vec<Said>) -> Result<Next, String> {
        if self.how == How::Watch && !self.watched {
            return Ok(self.note_watched(&said));
        }
        let odd = || format!("an odd answer to {self:?}: {said:?}");
        let value = match said.last().ok_or_else(odd)? {
            Said::Error(text) => return self.failed(text).map(Next::End),
            Said::Value(value) => value.clone(),
        };
        let results = match (self.how, value) {
            (How::Plain, value) => vec![value],
            (How::Watch, Datum::Nil) => {
                return Ok(Next::End(Outcome::Failed("watched".to_owned())));
            }
            (How::Rollback, _) => return Err(odd()),
            (_, Datum::List(items)) if items.len() == self.queued().count() => items,
            _ => return Err(odd()),
        };
        let mut results = results.into_iter();
        let result = |call: &Call| match call.verb {
            Verb::Guard => Some(Datum::Nil),
            _ => results.next().map(|result| call.result(result)),
        };
        let results: Option<Vec<Datum>> = self.calls.iter().map(result).collect();
        Ok(Next::End(Outcome::Ok(results.ok_or_else(odd)?)))
    }

    fn note_watched(&mut self, said: &[Said]) -> Next {
        match said {
            [Said::Value(_), Said::Value(found)] => {
                self.calls[0].args[0] = found.clone();
                self.watched = true;
                Next::Ask
            }
            // It only wanted to read so far.
            _ => Next::End(Outcome::Failed("not watched".to_owned())),
        }
    }

    /// What an error says about the whole task.
    fn failed(&self, text: &str) -> Result<Outcome, String> {
        let code = text.split(' ').next().unwrap_or_default().to_owned();
        if code == "UNKNOWN" {
            Ok(Outcome::Unknown(code))
        } else if REFUSALS.contains(&code.as_str()) {
            Ok(Outcome::Failed(code))
        } else {
            Err(format!("an odd error for {self:?}: {text}"))
        }
    }

    /// Nobody will be told what became of it.
    pub fn lost(&self) -> Outcome {
        if self.how == How::Watch && !self.watched {
            return Outcome::Failed("not watched".to_owned());
        }
        Outcome::Unknown("no answer".to_owned())
    }

    /// Does it change nothing?
    pub fn reads(&self) -> bool {
        self.calls.iter().all(|call| call.verb.reads())
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let calls: Vec<String> = self.calls.iter().map(Call::to_string).collect();
        self.looks.before.iter().try_for_each(|look| write!(f, "({look}) "))?;
        if let Some(id) = &self.id {
            write!(f, "once {id} ")?;
        }
        match self.how {
            How::Plain => write!(f, "{}", calls[0]),
            how => write!(f, "{how:?} {}", calls.join("; ")),
        }?;
        self.looks.behind.iter().try_for_each(|look| write!(f, " ({look})"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Datum, How, Next, Outcome, Said, Task, Verb};

    fn value(datum: impl Into<Datum>) -> Said {
        Said::Value(datum.into())
    }

    fn incr(key: &str) -> Call {
        Call::new(Verb::IncrBy, key, vec![Datum::Int(1)])
    }

    #[test]
    fn a_watch_asks_twice_and_knows_then_what_it_guards() {
        let guard = Call::new(Verb::Guard, "k", vec![Datum::Nil]);
        let mut task = Task::new(How::Watch, vec![guard, incr("k")]);
        assert_eq!(task.lost(), Outcome::Failed("not watched".to_owned()));
        assert_eq!(task.ask(), [vec!["WATCH", "k"], vec!["GET", "k"]]);
        assert_eq!(task.answered(vec![value("OK"), value(7)]), Ok(Next::Ask));
        assert_eq!(task.calls[0].args, [Datum::Int(7)]);
        assert_eq!(task.ask(), [vec!["MULTI"], vec!["INCRBY", "k", "1"], vec!["EXEC"]]);
        assert_eq!(task.lost(), Outcome::Unknown("no answer".to_owned()));
        let done = vec![value("OK"), value("QUEUED"), Said::Value(Datum::List(vec![8.into()]))];
        let results = vec![Datum::Nil, Datum::Int(8)];
        assert_eq!(task.clone().answered(done), Ok(Next::End(Outcome::Ok(results))));
        let aborted = vec![value("OK"), value("QUEUED"), Said::Value(Datum::Nil)];
        let failed = Outcome::Failed("watched".to_owned());
        assert_eq!(task.answered(aborted), Ok(Next::End(failed)));
    }

    #[test]
    fn a_script_does_all_calls_and_errors_say_what_happened() {
        let add = Call::new(Verb::ZAdd, "z", vec!["m".into(), 3.into()]);
        let mut task = Task::new(How::Script, vec![incr("k"), add]);
        let text = "local r = {} r[1] = redis.call('INCRBY', KEYS[1], ARGV[1]) \
                    r[2] = redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3]) return r";
        assert_eq!(task.ask(), [vec!["EVAL", text, "2", "k", "z", "1", "3", "m"]]);
        let error = |text: &str| vec![Said::Error(text.to_owned())];
        let unknown = task.answered(error("UNKNOWN outcome unknown: …"));
        assert_eq!(unknown, Ok(Next::End(Outcome::Unknown("UNKNOWN".to_owned()))));
        let refused = task.answered(error("LOADING no leader"));
        assert_eq!(refused, Ok(Next::End(Outcome::Failed("LOADING".to_owned()))));
        assert!(task.answered(error("ERR what")).is_err());
        assert!(task.answered(vec![value(1)]).is_err());
    }
}
