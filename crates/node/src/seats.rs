//! All seats of a node, and which of them may have something to do.
//!
//! A node of a large cluster has a seat for each of a thousand shards and a replica of thirty, of which a
//! message concerns one. Its loop turns for every message, so a turn looks only at seats that are
//! *awake*.
//!
//! What always holds: a seat that is not *used* has no replica, and nothing waits there. A used one that
//! is not awake has nothing to do before its time. Whoever takes hold of a seat to change it wakes it;
//! `rest` lets those sleep that have nothing left.

use std::ops::{Deref, Index, IndexMut};

use stdx::Instant;

use crate::seat::{Seat, Stand};

/// Places in a word of bits.
const WORD: usize = 64;

/// A bit for each place.
#[derive(Debug)]
struct Places(Vec<u64>);

impl Places {
    fn new(count: usize) -> Places {
        Places(vec![0; count.div_ceil(WORD)])
    }

    fn has(&self, place: usize) -> bool {
        self.0[place / WORD] >> (place % WORD) & 1 == 1
    }

    fn put(&mut self, place: usize, is_in: bool) {
        let bit = 1 << (place % WORD);
        let word = &mut self.0[place / WORD];
        *word = if is_in { *word | bit } else { *word & !bit };
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// In their order.
    fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(word, bits)| places(word, *bits))
    }
}

/// The places that the bits of a word stand for, in their order.
fn places(word: usize, mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = word * WORD + bits.trailing_zeros() as usize;
        (bits != 0).then(|| bits &= bits - 1)?;
        Some(place)
    })
}

/// See the head of this file. It dereferences to the seats of shards, in their order.
#[derive(Debug)]
pub(crate) struct Seats {
    /// Those of shards, and then that of the map.
    all: Vec<Seat>,
    used: Places,
    awake: Places,
    /// Has anybody been woken since they last came to rest?
    stirs: bool,
    /// Those that take no more requests, as far as is known.
    crowded: Places,
    /// When each of those that sleep has something to do by itself.
    due: Vec<Instant>,
    /// The soonest of those, for each word of places.
    soonest: Vec<Instant>,
    /// What each was to its group when it last came to rest, and whether that is news.
    stands: Vec<Stand>,
    is_news: bool,
}

impl Seats {
    pub(crate) fn new(all: Vec<Seat>) -> Seats {
        assert!(!all.is_empty(), "the map has a group");
        let count = all.len();
        let (mut used, awake, crowded) =
            (Places::new(count), Places::new(count), Places::new(count));
        all.iter().enumerate().for_each(|(place, seat)| used.put(place, !seat.is_idle()));
        let (due, stands) = (vec![Instant::FAR; count], vec![Stand::default(); count]);
        let (soonest, is_news) = (vec![Instant::FAR; count.div_ceil(WORD)], false);
        let stirs = false;
        let mut seats = Seats { all, used, awake, stirs, crowded, due, soonest, stands, is_news };
        seats.wake_all();
        seats
    }

    /// The seat of the group of the map.
    pub(crate) fn meta(&self) -> &Seat {
        &self.all[self.len()]
    }

    /// As `meta`, to change it.
    pub(crate) fn meta_mut(&mut self) -> &mut Seat {
        let meta = self.len();
        &mut self[meta]
    }

    /// A seat, to tell it something that asks only those for work that are used.
    pub(crate) fn inform(&mut self, place: usize) -> &mut Seat {
        if self.used.has(place) {
            self.wake(place);
        }
        &mut self.all[place]
    }

    /// Every seat, for the same.
    pub(crate) fn inform_all(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.wake_all();
        self.all.iter_mut()
    }

    /// A seat, to tell it something of which no work follows: it is not woken.
    pub(crate) fn tell(&mut self, place: usize) -> &mut Seat {
        &mut self.all[place]
    }

    /// Every seat, for the same.
    pub(crate) fn tell_all(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.all.iter_mut()
    }

