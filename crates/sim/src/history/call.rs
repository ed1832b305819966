//! The calls that a history knows: a small part of the commands, one or two for each way in which a
//! type can be changed or looked at.

use std::fmt;

use super::Datum;

/// What a call does. The name in files is in brackets where it is not the command's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Get,
    /// Value.
    Set,
    /// Value, milliseconds: `SET key value PX ms`.
    SetPx,
    /// Value.
    GetSet,
    Del,
    /// Of any type; answers 1 or 0.
    Exists,
    /// The value expected, the one to put in its place. A script; answers 1 or 0.
    Cas,
    /// A value: the rest of the operation happens only to a key that holds it. What WATCH, GET and
    /// EXEC make sure of. Answers nil.
    Guard,
    /// By how much.
    IncrBy,
    /// `RPUSH` (`append`): item. Answers the length, as the others that push.
    Append,
    /// Item.
    LPush,
    LPop,
    RPop,
    /// Milliseconds to wait. Answers the item, or nil.
    BlPop,
    /// `LRANGE key 0 -1` (`r`).
    Range,
    LLen,
    /// Member, for these two.
    SAdd,
    SRem,
    /// Sorted.
    SMembers,
    SPop,
    /// Field, value.
    HSet,
    /// Field.
    HDel,
    /// Pairs, sorted.
    HGetAll,
    /// Field, by how much.
    HIncrBy,
    /// Member, score.
    ZAdd,
    /// Member, by how much.
    ZIncrBy,
    /// Member.
    ZRem,
    /// Pairs of member and score, in their order.
    ZRange,
    /// The pair, or nil.
    ZPopMin,
}

/// Name in files, arguments beside the key, and whether it only looks.
const VERBS: [(Verb, &str, usize, bool); 29] = [
    (Verb::Get, "get", 0, true),
    (Verb::Set, "set", 1, false),
    (Verb::SetPx, "setpx", 2, false),
    (Verb::GetSet, "getset", 1, false),
    (Verb::Del, "del", 0, false),
    (Verb::Exists, "exists", 0, true),
    (Verb::Cas, "cas", 2, false),
    (Verb::Guard, "guard", 1, true),
    (Verb::IncrBy, "incrby", 1, false),
    (Verb::Append, "append", 1, false),
    (Verb::LPush, "lpush", 1, false),
    (Verb::LPop, "lpop", 0, false),
    (Verb::RPop, "rpop", 0, false),
    (Verb::BlPop, "blpop", 1, false),
    (Verb::Range, "r", 0, true),
    (Verb::LLen, "llen", 0, true),
    (Verb::SAdd, "sadd", 1, false),
    (Verb::SRem, "srem", 1, false),
    (Verb::SMembers, "smembers", 0, true),
    (Verb::SPop, "spop", 0, false),
    (Verb::HSet, "hset", 2, false),
    (Verb::HDel, "hdel", 1, false),
    (Verb::HGetAll, "hgetall", 0, true),
    (Verb::HIncrBy, "hincrby", 2, false),
    (Verb::ZAdd, "zadd", 2, false),
    (Verb::ZIncrBy, "zincrby", 2, false),
    (Verb::ZRem, "zrem", 1, false),
    (Verb::ZRange, "zrange", 0, true),
    (Verb::ZPopMin, "zpopmin", 0, false),
];

impl Verb {
    fn row(self) -> &'static (Verb, &'static str, usize, bool) {
        &VERBS[self as usize]
    }

    /// Its name in files.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The verb of this name.
    pub fn named(name: &str) -> Option<Verb> {
        VERBS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// How many arguments it takes beside the key.
    pub fn arity(self) -> usize {
        self.row().2
    }

    /// Does it change nothing?
    pub fn reads(self) -> bool {
        self.row().3
    }
}

/// Compares and sets, in one script.
const CAS: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('set', KEYS[1], \
                   ARGV[2]) return 1 else return 0 end";

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    pub verb: Verb,
    pub key: String,
    pub args: Vec<Datum>,
}

