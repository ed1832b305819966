//! Histories as files: an event a line, the beginning of an operation and its end, as EDN in the
//! shape of Jepsen's histories, or as JSON with the same names.
//!
//! Whoever reads such files expects that a process that does not know how an operation ended asks
//! nothing more (Jepsen's rule). Ours do ask, so each goes on under another number in the file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::edn::Edn;
use super::{Call, Datum, History, Moment, Operation, Outcome, Verb};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Edn,
    Json,
}

impl Format {
    /// The format of a file by its name: `.json`, `.jsonl` and `.ndjson` are JSON, all else EDN.
    pub fn of_name(name: &str) -> Format {
        let is_json = [".json", ".jsonl", ".ndjson"].iter().any(|end| name.ends_with(end));
        if is_json { Format::Json } else { Format::Edn }
    }
}

/// A line of a file.
struct Event {
    kind: &'static str,
    moment: Moment,
    process: u64,
    /// The calls, each with its result if it is known.
    calls: Vec<(Call, Datum)>,
    error: Option<String>,
}

/// The whole file. What it says of the calls and results is kept, and the order of all events; the
/// numbers of processes are made as Jepsen has them.
pub fn write(history: &History, format: Format) -> String {
    let mut events = Vec::new();
    let processes = processes(history);
    for (operation, process) in history.operations().iter().zip(processes) {
        events.push(begins(operation, process));
        events.extend(operation.end.map(|end| ends(operation, process, end)));
    }
    events.sort_by_key(|event| event.moment.index);
    let mut out = String::new();
    for event in events {
        match format {
            Format::Edn => edn_of(&event).write(&mut out),
            Format::Json => out.push_str(&json_of(&event).to_string()),
        }
        out.push('\n');
    }
    out
}

/// The number of each operation's process in the file.
fn processes(history: &History) -> Vec<u64> {
    let all: BTreeSet<u64> = history.operations().iter().map(|one| one.process).collect();
    let width = all.last().map_or(1, |largest| largest + 1);
    let mut lives: BTreeMap<u64, u64> = BTreeMap::new();
    let number = |operation: &Operation| {
        let life = lives.entry(operation.process).or_default();
        let number = operation.process + *life * width;
        *life += u64::from(operation.is_unknown());
        number
    };
    history.operations().iter().map(number).collect()
}

fn begins(operation: &Operation, process: u64) -> Event {
    let calls = operation.calls.iter().map(|call| (call.clone(), Datum::Nil)).collect();
    Event { kind: "invoke", moment: operation.start, process, calls, error: None }
}

fn ends(operation: &Operation, process: u64, moment: Moment) -> Event {
    let (kind, error) = match &operation.outcome {
        Outcome::Ok(_) => ("ok", None),
        Outcome::Failed(why) => ("fail", Some(why.clone())),
        Outcome::Unknown(why) => ("info", Some(why.clone())),
    };
    let result = |at: usize| operation.results().map_or(Datum::Nil, |results| results[at].clone());
    let calls = operation.calls.iter().enumerate();
    let calls = calls.map(|(at, call)| (call.clone(), result(at))).collect();
    Event { kind, moment, process, calls, error }
}

/// `txn` is what Elle calls a transaction of appends and reads: whoever uses it takes those lines.
fn f_of(calls: &[(Call, Datum)]) -> &'static str {
    let is_txn = |(call, _): &(Call, Datum)| matches!(call.verb, Verb::Append | Verb::Range);
    if calls.iter().all(is_txn) { "txn" } else { "calls" }
}

fn edn_of(event: &Event) -> Edn {
    let key = |name: &str| Edn::Keyword(name.to_owned());
    let calls = event.calls.iter().map(|(call, result)| {
        let mut words = vec![key(call.verb.name()), Edn::Text(call.key.clone())];
        words.extend(call.args.iter().map(edn_of_datum));
        words.push(edn_of_datum(result));
        Edn::Vector(words)
    });
    let mut entries = vec![
        (key("index"), Edn::Int(event.moment.index as i64)),
        (key("type"), key(event.kind)),
        (key("process"), Edn::Int(event.process as i64)),
        (key("f"), key(f_of(&event.calls))),
        (key("value"), Edn::Vector(calls.collect())),
        (key("time"), Edn::Int(event.moment.time as i64)),
    ];
    entries.extend(event.error.clone().map(|error| (key("error"), Edn::Text(error))));
    Edn::Map(entries)
}

fn edn_of_datum(datum: &Datum) -> Edn {
    match datum {
        Datum::Nil => Edn::Nil,
        Datum::Int(number) => Edn::Int(*number),
        Datum::Text(text) => Edn::Text(text.clone()),
        Datum::List(items) => Edn::Vector(items.iter().map(edn_of_datum).collect()),
    }
}

