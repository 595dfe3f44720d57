//! What processes that share a store tell each other, as words in shared memory.
//!
//! Owns: the layout of the words: the newest published state, the newest one that a writer builds on (the
//! head), how far both are on the disk, the wake-up word, and the reader slots; and the protocol by which
//! snapshots are pinned. Promises: pinning is a few loads and one compare-and-swap in a slot of one's own,
//! without system call, lock or allocation. Leaves to others: the file that the words lie in, whose slots are whose, and
//! who lives ([`crate::readers`]). It runs on any [`Words`], so that a model
//! checker can run it too.
//!
//! ```text
//! page 0: word 0 magic | 1 layout | 2–3 store id | 4 session | 5 blocks | 6 publications
//!         | 7 wake-up word: low half a number that changes, high half 1 when somebody waits
//!         | 8 txn of the turn under way, 0: none | 9 a flush: 0 none, 1 under way, 2 failed,
//!         3 the log was not looked at yet
//!         | 10 txn · 2 + meta slot of the checkpoint that is known to be on the disk, 0: none
//!         | 11 inode of the file that these words lie in
//!         | 12 newest txn known to be on the disk | 13 bytes of the log known to be
//!         | 14 newest txn that is to be published only when it is on the disk
//!         | 15 number of failed flushes; from bit 32 on that of times that the file was cut | 16 heads
//!         | 17 number of snapshots that were pinned once more, for somebody else
//!         | 18 the mark of settled meta slots: 0 nobody has looked, 1 taken away, 2 left by who was here before
//!         | 19 the newest txn that has fewer pages than one before it, 0: none | 20 pages that those before it have at most
//!         words 64–191: eight states of 16 words, that of publication p in place p mod 8
//!         words 192–255: four states likewise, the heads
//!         words 256–319: for failed flush f, in place f mod 64, the newest txn that it did not cost
//! page 1 + b: block b, 64 cache lines. Line 0: word 0 owner (process index + 1), 1 number of slots that were
//!         ever used, 2 pid and 3–7 label, both for display only. Then 63 slots: word 0 pinned txn (0: free),
//!         1 when it was pinned (coarse monotonic clock, ms), 2–7 label
//! ```
//!
//! Why it is right (the argument is that of hazard pointers; LMDB's reader table is the model): a
//! reader stores the published txn in its slot, then reads the number of publications again and starts
//! over if it changed. A writer publishes, then looks at the slots. All four are sequentially consistent:
//! either the writer sees the slot, or the reader's second look comes after the publication. The number
//! of used slots is raised before the slot is taken, so the same holds for a slot behind it. A snapshot that is pinned
//! in a second slot, to be unpinned in the first, would escape a writer that has passed the second and not yet
//! the first; so this is counted, and the writer looks again.
//!
//! Invariants:
//! 1. The state of publication `p` is written before the number of publications becomes `p`.
//! 2. Only the holder of the flush lock publishes and changes words 9 to 13, 18 to 20, and 15, which counts cuts by
//!    whoever has the turn as well; only the holder of the
//!    writer lock changes words 8 and 14 and the heads (or who is alone, as the last to close). Only the
//!    owner writes a slot while it lives.

use crate::format::{ChildRef, Meta};
use crate::log::{Log, Tail};
use crate::map::{Word, Words};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

