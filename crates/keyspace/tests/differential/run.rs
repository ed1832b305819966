//! Runs a sequence on both sides and finds the first difference.

use wire::Proto;

use crate::compare::{self, elements, rule, same, value};
use crate::grammar::Call;
use crate::ours::Ours;
use crate::rows::Rule;
use crate::sequence::Sequence;
use crate::theirs::Connection;

/// The settings of a fresh Redis, which are not those of its file.
const SETTINGS: &[&str] = &[
    "config set hash-max-listpack-entries 512",
    "config set hash-max-listpack-value 64",
    "config set set-max-intset-entries 512",
    "config set zset-max-listpack-entries 128",
    "config set zset-max-listpack-value 64",
    "config set list-max-listpack-size -2",
];

const EVENTS_ON: &str = "config set notify-keyspace-events KEAn";
const EVENTS_OFF: &str = "config set notify-keyspace-events ";

/// A channel on which the test tells itself that all events before have been heard.
const END: &str = "__keyend@__:";

/// Two answers to one call.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// The place of the call, probes counted behind the calls.
    pub(crate) at: usize,
    pub(crate) ours: Vec<u8>,
    pub(crate) theirs: Vec<u8>,
}

/// The connections to Redis.
pub(crate) struct Theirs {
    pub(crate) client: Connection,
    pub(crate) subscriber: Connection,
}

impl Theirs {
    pub(crate) fn new(server: &crate::theirs::Server) -> Theirs {
        let mut theirs = Theirs { client: server.connect(), subscriber: server.connect() };
        theirs.client.ask("debug set-active-expire 0");
        theirs.subscriber.ask("psubscribe __key*");
        theirs
    }

    /// Runs a sequence; the first difference, if there is one.
    pub(crate) fn compare(&mut self, sequence: &Sequence) -> Option<Difference> {
        let events = if sequence.events { EVENTS_ON } else { EVENTS_OFF };
        let settings: Vec<&str> = SETTINGS.iter().copied().chain([events]).collect();
        if !rests_well(&sequence.calls) {
            return None;
        }
        let now = self.client.begin(sequence.proto, &settings);
        let mut ours = Ours::new(sequence.proto, now, !sequence.events);
        settings.iter().for_each(|line| drop(ours.call_line(line)));

        let (calls, probes) = (sequence.calls.iter(), sequence.probes.iter());
        self.client.send(calls.clone().chain(probes.clone()));
        let mut replies = Vec::new();
        for _ in 0..sequence.calls.len() + sequence.probes.len() {
            replies.push(self.client.reply());
        }
        let heard = self.events(sequence.events);

        let encodings = Encodings::of(sequence);
        let mut queue = Vec::new();
        for (at, call) in calls.chain(probes).enumerate() {
            if at == sequence.calls.len() {
                ours.reload();
            }
            let theirs = &replies[at];
            // Such a sequence comes from shrinking, and proves nothing.
            let queued = theirs == b"+QUEUED\r\n";
            if queued && (call[0] == b"debug" || rule(call) == Rule::Pop) {
                return None;
            }
            if let Some(ours) = step(&mut ours, call, theirs, &mut queue) {
                if encodings.excuse(call, &ours, theirs) {
                    continue;
                }
                return Some(Difference { at, ours, theirs: theirs.clone() });
            }
        }
        let told = ours.take_events();
        let at = told.iter().zip(&heard).position(|(told, heard)| told != heard);
        let at =
            at.or_else(|| (told.len() != heard.len()).then_some(told.len().min(heard.len())))?;
        let shown = |events: &[(Vec<u8>, Vec<u8>)]| {
            let from = at.saturating_sub(2);
            format!("events: {:?}", lossy(&events[from..events.len().min(at + 2)])).into_bytes()
        };
        let end = sequence.calls.len() + sequence.probes.len() - 1;
        Some(Difference { at: end, ours: shown(&told), theirs: shown(&heard) })
    }

