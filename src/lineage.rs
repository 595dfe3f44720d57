//! Which checkpoints a store came through: what two files have in common.
//!
//! Owns: the list behind each meta slot. A checkpoint is known by its txn and by the random number in its slot (the
//! seed of its log), so that two files have one in common only if one was copied from the other, or both from a
//! third, behind it. Promises: what the list has is true, and as a rule it has enough: of the checkpoints of two
//! files that went apart, each of which has made `n` txns since, one is in both lists that is no more than `2 n` txns
//! before that. Leaves to others: what follows for pages ([`crate::txn`]).
//!
//! ```text
//! behind the 512 bytes of a slot: checksum u32 | number u32 | number × (txn u64, seed u64), ascending; then zeros
//! ```
//!
//! The checksum is the crc32 of the slot's txn and seed and of what follows it, so a list that a cut has left with
//! another slot counts for nothing. Nothing but [`common`] depends on it: a store whose list was lost has a shorter
//! memory.
//!
//! **Which are kept.** For each power of two the txns are divided into stretches of that length; the first checkpoint
//! in the stretch of the newest txn is kept, and the first in the one before. Files that went apart less than a
//! stretch ago keep the same one, because what is first in a stretch never changes.

use crate::disk::Disk;
use crate::format::{LIMIT_48, META_LEN, META_OFFSETS, Meta};

/// A checkpoint: its txn, and the random number that it drew.
pub type Checkpoint = (u64, u64);

/// Powers of two that are different stretches of txns, which have 48 bits.
const STRETCHES: u32 = 48;
/// Most entries of a list.
pub const MOST: usize = 2 * STRETCHES as usize;
const HEAD: usize = 8;
const ENTRY: usize = 16;
/// Bytes of a list of any length. The slot and it fit into the 4096 bytes from one slot to the next.
const MOST_BYTES: usize = HEAD + MOST * ENTRY;
const _: () = assert!(META_LEN + MOST_BYTES <= (META_OFFSETS[1] - META_OFFSETS[0]) as usize);

/// The checkpoints that are known to be before the one that a slot holds, and itself, ascending.
pub fn read(disk: &Disk, slot: Checkpoint) -> Vec<Checkpoint> {
    let mut lists = META_OFFSETS.iter().filter_map(|offset| {
        let mut bytes = [0; MOST_BYTES];
        disk.read_at(offset + META_LEN as u64, &mut bytes).ok()?;
        parse(&bytes, slot)
    });
    let own = Some(slot).filter(|(_, seed)| *seed != 0);
    lists.next().unwrap_or_default().into_iter().chain(own).collect()
}

/// Those in the bytes behind a slot; `None` where there are none, or they are not the slot's.
pub fn listed(behind: &[u8], meta: &Meta) -> Option<Vec<Checkpoint>> {
    parse(behind.first_chunk::<MOST_BYTES>()?, id_of(meta))
}

fn id_of(meta: &Meta) -> Checkpoint {
    (meta.txn.get(), meta.log_seed.get())
}

/// The bytes behind the slot of a new checkpoint that comes out of the last of these.
pub fn list(before: Vec<Checkpoint>, new: &Meta) -> Vec<u8> {
    let new = id_of(new);
    let kept = kept(before, new.0);
    if kept.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&(kept.len() as u32).to_le_bytes());
    for (txn, seed) in kept {
        bytes.extend_from_slice(&txn.to_le_bytes());
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    let checksum = checksum(new, &bytes[4..]).to_le_bytes();
    bytes[..4].copy_from_slice(&checksum);
    bytes
}

/// The same as [`read`] gives behind the new checkpoint.
pub fn after(before: Vec<Checkpoint>, new: Checkpoint) -> Vec<Checkpoint> {
    kept(before, new.0).into_iter().chain([new]).collect()
}

/// Those that are kept when the newest is of this txn.
fn kept(mut before: Vec<Checkpoint>, newest: u64) -> Vec<Checkpoint> {
    before.retain(|(txn, seed)| *seed != 0 && *txn < newest);
    let first = |stretch: u32, number: u64| before.iter().position(|(txn, _)| txn >> stretch == number);
    let mut is_kept = vec![false; before.len()];
    for stretch in 0..STRETCHES {
        let number = newest >> stretch;
        for number in [Some(number), number.checked_sub(1)].into_iter().flatten() {
            first(stretch, number).into_iter().for_each(|i| is_kept[i] = true);
        }
    }
    before
        .into_iter()
        .zip(is_kept)
        .filter_map(|(checkpoint, is_kept)| is_kept.then_some(checkpoint))
        .collect()
}

