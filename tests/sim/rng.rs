//! Numbers from a seed (SplitMix64): the same seed always draws the same ones, on every machine and
//! with every version of every library, so that a seed in an old report still means something.

#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn of(seed: u64) -> Self {
        let mut rng = Self(seed ^ 0x5eed_c0de_5eed_c0de);
        // Seeds are neighbours; what they draw first must not be.
        rng.next();
        rng
    }

    /// Another stream, whose draws do not move this one.
    pub fn fork(&mut self) -> Self {
        Self::of(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`, which is not zero.
    pub fn below(&mut self, count: usize) -> usize {
        let count = count as u64;
        usize::try_from(self.next() % count).expect("it is below a usize")
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = usize::try_from(high - low + 1).expect("the bounds are in order");
        low + i64::try_from(self.below(span)).expect("it is small")
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// One of these, each as likely as its weight says.
    pub fn weighted<T: Clone>(&mut self, from: &[(usize, T)]) -> T {
        let mut left = self.below(from.iter().map(|(weight, _)| weight).sum());
        for (weight, one) in from {
            match left.checked_sub(*weight) {
                Some(less) => left = less,
                None => return one.clone(),
            }
        }
        unreachable!("the draw is below the sum of the weights")
    }
}