    /// The seats that are used, with their places, in their order.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, &Seat)> {
        self.used.iter().map(|place| (place, &self.all[place]))
    }

    /// The seats that are awake, in their order.
    pub(crate) fn awake(&self) -> impl Iterator<Item = &Seat> {
        self.awake.iter().map(|place| &self.all[place])
    }

    fn wake(&mut self, place: usize) {
        self.awake.put(place, true);
        self.stirs = true;
    }

    /// Wakes all that are used.
    pub(crate) fn wake_all(&mut self) {
        self.stirs = true;
        self.awake.0.clone_from(&self.used.0);
    }

    /// Wakes those whose time has come.
    pub(crate) fn wake_due(&mut self, now: Instant) {
        for word in 0..self.soonest.len() {
            if self.soonest[word] > now {
                continue;
            }
            for place in places(word, self.used.0[word]) {
                if self.due[place] <= now {
                    self.wake(place);
                }
            }
        }
    }

    /// Does something with each seat that is awake.
    pub(crate) fn each_awake(&mut self, mut act: impl FnMut(&mut Seat)) {
        for word in 0..self.awake.0.len() {
            places(word, self.awake.0[word]).for_each(|place| act(&mut self.all[place]));
        }
    }

    /// Lets all sleep that have nothing to do before `deadline`.
    pub(crate) fn rest(&mut self, deadline: impl Fn(&Seat) -> Instant) {
        self.stirs = false;
        for word in 0..self.awake.0.len() {
            let bits = self.awake.0[word];
            if bits == 0 {
                continue;
            }
            places(word, bits).for_each(|place| self.lay_down(place, &deadline));
            let end = self.due.len().min((word + 1) * WORD);
            let due = self.due[word * WORD..end].iter().min();
            self.soonest[word] = *due.expect("each word has places");
        }
    }

    fn lay_down(&mut self, place: usize, deadline: &impl Fn(&Seat) -> Instant) {
        let seat = &self.all[place];
        let (is_used, has_work, stand) = (!seat.is_idle(), seat.has_work(), seat.stand());
        self.used.put(place, is_used);
        self.awake.put(place, is_used && has_work);
        self.crowded.put(place, !seat.has_room());
        self.due[place] = if is_used { deadline(seat) } else { Instant::FAR };
        self.is_news |= std::mem::replace(&mut self.stands[place], stand) != stand;
    }

    /// When the next turn is due: at once, if anybody was woken since the last.
    pub(crate) fn deadline(&self) -> Instant {
        let soonest = self.soonest.iter().copied().min().unwrap_or(Instant::FAR);
        if self.stirs { Instant(0) } else { soonest }
    }

    /// Does this node lead another group or in another term, or may another replica go, than when this
    /// was last asked?
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// May clients ask for more?
    pub(crate) fn has_room(&self) -> bool {
        self.crowded.is_empty()
    }

    /// A seat was asked for something.
    pub(crate) fn note_asked(&mut self, place: usize) {
        self.crowded.put(place, !self.all[place].has_room());
    }

    /// Any that is awake was.
    pub(crate) fn note_all_asked(&mut self) {
        for place in self.awake.iter() {
            self.crowded.put(place, !self.all[place].has_room());
        }
    }

    /// Asserts what always holds.
    pub(crate) fn check(&self) {
        for (place, seat) in self.all.iter().enumerate() {
            let (used, awake) = (self.used.has(place), self.awake.has(place));
            assert!(used || seat.is_idle(), "{:?} is not used and has work to do", seat.id());
            assert!(awake || !seat.has_work(), "{:?} sleeps and has work to do", seat.id());
            let known = (self.crowded.has(place), self.stands[place]);
            let is_known = awake || known == (!seat.has_room(), seat.stand());
            assert!(is_known, "{:?} sleeps and is not what it was", seat.id());
        }
    }
}

impl Deref for Seats {
    type Target = [Seat];

    fn deref(&self) -> &[Seat] {
        &self.all[..self.all.len() - 1]
    }
}

impl Index<usize> for Seats {
    type Output = Seat;

    fn index(&self, place: usize) -> &Seat {
        &self.all[place]
    }
}

impl IndexMut<usize> for Seats {
    fn index_mut(&mut self, place: usize) -> &mut Seat {
        self.used.put(place, true);
        self.wake(place);
        &mut self.all[place]
    }
}
