//! A dense array that grows by chunks, so that no push ever moves the whole of it.
//!
//! The first chunk has 256 cells, and each further one as many as all before it: a handful of
//! chunks, whose headers stay in the cache, hold any number. A large chunk is asked for at once,
//! and what is not used of it yet is memory that the machine has not given either; a small one
//! grows by a quarter, because a table of a few hundred fields must not pay for a thousand. Taking
//! one out moves the last into its place, so there are no holes.

/// Cells in the first chunk.
const FIRST_CELLS: usize = 256;

/// The largest chunk that grows step by step: 64 KiB of entries of a database.
const STEPWISE_CELLS_MAX: usize = 1_024;

/// A growing array.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    /// All are full but the last, and that is not empty.
    chunks: Vec<Vec<T>>,
}

/// The cells before this chunk.
fn start(chunk: usize) -> usize {
    FIRST_CELLS << chunk >> 1 & !(FIRST_CELLS - 1)
}

/// The chunk of a number, and the place in it.
fn place(number: u32) -> (usize, usize) {
    const _: () = assert!(FIRST_CELLS.is_power_of_two());
    let number = number as usize;
    let chunk = (usize::BITS - (number / FIRST_CELLS).leading_zeros()) as usize;
    (chunk, number - start(chunk))
}

impl<T> Slab<T> {
    /// An empty one.
    pub(crate) fn new() -> Slab<T> {
        Slab { chunks: Vec::new() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| start(self.chunks.len() - 1) + last.len())
    }

    /// Adds one at the end and returns its number.
    pub(crate) fn push(&mut self, value: T) -> u32 {
        let number = u32::try_from(self.len()).expect("fewer than 2^32 entries fit a memory");
        let (at, offset) = place(number);
        if at == self.chunks.len() {
            self.chunks.push(Vec::new());
        }
        let chunk = &mut self.chunks[at];
        if offset == chunk.capacity() {
            let rest = FIRST_CELLS.max(start(at)) - offset;
            let stepwise = rest + offset <= STEPWISE_CELLS_MAX;
            let step = (number as usize / 4).max(4);
            chunk.reserve_exact(if stepwise { step.min(rest) } else { rest });
        }
        chunk.push(value);
        number
    }

    /// The one with this number.
    pub(crate) fn get(&self, number: u32) -> &T {
        let (chunk, offset) = place(number);
        &self.chunks[chunk][offset]
    }

    /// The one with this number, to change.
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut T {
        let (chunk, offset) = place(number);
        &mut self.chunks[chunk][offset]
    }

    /// Takes one out; the last one gets its number.
    pub(crate) fn swap_remove(&mut self, number: u32) -> T {
        let chunk = self.chunks.last_mut().expect("a number was given, so there is one");
        let last = chunk.pop().expect("no chunk is empty");
        if chunk.is_empty() {
            self.chunks.pop();
        }
        if number as usize == self.len() {
            return last;
        }
        std::mem::replace(self.get_mut(number), last)
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn numbers_lie_side_by_side_in_their_chunks() {
        let (mut chunk, mut offset) = (0, 0);
        for number in 0..10_000 {
            assert_eq!(super::place(number), (chunk, offset), "{number}");
            offset += 1;
            if offset == super::start(chunk).max(super::FIRST_CELLS) {
                (chunk, offset) = (chunk + 1, 0);
            }
        }
    }

    #[test]
    fn the_last_takes_the_place_of_what_is_taken_out() {
        let (mut slab, mut model) = (Slab::new(), Vec::new());
        let mut rng = stdx::Rng::new(1);
        for round in 0..20_000u32 {
            if round < 9_000 || rng.one_in(3) {
                assert_eq!(slab.push(round) as usize, model.len());
                model.push(round);
            } else if !model.is_empty() {
                let at = rng.below(model.len() as u64) as usize;
                assert_eq!(slab.swap_remove(at as u32), model.swap_remove(at));
            }
            assert_eq!(slab.len(), model.len());
        }
        assert!(model.iter().enumerate().all(|(at, value)| slab.get(at as u32) == value));
    }
}
