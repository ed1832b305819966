//! Who has locked which keys.

use std::collections::BTreeMap;

use super::TxnId;

/// What is to be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A key that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) db: u8,
    pub(crate) key: Vec<u8>,
    pub(crate) access: Access,
}

/// How a key is locked, and by whom.
type Held = (Access, Vec<TxnId>);

/// The locks of prepared transactions. Readers share, a writer is alone.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    /// By database and key; a database without locks is not in it.
    keys: BTreeMap<u8, BTreeMap<Vec<u8>, Held>>,
    whole: Option<TxnId>,
}

impl Locks {
    /// Is nothing locked?
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.whole.is_none()
    }

    /// Is this key locked, in whatever way?
    pub(crate) fn has(&self, db: u8, key: &[u8]) -> bool {
        self.whole.is_some() || self.keys.get(&db).is_some_and(|keys| keys.contains_key(key))
    }

    /// Has this transaction locked the whole, or this key so that it may do with it what is wanted?
    pub(crate) fn is_held_by(&self, txn: TxnId, Want { db, key, access }: &Want) -> bool {
        let held = self.keys.get(db).and_then(|keys| keys.get(key));
        let is_held = held.is_some_and(|(held, holders)| {
            holders.contains(&txn) && (*held == Access::Write || *access == Access::Read)
        });
        self.whole == Some(txn) || is_held
    }

    /// Calls `each` with the transactions that stand in the way of these wants.
    pub(crate) fn obstacles(&self, wants: &[Want], mut each: impl FnMut(TxnId)) {
        self.whole.into_iter().for_each(&mut each);
        for Want { db, key, access } in wants {
            if let Some((held, holders)) = self.keys.get(db).and_then(|keys| keys.get(key))
                && (*held == Access::Write || *access == Access::Write)
            {
                holders.iter().copied().for_each(&mut each);
            }
        }
    }

    /// Calls `each` with every transaction that has locked anything.
    pub(crate) fn holders(&self, mut each: impl FnMut(TxnId)) {
        self.whole.into_iter().for_each(&mut each);
        let held = self.keys.values().flat_map(BTreeMap::values);
        held.flat_map(|(_, holders)| holders.iter().copied()).for_each(each);
    }

    /// Locks keys that nobody else stands in the way of.
    pub(crate) fn lock(&mut self, txn: TxnId, wants: &[Want]) {
        for Want { db, key, access } in wants {
            let keys = self.keys.entry(*db).or_default();
            let (held, holders) = keys.entry(key.clone()).or_insert((*access, Vec::new()));
            if holders.contains(&txn) {
                if *access == Access::Write {
                    assert_eq!(holders.len(), 1, "a writer is alone with its key");
                    *held = Access::Write;
                }
                continue;
            }
            let shares = *held == Access::Read && *access == Access::Read;
            assert!(holders.is_empty() || shares, "a locked key is locked again");
            (*held, _) = (*access, holders.push(txn));
        }
    }

    /// Locks everything.
    pub(crate) fn lock_whole(&mut self, txn: TxnId) {
        assert!(self.is_empty(), "a shard is locked as a whole while somebody holds keys");
        self.whole = Some(txn);
    }

    /// Frees what the transaction has locked.
    pub(crate) fn free(&mut self, txn: TxnId, wants: &[Want]) {
        self.whole = self.whole.filter(|holder| *holder != txn);
        for Want { db, key, .. } in wants {
            let Some(keys) = self.keys.get_mut(db) else { continue };
            let Some((_, holders)) = keys.get_mut(key) else { continue };
            holders.retain(|holder| *holder != txn);
            if holders.is_empty() {
                keys.remove(key);
            }
            if keys.is_empty() {
                self.keys.remove(db);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stdx::Millis;

    use super::*;

    fn txn(number: u64) -> TxnId {
        TxnId { born: Millis(number), node: 1, number, attempt: 0 }
    }

    fn want(key: &str, access: Access) -> Want {
        Want { db: 0, key: key.into(), access }
    }

    fn obstacles(locks: &Locks, wants: &[Want]) -> Vec<u64> {
        let mut found = Vec::new();
        locks.obstacles(wants, |txn| found.push(txn.number));
        found
    }

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let mut locks = Locks::default();
        let (read, write) = (want("k", Access::Read), want("k", Access::Write));
        locks.lock(txn(1), std::slice::from_ref(&read));
        assert_eq!(obstacles(&locks, std::slice::from_ref(&read)), []);
        locks.lock(txn(2), std::slice::from_ref(&read));
        assert_eq!(obstacles(&locks, std::slice::from_ref(&write)), [1, 2]);
        locks.free(txn(1), std::slice::from_ref(&read));
        locks.lock(txn(2), std::slice::from_ref(&write));
        assert_eq!(obstacles(&locks, &[read.clone(), want("other", Access::Write)]), [2]);
        locks.free(txn(2), &[read]);
        assert!(locks.is_empty());
    }

    #[test]
    fn the_whole_is_in_everybodys_way() {
        let mut locks = Locks::default();
        locks.lock_whole(txn(7));
        assert_eq!(obstacles(&locks, &[]), [7]);
        locks.free(txn(7), &[]);
        assert!(locks.is_empty());
    }
}