impl Call {
    /// A call. It has as many arguments as its verb takes.
    pub fn new(verb: Verb, key: impl Into<String>, args: Vec<Datum>) -> Call {
        assert!(args.len() == verb.arity(), "{} takes {} arguments", verb.name(), verb.arity());
        Call { verb, key: key.into(), args }
    }

    /// The command that does it. A guard is no command: whoever asks has watched the key.
    pub fn words(&self) -> Vec<String> {
        let key = self.key.clone();
        let own = |text: &str| text.to_owned();
        let arg = |at: usize| self.args[at].word();
        match self.verb {
            Verb::SetPx => vec![own("SET"), key, arg(0), own("PX"), arg(1)],
            Verb::Cas => vec![own("EVAL"), own(CAS), own("1"), key, arg(0), arg(1)],
            Verb::Guard => unreachable!("a guard is not sent"),
            Verb::Append => vec![own("RPUSH"), key, arg(0)],
            Verb::BlPop => {
                let seconds = self.args[0].int().unwrap_or(0) as f64 / 1e3;
                vec![own("BLPOP"), key, seconds.to_string()]
            }
            Verb::Range => vec![own("LRANGE"), key, own("0"), own("-1")],
            Verb::ZAdd => vec![own("ZADD"), key, arg(1), arg(0)],
            Verb::ZIncrBy => vec![own("ZINCRBY"), key, arg(1), arg(0)],
            Verb::ZRange => vec![own("ZRANGE"), key, own("0"), own("-1"), own("WITHSCORES")],
            verb => {
                let mut words = vec![verb.name().to_uppercase(), key];
                words.extend((0..self.args.len()).map(arg));
                words
            }
        }
    }

    /// A reply as a history has it: members and fields sorted, pairs as pairs, in whichever
    /// protocol and order they came.
    pub fn result(&self, reply: Datum) -> Datum {
        match (self.verb, reply) {
            (Verb::SMembers, Datum::List(mut members)) => {
                members.sort();
                Datum::List(members)
            }
            (Verb::HGetAll, Datum::List(items)) => {
                let mut fields = pairs(items);
                fields.sort();
                Datum::List(fields)
            }
            (Verb::ZRange, Datum::List(items)) => Datum::List(pairs(items)),
            (Verb::ZPopMin, Datum::List(items)) => {
                pairs(items).into_iter().next().unwrap_or(Datum::Nil)
            }
            (Verb::BlPop, Datum::List(mut items)) => items.pop().unwrap_or(Datum::Nil),
            (_, reply) => reply,
        }
    }
}

/// Items by twos, unless they are pairs.
fn pairs(items: Vec<Datum>) -> Vec<Datum> {
    if items.iter().all(|item| matches!(item, Datum::List(_))) {
        return items;
    }
    items.chunks(2).map(|pair| Datum::List(pair.to_vec())).collect()
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb.name(), self.key)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Datum, VERBS, Verb};

    #[test]
    fn the_table_of_verbs_is_in_their_order() {
        for (at, row) in VERBS.iter().enumerate() {
            assert_eq!(row.0 as usize, at);
            assert_eq!(Verb::named(row.1), Some(row.0));
        }
    }

    #[test]
    fn a_reply_means_the_same_in_both_protocols() {
        let list = |items: &[&str]| {
            Datum::List(items.iter().map(|item| Datum::of(item.as_bytes())).collect())
        };
        let hash = Call::new(Verb::HGetAll, "h", vec![]);
        let flat = hash.result(list(&["b", "2", "a", "1"]));
        assert_eq!(flat.to_string(), "[[a 1] [b 2]]");
        let nested = hash.result(Datum::List(vec![list(&["b", "2"]), list(&["a", "1"])]));
        assert_eq!(flat, nested);
        let pop = Call::new(Verb::ZPopMin, "z", vec![]);
        assert_eq!(pop.result(list(&["m", "3"])).to_string(), "[m 3]");
        assert_eq!(pop.result(list(&[])), Datum::Nil);
        let queue = Call::new(Verb::BlPop, "q", vec![Datum::Int(700)]);
        assert_eq!(queue.words(), ["BLPOP", "q", "0.7"]);
        assert_eq!(queue.result(list(&["q", "7"])), Datum::Int(7));
    }
}