fn json_of(event: &Event) -> Json {
    let calls = event.calls.iter().map(|(call, result)| {
        let mut words = vec![json!(call.verb.name()), json!(call.key)];
        words.extend(call.args.iter().map(json_of_datum));
        words.push(json_of_datum(result));
        Json::Array(words)
    });
    let mut line = json!({
        "index": event.moment.index,
        "type": event.kind,
        "process": event.process,
        "f": f_of(&event.calls),
        "value": calls.collect::<Vec<_>>(),
        "time": event.moment.time,
    });
    if let Some(error) = &event.error {
        line["error"] = json!(error);
    }
    line
}

fn json_of_datum(datum: &Datum) -> Json {
    match datum {
        Datum::Nil => Json::Null,
        Datum::Int(number) => json!(number),
        Datum::Text(text) => json!(text),
        Datum::List(items) => Json::Array(items.iter().map(json_of_datum).collect()),
    }
}

/// JSON as EDN: names of fields, kinds and verbs are keywords wherever they are expected, and the
/// reader below takes text for them, too.
fn edn_of_json(json: Json) -> Result<Edn, String> {
    Ok(match json {
        Json::Null => Edn::Nil,
        Json::Number(number) => {
            Edn::Int(number.as_i64().ok_or_else(|| format!("{number} is no whole number"))?)
        }
        Json::String(text) => Edn::Text(text),
        Json::Array(items) => {
            Edn::Vector(items.into_iter().map(edn_of_json).collect::<Result<_, _>>()?)
        }
        Json::Object(fields) => {
            let entry = |(name, value)| Ok((Edn::Keyword(name), edn_of_json(value)?));
            Edn::Map(fields.into_iter().map(entry).collect::<Result<_, String>>()?)
        }
        Json::Bool(_) => return Err("a history has no true and false".to_owned()),
    })
}

/// Reads a file of either format: the first letter tells. The error names the line.
pub fn read(text: &str) -> Result<History, String> {
    let mut history = History::new();
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        let read = read_line(line, &mut history, &mut open);
        read.map_err(|error| format!("line {}: {error}", at + 1))?;
    }
    Ok(history)
}

fn read_line(
    line: &str,
    history: &mut History,
    open: &mut BTreeMap<u64, usize>,
) -> Result<(), String> {
    // Only JSON has a quote right behind the brace.
    let is_json = line.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'));
    let value = if is_json {
        edn_of_json(serde_json::from_str(line).map_err(|error| error.to_string())?)?
    } else {
        Edn::read(line)?
    };
    let field = |name: &str| value.get(name).ok_or_else(|| format!("{name} is missing"));
    let kind = name_of(field("type")?)?;
    // A nemesis and its kind are no clients.
    let Edn::Int(process) = field("process")? else { return Ok(()) };
    let process = u64::try_from(*process).map_err(|_| "a process has a negative number")?;
    let time = match value.get("time") {
        Some(Edn::Int(time)) => u64::try_from(*time).map_err(|_| "a time is negative")?,
        _ => 0,
    };
    let (calls, results) = read_calls(field("value")?, kind == "ok")?;
    if kind == "invoke" {
        let number = history.begin(process, time, calls);
        return match open.insert(process, number) {
            None => Ok(()),
            Some(_) => Err(format!("process {process} asks before it was answered")),
        };
    }
    let number = open.remove(&process).ok_or_else(|| format!("process {process} asked nothing"))?;
    let why = match value.get("error") {
        None | Some(Edn::Nil) => String::new(),
        Some(Edn::Text(text) | Edn::Keyword(text)) => text.clone(),
        Some(other) => {
            let mut text = String::new();
            other.write(&mut text);
            text
        }
    };
    let outcome = match kind {
        "ok" => Outcome::Ok(results),
        "fail" => Outcome::Failed(why),
        "info" => Outcome::Unknown(why),
        other => return Err(format!("there is no type {other}")),
    };
    history.amend(number, calls);
    history.end(number, time, outcome);
    Ok(())
}

fn name_of(value: &Edn) -> Result<&str, String> {
    match value {
        Edn::Keyword(name) | Edn::Text(name) => Ok(name),
        other => Err(format!("{other:?} is no name")),
    }
}

