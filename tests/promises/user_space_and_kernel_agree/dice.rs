//! Chance that can be repeated.

/// A small generator that gives the same numbers for the same seed (xorshift64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // Nothing comes of zero.
        let mut dice = Self(seed.max(1));
        // Seeds that are near each other begin alike.
        for _ in 0..16 {
            dice.roll(2);
        }
        dice
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("64 bits") % sides
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    /// One of them.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }

    /// One to `most` of them, in their order.
    pub fn some<T: Clone>(&mut self, most: usize, from: &[T]) -> Vec<T> {
        let mut picked: Vec<_> = (0..=self.roll(most)).map(|_| self.roll(from.len())).collect();
        picked.sort_unstable();
        picked.dedup();
        picked.into_iter().map(|index| from[index].clone()).collect()
    }
}
