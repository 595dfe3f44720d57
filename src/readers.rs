//! The sidecar: what processes that share a store tell each other.
//!
//! Owns: the file `<data>-lock` and its words: the newest published state, the newest one that a
//! writer builds on (the head), how far both are on the disk, and the reader slots.
//! Promises: pinning a snapshot is a few loads and one compare-and-swap in the process's own slot,
//! without system call, lock or allocation; a slot whose process died is found by the kernel's lock,
//! never by a pid. Nothing in it must last: it is rebuilt by whoever opens the store alone.
//!
//! ```text
//! page 0: word 0 magic | 1 layout | 2–3 store id | 5 blocks | 6 publications | 7 wake-up word
//!         | 8 txn of the turn under way, 0: none | 9 a flush: 0 none, 1 under way, 2 failed,
//!         3 the log was not looked at yet
//!         | 10 txn · 2 + meta slot of the checkpoint that is known to be on the disk, 0: none
//!         | 12 newest txn known to be on the disk | 13 bytes of the log known to be
//!         | 14 newest txn that is to be published only when it is on the disk
//!         | 15 number of failed flushes | 16 heads
//!         words 64–191: eight states of 16 words, that of publication p in place p mod 8
//!         words 192–255: four states likewise, the heads
//!         words 256–319: for failed flush f, in place f mod 64, the newest txn that it did not cost
//! page 1 + b: block b: word 0 owner (process index + 1), then 63 slots of one cache line; word 0: pinned txn
//! ```
//!
//! Why it is right (the argument is that of hazard pointers; LMDB's reader table is the model): a
//! reader stores the published txn in its slot, then reads the number of publications again and starts
//! over if it changed. A writer publishes, then looks at the slots. All four are sequentially consistent:
//! either the writer sees the slot, or the reader's second look comes after the publication.
//!
//! Invariants:
//! 1. The state of publication `p` is written before the number of publications becomes `p`.
//! 2. Only the holder of the flush lock publishes and changes words 9 to 13 and 15; only the holder of the
//!    writer lock changes words 8 and 14 and the heads (or who is alone, as the last to close). Only the
//!    owner writes a slot while it lives.
//! 3. `blocks` is raised after the file was extended and before a slot of the new block is used.

use crate::error::{Error, Result};
use crate::format::{ChildRef, Meta};
use crate::lock::{self, Mode};
use crate::log::{Log, Tail};
use crate::map::SharedWords;
use parking_lot::Mutex;
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};

const MAGIC: u64 = u64::from_le_bytes(*b"mapleafL");
const LAYOUT: u64 = 2;
const MAGIC_WORD: usize = 0;
const LAYOUT_WORD: usize = 1;
const STORE_ID_WORD: usize = 2;
const BLOCKS_WORD: usize = 5;
const PUBLICATIONS_WORD: usize = 6;
const TURN_WORD: usize = 8;
const FLUSH_WORD: usize = 9;
const CHECKPOINT_WORD: usize = 10;
const DURABLE_WORD: usize = 12;
const FLUSHED_WORD: usize = 13;
const ASKED_WORD: usize = 14;
const FAILURES_WORD: usize = 15;
const HEADS_WORD: usize = 16;
const PUBLISHED: Ring = Ring { count_word: PUBLICATIONS_WORD, first_word: 64, states: 8 };
const HEADS: Ring = Ring { count_word: HEADS_WORD, first_word: 192, states: 4 };
const FAILED_AT_WORD: usize = 256;
const FAILED_AT_COUNT: u64 = 64;
const STATE_WORDS: usize = 16;
const PAGE: usize = 4096;
const PAGE_WORDS: usize = PAGE / 8;
const LINE_WORDS: usize = 8;
const SLOTS_PER_BLOCK: usize = 63;
const MAX_BLOCKS: usize = 16384;
const MAX_PROCESSES: usize = 8192;
const FREE: u64 = 0;

/// A committed state: everything that a snapshot starts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// The txn that made it.
    pub txn: u64,
    /// Pages of the file.
    pub page_count: u64,
    /// Root of the catalog.
    pub catalog: ChildRef,
    /// Level of that root.
    pub catalog_level: u8,
    /// Id for the next new table.
    pub next_table: u32,
    /// Newest space record: page, birth, number of pages.
    pub space: (u64, u64, u64),
    /// The application's number.
    pub user_version: u64,
    /// Where the log goes on behind this state.
    pub log: Tail,
    /// Pages given up since the checkpoint that it still needs.
    pub held: u64,
}