/// `[[verb key arguments… result] …]`. The result may be left out where it is not known, and where
/// Elle does not ask for it.
fn read_calls(value: &Edn, done: bool) -> Result<(Vec<Call>, Vec<Datum>), String> {
    let Edn::Vector(items) = value else { return Err("value is no vector of calls".to_owned()) };
    if items.is_empty() {
        return Err("an operation without a call".to_owned());
    }
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for item in items {
        let Edn::Vector(words) = item else { return Err(format!("{item:?} is no call")) };
        let [name, key, rest @ ..] = words.as_slice() else {
            return Err("a call has a verb and a key".to_owned());
        };
        let name = name_of(name)?;
        let verb = Verb::named(name).ok_or_else(|| format!("there is no verb {name}"))?;
        let key = datum_of(key)?.word_of_key()?;
        let mut args = rest.iter().map(datum_of).collect::<Result<Vec<_>, _>>()?;
        if args.len() != verb.arity() && args.len() != verb.arity() + 1 {
            return Err(format!("{name} takes {} arguments and has a result", verb.arity()));
        }
        let result = (args.len() > verb.arity()).then(|| args.pop()).flatten();
        if done && result.is_none() && verb != Verb::Append {
            return Err(format!("{name} was answered without a result"));
        }
        calls.push(Call::new(verb, key, args));
        results.push(result.unwrap_or(Datum::Nil));
    }
    Ok((calls, results))
}

impl Datum {
    fn word_of_key(&self) -> Result<String, String> {
        match self {
            Datum::Nil | Datum::List(_) => Err(format!("{self} is no key")),
            other => Ok(other.word()),
        }
    }
}

fn datum_of(value: &Edn) -> Result<Datum, String> {
    Ok(match value {
        Edn::Nil => Datum::Nil,
        Edn::Int(number) => Datum::Int(*number),
        Edn::Text(text) | Edn::Keyword(text) => Datum::Text(text.clone()),
        Edn::Vector(items) => Datum::List(items.iter().map(datum_of).collect::<Result<_, _>>()?),
        Edn::Map(_) => return Err("a map is no value of a call".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::{Call, Datum, Format, History, Outcome, Verb, read, write};

    fn sample() -> History {
        let mut history = History::new();
        let push = Call::new(Verb::Append, "list 1", vec![Datum::Int(7)]);
        let range = Call::new(Verb::Range, "list 1", vec![]);
        let first = history.begin(0, 10, vec![push, range]);
        let set = Call::new(Verb::Set, "r", vec![Datum::from("a\"b")]);
        let second = history.begin(1, 20, vec![set.clone()]);
        let items = Datum::List(vec![Datum::Int(7)]);
        history.end(first, 30, Outcome::Ok(vec![Datum::Int(1), items]));
        history.end(second, 40, Outcome::Unknown("timeout".to_owned()));
        let third = history.begin(1, 50, vec![set.clone()]);
        history.end(third, 60, Outcome::Failed("refused".to_owned()));
        history.begin(0, 70, vec![set]);
        history
    }

    #[test]
    fn what_is_written_is_read_back_in_either_format() {
        let history = sample();
        for format in [Format::Edn, Format::Json] {
            let text = write(&history, format);
            let back = read(&text).unwrap();
            assert_eq!(write(&back, format), text);
            assert_eq!(back.operations().len(), 4);
            for (one, other) in history.operations().iter().zip(back.operations()) {
                assert_eq!((one.start, one.end), (other.start, other.end));
                assert_eq!((&one.calls, &one.outcome), (&other.calls, &other.outcome));
            }
        }
    }

    #[test]
    fn a_line_is_what_jepsen_would_have_written() {
        let text = write(&sample(), Format::Edn);
        let mut lines = text.lines();
        let first = r#"{:index 0, :type :invoke, :process 0, :f :txn, :value [[:append "list 1" 7 nil] [:r "list 1" nil]], :time 10}"#;
        assert_eq!(lines.next(), Some(first));
        assert!(lines.any(|line| line.contains(":type :info, :process 1,")));
        assert!(
            lines.any(|line| line.contains(":type :fail, :process 3,")),
            "a process of its own"
        );
    }

    #[test]
    fn a_file_of_elle_is_read_and_nonsense_is_named_with_its_line() {
        let elle = "{:process 0 :type :invoke :f :txn :value [[:append 5 1] [:r 5 nil]]}\n\
                    {:process :nemesis :type :info :f :kill}\n\
                    {:process 0 :type :ok :f :txn :value [[:append 5 1] [:r 5 [1]]]}\n";
        assert_eq!(read(elle).unwrap().operations().len(), 1);
        for (nonsense, why) in [
            ("{:process 0 :type :ok :value [[:get \"a\" 1]]}", "asked nothing"),
            ("{:process 0 :type :invoke :value [[:got \"a\" 1]]}", "there is no verb got"),
            ("{:process 0 :type :invoke :value []}", "without a call"),
            ("{\"process\": 0, \"type\": \"invoke\", \"value\": [[\"set\", \"a\"]]}", "takes 1"),
            ("{", "} is missing"),
        ] {
            let error = read(&format!("\n{nonsense}")).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(why), "{error}");
        }
    }
}