const MAGIC: u64 = u64::from_le_bytes(*b"mapleafL");
const LAYOUT: u64 = 5;
const MAGIC_WORD: usize = 0;
const LAYOUT_WORD: usize = 1;
const STORE_ID_WORD: usize = 2;
const SESSION_WORD: usize = 4;
const BLOCKS_WORD: usize = 5;
const PUBLICATIONS_WORD: usize = 6;
/// The wake-up word, which [`crate::readers`] touches in halves.
pub const WAKE_WORD: usize = 7;
const TURN_WORD: usize = 8;
const FLUSH_WORD: usize = 9;
const CHECKPOINT_WORD: usize = 10;
const INODE_WORD: usize = 11;
const DURABLE_WORD: usize = 12;
const FLUSHED_WORD: usize = 13;
const ASKED_WORD: usize = 14;
const FAILURES_WORD: usize = 15;
const HEADS_WORD: usize = 16;
const HANDOVERS_WORD: usize = 17;
const MARK_WORD: usize = 18;
const SHRUNK_WORD: usize = 19;
const LONGEST_WORD: usize = 20;
const PUBLISHED: Ring = Ring { count_word: PUBLICATIONS_WORD, first_word: 64, states: 8 };
const HEADS: Ring = Ring { count_word: HEADS_WORD, first_word: 192, states: 4 };
const FAILED_AT_WORD: usize = 256;
const FAILED_AT_COUNT: u64 = 64;
/// What a cut adds to the number of failures.
const CUT: u64 = 1 << 32;
/// Words of a state.
pub const STATE_WORDS: usize = 16;
/// Bytes of a page of the sidecar: of its head, and of each block.
pub const PAGE: usize = 4096;
const PAGE_WORDS: usize = PAGE / 8;
const LINE_WORDS: usize = 8;
/// Slots of a block.
pub const SLOTS_PER_BLOCK: usize = 63;
/// Blocks that there can be.
pub const MAX_BLOCKS: usize = 16384;
const FIRST_BLOCKS: usize = 8;
const USED_AT: usize = 1;
const PID_AT: usize = 2;
const OWNER_LABEL: std::ops::Range<usize> = 3..8;
const SINCE_AT: usize = 1;
const SLOT_LABEL: std::ops::Range<usize> = 2..8;
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
    /// Root of the table of stored snapshots.
    pub snapshots: ChildRef,
    /// Level of that root.
    pub snapshots_level: u8,
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

/// What this session knows of the mark of settled meta slots ([`crate::settled`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Nobody has looked.
    Unknown = 0,
    /// It was taken away.
    Gone = 1,
    /// It was left by the session before, and is still there.
    Left = 2,
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
            snapshots: meta.snapshots(),
            snapshots_level: meta.snapshots_level,
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
        meta.snapshots_page.set(self.snapshots.page);
        meta.snapshots_birth.set(self.snapshots.birth);
        meta.snapshots_count.set(self.snapshots.count);
        meta.snapshots_level = self.snapshots_level;
        log.put_into(&mut meta);
        meta.seal()
    }

    /// As words.
    pub fn to_words(self) -> [u64; STATE_WORDS] {
        [
            self.txn,
            self.page_count,
            self.catalog.page,
            self.catalog.birth,
            self.catalog.count,
            // Neither has more than 48 bits, or more than 32 levels.
            u64::from(self.catalog_level) | u64::from(self.snapshots_level) << 8 | self.snapshots.count << 16,
            u64::from(self.next_table),
            self.space.0,
            self.space.1,
            self.space.2,
            self.user_version,
            self.log.offset,
            self.log.chain,
            self.held,
            self.snapshots.page,
            self.snapshots.birth,
        ]
    }

    /// From the words of [`State::to_words`].
    #[inline(always)]
    pub fn from_words(words: &[u64; STATE_WORDS]) -> Self {
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
            snapshots: ChildRef { page: words[14], birth: words[15], count: words[5] >> 16 },
            snapshots_level: (words[5] >> 8) as u8,
        }
    }
}

/// The shared words of a store.
pub struct Shared<W> {
    /// Where they are.
    pub words: W,
}

/// The blocks of one process, as it knows them itself.
pub struct OwnBlocks {
    /// The first ones; few processes have more.
    first: [AtomicUsize; FIRST_BLOCKS],
    more: OnceLock<Box<[AtomicUsize]>>,
    /// So many of them are set.
    count: AtomicUsize,
}

/// A pinned slot; give it back with [`Shared::unpin`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin {
    /// The slot's first word.
    pub word: usize,
}

/// What a slot says of a snapshot.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The txn.
    pub txn: u64,
    /// The process that pinned it, by its index.
    pub process: usize,
    /// When it was pinned, in milliseconds of the coarse monotonic clock.
    pub since: u64,
    /// For display.
    pub pid: u32,
    /// The snapshot's label, or else its process's.
    pub label: String,
}