fn checksum((txn, seed): Checkpoint, rest: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&txn.to_le_bytes());
    sum.update(&seed.to_le_bytes());
    sum.update(rest);
    sum.finalize()
}

fn parse(bytes: &[u8], slot: Checkpoint) -> Option<Vec<Checkpoint>> {
    let number = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("four bytes"));
    let word = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight bytes"));
    let count = number(4) as usize;
    if count == 0 || count > MOST || number(0) != checksum(slot, &bytes[4..HEAD + count * ENTRY]) {
        return None;
    }
    let list: Vec<Checkpoint> =
        (0..count).map(|i| HEAD + i * ENTRY).map(|at| (word(at), word(at + 8))).collect();
    let is_ascending = list.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let is_before = list.last().is_some_and(|last| last.0 < slot.0.min(LIMIT_48));
    (is_ascending && is_before && list.iter().all(|(_, seed)| *seed != 0)).then_some(list)
}

/// The txn of the newest checkpoint that both lists have; 0 where there is none.
pub fn common(one: &[Checkpoint], other: &[Checkpoint]) -> u64 {
    let shared = one.iter().filter(|checkpoint| other.contains(checkpoint));
    shared.map(|(txn, _)| *txn).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::MIN_PAGE_SIZE;

    fn meta(txn: u64, seed: u64) -> Meta {
        let mut meta = Meta::new(MIN_PAGE_SIZE, 16, [7; 16]);
        (meta.txn, meta.log_seed) = (txn.into(), seed.into());
        meta
    }

    fn written(before: &[Checkpoint], txn: u64, seed: u64) -> Vec<Checkpoint> {
        let bytes = list(before.to_vec(), &meta(txn, seed));
        let mut all = [0; MOST_BYTES];
        all[..bytes.len()].copy_from_slice(&bytes);
        let kept = parse(&all, (txn, seed)).unwrap_or_default();
        assert!(kept.len() <= MOST);
        kept.into_iter().chain([(txn, seed)]).collect()
    }

    /// Every number of steps since, at every place: the last in common is no further back than promised, and never one
    /// that is not common.
    #[test]
    fn files_that_went_apart_know_a_checkpoint_shortly_before() {
        let mut histories = vec![vec![(1, 99)]];
        for txn in 2..400 {
            histories.push(written(histories.last().unwrap(), txn, txn + 1000));
        }
        for at in (0..histories.len()).step_by(7) {
            let apart = histories[at].last().unwrap().0;
            let (mut one, mut other) = (histories[at].clone(), histories[at].clone());
            for steps in 1..300 {
                one = written(&one, apart + steps, 5000 + steps);
                other = written(&other, apart + steps, 9000 + steps);
                let found = common(&one, &other);
                assert!(found <= apart && found + 2 * steps >= apart.min(found + 2 * steps));
                assert!(found > 0 && apart - found <= 2 * steps, "{found}, apart at {apart}, {steps} steps");
                assert_eq!(common(&one, &histories[at]), common(&histories[at], &one));
            }
        }
    }

    #[test]
    fn long_histories_are_short_lists() {
        let mut one = vec![(1, 1)];
        for i in 1..20_000u64 {
            one = written(&one, i * i * 700, i + 1);
        }
        assert!(one.len() <= MOST + 1 && one.len() > 10, "{}", one.len());
    }

    #[test]
    fn a_list_counts_with_its_slot_whole_or_not_at_all() {
        let bytes = list(vec![(3, 5), (4, 6)], &meta(9, 8));
        let mut all = [0; MOST_BYTES];
        all[..bytes.len()].copy_from_slice(&bytes);
        assert_eq!(parse(&all, (9, 8)), Some(vec![(3, 5), (4, 6)]));
        assert_eq!(
            [parse(&all, (9, 7)), parse(&all, (8, 8)), parse(&[0; MOST_BYTES], (9, 8))],
            [None, None, None]
        );
        for bit in 0..bytes.len() * 8 {
            all[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&all, (9, 8)), None, "bit {bit}");
            all[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn stores_without_numbers_have_nothing_in_common() {
        assert_eq!(common(&[(1, 5), (2, 6)], &[(1, 6), (2, 5)]), 0);
        assert!(list(vec![(1, 0)], &meta(2, 7)).is_empty(), "a new store has drawn none");
    }
}
