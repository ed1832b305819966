//! The fuzzer's bytes as choices.

/// What is left of the input; zeros behind its end.
pub(crate) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Bytes<'a> {
        Bytes { rest }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// A number below `bound`, which is at most 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// A number of either sign.
    pub(crate) fn small(&mut self) -> i64 {
        i64::from(self.byte() as i8)
    }

    /// A short text: one of few, so that calls meet, or any bytes.
    pub(crate) fn text(&mut self) -> Vec<u8> {
        let kind = self.byte();
        match kind % 8 {
            0..=3 => vec![b'a' + kind / 8 % 8],
            4 | 5 => i64::from(self.byte() as i8).to_string().into_bytes(),
            6 => vec![b'x'; usize::from(self.byte())],
            _ => {
                let len = usize::from(self.byte()).min(self.rest.len());
                let (text, rest) = self.rest.split_at(len);
                self.rest = rest;
                text.to_vec()
            }
        }
    }
}
