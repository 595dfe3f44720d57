//! A fuzzer's bytes, taken off the front; zeros behind their end.

/// What is left of the bytes.
pub struct Input<'b> {
    rest: &'b [u8],
}

/// Numbers at which code changes its mind.
const INTERESTING: [u64; 24] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    31,
    32,
    255,
    256,
    4064,
    4096,
    0x7fff,
    0xffff,
    0x10000,
    u32::MAX as u64,
    1 << 32,
    (1 << 39) - 1,
    1 << 39,
    (1 << 48) - 1,
    i64::MAX as u64,
    u64::MAX,
];

impl<'b> Input<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Input { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Up to so many bytes.
    pub fn bytes(&mut self, len: usize) -> &'b [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'b [u8] {
        self.bytes(usize::MAX)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.bytes(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Below `limit`, from as few bytes as that takes; 0 where it is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let number = if limit <= 256 { usize::from(self.u8()) } else { usize::from(self.u16()) };
        number % limit.max(1)
    }

    /// Small, large, or one of those that matter.
    pub fn number(&mut self) -> u64 {
        match self.u8() {
            kind @ 0..24 => INTERESTING[usize::from(kind)],
            24..64 => u64::from(self.u8()),
            64..128 => u64::from(self.u16()),
            128..160 => u64::from(self.u32()),
            160..192 => self.u64() >> 16,
            192..208 => self.u64(),
            kind => u64::from(kind) - 208,
        }
    }
}

/// Numbers that follow from a seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit.max(1)
    }
}
