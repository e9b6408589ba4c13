//! How many blocks to ask logs of at once: as many as an endpoint answers for. Pure.

/// Blocks of the first request.
const FIRST: u64 = 2_000;
const MAX: u64 = 10_000;
/// Fewer logs than this in an answer, and the next request may cover more blocks.
const FEW_LOGS: usize = 2_000;
/// More logs than this in an answer, and the next one covers fewer.
const MANY_LOGS: usize = 8_000;

/// Grows while answers are small and halves when an endpoint refuses or an answer is large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    blocks: u64,
}

impl Default for Range {
    fn default() -> Self {
        Self { blocks: FIRST }
    }
}

impl Range {
    pub fn blocks(self) -> u64 {
        self.blocks
    }

    pub fn answered(&mut self, logs: usize) {
        if logs > MANY_LOGS {
            self.blocks = (self.blocks / 2).max(1);
        } else if logs < FEW_LOGS {
            self.blocks = (self.blocks * 2).min(MAX);
        }
    }

    /// Asks for less than the `asked` blocks that were refused; false when that is one.
    pub fn refused(&mut self, asked: u64) -> bool {
        self.blocks = (self.blocks.min(asked) / 2).max(1);
        asked > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_follows_what_the_endpoint_can_answer() {
        let mut range = Range::default();
        range.answered(0);
        assert_eq!(range.blocks(), 2 * FIRST);
        range.answered(MANY_LOGS + 1);
        assert_eq!(range.blocks(), FIRST);
        range.answered(FEW_LOGS);
        assert_eq!(range.blocks(), FIRST);
        // Fewer were asked for than might have been: there were no more.
        assert!(range.refused(100));
        assert_eq!(range.blocks(), 50);
        while range.refused(range.blocks()) {}
        assert_eq!(range.blocks(), 1);
        (0..64).for_each(|_| range.answered(0));
        assert_eq!(range.blocks(), MAX);
    }
}
