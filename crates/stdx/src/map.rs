//! A hash map with a fixed hasher and no iteration, and the hash itself.
//!
//! The order of a hash map depends on its history; code that walks one is not deterministic across
//! replicas that got there by different roads. This map cannot be walked.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// A hash map that cannot be iterated.
#[derive(Clone, Debug)]
pub struct Map<K, V> {
    inner: HashMap<K, V, FixedState>,
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Map { inner: HashMap::with_hasher(FixedState::with_seed(0)) }
    }
}

impl<K: Hash + Eq, V> Map<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Map::default()
    }

    /// The value at `key`.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.inner.get(key)
    }

    /// The value at `key`, to change.
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.inner.get_mut(key)
    }

    /// The value at `key`, made by `make` if absent.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.inner.entry(key).or_insert_with(make)
    }

    /// Puts `value` at `key` and returns what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.inner.insert(key, value)
    }

    /// Takes the value at `key` out.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.inner.remove(key)
    }

    /// Is there a value at `key`?
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.inner.contains_key(key)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.inner.clear();
    }
}

/// The 64-bit hash of some bytes under `seed`: equal on every machine and in every run.
pub fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(seed).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}
