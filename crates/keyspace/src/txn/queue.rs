//! Which keys the calls need that are parked: who comes later waits behind them, as at a lock. So a call that
//! waits for one of its keys is not overtaken at another, neither by what its own client has sent behind it.
//!
//! So does a `Prepare`, or two that take turns at the keys of a call would starve it. What waits here holds nothing,
//! but it waits for who does: a `Prepare` waits behind it only if it is older than every holder, as wait-die has it.

use std::collections::BTreeMap;

use super::locks::{Access, Want};

/// By database and key how many calls wait to read it, and how many to write.
#[derive(Debug, Default)]
pub(super) struct Queue {
    keys: BTreeMap<u8, BTreeMap<Vec<u8>, [u32; 2]>>,
}

fn place(access: Access) -> usize {
    usize::from(access == Access::Write)
}

impl Queue {
    /// A call waits for these.
    pub(super) fn add(&mut self, wants: Vec<Want>) {
        for Want { db, key, access } in wants {
            self.keys.entry(db).or_default().entry(key).or_default()[place(access)] += 1;
        }
    }

    /// It waits no longer.
    pub(super) fn remove(&mut self, wants: Vec<Want>) {
        for Want { db, key, access } in wants {
            let keys = self.keys.get_mut(&db).expect("who waits is counted");
            let counts = keys.get_mut(&key).expect("who waits is counted");
            counts[place(access)] -= 1;
            if *counts == [0, 0] {
                keys.remove(&key);
            }
            if keys.is_empty() {
                self.keys.remove(&db);
            }
        }
    }

    /// Is this needed by somebody who came before? Readers do not mind each other.
    pub(super) fn obstructs(&self, Want { db, key, access }: &Want) -> bool {
        let counts = self.keys.get(db).and_then(|keys| keys.get(key));
        counts.is_some_and(|[_, writers]| *access == Access::Write || *writers > 0)
    }
}