thread_local! {
    /// Where this thread found a free slot last.
    static HINT: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl OwnBlocks {
    /// None yet.
    pub fn new() -> Self {
        OwnBlocks {
            first: [const { AtomicUsize::new(0) }; FIRST_BLOCKS],
            more: OnceLock::new(),
            count: AtomicUsize::new(0),
        }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count.load(Acquire)
    }

    /// Adds one. The caller keeps others from adding.
    pub fn add(&self, block: usize) {
        let count = self.count.load(Relaxed);
        self.place(count).store(block, Relaxed);
        self.count.store(count + 1, Release);
    }

    fn slot(&self, slot: usize) -> (usize, usize) {
        (self.place(slot / SLOTS_PER_BLOCK).load(Relaxed), slot % SLOTS_PER_BLOCK)
    }

    #[inline]
    fn place(&self, at: usize) -> &AtomicUsize {
        self.first.get(at).unwrap_or_else(|| self.place_behind(at - FIRST_BLOCKS))
    }

    #[cold]
    fn place_behind(&self, at: usize) -> &AtomicUsize {
        let all = || (FIRST_BLOCKS..MAX_BLOCKS).map(|_| AtomicUsize::new(0)).collect();
        &self.more.get_or_init(all)[at]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count()).map(|at| self.place(at).load(Relaxed))
    }
}

impl<W: Words> Shared<W> {
    /// Fills words that are all 0.
    pub fn initialise(&self, store_id: &[u8; 16], session: u64, inode: u64, state: &State) {
        for (i, id) in id_words(store_id).into_iter().enumerate() {
            self.words.word(STORE_ID_WORD + i).store(id, Relaxed);
        }
        self.words.word(LAYOUT_WORD).store(LAYOUT, Relaxed);
        self.words.word(SESSION_WORD).store(session, Relaxed);
        self.words.word(INODE_WORD).store(inode, Relaxed);
        self.set_flush_state(FlushState::Unopened);
        self.set_head(state);
        self.publish(state);
        self.words.word(MAGIC_WORD).store(MAGIC, Release);
    }

