//! One database: keys, their values, when they expire, and what a running snapshot still needs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use stdx::Millis;

use crate::dict::{self, Dict, Place};
use crate::snapshot::{DbSaving, PURPOSES, Purpose};
use crate::str::Str;
use crate::value::Value;

/// What stands at a key.
#[derive(Clone, Debug)]
pub struct Entry {
    pub value: Value,
    /// The operation that changed the key last; WATCH compares it.
    pub version: u64,
    /// When the key ceases to exist; `Millis::FAR` for never.
    pub expires: Millis,
}

impl Entry {
    /// About how many bytes the entry takes, with its key and its places in the tables.
    pub fn bytes(&self, key: &[u8], samples: usize) -> usize {
        let key = Str::from(key);
        let table = size_of::<Str>() + key.heap_bytes() + size_of::<Entry>() + size_of::<u64>();
        let due = size_of::<(Millis, Str)>() + key.heap_bytes();
        let due = if self.expires == Millis::FAR { 0 } else { due };
        table + due + self.value.heap_bytes(samples)
    }
}

/// Notes which keys are asked for, in a database that does not hold them all.
#[derive(Debug)]
pub(crate) struct Probe {
    here: Here,
    /// Keys that were asked for and are not here.
    missing: RefCell<BTreeSet<Str>>,
    /// Keys that were asked for and are here, if anybody wants to know.
    seen: Option<RefCell<BTreeSet<Str>>>,
    /// Somebody asked for all keys, whose names are not known.
    walked: Cell<bool>,
    /// The names of all keys are known.
    named: bool,
    /// Keys of which nothing else is known, and which somebody was told.
    met: RefCell<Vec<Str>>,
    /// All keys were deleted: whatever is not here is nowhere.
    cleared: bool,
    /// Somebody asked for any key.
    drawn: Cell<bool>,
    /// Any of those that are here will do for that.
    draws: bool,
}

/// Which keys a database holds, or knows to be nowhere.
#[derive(Debug)]
enum Here {
    Keys(BTreeSet<Str>),
    Slots(RangeInclusive<u16>),
}

/// What a probe has noted.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub missing: BTreeSet<Str>,
    pub met: Vec<Str>,
    pub seen: BTreeSet<Str>,
    pub walked: bool,
    pub cleared: bool,
    pub drawn: bool,
}

impl Probe {
    /// Is the key here, or known to be nowhere?
    fn holds(&self, key: &[u8]) -> bool {
        match &self.here {
            Here::Keys(known) => known.contains(key),
            Here::Slots(slots) => slots.contains(&hashring::Slot::of(key).number()),
        }
    }

    /// Is anything known of the key? If not, that is noted.
    fn note(&self, key: &[u8]) -> bool {
        if self.cleared {
            return true;
        }
        let here = self.holds(key);
        if !here {
            self.missing.borrow_mut().insert(Str::from(key));
        } else if let Some(seen) = &self.seen {
            seen.borrow_mut().insert(Str::from(key));
        }
        here
    }
}

/// Keys with what stood there before.
pub(crate) type Journal = BTreeMap<Str, Option<Entry>>;

/// A numbered database (SELECT).
#[derive(Debug, Default)]
pub struct Db {
    dict: Dict<Entry>,
    /// The keys that expire, soonest first.
    due: BTreeSet<(Millis, Str)>,
    /// The snapshot and the backup that are being written, by their purpose.
    saving: [Option<Box<DbSaving>>; PURPOSES],
    /// What stood at the keys that were changed since `journal_begin`.
    journal: Option<Box<Journal>>,
    probe: Option<Box<Probe>>,
    /// No key here counts as older than this operation: the last SWAPDB of this database.
    floor: u64,
    /// Bytes of all entries, if they are counted.
    bytes: Option<usize>,
}

impl Db {
    /// One that counts the bytes of its entries, which change only as a whole.
    pub(crate) fn metered() -> Db {
        Db { bytes: Some(0), ..Db::default() }
    }

