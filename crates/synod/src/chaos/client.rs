//! One client: asks over TCP with the `redis` crate, and says of each operation whether it
//! happened, did not happen, or nobody knows. It never asks twice.
//!
//! | what came | outcome |
//! | --- | --- |
//! | replies | done |
//! | `UNKNOWN`, a timeout, a connection that broke | unknown |
//! | `LOADING`, `TRYAGAIN`, `DISKFULL`, `EXECABORT`, an EXEC that gave nil | did not happen |
//! | anything else | a violation: docs/guarantees.md knows no such answer |

use std::time::Duration;

use redis::{Connection, ConnectionLike, RedisError, Value};
use sim::history::{Call, Datum, Outcome, Verb};

use super::workload::Task;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Errors that promise that nothing happened.
const REFUSALS: &[&str] = &["LOADING", "TRYAGAIN", "DISKFULL", "EXECABORT"];

/// A connection of a client to a node.
pub(super) struct Client {
    connection: Connection,
    /// It may not be used again: replies to what was given up may still come.
    pub(super) broken: bool,
}

/// What became of an operation. `calls` is what it did, if that differs from what was begun.
pub(super) struct Told {
    pub(super) outcome: Outcome,
    pub(super) calls: Option<Vec<Call>>,
    /// An answer that no node may give.
    pub(super) odd: Option<String>,
}

impl Told {
    fn of(outcome: Outcome) -> Told {
        Told { outcome, calls: None, odd: None }
    }
}

/// Why there is no answer.
enum Trouble {
    Refused(String),
    Unknown(String),
    Odd(String),
}

impl Trouble {
    fn of(error: &RedisError) -> Trouble {
        match error.code() {
            Some("UNKNOWN") => Trouble::Unknown("told so".to_owned()),
            Some(code) if REFUSALS.contains(&code) => Trouble::Refused(code.to_owned()),
            Some(_) => Trouble::Odd(error.to_string()),
            None if error.is_timeout() => Trouble::Unknown("timeout".to_owned()),
            None => Trouble::Unknown(format!("connection: {error}")),
        }
    }
}

impl Client {
    pub(super) fn connect(addr: &str, timeout: Duration) -> Result<Client, RedisError> {
        let client = redis::Client::open(format!("redis://{addr}"))?;
        let connection = client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
        connection.set_read_timeout(Some(timeout))?;
        connection.set_write_timeout(Some(timeout))?;
        Ok(Client { connection, broken: false })
    }

    /// Does it, once.
    pub(super) fn perform(&mut self, task: &Task) -> Told {
        match task {
            Task::Calls(calls) => match self.ask(calls) {
                Ok(replies) => Told::of(done(calls, replies)),
                Err(trouble) => told(trouble),
            },
            Task::Replace { key, value } => self.replace(key, value),
        }
    }

    /// WATCH, GET, MULTI, SET, EXEC.
    fn replace(&mut self, key: &str, value: &Datum) -> Told {
        let watch = [vec!["WATCH".to_owned(), key.to_owned()], vec!["GET".into(), key.into()]];
        let found = match self.exchange(&watch) {
            Ok(replies) => datum(replies.into_iter().next_back().unwrap_or(Value::Nil)),
            Err(Trouble::Odd(text)) => return told(Trouble::Odd(text)),
            // Nothing was asked to change.
            Err(Trouble::Refused(why) | Trouble::Unknown(why)) => {
                return Told::of(Outcome::Failed(format!("not read: {why}")));
            }
        };
        let guard = Call::new(Verb::Guard, key, vec![found]);
        let set = Call::new(Verb::Set, key, vec![value.clone()]);
        let outcome = match self.transaction(std::slice::from_ref(&set)) {
            Ok(replies) => done(std::slice::from_ref(&set), replies),
            Err(trouble) => return Told { calls: Some(vec![guard, set]), ..told(trouble) },
        };
        let outcome = match outcome {
            Outcome::Ok(mut results) => {
                results.insert(0, Datum::Nil);
                Outcome::Ok(results)
            }
            other => other,
        };
        Told { outcome, calls: Some(vec![guard, set]), odd: None }
    }

