//! All seats of a node, and which of them may have something to do.
//!
//! A node of a large cluster has a seat for each of a thousand shards and a replica of thirty. Its
//! loop turns for every message, so a turn looks only at seats that are *awake*: those with a
//! replica, and guests that wait for an answer.
//!
//! What always holds: a seat that is not awake has no replica, and nothing waits there. Whoever
//! takes hold of a seat to change it wakes it; `rest` lets those sleep that have nothing left.

use std::ops::{Deref, Index, IndexMut};

use crate::seat::Seat;

/// See the head of this file. It dereferences to the seats of shards, in their order.
#[derive(Debug)]
pub(crate) struct Seats {
    /// Those of shards, and then that of the map.
    all: Vec<Seat>,
    /// A bit for each.
    awake: Vec<u64>,
}

impl Seats {
    pub(crate) fn new(all: Vec<Seat>) -> Seats {
        assert!(!all.is_empty(), "the map has a group");
        let mut awake = vec![0; all.len().div_ceil(64)];
        for (place, _) in all.iter().enumerate().filter(|(_, seat)| !seat.is_idle()) {
            awake[place / 64] |= 1 << (place % 64);
        }
        Seats { all, awake }
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

    /// A seat, to tell it something that asks for no work: it is not woken.
    pub(crate) fn inform(&mut self, place: usize) -> &mut Seat {
        &mut self.all[place]
    }

    /// Every seat, to tell it something that asks only those for work that are awake.
    pub(crate) fn inform_all(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.all.iter_mut()
    }

    /// The seats that are awake, with their places, in their order.
    pub(crate) fn awake(&self) -> impl Iterator<Item = (usize, &Seat)> {
        let places = (0..self.awake.len()).flat_map(|word| places(word, self.awake[word]));
        places.map(|place| (place, &self.all[place]))
    }

    /// Does something with each seat that is awake.
    pub(crate) fn each_awake(&mut self, mut act: impl FnMut(&mut Seat)) {
        for word in 0..self.awake.len() {
            places(word, self.awake[word]).for_each(|place| act(&mut self.all[place]));
        }
    }

    /// Lets all sleep that have nothing to do.
    pub(crate) fn rest(&mut self) {
        for word in 0..self.awake.len() {
            for place in places(word, self.awake[word]) {
                if self.all[place].is_idle() {
                    self.awake[word] &= !(1 << (place % 64));
                }
            }
        }
    }

    /// Asserts what always holds.
    pub(crate) fn check(&self) {
        for (place, seat) in self.all.iter().enumerate() {
            let awake = self.awake[place / 64] >> (place % 64) & 1 == 1;
            assert!(awake || seat.is_idle(), "{:?} sleeps and has work to do", seat.id());
        }
    }
}

/// The places that the bits of a word stand for, in their order.
fn places(word: usize, mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = word * 64 + bits.trailing_zeros() as usize;
        (bits != 0).then(|| bits &= bits - 1)?;
        Some(place)
    })
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
        self.awake[place / 64] |= 1 << (place % 64);
        &mut self.all[place]
    }
}