/// Whether a flush is under way or has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushState {
    /// Neither.
    Settled = 0,
    /// Someone flushes; or has died while doing so, if nobody holds the lock.
    UnderWay = 1,
    /// What is on the disk is unknown until the store has recovered.
    Failed = 2,
    /// Nobody has looked yet whether the log has anything to replay.
    Unopened = 3,
}

/// Places for states of which the newest counts.
struct Ring {
    count_word: usize,
    first_word: usize,
    states: u64,
}

impl State {
    /// The state that a meta slot records.
    pub fn from_meta(meta: &Meta) -> Self {
        State {
            txn: meta.txn.get(),
            page_count: meta.page_count.get(),
            catalog: meta.catalog(),
            catalog_level: meta.catalog_level,
            next_table: meta.next_table.get(),
            space: (meta.space_page.get(), meta.space_birth.get(), u64::from(meta.space_pages.get())),
            user_version: meta.user_version.get(),
            log: Log::of(meta).start(),
            held: 0,
        }
    }

    /// Writes the state into a meta slot made from `template`, with the log that follows it.
    pub fn to_meta(self, template: &Meta, log: &Log) -> Meta {
        let mut meta = *template;
        meta.txn.set(self.txn);
        meta.page_count.set(self.page_count);
        meta.catalog_page.set(self.catalog.page);
        meta.catalog_birth.set(self.catalog.birth);
        meta.catalog_count.set(self.catalog.count);
        meta.catalog_level = self.catalog_level;
        meta.next_table.set(self.next_table);
        meta.space_page.set(self.space.0);
        meta.space_birth.set(self.space.1);
        meta.space_pages.set(self.space.2 as u32);
        meta.user_version.set(self.user_version);
        log.put_into(&mut meta);
        meta.seal()
    }

    fn to_words(self) -> [u64; STATE_WORDS] {
        let mut words = [0; STATE_WORDS];
        words[..14].copy_from_slice(&[
            self.txn,
            self.page_count,
            self.catalog.page,
            self.catalog.birth,
            self.catalog.count,
            u64::from(self.catalog_level),
            u64::from(self.next_table),
            self.space.0,
            self.space.1,
            self.space.2,
            self.user_version,
            self.log.offset,
            self.log.chain,
            self.held,
        ]);
        words
    }

    fn from_words(words: &[u64; STATE_WORDS]) -> Self {
        State {
            txn: words[0],
            page_count: words[1],
            catalog: ChildRef { page: words[2], birth: words[3], count: words[4] },
            catalog_level: words[5] as u8,
            next_table: words[6] as u32,
            space: (words[7], words[8], words[9]),
            user_version: words[10],
            log: Tail { offset: words[11], chain: words[12] },
            held: words[13],
        }
    }
}

/// The sidecar of an open store.
pub struct Readers {
    file: File,
    words: SharedWords,
    process: usize,
    /// Blocks of this process; the first `own_count` are set.
    own: Box<[AtomicUsize]>,
    own_count: AtomicUsize,
    /// Blocks known to lie inside the file.
    known_blocks: AtomicUsize,
    /// OFD locks do not tell threads of one process apart; this does.
    admin: Mutex<()>,
}

/// A pinned slot; give it back with [`Readers::unpin`].
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    word: usize,
}