    fn ask(&mut self, calls: &[Call]) -> Result<Vec<Value>, Trouble> {
        match calls {
            [call] => self.exchange(&[call.words()]),
            _ => self.transaction(calls),
        }
    }

    /// One MULTI block; the replies of EXEC.
    fn transaction(&mut self, calls: &[Call]) -> Result<Vec<Value>, Trouble> {
        let mut commands = vec![vec!["MULTI".to_owned()]];
        commands.extend(calls.iter().map(Call::words));
        commands.push(vec!["EXEC".to_owned()]);
        match self.exchange(&commands)?.pop() {
            Some(Value::Array(replies)) if replies.len() == calls.len() => Ok(replies),
            Some(Value::Nil) => Err(Trouble::Refused("a watched key has changed".to_owned())),
            other => Err(Trouble::Odd(format!("EXEC gave {other:?}"))),
        }
    }

    /// Sends commands in one write and waits for all replies. The last error counts: behind one in
    /// the middle of a MULTI block EXEC must give one, too.
    fn exchange(&mut self, commands: &[Vec<String>]) -> Result<Vec<Value>, Trouble> {
        let mut bytes = Vec::new();
        for words in commands {
            bytes.extend(redis::cmd(&words[0]).arg(&words[1..]).get_packed_command());
        }
        let outcome = self.send_and_wait(&bytes, commands.len());
        if !matches!(outcome, Ok(_) | Err(Trouble::Refused(_))) || !self.connection.is_open() {
            self.broken = true;
        }
        outcome
    }

    fn send_and_wait(&mut self, bytes: &[u8], count: usize) -> Result<Vec<Value>, Trouble> {
        self.connection.send_packed_command(bytes).map_err(|error| Trouble::of(&error))?;
        /// WATCH and GET may fail one without the other.
        const APART: usize = 2;
        let (mut replies, mut failed) = (Vec::new(), None);
        for at in 0..count {
            let reply = self.connection.recv_response().and_then(Value::extract_error);
            match reply {
                Ok(_) if failed.is_some() && at + 1 == count && count > APART => {
                    failed = Some(Trouble::Odd("EXEC succeeded after an error".to_owned()));
                }
                Ok(reply) => replies.push(reply),
                Err(error) => {
                    let is_reply = error.code().is_some();
                    failed = Some(Trouble::of(&error));
                    if !is_reply {
                        break;
                    }
                }
            }
        }
        failed.map_or(Ok(replies), Err)
    }
}

fn told(trouble: Trouble) -> Told {
    match trouble {
        Trouble::Refused(why) => Told::of(Outcome::Failed(why)),
        Trouble::Unknown(why) => Told::of(Outcome::Unknown(why)),
        Trouble::Odd(text) => {
            Told { outcome: Outcome::Unknown(text.clone()), calls: None, odd: Some(text) }
        }
    }
}

fn done(calls: &[Call], replies: Vec<Value>) -> Outcome {
    let results = calls.iter().zip(replies).map(|(call, reply)| call.result(datum(reply)));
    Outcome::Ok(results.collect())
}

/// A reply as a history has it.
fn datum(value: Value) -> Datum {
    match value {
        Value::Nil => Datum::Nil,
        Value::Int(number) => Datum::Int(number),
        Value::BulkString(bytes) => Datum::of(&bytes),
        Value::SimpleString(text) => Datum::Text(text),
        Value::Okay => Datum::Text("OK".to_owned()),
        Value::Array(items) | Value::Set(items) => {
            Datum::List(items.into_iter().map(datum).collect())
        }
        other => Datum::Text(format!("{other:?}")),
    }
}
