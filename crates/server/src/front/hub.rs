//! Pub/sub: who of this node's clients listens to what.
//!
//! A message goes to every node once, and each node hands it to its own subscribers here. Delivery
//! is at most once, as in Redis.

use std::collections::{BTreeMap, BTreeSet};

/// A client, by its place in the front's table.
type Key = usize;

/// What can be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Channel,
    Pattern,
    Shard,
}

/// All subscriptions of this node.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    channels: BTreeMap<Vec<u8>, BTreeSet<Key>>,
    patterns: BTreeMap<Vec<u8>, BTreeSet<Key>>,
    shards: BTreeMap<Vec<u8>, BTreeSet<Key>>,
    by_client: BTreeMap<Key, [BTreeSet<Vec<u8>>; 3]>,
}

impl Hub {
    fn table(&mut self, kind: Kind) -> &mut BTreeMap<Vec<u8>, BTreeSet<Key>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    /// Begins to listen; false if it did already.
    pub(crate) fn subscribe(&mut self, client: Key, kind: Kind, name: &[u8]) -> bool {
        let own = &mut self.by_client.entry(client).or_default()[kind as usize];
        own.insert(name.to_vec());
        self.table(kind).entry(name.to_vec()).or_default().insert(client)
    }

    /// Listens no longer; false if it did not.
    pub(crate) fn unsubscribe(&mut self, client: Key, kind: Kind, name: &[u8]) -> bool {
        if let Some(own) = self.by_client.get_mut(&client) {
            own[kind as usize].remove(name);
            if own.iter().all(BTreeSet::is_empty) {
                self.by_client.remove(&client);
            }
        }
        let table = self.table(kind);
        let Some(listeners) = table.get_mut(name) else { return false };
        let removed = listeners.remove(&client);
        if listeners.is_empty() {
            table.remove(name);
        }
        removed
    }

    /// What a client listens to, in order.
    pub(crate) fn of(&self, client: Key, kind: Kind) -> Vec<Vec<u8>> {
        let own = self.by_client.get(&client).map(|own| &own[kind as usize]);
        own.map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }

    /// Who listens to a channel by its name, in order.
    pub(crate) fn listeners(&self, kind: Kind, name: &[u8]) -> Vec<Key> {
        let table = match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shards,
        };
        table.get(name).map(|keys| keys.iter().copied().collect()).unwrap_or_default()
    }

    /// Who listens to a channel by a pattern: each with the pattern.
    pub(crate) fn matching(&self, channel: &[u8]) -> Vec<(Vec<u8>, Key)> {
        let matches = |pattern: &&Vec<u8>| keyspace::glob::matches(pattern, channel);
        let patterns = self.patterns.iter().filter(|(pattern, _)| matches(pattern));
        patterns.flat_map(|(p, keys)| keys.iter().map(|key| (p.clone(), *key))).collect()
    }

    /// The channels that anybody listens to by name.
    pub(crate) fn names(&self, kind: Kind) -> impl Iterator<Item = &Vec<u8>> {
        match kind {
            Kind::Shard => self.shards.keys(),
            Kind::Pattern => self.patterns.keys(),
            Kind::Channel => self.channels.keys(),
        }
    }

    /// How many patterns there are, each once.
    pub(crate) fn patterns(&self) -> usize {
        self.patterns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hears_what_it_listens_to_until_it_does_not() {
        let mut hub = Hub::default();
        assert!(hub.subscribe(1, Kind::Channel, b"news"));
        assert!(!hub.subscribe(1, Kind::Channel, b"news"));
        assert!(hub.subscribe(2, Kind::Pattern, b"n*"));
        assert!(hub.subscribe(3, Kind::Shard, b"news"));
        assert_eq!(hub.listeners(Kind::Channel, b"news"), [1]);
        assert_eq!(hub.matching(b"news"), [(b"n*".to_vec(), 2)]);
        assert_eq!(hub.listeners(Kind::Shard, b"news"), [3]);
        assert!(hub.unsubscribe(1, Kind::Channel, b"news"));
        assert!(!hub.unsubscribe(1, Kind::Channel, b"news"));
        assert_eq!(hub.names(Kind::Channel).count(), 0);
        assert_eq!(hub.of(1, Kind::Channel), Vec::<Vec<u8>>::new());
        assert_eq!(hub.of(2, Kind::Pattern), [b"n*".to_vec()]);
    }
}
