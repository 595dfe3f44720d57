//! Memory for changed pages, in pieces large enough for huge pages.
//!
//! Owns: [`Arena`], pages by slot, each with the epoch in which it was made. Promises: a slot's page
//! stays where it is until it is removed. Leaves to others: what is in the pages ([`crate::page`]) and
//! which of them belong to a savepoint ([`crate::dirty`]).
//!
//! A txn that changes much touches its pages in no order; with pages of 4 KiB every touch would look up
//! an address that the processor does not remember, and every page would be a fault of its own.

use crate::error::{Error, Result};
use crate::map::lend_back;
use memmap2::{Advice, MmapMut};

const PIECE_LEN: usize = 2 << 20;
/// So many pieces are kept from one txn to the next.
const KEPT_PIECES: usize = 4;
/// And so many more that the system may take back: clearing fresh memory would cost a quarter of a large txn.
const LENT_PIECES: usize = 124;
const UNUSED: u64 = u64::MAX;

/// A piece of memory for pages, zeros at first.
pub struct Piece(MmapMut);

impl Piece {
    /// `is_huge`: it will be filled, so that the system may back it with huge pages. (It lays pieces side by
    /// side or begins each at such a page.)
    fn new(is_huge: bool) -> Result<Self> {
        let map =
            MmapMut::map_anon(PIECE_LEN).map_err(|error| Error::io("get memory for changed pages", error))?;
        if is_huge {
            // Advice: the memory serves without it.
            let _ = map.advise(Advice::HugePage);
        }
        Ok(Piece(map))
    }
}

/// Pages in memory, by slot.
pub struct Arena {
    page_size: usize,
    /// A piece has two to this power pages.
    shift: u32,
    pieces: Vec<Piece>,
    epochs: Vec<u64>,
    /// The epoch of the page that was made last.
    newest: u64,
    free: Vec<u32>,
}

impl Arena {
    /// No pages. `pieces` is memory that another arena has used.
    pub fn new(page_size: usize, pieces: Vec<Piece>) -> Self {
        let shift = (PIECE_LEN / page_size).trailing_zeros();
        Arena { page_size, shift, pieces, epochs: Vec::new(), newest: 0, free: Vec::new() }
    }

    /// A new page; its bytes are whatever the slot held.
    ///
    /// # Errors
    /// `Io` where there is no memory.
    pub fn add(&mut self, epoch: u64) -> Result<u32> {
        self.newest = epoch;
        if let Some(slot) = self.free.pop() {
            self.epochs[slot as usize] = epoch;
            return Ok(slot);
        }
        let slot = self.epochs.len();
        if slot == self.pieces.len() << self.shift {
            // A small txn must not pay for two megabytes of zeros.
            self.pieces.push(Piece::new(!self.pieces.is_empty())?);
        }
        self.epochs.push(epoch);
        Ok(slot as u32)
    }

    /// The page is no longer needed.
    pub fn remove(&mut self, slot: u32) {
        self.epochs[slot as usize] = UNUSED;
        self.free.push(slot);
    }

    /// Removes every page made in `epoch` or later. No epoch to come may be an earlier one.
    pub fn remove_since(&mut self, epoch: u64) {
        if self.newest < epoch {
            return;
        }
        for slot in 0..self.epochs.len() as u32 {
            if self.epochs[slot as usize] != UNUSED && self.epochs[slot as usize] >= epoch {
                self.remove(slot);
            }
        }
    }

    /// The epoch in which the page was made.
    #[inline]
    pub fn epoch(&self, slot: u32) -> u64 {
        self.epochs[slot as usize]
    }

    /// Whether there is, or was, a page in the slot.
    #[inline]
    pub fn has(&self, slot: u32) -> bool {
        (slot as usize) < self.epochs.len()
    }

    /// The page in `slot`.
    #[inline]
    pub fn page(&self, slot: u32) -> &[u8] {
        let at = self.place(slot);
        &self.pieces[(slot >> self.shift) as usize].0[at..at + self.page_size]
    }

    /// The page in `slot`, to be changed.
    #[inline]
    pub fn page_mut(&mut self, slot: u32) -> &mut [u8] {
        let at = self.place(slot);
        &mut self.pieces[(slot >> self.shift) as usize].0[at..at + self.page_size]
    }

    fn place(&self, slot: u32) -> usize {
        (slot as usize & ((1 << self.shift) - 1)) * self.page_size
    }

    /// Overwrites the page in one slot with that in another.
    pub fn copy(&mut self, from: u32, to: u32) {
        let bytes = self.page(from).to_vec();
        self.page_mut(to).copy_from_slice(&bytes);
    }

    /// Number of pages.
    pub fn used(&self) -> usize {
        self.epochs.len() - self.free.len()
    }

    /// Memory for the next arena; this one has no pages any more.
    pub fn take_pieces(&mut self) -> Vec<Piece> {
        (self.epochs, self.free) = (Vec::new(), Vec::new());
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.truncate(KEPT_PIECES + LENT_PIECES);
        for piece in pieces.iter_mut().skip(KEPT_PIECES) {
            lend_back(&mut piece.0);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_keep_their_bytes_while_others_come_and_go() {
        for page_size in [4096, 65536] {
            let mut arena = Arena::new(page_size, Vec::new());
            let slots: Vec<u32> = (0..3 * PIECE_LEN / page_size + 1).map(|_| arena.add(0).unwrap()).collect();
            for slot in &slots {
                arena.page_mut(*slot).fill(*slot as u8);
            }
            slots.iter().step_by(3).for_each(|slot| arena.remove(*slot));
            let again: Vec<u32> = (0..slots.len().div_ceil(3)).map(|_| arena.add(1).unwrap()).collect();
            again.iter().for_each(|slot| arena.page_mut(*slot).fill(0xee));
            assert_eq!(arena.used(), slots.len());
            for slot in slots.iter().filter(|slot| !again.contains(slot)) {
                assert!(arena.page(*slot).iter().all(|byte| *byte == *slot as u8));
                assert_eq!((arena.epoch(*slot), arena.page(*slot).len()), (0, page_size));
            }
            arena.remove_since(1);
            assert_eq!(arena.used(), slots.len() - again.len());
            let pieces = arena.take_pieces();
            assert_eq!(pieces.len(), 4);
            assert!(!Arena::new(page_size, pieces).has(0));
        }
    }

    #[test]
    fn memory_that_was_lent_back_serves_again() {
        let mut pieces = Vec::new();
        for round in 0..3 {
            let mut arena = Arena::new(4096, pieces);
            let slots: Vec<u32> =
                (0..(KEPT_PIECES + 3) * PIECE_LEN / 4096).map(|_| arena.add(0).unwrap()).collect();
            slots.iter().for_each(|slot| arena.page_mut(*slot).fill(*slot as u8 ^ round));
            assert!(slots.iter().all(|slot| arena.page(*slot).iter().all(|b| *b == *slot as u8 ^ round)));
            pieces = arena.take_pieces();
            assert_eq!(pieces.len(), KEPT_PIECES + 3);
        }
    }
}