    /// The session that these words are of, if they are of this store and lie where they were written.
    pub fn session(&self, store_id: &[u8; 16], inode: u64) -> Option<u64> {
        let is = |word: usize, value: u64| self.words.word(word).load(Relaxed) == value;
        let [low, high] = id_words(store_id);
        let fits = self.words.word(MAGIC_WORD).load(Acquire) == MAGIC
            && is(LAYOUT_WORD, LAYOUT)
            && is(STORE_ID_WORD, low)
            && is(STORE_ID_WORD + 1, high)
            && is(INODE_WORD, inode);
        fits.then(|| self.words.word(SESSION_WORD).load(Relaxed))
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
    #[inline(always)]
    fn state_of(&self, ring: &Ring, count: u64) -> State {
        let base = ring.first_word + (count % ring.states) as usize * STATE_WORDS;
        State::from_words(&self.words.load_all(base))
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
        let count = self.words.word(ring.count_word).load(SeqCst).wrapping_add(1);
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

    /// Whether the data file has the mark of settled meta slots.
    pub fn mark(&self) -> Mark {
        match self.words.word(MARK_WORD).load(SeqCst) {
            1 => Mark::Gone,
            2 => Mark::Left,
            _ => Mark::Unknown,
        }
    }

    /// Says so. The caller holds the flush lock, or is alone.
    pub fn set_mark(&self, mark: Mark) {
        self.words.word(MARK_WORD).store(mark as u64, SeqCst);
    }

    /// Number of flushes that failed.
    pub fn failures(&self) -> u64 {
        self.upsets() % CUT
    }

    /// Changes with every failed flush and every cut of the file: what a process knows of its pages is in doubt then.
    #[inline]
    pub fn upsets(&self) -> u64 {
        self.words.word(FAILURES_WORD).load(SeqCst)
    }

    /// Says that the file was cut.
    pub fn count_cut(&self) {
        self.add_upset(CUT);
    }

    fn add_upset(&self, kind: u64) {
        let word = self.words.word(FAILURES_WORD);
        loop {
            let before = word.load(SeqCst);
            if word.exchange_if(before, before.wrapping_add(kind)) {
                break;
            }
        }
    }

    /// The newest txn that has fewer pages than one before it, and how many those before it have at most.
    pub fn shrunk(&self) -> (u64, u64) {
        (self.words.word(SHRUNK_WORD).load(SeqCst), self.words.word(LONGEST_WORD).load(SeqCst))
    }

    /// Says so, before anything of that txn can be seen. The caller holds the flush lock.
    pub fn set_shrunk(&self, txn: u64, longest: u64) {
        // In this order: whoever dies in between has not made the file seem shorter.
        self.words.word(LONGEST_WORD).store(longest, SeqCst);
        self.words.word(SHRUNK_WORD).store(txn, SeqCst);
    }

    /// A flush failed, or whoever did it died: what was neither on the disk before nor published is lost.
    /// Counted before it is said, so that nobody takes the state for settled who has not counted.
    pub fn fail(&self) {
        let failures = self.failures();
        let place = FAILED_AT_WORD + (failures % FAILED_AT_COUNT) as usize;
        self.words.word(place).store(self.durable().0.max(self.published().txn), SeqCst);
        self.add_upset(1);
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

    // ---- slots ----

    /// Pins the newest state: no page that it needs is reused until [`Shared::unpin`]. `None` when all
    /// slots of these blocks are taken.
    #[inline]
    pub fn try_pin(&self, own: &OwnBlocks) -> Option<(Pin, State)> {
        let mut publication = self.publication();
        let mut state = self.state_of(&PUBLISHED, publication);
        let pin = self.claim_slot(own, state.txn)?;
        loop {
            let newest = self.publication();
            if newest == publication {
                return Some((pin, state));
            }
            publication = newest;
            state = self.state_of(&PUBLISHED, publication);
            self.words.word(pin.word).store(state.txn, SeqCst);
        }
    }

    /// Gives the slot back.
    #[inline]
    pub fn unpin(&self, pin: Pin) {
        // What was read under it was read before.
        self.words.word(pin.word).store(FREE, Release);
    }

    /// Takes a free slot for this txn, first the one that this thread had last. Its pages are safe from then on if
    /// something behind it shows that they were not given up before.
    #[inline]
    pub fn claim_slot(&self, own: &OwnBlocks, txn: u64) -> Option<Pin> {
        let slots = own.count() * SLOTS_PER_BLOCK;
        let hint = HINT.get();
        let first = if hint < slots { hint } else { 0 };
        for slot in (first..slots).chain(0..first) {
            let (block, at) = own.slot(slot);
            let place = self.words.word(slot_word(block, at));
            if place.load(Relaxed) != FREE {
                continue;
            }
            self.use_slot(block, at);
            if place.exchange_if(FREE, txn) {
                HINT.set(slot);
                return Some(Pin { word: slot_word(block, at) });
            }
        }
        None
    }

    #[inline]
    fn use_slot(&self, block: usize, at: usize) {
        let used = self.words.word(block_word(block) + USED_AT);
        if used.load(Relaxed) <= at as u64 {
            used.raise(at as u64 + 1);
        }
    }

    /// Pins a txn in a slot of a block that nobody else uses yet. The txn is pinned elsewhere meanwhile, and may be
    /// unpinned there afterwards. The caller keeps others from doing the same.
    pub fn pin_at(&self, block: usize, at: usize, txn: u64) -> Pin {
        self.use_slot(block, at);
        self.words.word(slot_word(block, at)).store(txn, SeqCst);
        let handovers = self.words.word(HANDOVERS_WORD);
        handovers.store(handovers.load(Relaxed).wrapping_add(1), SeqCst);
        Pin { word: slot_word(block, at) }
    }

    /// How often a snapshot was pinned once more. Whoever looks for a pin in all slots looks again if this has
    /// changed meanwhile.
    pub fn handovers(&self) -> u64 {
        self.words.word(HANDOVERS_WORD).load(SeqCst)
    }

    /// The txn that is pinned there.
    pub fn pinned_at(&self, pin: Pin) -> Option<u64> {
        Some(self.words.word(pin.word).load(SeqCst)).filter(|txn| *txn != FREE)
    }

    /// The txns that are pinned in the first blocks, ascending, each once; but see [`Shared::handovers`].
    pub fn pinned(&self, blocks: usize) -> Vec<u64> {
        let mut pinned = Vec::new();
        for block in (0..blocks).filter(|block| self.owner(*block).is_some()) {
            let slots = self.used_slots(block).map(|pin| self.words.word(pin.word).load(SeqCst));
            pinned.extend(slots.filter(|txn| *txn != FREE));
        }
        pinned.sort_unstable();
        pinned.dedup();
        pinned
    }

    /// The slots of a block that may be pinned.
    pub fn used_slots(&self, block: usize) -> impl Iterator<Item = Pin> + use<W> {
        let used = self.words.word(block_word(block) + USED_AT).load(SeqCst) as usize;
        (0..used.min(SLOTS_PER_BLOCK)).map(move |at| Pin { word: slot_word(block, at) })
    }

    // ---- blocks ----

    /// Number of blocks that the words claim to have.
    pub fn claimed_blocks(&self) -> usize {
        self.words.word(BLOCKS_WORD).load(SeqCst) as usize
    }

    /// Says that there are so many. The caller has extended the file, and keeps others from doing so.
    pub fn set_blocks(&self, blocks: usize) {
        self.words.word(BLOCKS_WORD).store(blocks as u64, SeqCst);
    }

    /// The process that a block belongs to.
    pub fn owner(&self, block: usize) -> Option<usize> {
        (self.words.word(block_word(block)).load(SeqCst) as usize).checked_sub(1)
    }

    /// Gives a free block to a process. The caller keeps others from doing so.
    pub fn give_block(&self, block: usize, process: usize, pid: u32, label: &str) {
        self.words.word(block_word(block) + USED_AT).store(0, SeqCst);
        self.words.word(block_word(block) + PID_AT).store(u64::from(pid), Relaxed);
        self.put_text(block_word(block), OWNER_LABEL, label);
        self.words.word(block_word(block)).store(process as u64 + 1, SeqCst);
    }

    /// Says that the block of this slot is another process's now; for display.
    pub fn set_pid(&self, pin: Pin, pid: u32) {
        let block = pin.word / PAGE_WORDS - 1;
        self.words.word(block_word(block) + PID_AT).store(u64::from(pid), Relaxed);
    }

    /// Frees a block with all its slots. Its owner is dead.
    pub fn free_block(&self, block: usize) {
        for at in 0..SLOTS_PER_BLOCK {
            self.words.word(slot_word(block, at)).store(FREE, SeqCst);
            SLOT_LABEL.for_each(|word| self.words.word(slot_word(block, at) + word).store(0, Relaxed));
        }
        self.words.word(block_word(block)).store(0, SeqCst);
    }

    // ---- for display ----

    /// Says since when a slot is pinned.
    #[inline]
    pub fn set_since(&self, pin: Pin, since: u64) {
        self.words.word(pin.word + SINCE_AT).store(since, Relaxed);
    }

    /// Labels a snapshot; "" takes the label away.
    pub fn set_label(&self, pin: Pin, label: &str) {
        self.put_text(pin.word, SLOT_LABEL, label);
    }

    /// What the pinned slots of a block say.
    pub fn describe_block(&self, block: usize) -> Vec<Pinned> {
        let Some(process) = self.owner(block) else { return Vec::new() };
        let pid = self.words.word(block_word(block) + PID_AT).load(Relaxed) as u32;
        let owner = self.text(block_word(block), OWNER_LABEL);
        let pinned = self.used_slots(block).filter_map(|pin| {
            let txn = self.pinned_at(pin)?;
            let own = self.text(pin.word, SLOT_LABEL);
            let since = self.words.word(pin.word + SINCE_AT).load(Relaxed);
            let label = if own.is_empty() { owner.clone() } else { own };
            Some(Pinned { txn, process, since, pid, label })
        });
        pinned.collect()
    }

    fn put_text(&self, base: usize, at: std::ops::Range<usize>, text: &str) {
        let mut end = text.len().min(at.len() * 8);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = text.as_bytes()[..end].to_vec();
        bytes.resize(at.len() * 8, 0);
        for (word, eight) in at.zip(bytes.chunks_exact(8)) {
            let value = u64::from_le_bytes(*eight.first_chunk().expect("eight bytes"));
            self.words.word(base + word).store(value, Relaxed);
        }
    }

    fn text(&self, base: usize, at: std::ops::Range<usize>) -> String {
        let bytes: Vec<u8> =
            at.flat_map(|word| self.words.word(base + word).load(Relaxed).to_le_bytes()).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

fn id_words(store_id: &[u8; 16]) -> [u64; 2] {
    [0, 8].map(|at| u64::from_le_bytes(*store_id[at..].first_chunk().expect("16 bytes")))
}

fn block_word(block: usize) -> usize {
    (1 + block) * PAGE_WORDS
}

fn slot_word(block: usize, slot: usize) -> usize {
    block_word(block) + (1 + slot) * LINE_WORDS
}

#[cfg(test)]
mod model;
