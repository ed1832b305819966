//! A client of one shard, and what always holds of a shard.

use keyspace::shard::Effects;
use keyspace::{Asker, Loader, Saver, Shard};
use stdx::Millis;
use wire::resp::{Decoder, ReplyLimits, Value};
use wire::{ArgsBuf, Proto};

pub(crate) struct Client {
    pub(crate) shard: Shard,
    pub(crate) now: u64,
    pub(crate) proto: Proto,
}

impl Client {
    pub(crate) fn new(proto: Proto) -> Client {
        Client { shard: Shard::new(), now: 1_000_000, proto }
    }

    /// The reply to a call, which is one reply and nothing else.
    pub(crate) fn call(&mut self, words: &[&[u8]]) -> Value {
        let args: ArgsBuf = words.iter().copied().collect();
        let asker = Asker { db: 0, proto: self.proto, origin: None };
        let mut out = Vec::new();
        let mut effects = Effects::default();
        self.shard.apply_call(Millis(self.now), asker, args.args(), &mut out, &mut effects);
        let decoded = Decoder::new(ReplyLimits::default()).decode(&out).expect("a reply is RESP");
        let (value, len) = decoded.expect("a reply is whole");
        assert_eq!(len, out.len(), "a call has one reply");
        value
    }

    /// Goes on with a shard that was saved and loaded, which is the same one.
    pub(crate) fn reload(&mut self) {
        let digest = self.shard.digest();
        let mut bytes = Vec::new();
        let mut saver = Saver::begin(&mut self.shard);
        while !saver.step(&mut self.shard, 256, &mut bytes) {}
        self.shard = Loader::load(&bytes).expect("what was saved can be loaded");
        assert_eq!(digest, self.shard.digest(), "a snapshot changes nothing");
    }

    /// What holds of every key whatever was called.
    pub(crate) fn check(&mut self) {
        let keys: Vec<Vec<u8>> =
            self.shard.databases()[0].dict().iter().map(|(key, _)| key.to_vec()).collect();
        for key in keys {
            match self.call(&[b"memory", b"usage", &key]) {
                Value::Int(bytes) => assert!(bytes > 0, "a key takes memory"),
                Value::Null => {}
                other => panic!("MEMORY USAGE answers {other:?}"),
            }
        }
    }
}