    /// About how many bytes all entries take; 0 if they are not counted.
    pub(crate) fn metered_bytes(&self) -> usize {
        self.bytes.unwrap_or_default()
    }

    /// How many keys there are, expired ones that were not removed yet counted.
    pub fn len(&self) -> usize {
        self.dict().len()
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.dict().is_empty()
    }

    /// How many keys have an expiry.
    pub fn expiring(&self) -> usize {
        self.due.len()
    }

    /// The keys that expire, the soonest first.
    pub fn due(&self) -> impl Iterator<Item = &(Millis, Str)> {
        self.due.iter()
    }

    /// The table, to walk. Expired keys are in it.
    pub fn dict(&self) -> &Dict<Entry> {
        if let Some(probe) = self.probe.as_ref().filter(|probe| !probe.named && !probe.cleared) {
            probe.walked.set(true);
        }
        &self.dict
    }

    /// A walk over the table has told somebody of this key.
    pub(crate) fn met(&self, key: &Str) {
        if let Some(probe) = self.probe.as_ref().filter(|probe| !probe.holds(key)) {
            probe.met.borrow_mut().push(key.clone());
        }
    }

    /// Is only a part of all keys here, so that who deletes all has to do it elsewhere? That is noted.
    pub(crate) fn escapes(&mut self) -> bool {
        let Some(probe) = &mut self.probe else { return false };
        let escapes = matches!(probe.here, Here::Slots(_));
        probe.cleared |= escapes;
        escapes
    }

    /// The table, all of which is about to be deleted.
    pub(crate) fn doomed(&mut self) -> &Dict<Entry> {
        if let Some(probe) = &mut self.probe {
            probe.cleared = true;
        }
        &self.dict
    }

    /// The table, to draw a key from. Expired keys are in it.
    pub(crate) fn lots(&self) -> &Dict<Entry> {
        let ready = |probe: &Probe| probe.draws || probe.named || probe.cleared;
        if let Some(probe) = self.probe.as_ref().filter(|probe| !ready(probe)) {
            probe.drawn.set(true);
        }
        &self.dict
    }