thread_local! {
    /// Where this thread found a free slot last.
    static HINT: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl Readers {
    /// Maps the sidecar. When `alone` it is written anew with `state`; the caller holds
    /// [`lock::ADMIN`] on `file` until this returns.
    ///
    /// # Errors
    /// `Io`; `Busy` when others have the store open but the sidecar is not theirs.
    pub fn open(file: File, store_id: &[u8; 16], alone: bool, state: &State) -> Result<Self> {
        let io = |doing: &'static str| move |error| Error::io(doing, error);
        if alone {
            file.set_len(0).map_err(io("empty the lock file"))?;
            file.set_len(PAGE as u64).map_err(io("write the lock file"))?;
        } else if file.metadata().map_err(io("examine the lock file"))?.size() < PAGE as u64 {
            return Err(foreign_sidecar());
        }
        let words = SharedWords::map(&file, (1 + MAX_BLOCKS) * PAGE)?;
        let mut readers = Readers {
            file,
            words,
            process: 0,
            own: (0..MAX_BLOCKS).map(|_| AtomicUsize::new(0)).collect(),
            own_count: AtomicUsize::new(0),
            known_blocks: AtomicUsize::new(0),
            admin: Mutex::new(()),
        };
        let id = [0, 8].map(|at| u64::from_le_bytes(*store_id[at..].first_chunk().expect("16 bytes")));
        if alone {
            readers.initialise(id, state);
        } else if !readers.belongs_to(id) {
            return Err(foreign_sidecar());
        }
        readers.process = readers.claim_process()?;
        Ok(readers)
    }

    fn initialise(&self, id: [u64; 2], state: &State) {
        self.words.word(LAYOUT_WORD).store(LAYOUT, Relaxed);
        self.words.word(STORE_ID_WORD).store(id[0], Relaxed);
        self.words.word(STORE_ID_WORD + 1).store(id[1], Relaxed);
        self.set_flush_state(FlushState::Unopened);
        self.set_head(state);
        self.publish(state);
        self.words.word(MAGIC_WORD).store(MAGIC, Release);
    }

    fn belongs_to(&self, id: [u64; 2]) -> bool {
        self.words.word(MAGIC_WORD).load(Acquire) == MAGIC
            && self.words.word(LAYOUT_WORD).load(Relaxed) == LAYOUT
            && self.words.word(STORE_ID_WORD).load(Relaxed) == id[0]
            && self.words.word(STORE_ID_WORD + 1).load(Relaxed) == id[1]
    }

    /// Takes the first free process index. Blocks that a dead holder of it left are freed.
    fn claim_process(&self) -> Result<usize> {
        for index in 0..MAX_PROCESSES {
            let byte = lock::PROCESS + index as i64;
            let got = lock::try_lock(&self.file, byte, Mode::Exclusive)
                .map_err(|error| Error::io("lock a process slot", error))?;
            if got {
                self.free_blocks_of(index)?;
                return Ok(index);
            }
        }
        Err(Error::Busy { detail: format!("{MAX_PROCESSES} processes have the store open") })
    }

    fn free_blocks_of(&self, process: usize) -> Result<()> {
        for block in 0..self.blocks()? {
            if self.words.word(block_word(block)).load(Acquire) == process as u64 + 1 {
                for slot in 0..SLOTS_PER_BLOCK {
                    self.words.word(slot_word(block, slot)).store(FREE, SeqCst);
                }
                self.words.word(block_word(block)).store(0, SeqCst);
            }
        }
        Ok(())
    }

    /// Number of blocks, no more than the file really has.
    fn blocks(&self) -> Result<usize> {
        let claimed = self.words.word(BLOCKS_WORD).load(SeqCst) as usize;
        if claimed > self.known_blocks.load(Acquire) {
            let real =
                self.file.metadata().map_err(|error| Error::io("examine the lock file", error))?.size();
            self.known_blocks.store((real as usize / PAGE).saturating_sub(1).min(MAX_BLOCKS), Release);
        }
        Ok(claimed.min(self.known_blocks.load(Acquire)))
    }

    /// The newest published state.
    pub fn published(&self) -> State {
        self.newest(&PUBLISHED)
    }

    /// The state that the next writer builds on; the published one, or a later one that is not on the
    /// disk yet.
    pub fn head(&self) -> State {
        self.newest(&HEADS)
    }

    fn newest(&self, ring: &Ring) -> State {
        loop {
            let count = self.words.word(ring.count_word).load(SeqCst);
            let state = self.state_of(ring, count);
            if self.words.word(ring.count_word).load(SeqCst) == count {
                return state;
            }
        }
    }

    #[inline]
    fn publication(&self) -> u64 {
        self.words.word(PUBLICATIONS_WORD).load(SeqCst)
    }

    /// The state in place `count`; whole if that is still the newest afterwards.
    #[inline]
    fn state_of(&self, ring: &Ring, count: u64) -> State {
        let base = ring.first_word + (count % ring.states) as usize * STATE_WORDS;
        State::from_words(&std::array::from_fn(|i| self.words.word(base + i).load(Acquire)))
    }

    /// Makes `state` the newest for readers. The caller holds the flush lock.
    pub fn publish(&self, state: &State) {
        self.show(&PUBLISHED, state);
    }

    /// Makes `state` the one that the next writer builds on. The caller holds the writer lock.
    pub fn set_head(&self, state: &State) {
        self.show(&HEADS, state);
    }

    fn show(&self, ring: &Ring, state: &State) {
        let count = self.words.word(ring.count_word).load(SeqCst) + 1;
        let base = ring.first_word + (count % ring.states) as usize * STATE_WORDS;
        for (i, word) in state.to_words().iter().enumerate() {
            self.words.word(base + i).store(*word, Release);
        }
        self.words.word(ring.count_word).store(count, SeqCst);
    }

    /// Txn and meta slot of the checkpoint that is known to be on the disk; `None` before the store has
    /// recovered.
    pub fn checkpoint(&self) -> Option<(u64, usize)> {
        let word = self.words.word(CHECKPOINT_WORD).load(SeqCst);
        (word != 0).then_some((word >> 1, (word & 1) as usize))
    }

    /// Says that the checkpoint of `txn` in this slot is on the disk, and its log empty. One store, so that
    /// the death of the caller leaves the old or the new one.
    pub fn set_checkpoint(&self, txn: u64, slot: usize) {
        self.words.word(CHECKPOINT_WORD).store(txn << 1 | slot as u64, SeqCst);
        self.set_durable(txn, 0);
    }

    /// The newest txn known to be on the disk, and how much of the log is.
    pub fn durable(&self) -> (u64, u64) {
        let (durable, flushed) =
            (self.words.word(DURABLE_WORD).load(SeqCst), self.words.word(FLUSHED_WORD).load(SeqCst));
        match self.checkpoint() {
            // Whoever made it died before it could say more.
            Some((txn, _)) if txn > durable => (txn, 0),
            _ => (durable, flushed),
        }
    }

    /// Says that everything up to `txn` is on the disk, and the log up to `log_offset`.
    pub fn set_durable(&self, txn: u64, log_offset: u64) {
        self.words.word(FLUSHED_WORD).store(log_offset, SeqCst);
        self.words.word(DURABLE_WORD).store(txn, SeqCst);
    }

    /// The newest txn that is to be published only when it is on the disk.
    pub fn asked(&self) -> u64 {
        self.words.word(ASKED_WORD).load(SeqCst)
    }

    /// Says that `txn` is to be published only when it is on the disk.
    pub fn ask(&self, txn: u64) {
        self.words.word(ASKED_WORD).store(txn, SeqCst);
    }

    /// How the last flush stands.
    pub fn flush_state(&self) -> FlushState {
        match self.words.word(FLUSH_WORD).load(SeqCst) {
            0 => FlushState::Settled,
            1 => FlushState::UnderWay,
            2 => FlushState::Failed,
            _ => FlushState::Unopened,
        }
    }

    /// Says how the flush stands. The caller holds the flush lock.
    pub fn set_flush_state(&self, state: FlushState) {
        self.words.word(FLUSH_WORD).store(state as u64, SeqCst);
    }

    /// Number of flushes that failed.
    pub fn failures(&self) -> u64 {
        self.words.word(FAILURES_WORD).load(SeqCst)
    }

    /// A flush failed, or whoever did it died: what was neither on the disk before nor published is lost.
    /// Counted before it is said, so that nobody takes the state for settled who has not counted.
    pub fn fail(&self) {
        let failures = self.failures();
        let place = FAILED_AT_WORD + (failures % FAILED_AT_COUNT) as usize;
        self.words.word(place).store(self.durable().0.max(self.published().txn), SeqCst);
        self.words.word(FAILURES_WORD).store(failures + 1, SeqCst);
        self.set_flush_state(FlushState::Failed);
    }

    /// The newest txn that failure number `failure` did not cost; `None` when that is too long ago.
    pub fn kept_at_failure(&self, failure: u64) -> Option<u64> {
        let kept = self.words.word(FAILED_AT_WORD + (failure % FAILED_AT_COUNT) as usize).load(SeqCst);
        (self.failures() < failure + FAILED_AT_COUNT).then_some(kept)
    }

    /// The txn whose turn was begun and not ended well: the writer died, or something of what it wrote
    /// could not be undone.
    pub fn open_turn(&self) -> Option<u64> {
        Some(self.words.word(TURN_WORD).load(SeqCst)).filter(|txn| *txn != 0)
    }

    /// Begins the turn of `txn`, or, with 0, ends one that has left nothing behind. The caller holds the
    /// writer lock.
    pub fn set_open_turn(&self, txn: u64) {
        self.words.word(TURN_WORD).store(txn, SeqCst);
    }

    /// Pins the newest state: no page that it needs is reused until [`Readers::unpin`].
    ///
    /// # Errors
    /// `Io` or `Busy` when all slots are taken and there can be no more.
    #[inline]
    pub fn pin(&self) -> Result<(Pin, State)> {
        let mut publication = self.publication();
        let mut state = self.state_of(&PUBLISHED, publication);
        let pin = self.claim_slot(state.txn)?;
        loop {
            let newest = self.publication();
            if newest == publication {
                return Ok((pin, state));
            }
            publication = newest;
            state = self.state_of(&PUBLISHED, publication);
            self.words.word(pin.word).store(state.txn, SeqCst);
        }
    }

    /// Gives the slot back.
    #[inline]
    pub fn unpin(&self, pin: Pin) {
        self.words.word(pin.word).store(FREE, SeqCst);
    }

    /// Takes a free slot of this process, first the one that this thread had last.
    #[inline]
    fn claim_slot(&self, txn: u64) -> Result<Pin> {
        loop {
            let own = self.own_count.load(Acquire);
            let slots = own * SLOTS_PER_BLOCK;
            let hint = HINT.get();
            let first = if hint < slots { hint } else { 0 };
            for slot in (first..slots).chain(0..first) {
                let block = self.own[slot / SLOTS_PER_BLOCK].load(Relaxed);
                let word = slot_word(block, slot % SLOTS_PER_BLOCK);
                let place = self.words.word(word);
                if place.load(Relaxed) == FREE && place.compare_exchange(FREE, txn, SeqCst, Relaxed).is_ok() {
                    HINT.set(slot);
                    return Ok(Pin { word });
                }
            }
            self.claim_block(own)?;
        }
    }

    /// Gets this process one more block, unless another thread did since `seen` was read.
    #[cold]
    fn claim_block(&self, seen: usize) -> Result<()> {
        let _admin = self.lock_admin()?;
        if self.own_count.load(Acquire) != seen {
            return Ok(());
        }
        let blocks = self.blocks()?;
        let free = (0..blocks).find(|block| self.words.word(block_word(*block)).load(Acquire) == 0);
        let block = free.unwrap_or(blocks);
        if block == blocks {
            if blocks == MAX_BLOCKS {
                return Err(Error::Busy {
                    detail: format!("all {} reader slots are taken", MAX_BLOCKS * SLOTS_PER_BLOCK),
                });
            }
            let len = (blocks as u64 + 2) * PAGE as u64;
            self.file.set_len(len).map_err(|error| Error::io("extend the lock file", error))?;
            self.words.word(BLOCKS_WORD).store(blocks as u64 + 1, SeqCst);
        }
        self.words.word(block_word(block)).store(self.process as u64 + 1, SeqCst);
        self.own[seen].store(block, Relaxed);
        self.own_count.store(seen + 1, Release);
        Ok(())
    }

    /// The txns that are pinned, ascending, each once.
    ///
    /// # Errors
    /// `Io` when the file cannot be examined.
    pub fn pinned(&self) -> Result<Vec<u64>> {
        let mut pinned = Vec::new();
        for block in 0..self.blocks()? {
            if self.words.word(block_word(block)).load(SeqCst) != 0 {
                let slots = (0..SLOTS_PER_BLOCK).map(|slot| self.words.word(slot_word(block, slot)));
                pinned.extend(slots.map(|word| word.load(SeqCst)).filter(|txn| *txn != FREE));
            }
        }
        pinned.sort_unstable();
        pinned.dedup();
        Ok(pinned)
    }

    /// Frees the slots of processes that died. Returns whether there were any.
    ///
    /// # Errors
    /// `Io` when the kernel does not say who lives.
    pub fn reap(&self) -> Result<bool> {
        let dead = self.dead_processes()?;
        if dead.is_empty() {
            return Ok(false);
        }
        let _admin = self.lock_admin()?;
        // Again, now that nobody can take an index of theirs.
        for process in self.dead_processes()? {
            self.free_blocks_of(process)?;
        }
        Ok(true)
    }

    fn dead_processes(&self) -> Result<Vec<usize>> {
        let mut owners: Vec<u64> =
            (0..self.blocks()?).map(|block| self.words.word(block_word(block)).load(Acquire)).collect();
        owners.sort_unstable();
        owners.dedup();
        let mut dead = Vec::new();
        for owner in owners.into_iter().filter(|owner| *owner != 0 && *owner != self.process as u64 + 1) {
            let process = owner as usize - 1;
            let held = lock::is_held(&self.file, lock::PROCESS + process as i64)
                .map_err(|error| Error::io("examine a process slot", error))?;
            if !held {
                dead.push(process);
            }
        }
        Ok(dead)
    }

    /// Keeps others from opening the store, and from handing out slots, until the guard is dropped.
    ///
    /// # Errors
    /// `Io`.
    pub fn lock_admin(&self) -> Result<impl Drop + '_> {
        let guard = self.admin.lock();
        lock::lock(&self.file, lock::ADMIN, Mode::Exclusive)
            .map_err(|error| Error::io("lock the lock file", error))?;
        Ok(AdminLock { file: &self.file, _guard: guard })
    }
}

