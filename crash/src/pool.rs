//! Contents of blocks, and files made of them.
//!
//! Owns: [`Pool`], which gives equal contents equal numbers, so that thousands of files that differ in a few
//! blocks cost little; and [`Image`], a file as numbers of its blocks.

use rand::Rng;
use rand::rngs::StdRng;
use std::collections::HashMap;

/// The unit in which the page cache reaches the disk, in bytes.
pub const BLOCK: usize = 4096;
/// What the disk writes whole, in bytes.
pub const SECTOR: usize = 512;

/// The bytes of one block, by number; equal bytes have equal numbers, zeros have 0.
pub type Content = u32;

/// All contents that were ever seen.
pub struct Pool {
    contents: Vec<Box<[u8]>>,
    by_checksum: HashMap<u32, Vec<Content>>,
}

impl Default for Pool {
    fn default() -> Self {
        let mut pool = Pool { contents: Vec::new(), by_checksum: HashMap::new() };
        assert_eq!(pool.add(&[0; BLOCK]), 0);
        pool
    }
}

impl Pool {
    /// The number of these bytes, of which there are [`BLOCK`].
    pub fn add(&mut self, bytes: &[u8]) -> Content {
        assert_eq!(bytes.len(), BLOCK, "a block");
        let known = self.by_checksum.entry(crc32fast::hash(bytes)).or_default();
        if let Some(content) = known.iter().find(|content| *self.contents[**content as usize] == *bytes) {
            return *content;
        }
        known.push(self.contents.len() as Content);
        self.contents.push(bytes.into());
        self.contents.len() as Content - 1
    }

    /// The bytes of this number.
    pub fn bytes(&self, content: Content) -> &[u8] {
        &self.contents[content as usize]
    }

    /// The bytes of a file, filled up to whole blocks, as an image.
    pub fn image(&mut self, file: &[u8]) -> Image {
        let mut padded = file.to_vec();
        padded.resize(file.len().next_multiple_of(BLOCK), 0);
        let blocks = padded.chunks(BLOCK).map(|block| self.add(block)).collect();
        Image { len: padded.len() as u64, blocks, is_torn: false }
    }

    /// The bytes of the file that an image stands for.
    pub fn file(&self, image: &Image) -> Vec<u8> {
        let whole = image.len as usize / BLOCK;
        let mut bytes = Vec::with_capacity(image.len as usize);
        for at in 0..whole {
            bytes.extend_from_slice(self.bytes(image.blocks.get(at).copied().unwrap_or(0)));
        }
        bytes
    }

    /// A block of which some sectors are of one version and some of another.
    pub(crate) fn torn(&mut self, first: Content, second: Content, rng: &mut StdRng) -> Content {
        self.joined(first, second, &mut |_| rng.random())
    }

    /// `first`, but for the sectors that `is_second` names.
    pub fn joined(
        &mut self,
        first: Content,
        second: Content,
        is_second: &mut dyn FnMut(usize) -> bool,
    ) -> Content {
        let mut bytes = self.bytes(first).to_vec();
        for at in (0..BLOCK).step_by(SECTOR) {
            if is_second(at / SECTOR) {
                bytes[at..at + SECTOR].copy_from_slice(&self.bytes(second)[at..at + SECTOR]);
            }
        }
        self.add(&bytes)
    }
}

/// A file as a power cut left it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Its length in bytes, a multiple of [`BLOCK`].
    pub len: u64,
    /// Its blocks. Those behind the length do not count, those that are missing are zeros.
    pub blocks: Vec<Content>,
    /// Whether it was made with torn blocks.
    pub is_torn: bool,
}

impl Image {
    /// Equal for equal files.
    pub fn fingerprint(&self) -> u64 {
        let whole = self.blocks.iter().zip(0u64..).take_while(|(_, at)| at * (BLOCK as u64) < self.len);
        let blocks = whole.filter(|(content, _)| **content != 0);
        blocks.fold(mix(self.len), |hash, (content, at)| hash ^ mix(at << 32 | u64::from(*content) | 1 << 63))
    }
}

fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_image_and_the_image_is_the_file() {
        let mut pool = Pool::default();
        let file: Vec<u8> = (0..3 * BLOCK).map(|at| (at / BLOCK * 7 + at % 5) as u8).collect();
        let image = pool.image(&file);
        assert_eq!((image.len, image.blocks.len()), (3 * BLOCK as u64, 3));
        assert_eq!(pool.file(&image), file);
        assert_eq!(pool.image(&file[..BLOCK + 1]).len, 2 * BLOCK as u64);
    }

    #[test]
    fn fingerprints_are_those_of_the_bytes() {
        let mut pool = Pool::default();
        let (a, b) = (pool.add(&[1; BLOCK]), pool.add(&[2; BLOCK]));
        let image = |len: usize, blocks: &[Content]| {
            Image { len: (len * BLOCK) as u64, blocks: blocks.to_vec(), is_torn: false }.fingerprint()
        };
        assert_eq!(image(2, &[a, b]), image(2, &[a, b, a]), "what lies behind the end does not count");
        assert_eq!(image(2, &[a]), image(2, &[a, 0]), "what is missing is zeros");
        let all = [image(2, &[a, b]), image(2, &[b, a]), image(3, &[a, b]), image(1, &[a]), image(2, &[a])];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one), "{i}");
        }
    }

    #[test]
    fn a_torn_block_has_whole_sectors_of_both() {
        let mut pool = Pool::default();
        let (a, b) = (pool.add(&[1; BLOCK]), pool.add(&[2; BLOCK]));
        let joined = pool.joined(a, b, &mut |sector| sector % 2 == 1);
        let expected: Vec<u8> = (0..BLOCK).map(|at| 1 + (at / SECTOR % 2) as u8).collect();
        assert_eq!(pool.bytes(joined), expected);
    }
}