    fn events(&mut self, on: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut heard = Vec::new();
        if !on {
            return heard;
        }
        self.client.ask("reset");
        self.client.ask(&format!("publish {END} x"));
        loop {
            let message = elements(&value(&self.subscriber.reply()).expect("it is whole"), false);
            let [_, _, channel, text] = &message[..] else { panic!("no message: {message:?}") };
            if channel == END.as_bytes() {
                return heard;
            }
            heard.push((channel.clone(), text.clone()));
        }
    }
}

/// Is each key that expires looked at once it has? Else one side may still count it, or tell that
/// it was deleted. Only shrinking makes such a sequence.
fn rests_well(calls: &[Call]) -> bool {
    calls.iter().enumerate().filter(|(_, call)| call[0] == b"debug").all(|(at, _)| {
        let (before, after) = (at.checked_sub(1).and_then(|at| calls.get(at)), calls.get(at + 1));
        let key = |call: Option<&Call>| call.and_then(|call| call.get(1)).cloned();
        after.is_none_or(|call| call[0] == b"persist") && key(before) == key(after)
    })
}

fn lossy(events: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
    let text = |(channel, message): &(Vec<u8>, Vec<u8>)| {
        format!("{} {}", String::from_utf8_lossy(channel), String::from_utf8_lossy(message))
    };
    events.iter().map(text).collect()
}

/// Commands of Redis that change encodings by the way, in ways that say nothing about sizes.
struct Encodings {
    /// SORT turns a sorted set into a skip list.
    sorts: bool,
    /// SPOP builds a new set of the few elements that stay, which may be integers.
    pops: bool,
}

impl Encodings {
    fn of(sequence: &Sequence) -> Encodings {
        let has = |start: &[u8]| {
            let mut words = sequence.calls.iter().flatten();
            words.any(|word| word.to_ascii_lowercase().starts_with(start))
        };
        Encodings { sorts: has(b"sort"), pops: has(b"spop") }
    }

    fn excuse(&self, call: &Call, ours: &[u8], theirs: &[u8]) -> bool {
        // ZSCAN writes the scores of a skip list differently.
        if self.sorts && call[0].eq_ignore_ascii_case(b"zscan") {
            return ours.first() == theirs.first();
        }
        let are = |our: &[u8], their: &[u8]| ours.ends_with(our) && theirs.ends_with(their);
        self.sorts && are(b"\r\nlistpack\r\n", b"\r\nskiplist\r\n")
            || self.pops && are(b"\r\nhashtable\r\n", b"\r\nintset\r\n")
    }
}

/// Makes one call on our side. Our reply if it is another; `queue` holds what MULTI has queued.
fn step(ours: &mut Ours, call: &Call, theirs: &[u8], queue: &mut Vec<Call>) -> Option<Vec<u8>> {
    let rule = rule(call);
    let known = if theirs == b"+QUEUED\r\n" { None } else { population(ours, call, rule) };
    let reply = ours.call(call);
    if theirs == b"+QUEUED\r\n" {
        queue.push(call.clone());
    } else if call[0].eq_ignore_ascii_case(b"exec") {
        let queued = std::mem::take(queue);
        return (!same_exec(&queued, &reply, theirs)).then_some(reply);
    } else if call[0].eq_ignore_ascii_case(b"discard") {
        queue.clear();
    }
    let chosen_well = known.is_none_or(|known| is_choice(call, &reply, &known));
    if !same(rule, call, &reply, theirs) || !chosen_well {
        return Some(reply);
    }
    if rule == Rule::Pop && reply != theirs && reply.first() != Some(&b'-') {
        exchange(ours, &call[1], &reply, theirs);
    }
    None
}

/// What a command of chance may choose from.
fn population(ours: &mut Ours, call: &Call, rule: Rule) -> Option<Vec<Vec<u8>>> {
    if rule != Rule::Random && rule != Rule::Pop {
        return None;
    }
    let key = call.get(1).map(Vec::as_slice).unwrap_or_default();
    let reply = match call[0].to_ascii_lowercase().as_slice() {
        b"randomkey" => ours.peek(&[b"keys", b"*"]),
        b"hrandfield" => ours.peek(&[b"hkeys", key]),
        b"zrandmember" => ours.peek(&[b"zrange", key, b"0", b"-1"]),
        _ => ours.peek(&[b"smembers", key]),
    };
    value(&reply).map(|value| elements(&value, false))
}