struct AdminLock<'a> {
    file: &'a File,
    _guard: parking_lot::MutexGuard<'a, ()>,
}

impl Drop for AdminLock<'_> {
    fn drop(&mut self) {
        // Unlocking a byte that is held does not fail; the kernel would do it at exit anyway.
        let _ = lock::unlock(self.file, lock::ADMIN);
    }
}

fn block_word(block: usize) -> usize {
    (1 + block) * PAGE_WORDS
}

fn slot_word(block: usize, slot: usize) -> usize {
    block_word(block) + (1 + slot) * LINE_WORDS
}

fn foreign_sidecar() -> Error {
    Error::Busy {
        detail: "another process has the store open, but the lock file beside it was removed or replaced; \
                 close the store everywhere, then open it again"
            .into(),
    }
}

/// Keeps the compiler honest about what crosses processes.
const _: () = assert!(size_of::<AtomicU64>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    fn state(txn: u64) -> State {
        State::from_meta(&Meta::new(4096, 16, [3; 16])).with_txn(txn)
    }

    impl State {
        fn with_txn(self, txn: u64) -> Self {
            State { txn, ..self }
        }
    }

    fn open(file: &tempfile::NamedTempFile, alone: bool) -> Readers {
        Readers::open(file.reopen().unwrap(), &[3; 16], alone, &state(1)).unwrap()
    }

    #[test]
    fn a_pin_is_seen_by_others_until_it_is_given_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (a, b) = (open(&file, true), open(&file, false));
        a.publish(&state(7));
        let (pin, pinned) = b.pin().unwrap();
        assert_eq!(pinned.txn, 7);
        a.publish(&state(8));
        assert_eq!(a.pinned().unwrap(), [7]);
        b.unpin(pin);
        assert!(a.pinned().unwrap().is_empty());
    }

    #[test]
    fn slots_grow_and_the_dead_are_reaped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (a, b) = (open(&file, true), open(&file, false));
        for txn in 1..=1000 {
            a.publish(&state(txn));
            b.pin().unwrap();
        }
        assert_eq!(a.pinned().unwrap().len(), 1000);
        assert!(!a.reap().unwrap(), "b lives");
        drop(b);
        assert!(a.reap().unwrap());
        assert!(a.pinned().unwrap().is_empty());
    }

    #[test]
    fn a_sidecar_of_another_store_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let _a = open(&file, true);
        let other = Readers::open(file.reopen().unwrap(), &[4; 16], false, &state(1));
        assert!(matches!(other, Err(Error::Busy { .. })));
    }
}
