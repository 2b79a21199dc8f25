//! The numbers of the generator: hashes, a spread sequence and fast streams. None of them is for secrets.

/// The fractional parts of irrational numbers, in units of 2^-64. Steps of this size visit an interval evenly.
pub(super) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
pub(super) const SQRT_2: u64 = 0x6A09_E667_F3BC_C908;

/// Finishes a number so that each bit of the input changes half of the bits of the output (the mixer of SplitMix64).
fn finish(mut number: u64) -> u64 {
    number = number.wrapping_add(GOLDEN);
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// Returns one number for several. Their order counts.
pub(super) fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |so_far, &part| finish(so_far ^ part))
}

/// Returns a number as a share of all numbers: at least 0, less than 1.
pub(super) fn share_of(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns the `index`th draw of a sequence. It hits every part of the interval in proportion to its length, even in a few draws.
/// So a disk of a few extents has its share of holes as well. `offset` chooses where the sequence starts.
pub(super) fn spread(offset: u64, index: u64, step: u64) -> f64 {
    share_of(offset.wrapping_add(index.wrapping_mul(step)))
}

/// A stream of numbers (xorshift).
pub(super) struct Stream(u64);

impl Stream {
    pub(super) fn new(seed: u64) -> Self {
        // A xorshift never leaves the state zero, so the seed must not be zero.
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number less than `bound`, from the upper bits, which are the better ones.
    #[allow(clippy::cast_possible_truncation)] // 32 bits fit, as the shift leaves no more
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 32) as usize % bound
    }
}

/// Fills `bytes` with noise. Its length is a multiple of 64. It uses eight streams side by side, so that the compiler can step them
/// in one vector.
pub(super) fn fill_noise(bytes: &mut [u8], seed: u64) {
    let mut lanes: [u64; 8] = std::array::from_fn(|lane| hash(&[seed, lane as u64]) | 1);
    for words in bytes.chunks_exact_mut(64) {
        for (lane, word) in lanes.iter_mut().zip(words.chunks_exact_mut(8)) {
            *lane ^= *lane << 13;
            *lane ^= *lane >> 7;
            *lane ^= *lane << 17;
            word.copy_from_slice(&lane.to_le_bytes());
        }
    }
}