    /// The entry at `key`, expired or not.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        if !self.knows(key) {
            return None;
        }
        self.dict.get(key)
    }

    /// Where `key` stands, until a key comes or goes.
    pub fn find(&self, key: &[u8]) -> Option<Place> {
        if !self.knows(key) {
            return None;
        }
        self.dict.find(key)
    }

    /// The table, to warm.
    pub(crate) fn table(&self) -> &Dict<Entry> {
        &self.dict
    }

    /// Is the key here, or nowhere? Of one with a name alone there is no value to be met.
    fn knows(&self, key: &[u8]) -> bool {
        self.probe.as_ref().is_none_or(|probe| probe.note(key))
    }

    /// The entry at a place.
    pub fn at(&self, place: Place) -> &Entry {
        self.dict.at(place)
    }

    /// The entry of `key`, which stands at `place`, to change its value or version.
    pub fn at_mut(&mut self, place: Place, key: &[u8]) -> &mut Entry {
        self.before_change(key);
        self.dict.at_mut(place)
    }

    /// The entry at `key`, expired or not, to change its value or version.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        if !self.before_change(key) {
            return None;
        }
        self.dict.get_mut(key)
    }

    /// Puts an entry and returns what was there.
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> Option<Entry> {
        let known = self.before_change(key);
        let expires = entry.expires;
        if let Some(bytes) = &mut self.bytes {
            *bytes += entry.bytes(key, 0);
        }
        let old = self.dict.insert(key, entry);
        self.unmeter(key, old.as_ref());
        let was = old.as_ref().map_or(Millis::FAR, |old| old.expires);
        self.index_expiry(key, was, expires);
        old.filter(|_| known)
    }

    /// Sets when the key at `place` expires (`Millis::FAR`: never).
    pub fn set_expires_at(&mut self, place: Place, key: &[u8], expires: Millis) {
        let was = std::mem::replace(&mut self.at_mut(place, key).expires, expires);
        self.index_expiry(key, was, expires);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let known = self.before_change(key);
        let old = self.dict.remove(key)?;
        self.unmeter(key, Some(&old));
        self.index_expiry(key, old.expires, Millis::FAR);
        Some(old).filter(|_| known)
    }

    /// Sets when `key` expires (`Millis::FAR`: never). False if there is no such key.
    pub fn set_expires(&mut self, key: &[u8], expires: Millis) -> bool {
        if !self.before_change(key) {
            return false;
        }
        let Some(entry) = self.dict.get_mut(key) else { return false };
        let was = std::mem::replace(&mut entry.expires, expires);
        self.index_expiry(key, was, expires);
        true
    }

    /// Drops every key; the versions of what was there are the caller's business.
    pub fn clear(&mut self) {
        if let Some(journal) = &mut self.journal {
            for (key, entry) in self.dict.iter() {
                journal.entry(key.clone()).or_insert_with(|| Some(entry.clone()));
            }
        }
        let dict = std::mem::take(&mut self.dict);
        self.due.clear();
        if self.saving.iter().any(Option::is_some) {
            let dict = Arc::new(dict);
            self.saving.iter_mut().flatten().for_each(|saving| saving.freeze(&dict));
        }
    }

    /// The operation that changed an entry of this database last, as WATCH sees it.
    pub(crate) fn age(&self, entry: &Entry) -> u64 {
        entry.version.max(self.floor)
    }

    /// All keys count as changed by this operation.
    pub(crate) fn age_all(&mut self, version: u64) {
        self.floor = version;
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Begins a snapshot or a backup of this database as it is at this moment.
    pub(crate) fn save_begin(&mut self, number: u8, purpose: Purpose) {
        self.saving[purpose.place()] = Some(Box::new(DbSaving::new(number, purpose)));
    }

    /// Writes up to about `budget` more bytes of it. Once all of it is written: how many keys it has.
    pub(crate) fn save_step(
        &mut self,
        purpose: Purpose,
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let place = &mut self.saving[purpose.place()];
        let Some(saving) = place else { return Some(0) };
        let records = saving.step(&self.dict, budget, out).then(|| saving.records());
        if records.is_some() {
            *place = None;
        }
        records
    }

    /// Is it still being written?
    pub(crate) fn is_saving(&self, purpose: Purpose) -> bool {
        self.saving[purpose.place()].is_some()
    }

    /// Bytes that it holds because keys changed before their turn.
    pub(crate) fn save_waiting(&self, purpose: Purpose) -> usize {
        self.saving[purpose.place()].as_ref().map_or(0, |saving| saving.waiting())
    }

    /// Gives it up.
    pub(crate) fn save_abort(&mut self, purpose: Purpose) {
        self.saving[purpose.place()] = None;
    }

    /// From here on, what is changed is kept as it was.
    pub(crate) fn journal_begin(&mut self) {
        assert!(self.journal.is_none(), "journals do not nest");
        self.journal = Some(Box::default());
    }

    /// Ends that, and returns the keys that may have changed, with what stood there.
    pub(crate) fn journal_end(&mut self) -> Journal {
        *self.journal.take().expect("a journal that ends has begun")
    }

    /// From here on, it is noted which keys are asked for that nobody has made known.
    pub(crate) fn probe_keys(&mut self) {
        self.probe(Here::Keys(BTreeSet::new()), false);
    }

    /// From here on, it is noted which keys are asked for that are not of these slots, and with
    /// `sees` also those that are.
    pub(crate) fn probe_slots(&mut self, slots: RangeInclusive<u16>, sees: bool) {
        self.probe(Here::Slots(slots), sees);
    }

    fn probe(&mut self, here: Here, sees: bool) {
        self.probe = Some(Box::new(Probe {
            here,
            missing: RefCell::default(),
            seen: sees.then(RefCell::default),
            walked: Cell::new(false),
            named: false,
            met: RefCell::default(),
            cleared: false,
            drawn: Cell::new(false),
            draws: false,
        }));
    }

    /// Whoever asks for any key may have one of those that are known.
    pub(crate) fn probe_draws(&mut self) {
        self.probe.as_mut().expect("a probe that learns has begun").draws = true;
    }

    /// The key is known from here on, with this entry or without one.
    pub(crate) fn probe_known(&mut self, key: &[u8], entry: Option<Entry>) {
        let probe = self.probe.as_mut().expect("a probe that learns has begun");
        let Here::Keys(known) = &mut probe.here else { unreachable!("slots need not be learnt") };
        known.insert(Str::from(key));
        if let Some(entry) = entry {
            self.insert(key, entry);
        }
    }

    /// The names of all keys are known, once `probe_name` has told them.
    pub(crate) fn probe_names(&mut self) {
        self.probe.as_mut().expect("a probe that learns has begun").named = true;
    }

    /// There is such a key, of which nothing is known but its type and its expiry.
    pub(crate) fn probe_name(&mut self, key: &[u8], entry: Entry) {
        let probe = self.probe.as_ref().expect("a probe that learns has begun");
        if probe.holds(key) {
            return;
        }
        self.index_expiry(key, Millis::FAR, entry.expires);
        self.dict.insert(key, entry);
    }

    /// About how many bytes a key takes of which only the name is known.
    pub(crate) fn named_bytes(&self, key: &[u8]) -> usize {
        self.dict.get(key).map_or(0, |entry| entry.version as usize)
    }

    /// Exchanges the probe.
    pub(crate) fn probe_aside(&mut self, probe: Option<Box<Probe>>) -> Option<Box<Probe>> {
        std::mem::replace(&mut self.probe, probe)
    }

    /// Takes what was noted; the probe goes on.
    pub(crate) fn probe_take(&mut self) -> Noted {
        let probe = self.probe.as_mut().expect("a probe that tells has begun");
        let missing = std::mem::take(probe.missing.get_mut());
        let met = std::mem::take(probe.met.get_mut());
        let seen = probe.seen.as_mut().map(|seen| std::mem::take(seen.get_mut()));
        let (walked, drawn) = (probe.walked.take(), probe.drawn.take());
        let cleared = std::mem::take(&mut probe.cleared);
        Noted { missing, met, seen: seen.unwrap_or_default(), walked, cleared, drawn }
    }

    /// Nothing more is noted.
    pub(crate) fn probe_end(&mut self) {
        self.probe = None;
    }

    /// Is a journal kept?
    pub(crate) fn is_journaling(&self) -> bool {
        self.journal.is_some()
    }

    /// A running snapshot that has not passed `key` yet writes it first, and so does a journal. False if
    /// nothing is known of the key but its name.
    fn before_change(&mut self, key: &[u8]) -> bool {
        let known = self.knows(key);
        if let Some(journal) = &mut self.journal
            && !journal.contains_key(key)
        {
            journal.insert(Str::from(key), self.dict.get(key).cloned());
        }
        for saving in self.saving.iter_mut().flatten() {
            saving.before_change(key, dict::hash(key), &self.dict);
        }
        known
    }

    fn unmeter(&mut self, key: &[u8], old: Option<&Entry>) {
        if let (Some(bytes), Some(old)) = (&mut self.bytes, old) {
            *bytes -= old.bytes(key, 0);
        }
    }

    fn index_expiry(&mut self, key: &[u8], was: Millis, is: Millis) {
        if was == is {
            return;
        }
        if was != Millis::FAR {
            self.due.remove(&(was, Str::from(key)));
        }
        if is != Millis::FAR {
            self.due.insert((is, Str::from(key)));
        }
    }
}