/// Is each element of the reply one of those that are there, and none twice unless that was asked?
fn is_choice(call: &Call, reply: &[u8], known: &[Vec<u8>]) -> bool {
    if reply.first() == Some(&b'-') {
        return true;
    }
    let Some(value) = value(reply) else { return false };
    let mut chosen = elements(&value, call.len() > 3);
    let repeats = call.get(2).is_some_and(|count| count.starts_with(b"-"));
    let count = chosen.len();
    let all_known = chosen.iter().all(|one| known.contains(one));
    chosen.sort();
    chosen.dedup();
    all_known && (repeats || chosen.len() == count)
}

/// Puts back what we popped and takes out what Redis popped, so that both go on alike.
fn exchange(ours: &mut Ours, key: &[u8], reply: &[u8], theirs: &[u8]) {
    let list = |bytes: &[u8]| value(bytes).map(|v| elements(&v, false)).unwrap_or_default();
    let (back, out) = (list(reply), list(theirs));
    let words = |name: &'static [u8], members: &'_ [Vec<u8>]| -> Vec<Vec<u8>> {
        [name.to_vec(), key.to_vec()].into_iter().chain(members.iter().cloned()).collect()
    };
    for call in [words(b"sadd", &back), words(b"srem", &out)] {
        let call: Vec<&[u8]> = call.iter().map(Vec::as_slice).collect();
        if call.len() > 2 {
            ours.amend(&call);
        }
    }
}

/// EXEC's replies, each by the rule of its call.
fn same_exec(queued: &[Call], ours: &[u8], theirs: &[u8]) -> bool {
    if ours == theirs {
        return true;
    }
    let (Some(ours), Some(theirs)) = (parts(ours), parts(theirs)) else { return false };
    ours.len() == queued.len()
        && theirs.len() == queued.len()
        && queued.iter().zip(ours.iter().zip(&theirs)).all(|(call, (ours, theirs))| {
            // What the dice chose cannot be set right within EXEC: the sequence goes on differently.
            same(compare::rule(call), call, ours, theirs)
        })
}

/// The elements of an array as bytes.
fn parts(array: &[u8]) -> Option<Vec<Vec<u8>>> {
    let end = array.iter().position(|byte| *byte == b'\n')? + 1;
    let count = std::str::from_utf8(array.get(1..end - 2)?).ok()?.parse::<usize>().ok()?;
    let mut rest = &array[end..];
    let mut parts = Vec::new();
    for _ in 0..count {
        let mut decoder = wire::resp::Decoder::new(wire::resp::ReplyLimits::default());
        let (_, len) = decoder.decode(rest).ok()??;
        parts.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    Some(parts)
}

/// A call as a line for redis-cli.
pub(crate) fn line(call: &Call) -> String {
    let word = |word: &Vec<u8>| {
        let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\".contains(byte);
        if !word.is_empty() && word.iter().all(plain) {
            return String::from_utf8_lossy(word).into_owned();
        }
        let escaped: String = word
            .iter()
            .map(|byte| match byte {
                b'"' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            })
            .collect();
        format!("\"{escaped}\"")
    };
    call.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// What a person needs to see the difference again.
pub(crate) fn story(sequence: &Sequence, difference: &Difference) -> String {
    let mut lines = Vec::new();
    if sequence.proto == Proto::Resp3 {
        lines.push("hello 3".to_owned());
    }
    if sequence.events {
        lines.push(EVENTS_ON.to_owned());
    }
    let calls = sequence.calls.iter().chain(&sequence.probes);
    lines.extend(calls.take(difference.at + 1).map(line));
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    format!(
        "{}\n  redis: {}\n  ours:  {}\n",
        lines.join("\n"),
        shown(&difference.theirs),
        shown(&difference.ours)
    )
}
