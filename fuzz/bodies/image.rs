//! Whole files made by mapleaf, what they may hold, and checksums put right.
//!
//! An image in `images/` is packed: its length, then stretches, each a varint `2n` and n bytes, or `2n + 1` and one
//! byte that stands n times. The second and later ones of a store hold how they differ from the first ([`unlike`]).

use super::plan::{Contents, plans};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A file, and what each user version stands for.
pub struct Image {
    pub name: &'static str,
    pub page_size: usize,
    pub bytes: Vec<u8>,
    pub states: &'static [Contents],
    /// Other images of the same store, whose pages may lie here where a write was lost.
    pub relatives: Vec<usize>,
}

macro_rules! packed {
    ($($name:literal),*) => { [$(($name, &include_bytes!(concat!("../images/", $name, ".packed"))[..])),*] };
}

/// All images, in an order that inputs rely on.
pub fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let files = BTreeMap::from(packed!(
            "early",
            "log",
            "closed",
            "widths",
            "wide",
            "wide-closed",
            "holes",
            "holes-closed",
            "empty",
            "sets",
            "sets-closed"
        ));
        let mut images = Vec::new();
        for plan in plans() {
            let states: &[Contents] = plan.states().leak();
            let saved = plan.steps.iter().filter_map(|step| match step {
                super::plan::Step::Save(name) => Some(*name),
                _ => None,
            });
            let names: Vec<&str> = saved.chain([plan.name]).collect();
            let relatives: Vec<usize> = (images.len()..images.len() + names.len()).collect();
            let first = unpack(files[names[0]]);
            for (i, name) in names.into_iter().enumerate() {
                let bytes = unpack(files[name]);
                images.push(Image {
                    name,
                    page_size: plan.page_size,
                    bytes: if i == 0 { bytes } else { unlike(&bytes, &first) },
                    states,
                    relatives: relatives.clone(),
                });
            }
        }
        images
    })
}

pub fn image(name: &str) -> &'static Image {
    images().iter().find(|image| image.name == name).expect("one of the images")
}

/// One file exclusive or another.
pub fn unlike(file: &[u8], first: &[u8]) -> Vec<u8> {
    file.iter().enumerate().map(|(i, byte)| byte ^ first.get(i).unwrap_or(&0)).collect()
}

pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = (bytes.len() as u32).to_le_bytes().to_vec();
    let run_at = |at: usize| bytes[at..].iter().take_while(|byte| **byte == bytes[at]).count();
    let (mut at, mut from) = (0, 0);
    let literal = |packed: &mut Vec<u8>, from: usize, to: usize| {
        if from < to {
            put_varint(packed, (to - from) as u64 * 2);
            packed.extend_from_slice(&bytes[from..to]);
        }
    };
    while at < bytes.len() {
        let run = run_at(at);
        if run >= 6 {
            literal(&mut packed, from, at);
            put_varint(&mut packed, run as u64 * 2 + 1);
            packed.push(bytes[at]);
            from = at + run;
        }
        at += run;
    }
    literal(&mut packed, from, bytes.len());
    packed
}

pub fn unpack(packed: &[u8]) -> Vec<u8> {
    let (len, mut rest) = packed.split_first_chunk::<4>().expect("a length");
    let mut bytes = Vec::with_capacity(u32::from_le_bytes(*len) as usize);
    while !rest.is_empty() {
        let stretch = varint(&mut rest) as usize;
        if stretch & 1 == 1 {
            bytes.resize(bytes.len() + stretch / 2, rest[0]);
            rest = &rest[1..];
        } else {
            bytes.extend_from_slice(&rest[..stretch / 2]);
            rest = &rest[stretch / 2..];
        }
    }
    bytes
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn varint(rest: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = rest[0];
        *rest = &rest[1..];
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return number;
        }
    }
}

// ---- checksums ----

pub const SLOTS: [usize; 2] = [0, 4096];
const SLOT_LEN: usize = 512;

pub fn word(file: &[u8], at: usize) -> u64 {
    file.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight")))
}

pub fn slot_checksum(file: &[u8], slot: usize) -> [u8; 4] {
    crc32fast::hash(&file[slot + 12..slot + SLOT_LEN]).to_le_bytes()
}

pub fn page_checksum(page: &[u8]) -> [u8; 4] {
    crc32fast::hash(&page[4..]).to_le_bytes()
}

/// Bytes of a chunk of a large value; images are smaller than a gigabyte.
const CHUNK_LEN: usize = 1 << 16;

/// Gives the checksums of large values that a leaf refers to.
pub fn fix_overflow(file: &mut [u8], page_size: usize, page: usize) {
    let start = page * page_size;
    let u16_at = |file: &[u8], at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    if file[start + 4] != 2 {
        return;
    }
    let count = u16_at(file, start + 6).min((page_size - 32) / 10);
    for i in 0..count {
        let slot = start + 32 + count * 4 + i * 6;
        let (distance, key_len, value_len) =
            (u16_at(file, slot), u16_at(file, slot + 2), u16_at(file, slot + 4));
        if key_len & 0x8000 == 0 || value_len != 22 || distance < 22 || distance > page_size - 32 {
            continue;
        }
        let at = start + page_size - distance;
        let number = |at: usize| word(file, at) & ((1 << 48) - 1);
        let (first, len) = (number(at).saturating_mul(page_size as u64), number(at + 12));
        let has_table = len > 16 * page_size as u64;
        let table_len = if has_table { 4 * len.div_ceil(CHUNK_LEN as u64) } else { 0 };
        let end = first.saturating_add(len);
        if end.saturating_add(table_len) > file.len() as u64 {
            continue;
        }
        let (first, end) = (first as usize, end as usize);
        if has_table {
            let sums = file[first..end].chunks(CHUNK_LEN).map(|chunk| crc32fast::hash(chunk).to_le_bytes());
            let table: Vec<u8> = sums.flatten().collect();
            file[end..end + table.len()].copy_from_slice(&table);
        }
        let summed = if has_table { end..end + table_len as usize } else { first..end };
        let checksum = crc32fast::hash(&file[summed]).to_le_bytes();
        file[at + 18..at + 22].copy_from_slice(&checksum);
    }
}

/// The newer slot that has a checksum.
pub fn newest_slot(file: &[u8]) -> Option<usize> {
    let good = |slot: &usize| {
        file.len() >= slot + SLOT_LEN
            && file[*slot..].starts_with(b"mapleaf\n")
            && file[slot + 8..slot + 12] == slot_checksum(file, *slot)
    };
    SLOTS.into_iter().filter(good).max_by_key(|slot| word(file, slot + 56))
}

/// Byte ranges of the log of a slot, no more than there are.
pub fn log_ranges(file: &[u8], slot: usize, page_size: usize) -> Vec<std::ops::Range<usize>> {
    let extents = (0..16).map(|i| (word(file, slot + 136 + 16 * i), word(file, slot + 144 + 16 * i)));
    let in_bytes = |(page, pages): (u64, u64)| {
        let start = page.saturating_mul(page_size as u64).min(file.len() as u64);
        let end = page.saturating_add(pages).saturating_mul(page_size as u64).min(file.len() as u64);
        start as usize..end as usize
    };
    extents.take_while(|(_, pages)| *pages > 0).map(in_bytes).collect()
}

/// The log of a slot as one.
pub fn read_log(file: &[u8], slot: usize, page_size: usize) -> Vec<u8> {
    log_ranges(file, slot, page_size).into_iter().flat_map(|range| file[range].iter().copied()).collect()
}

pub fn write_log(file: &mut [u8], slot: usize, page_size: usize, log: &[u8]) {
    let mut rest = log;
    for range in log_ranges(file, slot, page_size) {
        let (now, later) = rest.split_at(range.len().min(rest.len()));
        file[range][..now.len()].copy_from_slice(now);
        rest = later;
    }
}

/// Bytes of a record before its changes.
pub const RECORD_HEAD: usize = 40;

/// The records of a log whose lengths fit, one behind the other. With `fix` each gets the checksum that continues the
/// chain, else they end where one does not.
pub fn chain(log: &mut [u8], seed: u64, fix: bool) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut chain, mut records) = (0, seed, Vec::new());
    while at + RECORD_HEAD <= log.len() && records.len() < 10_000 {
        let len = u32::from_le_bytes(log[at + 4..at + 8].try_into().expect("four")) as usize;
        if len < RECORD_HEAD || !len.is_multiple_of(8) || len > log.len() - at {
            break;
        }
        if fix {
            log[at + 32..at + 40].copy_from_slice(&chain.to_le_bytes());
        } else if log[at + 32..at + 40] != chain.to_le_bytes() {
            break;
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(&log[at + 4..at + len]);
        let checksum = hasher.finalize();
        if fix {
            log[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        } else if log[at..at + 4] != checksum.to_le_bytes() {
            break;
        }
        chain = word(log, at + 8) << 32 ^ u64::from(checksum);
        records.push(at..at + len);
        at += len;
    }
    records
}
