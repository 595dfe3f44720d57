//! The protocol of [`super`], run by a model checker (`shuttle`): the real code, on words at which the checker
//! may switch from one process to another, or let one die.
//!
//! Two models. **Slots**: readers pin, read pages and unpin while a writer publishes, reuses pages and cuts the file.
//! **Turns**: writers take the turn, flush, publish and recover in the order of `group`, `commit`, `store` and
//! `recover`, on a disk that remembers what was flushed; each may die at every step. What is checked stands
//! in [`Slots::read`] and [`Turns::shown`], [`Turns::acknowledge`] and [`Turns::check_power_cut`].
//!
//! The checker explores sequentially consistent interleavings; all that the protocol rests on is `SeqCst`. Each model
//! can also be run with one thing taken out ([`Fault`]), which it must find: else it would show nothing.
//! A failure prints its schedule, for `shuttle::replay`; `SHUTTLE_RANDOM_SEED` makes a run repeatable.

use super::*;
use shuttle::current;
use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};
use shuttle::rand::Rng;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, AtomicU64 as LoudWord};
use shuttle::thread;
use shuttle::{Config, Runner};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicU64 as QuietWord;
use std::sync::{Arc, OnceLock};

// ---- the words ----

/// Words at which the checker may switch; but for some that would only make the runs longer.
struct ModelWords {
    words: Box<[OnceLock<ModelWord>]>,
    is_loud: fn(usize) -> bool,
}

enum ModelWord {
    Loud(LoudWord),
    Quiet(QuietWord),
}

impl Words for ModelWords {
    type Word = ModelWord;

    fn word(&self, i: usize) -> &ModelWord {
        self.words[i].get_or_init(|| match (self.is_loud)(i) {
            true => ModelWord::Loud(LoudWord::new(0)),
            false => ModelWord::Quiet(QuietWord::new(0)),
        })
    }
}

impl Word for ModelWord {
    fn load(&self, _: std::sync::atomic::Ordering) -> u64 {
        match self {
            ModelWord::Loud(word) => {
                step();
                word.load(SeqCst)
            }
            ModelWord::Quiet(word) => word.load(SeqCst),
        }
    }

    fn store(&self, value: u64, _: std::sync::atomic::Ordering) {
        match self {
            ModelWord::Loud(word) => {
                step();
                word.store(value, SeqCst);
            }
            ModelWord::Quiet(word) => word.store(value, SeqCst),
        }
    }

    fn exchange_if(&self, current: u64, new: u64) -> bool {
        match self {
            ModelWord::Loud(word) => {
                step();
                word.compare_exchange(current, new, SeqCst, SeqCst).is_ok()
            }
            ModelWord::Quiet(word) => word.compare_exchange(current, new, SeqCst, SeqCst).is_ok(),
        }
    }

    fn raise(&self, value: u64) {
        match self {
            ModelWord::Loud(word) => {
                step();
                word.fetch_max(value, SeqCst);
            }
            ModelWord::Quiet(word) => {
                word.fetch_max(value, SeqCst);
            }
        }
    }
}

/// Of a state the first word and the last, so that a torn one shows; of a block the owner, the mark and the
/// slots' first words. Slots 2 to 60 of a block are for tests in which they stay as they are.
fn is_loud(word: usize) -> bool {
    match (word / PAGE_WORDS, word % PAGE_WORDS) {
        (0, at @ 64..256) => matches!(at % STATE_WORDS, 0 | 13),
        (0, at) => (BLOCKS_WORD..=HANDOVERS_WORD).contains(&at) || at >= FAILED_AT_WORD,
        (_, at @ 0..LINE_WORDS) => at < PID_AT,
        (_, at) => at % LINE_WORDS == 0 && !(2..61).contains(&(at / LINE_WORDS - 1)),
    }
}

/// The same, but states are written and read in one step.
fn is_loud_of_whole_states(word: usize) -> bool {
    is_loud(word) && (word / PAGE_WORDS != 0 || !matches!(word, 64..256) || word.is_multiple_of(STATE_WORDS))
}

fn new_words(blocks: usize) -> Shared<ModelWords> {
    // The hint is one for all threads here, which is allowed; but no run may depend on the one before.
    HINT.set(usize::MAX);
    LIVES.with_borrow_mut(BTreeMap::clear);
    let words = (0..(1 + blocks) * PAGE_WORDS).map(|_| OnceLock::new());
    Shared { words: ModelWords { words: words.collect(), is_loud } }
}

fn few_blocks() -> OwnBlocks {
    OwnBlocks::new()
}

// ---- death ----

thread_local! {
    /// How many steps the thread that the checker knows by this number has left; not there: no end.
    static LIVES: std::cell::RefCell<BTreeMap<usize, u32>> = const { std::cell::RefCell::new(BTreeMap::new()) };
}

/// What a thread unwinds with that dies.
struct Died;

fn me() -> usize {
    current::me().into()
}

/// One step of the running thread, which may be its last.
fn step() {
    let is_last = LIVES.with_borrow_mut(|lives| {
        lives.get_mut(&me()).is_some_and(|left| {
            *left = left.saturating_sub(1);
            *left == 0
        })
    });
    if is_last {
        resume_unwind(Box::new(Died));
    }
}

/// Lets the running thread do `work`, but only so many steps of it. `None`: it died.
fn mortal<T>(steps: u32, work: impl FnOnce() -> T) -> Option<T> {
    LIVES.with_borrow_mut(|lives| lives.insert(me(), steps));
    let done = catch_unwind(AssertUnwindSafe(work));
    LIVES.with_borrow_mut(|lives| lives.remove(&me()));
    match done {
        Ok(done) => Some(done),
        Err(cause) if cause.is::<Died>() => None,
        Err(cause) => resume_unwind(cause),
    }
}

// ---- running ----

fn check(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    let start = std::time::Instant::now();
    let runs = Runner::new(scheduler, config).run(model);
    println!("{runs} runs, {:.1} s", start.elapsed().as_secs_f64());
}

fn check_quietly(model: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    Runner::new(RandomScheduler::new(3), config).run(model);
}

/// The tests are to be short; more runs with MAPLEAF_MODEL_RUNS, a factor.
fn some(runs: usize) -> usize {
    match std::env::var("MAPLEAF_MODEL_RUNS").ok().and_then(|factor| factor.parse::<usize>().ok()) {
        Some(factor) => runs * factor,
        None => runs / 4,
    }
}

fn check_random(runs: usize, model: impl Fn() + Send + Sync + 'static) {
    check(RandomScheduler::new(some(runs)), model);
}

fn check_pct(runs: usize, depth: usize, model: impl Fn() + Send + Sync + 'static) {
    check(PctScheduler::new(depth, some(runs)), model);
}

/// The model must fail like this, one way of choosing or the other.
fn must_fail(with: &str, runs: usize, model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let found = [true, false].into_iter().find_map(|in_order| {
        let model = Arc::clone(&model);
        let run = move || match in_order {
            false => check(RandomScheduler::new_from_seed(1, runs), move || model()),
            true => check(PctScheduler::new_from_seed(1, 3, runs), move || model()),
        };
        let cause = catch_unwind(AssertUnwindSafe(run)).err()?;
        let text = cause.downcast_ref::<String>().cloned();
        Some(text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    });
    println!("found: {found:?}");
    let found = found.expect("the checker does not find what is wrong here");
    assert!(found.contains(with), "it finds something else: {found}");
}

/// What is taken out of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Nothing,
    /// A reader takes for granted that what it pinned is still the newest.
    NoSecondLook,
    /// The mark of used slots is raised when all else is done.
    UsedRaisedLate,
    /// The writer looks at the slots, then publishes.
    ScanBeforePublishing,
    /// The number of blocks is raised behind the first pin.
    BlocksRaisedLate,
    /// Whoever takes what the dead had takes what the living have.
    ReapsTheLiving,
    /// The giver gives its slot back before the new one is pinned.
    UnpinBeforeHandOver,
    /// The file is cut to what the published state needs, whoever sees a longer one.
    CutUnseen,
    /// Whoever looks at the slots does not look again when a snapshot was handed over meanwhile.
    HandOversUncounted,
    /// The log is flushed behind the publication.
    PublishBeforeFlush,
    /// What is on the disk is said before it is published.
    DurableBeforePublishing,
    /// Nobody says that a flush is under way.
    FlushUnsaid,
    /// Whoever finds that the leader died goes on.
    NoTakeOver,
    /// The checkpoint is said to be on the disk before it is.
    CheckpointSaidEarly,
    /// Nobody is told that a txn is to be on the disk when it is published.
    Unasked,
    /// The head is set before the record is written.
    HeadBeforeRecord,
    /// A txn is taken for good by its number alone, however many flushes have failed.
    FailuresUncounted,
    /// A commit that only others are to see is said to be lost, though a leader who died has published it.
    KeptSaidLost,
    /// Nobody looks whether the head is older than the checkpoint, because a writer died between the two.
    HeadBehindCheckpoint,
    /// A failed flush is only an error.
    FailureForgotten,
}

// ---- model 1: slots ----

/// A store of two pages a state, of which each txn replaces one.
struct Slots {
    shared: Shared<ModelWords>,
    /// What they hold: the txn that wrote it, or [`GONE`].
    pages: Vec<LoudWord>,
    /// The `ADMIN` lock.
    admin: Mutex<()>,
    /// The locks by which processes live.
    alive: Vec<AtomicBool>,
    /// Whether the file is cut behind each txn.
    cuts: bool,
    fault: Fault,
}

/// A page that is given up: its number, birth and death.
type GivenPage = (usize, u64, u64);

const NO_STATE: [u64; STATE_WORDS] = [0; STATE_WORDS];
/// Behind the end of the file: who reads there is sent SIGBUS.
const GONE: u64 = u64::MAX;
/// A txn that needs none of the pages, for slots that are only to be taken.
const FAR: u64 = 1 << 40;

fn two_pages(txn: u64, places: [(usize, u64); 2]) -> State {
    let [(a, a_birth), (b, b_birth)] = places;
    let catalog = ChildRef { page: a as u64, birth: a_birth, count: 0 };
    let space = (b as u64, b_birth, 0);
    let page_count = a.max(b) as u64 + 1;
    State { txn, catalog, space, page_count, held: txn * 7, ..State::from_words(&NO_STATE) }
}

impl Slots {
    fn new(blocks: usize, fault: Fault) -> Arc<Self> {
        Self::over(new_words(4), blocks, false, fault)
    }

    fn over(shared: Shared<ModelWords>, blocks: usize, cuts: bool, fault: Fault) -> Arc<Self> {
        shared.initialise(&[1; 16], 1, 1, &two_pages(1, [(0, 1), (1, 1)]));
        shared.set_blocks(blocks);
        let pages = (0..40).map(|page| LoudWord::new(if page < 2 { 1 } else { GONE })).collect();
        let alive = (0..8).map(|_| AtomicBool::new(true)).collect();
        Arc::new(Slots { shared, pages, admin: Mutex::new(()), alive, cuts, fault })
    }

    /// A process with these blocks.
    fn process(&self, process: usize, blocks: std::ops::Range<usize>) -> Arc<OwnBlocks> {
        let own = few_blocks();
        for block in blocks {
            self.shared.give_block(block, process, 0, "");
            own.add(block);
        }
        Arc::new(own)
    }

    /// Takes these slots of a block for the whole run.
    fn fill(&self, block: usize, slots: std::ops::Range<usize>) {
        for at in slots {
            self.shared.pin_at(block, at, FAR);
        }
    }

    /// As `Readers::pinned`.
    fn scan(&self) -> Vec<u64> {
        loop {
            let handovers = self.shared.handovers();
            let found = self.shared.pinned(self.shared.claimed_blocks());
            if self.fault == Fault::HandOversUncounted || self.shared.handovers() == handovers {
                return found;
            }
        }
    }

    fn write(&self, txns: u64) {
        let mut places = [(0, 1), (1, 1)];
        let (mut free, mut file_pages, mut given) = (BTreeSet::new(), 2, Vec::<GivenPage>::new());
        for txn in 2..2 + txns {
            let page = free.pop_first().unwrap_or_else(|| {
                file_pages += 1;
                file_pages - 1
            });
            self.pages[page].store(txn, SeqCst);
            let before = two_pages(txn, places).page_count;
            let (old, birth) = std::mem::replace(&mut places[(txn % 2) as usize], (page, txn));
            given.push((old, birth, txn));
            let early = (self.fault == Fault::ScanBeforePublishing).then(|| self.scan());
            let state = two_pages(txn, places);
            // As `Lead::checkpoint`.
            if state.page_count < before {
                self.shared.set_shrunk(txn, before.max(self.shared.shrunk().1.min(file_pages as u64)));
            }
            self.shared.publish(&state);
            // As `Store::prepare` and `Space::reclaim`.
            let published = self.shared.published().txn;
            let pinned = early.unwrap_or_else(|| self.scan());
            given.retain(|(page, birth, death)| {
                let is_needed = pinned.iter().any(|txn| (*birth..*death).contains(txn));
                if *death <= published && !is_needed {
                    free.insert(*page);
                }
                *death > published || is_needed
            });
            let kept = if self.cuts { self.kept() } else { file_pages };
            for gone in (kept..file_pages).rev() {
                self.pages[gone].store(GONE, SeqCst);
                free.remove(&gone);
                given.retain(|(page, ..)| *page != gone);
            }
            file_pages = file_pages.min(kept);
        }
    }

    /// How many pages a cut leaves, as `Store::cut` (the checkpoint's apart, which is the published state here).
    fn kept(&self) -> usize {
        let (published, (shrunk, longest)) = (self.shared.published(), self.shared.shrunk());
        let is_seen = published.txn < shrunk || self.scan().first().is_some_and(|txn| *txn < shrunk);
        let seen = if is_seen && self.fault != Fault::CutUnseen { longest } else { 0 };
        published.page_count.max(seen) as usize
    }

    /// Pins, reads and unpins, so many times; what it read was that of its txn, for as long as it held it.
    fn read(&self, own: &OwnBlocks, times: usize) {
        let mut newest = 0;
        for _ in 0..times {
            let before = self.shared.published();
            assert!(before.txn >= newest && before.held == before.txn * 7, "back, or torn: {before:?}");
            let (pin, state) = self.pin(own).expect("a free slot");
            assert!(state.txn >= before.txn && state.held == state.txn * 7, "old, or torn: {state:?}");
            newest = state.txn;
            self.look(&state);
            assert_eq!(self.shared.pinned_at(pin), Some(state.txn));
            self.shared.unpin(pin);
        }
    }

    fn look(&self, state: &State) {
        for _ in 0..2 {
            for (page, birth) in [(state.catalog.page, state.catalog.birth), (state.space.0, state.space.1)] {
                let found = self.pages[page as usize].load(SeqCst);
                assert_eq!(found, birth, "page {page} under a reader of txn {}", state.txn);
            }
        }
    }

    /// [`Shared::try_pin`], or what is left of it.
    fn pin(&self, own: &OwnBlocks) -> Option<(Pin, State)> {
        let shared = &self.shared;
        match self.fault {
            Fault::NoSecondLook => {
                let state = shared.published();
                Some((shared.claim_slot(own, state.txn)?, state))
            }
            Fault::UsedRaisedLate => {
                let mut state = shared.published();
                let pin = (0..own.count() * SLOTS_PER_BLOCK).find_map(|slot| {
                    let (block, at) = own.slot(slot);
                    let word = slot_word(block, at);
                    shared.words.word(word).exchange_if(FREE, state.txn).then_some((block, at, Pin { word }))
                });
                let (block, at, pin) = pin?;
                while shared.published() != state {
                    state = shared.published();
                    shared.words.word(pin.word).store(state.txn, SeqCst);
                }
                shared.use_slot(block, at);
                Some((pin, state))
            }
            _ => shared.try_pin(own),
        }
    }

    /// As `Readers::pin`: where no slot is free, the process gets one more block.
    fn pin_with_room(&self, process: usize, own: &OwnBlocks) -> (Pin, State) {
        loop {
            let seen = own.count();
            if let Some(pinned) = self.shared.try_pin(own) {
                return pinned;
            }
            let _admin = self.admin.lock().unwrap();
            if own.count() == seen {
                own.add(self.claim_block(process));
            }
        }
    }

    /// As `Readers::claim_block`. The caller holds `admin`.
    fn claim_block(&self, process: usize) -> usize {
        let shared = &self.shared;
        let free = || (0..shared.claimed_blocks()).find(|block| shared.owner(*block).is_none());
        let block = free().or_else(|| {
            let owned = (0..shared.claimed_blocks()).filter_map(|block| Some((block, shared.owner(block)?)));
            let others: Vec<_> = owned.filter(|(_, owner)| *owner != process).collect();
            for (block, owner) in others {
                if self.fault == Fault::ReapsTheLiving || !self.alive[owner].load(SeqCst) {
                    shared.free_block(block);
                }
            }
            free()
        });
        let block = block.unwrap_or_else(|| {
            let block = shared.claimed_blocks();
            if self.fault != Fault::BlocksRaisedLate {
                shared.set_blocks(block + 1);
            }
            block
        });
        shared.give_block(block, process, 0, "");
        block
    }
}

/// Runs these at the same time, and waits.
fn at_once(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let running: Vec<_> = threads.into_iter().map(|run| thread::spawn(run)).collect();
    running.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A process of two threads and one of one, and the writer.
fn three_readers(fault: Fault) -> impl Fn() + Send + Sync + 'static {
    three_readers_beside(4, false, fault)
}

/// The same, of so many txns, behind each of which the file may be cut.
fn three_readers_beside(txns: u64, cuts: bool, fault: Fault) -> impl Fn() + Send + Sync + 'static {
    move || {
        let model = Slots::over(new_words(4), 2, cuts, fault);
        let (one, other) = (model.process(0, 0..1), model.process(1, 1..2));
        let mut threads: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for own in [Arc::clone(&one), one, other] {
            let model = Arc::clone(&model);
            threads.push(Box::new(move || model.read(&own, 2)));
        }
        threads.push(Box::new(move || model.write(txns)));
        at_once(threads);
    }
}

#[test]
fn a_reader_sees_what_it_pinned_for_as_long_as_it_holds_it() {
    check_random(2_500, three_readers(Fault::Nothing));
}

#[test]
fn a_reader_that_is_overtaken_sees_what_it_pinned() {
    check_pct(2_500, 4, three_readers(Fault::Nothing));
}

/// Every interleaving of one reader with one publication.
#[test]
fn a_reader_and_a_writer_in_every_order() {
    check(DfsScheduler::new(None, false), || {
        let mut words = new_words(4);
        words.words.is_loud = is_loud_of_whole_states;
        let model = Slots::over(words, 1, false, Fault::Nothing);
        let own = model.process(0, 0..1);
        model.pages[2].store(2, SeqCst);
        let reader = Arc::clone(&model);
        let reader = thread::spawn(move || {
            let (_, state) = reader.shared.try_pin(&own).unwrap();
            let found = reader.pages[state.catalog.page as usize].load(SeqCst);
            assert_eq!((found, state.held), (state.catalog.birth, state.txn * 7));
        });
        model.shared.publish(&two_pages(2, [(2, 2), (1, 1)]));
        // The old page is overwritten at once where nobody needs it.
        if !model.shared.pinned(1).contains(&1) {
            model.pages[0].store(9, SeqCst);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_state_is_whole_though_the_ring_is_written_anew() {
    check_pct(1_500, 3, || {
        let model = Slots::new(1, Fault::Nothing);
        let (own, reader) = (model.process(0, 0..1), Arc::clone(&model));
        let reader = move || reader.read(&own, 2);
        at_once(vec![Box::new(reader), Box::new(move || model.write(20))]);
    });
}

/// The second block is used when the first is full; the mark of it rises meanwhile.
#[test]
fn slots_of_the_last_block_are_seen_too() {
    check_random(1_000, || {
        let model = Slots::new(3, Fault::Nothing);
        let (own, other) = (model.process(0, 1..3), model.process(1, 0..1));
        model.fill(1, 1..62);
        let mut threads: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for own in [Arc::clone(&own), Arc::clone(&own), own, other] {
            let model = Arc::clone(&model);
            threads.push(Box::new(move || model.read(&own, 1)));
        }
        threads.push(Box::new(move || model.write(3)));
        at_once(threads);
    });
}

/// Processes begin without blocks and get some; one dies with a snapshot pinned, and what it had is given on.
fn growing(fault: Fault) -> impl Fn() + Send + Sync + 'static {
    move || {
        let model = Slots::new(0, fault);
        let mut threads: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for process in 0..4 {
            let model = Arc::clone(&model);
            threads.push(Box::new(move || {
                let own = few_blocks();
                let (pin, state) = model.pin_with_room(process, &own);
                model.look(&state);
                if process < 2 {
                    // Dead, as the kernel tells it.
                    return model.alive[process].store(false, SeqCst);
                }
                assert_eq!(model.shared.pinned_at(pin), Some(state.txn), "the slot of one who lives");
                model.shared.unpin(pin);
                if fault == Fault::BlocksRaisedLate {
                    model.shared.set_blocks(2);
                }
            }));
        }
        let writer = Arc::clone(&model);
        threads.push(Box::new(move || writer.write(3)));
        at_once(threads);
        assert!(fault != Fault::Nothing || model.shared.claimed_blocks() <= 4);
    }
}

#[test]
fn blocks_of_the_dead_are_given_on_and_those_of_the_living_are_not() {
    check_random(2_000, growing(Fault::Nothing));
    check_pct(1_000, 3, growing(Fault::Nothing));
}

/// A snapshot goes from a slot of one block to one of another, as with `Readers::delegate`.
fn hand_over(fault: Fault, from: usize, to: usize) -> impl Fn() + Send + Sync + 'static {
    move || {
        let model = Slots::new(1, fault);
        let reader = Arc::clone(&model);
        let read = move || {
            let (own, shared) = (few_blocks(), &reader.shared);
            {
                let _admin = reader.admin.lock().unwrap();
                shared.set_blocks(shared.claimed_blocks().max(from + 1));
                shared.give_block(from, 0, 0, "");
                own.add(from);
            }
            let (pin, state) = shared.try_pin(&own).unwrap();
            if fault == Fault::UnpinBeforeHandOver {
                shared.unpin(pin);
            }
            let delegate = {
                let _admin = reader.admin.lock().unwrap();
                shared.set_blocks(shared.claimed_blocks().max(to + 1));
                shared.give_block(to, 1, 0, "");
                shared.pin_at(to, 0, state.txn)
            };
            if fault != Fault::UnpinBeforeHandOver {
                shared.unpin(pin);
            }
            reader.look(&state);
            shared.unpin(delegate);
        };
        at_once(vec![Box::new(read), Box::new(move || model.write(4))]);
    }
}

/// The page that a txn puts in front makes the file shorter, unless someone sees the longer one.
#[test]
fn the_file_is_not_cut_under_a_reader() {
    check_random(2_000, three_readers_beside(8, true, Fault::Nothing));
    check_pct(2_000, 3, three_readers_beside(8, true, Fault::Nothing));
}

#[test]
fn the_checker_finds_a_file_that_is_cut_under_a_reader() {
    must_fail("under a reader", 5_000, three_readers_beside(8, true, Fault::CutUnseen));
}

#[test]
fn a_snapshot_that_is_handed_over_is_seen() {
    for (from, to) in [(0, 1), (1, 0)] {
        check_random(1_000, hand_over(Fault::Nothing, from, to));
        check_pct(1_000, 3, hand_over(Fault::Nothing, from, to));
    }
}

#[test]
fn the_checker_finds_readers_and_writers_that_leave_out_a_step() {
    must_fail("under a reader", 5_000, three_readers(Fault::NoSecondLook));
    must_fail("under a reader", 5_000, three_readers(Fault::ScanBeforePublishing));
    must_fail("under a reader", 5_000, three_readers(Fault::UsedRaisedLate));
}

#[test]
fn the_checker_finds_blocks_and_slots_that_are_given_away_too_early() {
    must_fail("under a reader", 5_000, growing(Fault::BlocksRaisedLate));
    must_fail("", 5_000, growing(Fault::ReapsTheLiving));
    must_fail("under a reader", 5_000, hand_over(Fault::UnpinBeforeHandOver, 0, 1));
    must_fail("under a reader", 5_000, hand_over(Fault::HandOversUncounted, 0, 1));
    must_fail("under a reader", 5_000, hand_over(Fault::HandOversUncounted, 1, 0));
}

// ---- model 2: turns ----

/// A lock of the kernel, on a byte of the data file: whoever dies loses it.
struct KernelLock {
    held: BatchSemaphore,
}

impl KernelLock {
    fn new() -> Self {
        KernelLock { held: BatchSemaphore::new(1, Fairness::Unfair) }
    }

    fn lock(&self) {
        step();
        self.held.acquire_blocking(1).unwrap();
    }

    fn unlock(&self) {
        self.held.release(1);
    }

    fn is_held(&self) -> bool {
        step();
        thread::sleep(std::time::Duration::ZERO);
        self.held.available_permits() == 0
    }
}

/// Where something lies in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Page(u64),
    Meta(usize),
    /// Extent and offset.
    Log(u64, u64),
}

/// What lies there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Content {
    /// Never written, or zeros.
    Zeros,
    /// A page of this txn.
    Page(u64),
    /// A checkpoint: its state, and the extent of its log, whose seed is the state's chain.
    Meta(State, u64),
    /// A record: the chain before it and behind, its txn and the one before.
    Record { before: u64, after: u64, txn: u64, previous: u64 },
}

/// A place in the cache and on the disk.
#[derive(Clone, Copy)]
struct Block {
    cached: Content,
    on_disk: Content,
    /// Whether a flush writes it.
    dirty: bool,
}

/// What a txn contains, oldest first, and its pages: place and birth.
type Written = (Vec<u64>, Vec<(u64, u64)>);

/// The file, the cache before it, and what is to be checked.
struct Disk {
    cells: BTreeMap<Place, Block>,
    /// Pages of the file.
    len: u64,
    /// So many flushes from now one fails.
    failing: Option<u32>,
    /// Each txn that was ever written.
    txns: BTreeMap<u64, Written>,
    /// Chain values and extents, each once.
    unique: u64,
    /// What was asked to be published only when it is on the disk.
    asked: Vec<u64>,
    /// What was acknowledged as being on the disk.
    acknowledged: Vec<u64>,
    /// What was acknowledged as published.
    visible: Vec<u64>,
    /// What was said to be lost.
    lost: Vec<u64>,
    /// The newest published one.
    shown: u64,
}

/// What a txn fails with: it is lost.
#[derive(Debug)]
struct Lost;

impl Disk {
    fn content(&self, place: Place, on_disk: bool) -> Content {
        let cell = self.cells.get(&place).copied();
        cell.map_or(Content::Zeros, |cell| if on_disk { cell.on_disk } else { cell.cached })
    }

    fn write(&mut self, place: Place, content: Content) {
        let cell = self.cells.entry(place);
        let cell = cell.or_insert(Block { cached: content, on_disk: Content::Zeros, dirty: true });
        (cell.cached, cell.dirty) = (content, true);
        if let Place::Page(page) = place {
            self.len = self.len.max(page + 1);
        }
    }

    /// Cuts the file.
    fn cut(&mut self, pages: u64) {
        self.len = self.len.min(pages);
        self.cells.retain(|place, _| !matches!(place, Place::Page(page) if *page >= pages));
    }

    /// Flushes these. One that fails leaves blocks behind that are clean, and not on the disk.
    fn flush(&mut self, places: &[Place]) -> Result<(), Lost> {
        let fails = self.failing == Some(0);
        self.failing = self.failing.and_then(|left| left.checked_sub(1));
        for place in places {
            if let Some(cell) = self.cells.get_mut(place)
                && std::mem::take(&mut cell.dirty)
                && !fails
            {
                cell.on_disk = cell.cached;
            }
        }
        if fails { Err(Lost) } else { Ok(()) }
    }

    fn meta(&self, slot: usize, on_disk: bool) -> Option<(State, u64)> {
        match self.content(Place::Meta(slot), on_disk) {
            Content::Meta(state, extent) => Some((state, extent)),
            _ => None,
        }
    }

    /// The newest checkpoint that can be read.
    fn newest_meta(&self, on_disk: bool) -> (State, u64, usize) {
        let slots = (0..2).filter_map(|slot| self.meta(slot, on_disk).map(|(state, log)| (state, log, slot)));
        slots.max_by_key(|(state, _, slot)| (state.txn, 1 - slot)).expect("a checkpoint")
    }

    /// The records behind a checkpoint: each txn, and the tail behind it.
    fn records(&self, checkpoint: &State, extent: u64, on_disk: bool) -> Vec<(u64, Tail)> {
        let (mut tail, mut last, mut found) = (checkpoint.log, checkpoint.txn, Vec::new());
        while let Content::Record { before, after, txn, previous } =
            self.content(Place::Log(extent, tail.offset), on_disk)
            && (before, previous) == (tail.chain, last)
        {
            (tail, last) = (Tail { offset: tail.offset + 1, chain: after }, txn);
            found.push((txn, tail));
        }
        found
    }

    fn contents(&self, txn: u64) -> &[u64] {
        &self.txns[&txn].0
    }

    fn next_unique(&mut self) -> u64 {
        self.unique += 1;
        self.unique
    }

    /// What a power cut now would leave.
    fn after_power_cut(&self) -> Vec<u64> {
        let (state, extent, _) = self.newest_meta(true);
        for (page, birth) in &self.txns[&state.txn].1 {
            let found = self.content(Place::Page(*page), true);
            assert_eq!(found, Content::Page(*birth), "page {page} of checkpoint {}", state.txn);
        }
        let mut contents = self.contents(state.txn).to_vec();
        contents.extend(self.records(&state, extent, true).iter().map(|(txn, _)| *txn));
        contents
    }
}

/// A store that several processes write to.
struct Turns {
    shared: Shared<ModelWords>,
    disk: std::sync::Mutex<Disk>,
    writer: KernelLock,
    flush: KernelLock,
    /// The head's txn, for the checks.
    head: QuietWord,
    fault: Fault,
}

/// Records that fit into the log.
const LOG: u64 = 4;

impl Turns {
    /// A store that was not closed: with a checkpoint and one txn behind it in the log.
    fn new(fault: Fault) -> Arc<Self> {
        let base = State {
            txn: 1,
            page_count: 1,
            log: Tail { offset: 0, chain: 1 },
            held: 7,
            ..State::from_words(&NO_STATE)
        };
        let mut disk = Disk {
            cells: BTreeMap::new(),
            len: 0,
            failing: None,
            txns: BTreeMap::new(),
            unique: 1000,
            asked: vec![2],
            acknowledged: vec![2],
            visible: Vec::new(),
            lost: Vec::new(),
            shown: 1,
        };
        let record = Content::Record { before: 1, after: 2, txn: 2, previous: 1 };
        disk.txns.insert(1, (vec![1], vec![(0, 1)]));
        disk.txns.insert(2, (vec![1, 2], vec![(0, 1)]));
        let places = [Place::Page(0), Place::Meta(0), Place::Log(1, 0)];
        let contents = [Content::Page(1), Content::Meta(base, 1), record];
        places.into_iter().zip(contents).for_each(|(place, content)| disk.write(place, content));
        disk.flush(&places).unwrap();
        Arc::new(Turns::start(disk, fault))
    }

    /// Nobody has the store open, and somebody opens it.
    fn start(mut disk: Disk, fault: Fault) -> Self {
        let shared = new_words(0);
        let (base, extent, _) = disk.newest_meta(false);
        disk.shown = base.txn;
        // What nothing in the file names has never been: its id may come again.
        let last = disk.records(&base, extent, false).last().map_or(base.txn, |(txn, _)| *txn);
        disk.txns.retain(|txn, _| *txn <= last);
        disk.asked.retain(|txn| *txn <= last);
        // Where nobody lived to spoil its record, what was lost may come back.
        disk.lost.clear();
        disk.failing = None;
        shared.initialise(&[1; 16], 1, 1, &base);
        let (writer, flush) = (KernelLock::new(), KernelLock::new());
        let head = QuietWord::new(base.txn);
        Turns { shared, disk: std::sync::Mutex::new(disk), writer, flush, head, fault }
    }

    /// One step on the disk; the checker may switch before it.
    fn disk<T>(&self, work: impl FnOnce(&mut Disk) -> T) -> T {
        step();
        thread::sleep(std::time::Duration::ZERO);
        self.look(work)
    }

    /// What the checker looks at, in no step.
    fn look<T>(&self, work: impl FnOnce(&mut Disk) -> T) -> T {
        work(&mut self.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// `state` is about to be published.
    fn shown(&self, state: &State) {
        self.look(|disk| {
            let (before, now) = (disk.contents(disk.shown), disk.contents(state.txn));
            assert!(now.starts_with(before), "published goes back: {before:?}, {now:?}");
            for (page, birth) in &disk.txns[&state.txn].1 {
                assert_eq!(disk.content(Place::Page(*page), false), Content::Page(*birth), "{state:?}");
            }
            let kept = disk.after_power_cut();
            let early = disk.asked.iter().find(|txn| now.contains(txn) && !kept.contains(txn));
            assert!(early.is_none(), "{early:?} is published before it is on the disk");
            let lost = disk.lost.iter().find(|txn| now.contains(txn));
            assert!(lost.is_none(), "{lost:?} was said to be lost");
        });
    }

    fn publish(&self, state: &State) {
        self.shown(state);
        self.shared.publish(state);
        self.look(|disk| disk.shown = state.txn);
    }

    fn set_head(&self, state: &State) {
        self.look(|disk| {
            let (now, gone) = (disk.contents(state.txn), disk.contents(disk.shown));
            // A head that a failure has overtaken is put right by the next turn.
            assert!(
                now.starts_with(gone) || self.shared.flush_state() != FlushState::Settled,
                "head {now:?} without {gone:?}"
            );
        });
        self.shared.set_head(state);
        self.head.store(state.txn, SeqCst);
    }

    /// `txn` is acknowledged, as being on the disk or as published only.
    fn acknowledge(&self, txn: u64, on_disk: bool) {
        let published = self.shared.published().txn;
        self.look(|disk| {
            assert!(disk.contents(published).contains(&txn), "{txn} is not published, but {published}");
            disk.visible.push(txn);
            if on_disk {
                disk.acknowledged.push(txn);
            }
        });
        self.check_power_cut();
    }

    fn check_power_cut(&self) {
        self.look(|disk| {
            let kept = disk.after_power_cut();
            let gone = disk.acknowledged.iter().find(|txn| !kept.contains(txn));
            assert!(gone.is_none(), "a power cut costs {gone:?}, and leaves {kept:?}");
        });
    }
}

/// What a writer wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    /// To wait until it is on the disk, where it is logged.
    Durable,
    /// Not to wait for it.
    Handed,
    /// Only that others see it.
    Eventual,
    /// A checkpoint.
    Ordered,
    /// As `Durable`, but the file is full of what the checkpoint holds back, which is therefore moved on.
    Crowded,
}

/// A process that writes, and what it remembers.
struct Process<'t> {
    turns: &'t Turns,
    next_txn: u64,
    /// The log that it has looked at: its checkpoint and extent.
    log: (u64, u64),
    has_turn: std::cell::Cell<bool>,
    leads: std::cell::Cell<bool>,
    unopened: bool,
}

impl<'t> Process<'t> {
    fn new(turns: &'t Turns) -> Self {
        let (has_turn, leads) = (false.into(), false.into());
        Process { turns, next_txn: 0, log: (0, 0), has_turn, leads, unopened: false }
    }

    fn shared(&self) -> &'t Shared<ModelWords> {
        &self.turns.shared
    }

    /// The kernel gives back what the dead had locked.
    fn bury(&self) {
        if self.leads.take() {
            self.turns.flush.unlock();
        }
        if self.has_turn.take() {
            self.turns.writer.unlock();
        }
    }

    // ---- as in `store` ----

    /// `Store::checkpoint`: state, extent, slot.
    fn checkpoint_in_use(&self) -> (State, u64, usize) {
        loop {
            let Some((txn, slot)) = self.shared().checkpoint() else {
                return self.turns.disk(|disk| disk.newest_meta(false));
            };
            let found = self.turns.disk(|disk| disk.meta(slot, false));
            if let Some((state, extent)) = found.filter(|(state, _)| state.txn == txn) {
                return (state, extent, slot);
            }
            let now = self.shared().checkpoint();
            assert_ne!(now, Some((txn, slot)), "the meta slot of the checkpoint holds {found:?}");
        }
    }

    /// `Store::log`: the extent.
    fn log(&mut self) -> u64 {
        if self.shared().checkpoint().is_none_or(|(txn, _)| txn != self.log.0) {
            let (state, extent, _) = self.checkpoint_in_use();
            self.log = (state.txn, extent);
        }
        self.log.1
    }

    fn is_unsettled(&self) -> bool {
        let shared = self.shared();
        let is_behind = || shared.checkpoint().is_some_and(|(txn, _)| txn > shared.head().txn);
        if self.turns.fault != Fault::HeadBehindCheckpoint && is_behind() {
            return true;
        }
        match self.shared().flush_state() {
            FlushState::Settled => false,
            FlushState::UnderWay => {
                !self.turns.flush.is_held() && self.shared().flush_state() == FlushState::UnderWay
            }
            _ => true,
        }
    }

    /// `Store::prepare`: the state to build on.
    fn prepare(&mut self) -> State {
        let head = self.shared().head();
        if let Some(txn) = self.shared().open_turn() {
            self.next_txn = self.next_txn.max(txn + 1);
            self.turns.disk(|disk| disk.cut(head.page_count));
        }
        self.next_txn = self.next_txn.max(head.txn + 1);
        self.shared().set_open_turn(self.next_txn);
        head
    }

    fn begin(&mut self) -> (State, u64) {
        self.turns.writer.lock();
        self.has_turn.set(true);
        loop {
            let failures = self.shared().failures();
            if !self.is_unsettled() {
                return (self.prepare(), failures);
            }
            // A flush may fail again; the next attempt begins anew.
            let _ = self.recover();
        }
    }

    fn end(&self, clean: bool) {
        if clean {
            self.shared().set_open_turn(0);
        }
        self.has_turn.set(false);
        self.turns.writer.unlock();
    }

    // ---- as in `group` ----

    fn lead<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.turns.flush.lock();
        self.leads.set(true);
        self.unopened = self.shared().flush_state() == FlushState::Unopened;
        if self.shared().flush_state() == FlushState::UnderWay {
            match self.turns.fault {
                Fault::NoTakeOver => self.settle(),
                _ => self.take_over(),
            }
        }
        let done = work(self);
        self.leads.set(false);
        self.turns.flush.unlock();
        done
    }

    fn take_over(&mut self) {
        let shared = self.shared();
        if shared.checkpoint().is_some_and(|(txn, _)| txn > shared.published().txn) {
            let (state, ..) = self.checkpoint_in_use();
            self.turns.publish(&state);
        }
        shared.fail();
        self.take_back_records();
    }

    fn take_back_records(&mut self) {
        let (shared, published) = (self.shared(), self.shared().published());
        let (durable, flushed) = shared.durable();
        let from = if published.txn > durable { published.log.offset } else { flushed };
        let place = Place::Log(self.log(), from);
        self.turns.disk(|disk| disk.write(place, Content::Zeros));
        let _ = self.turns.disk(|disk| disk.flush(&[place]));
    }

    fn risk(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Lost>) -> Result<(), Lost> {
        let is_first = self.shared().flush_state() == FlushState::Settled;
        if !self.unopened && self.turns.fault != Fault::FlushUnsaid {
            self.shared().set_flush_state(FlushState::UnderWay);
        }
        let done = work(self);
        if done.is_err() {
            if self.turns.fault == Fault::FailureForgotten {
                self.settle();
                return done;
            }
            if !self.unopened {
                self.shared().fail();
            }
            if is_first {
                self.take_back_records();
            }
        }
        done
    }

    fn settle(&self) {
        self.shared().set_flush_state(FlushState::Settled);
    }

    fn check(&self) -> Result<(), Lost> {
        if self.shared().flush_state() == FlushState::Settled { Ok(()) } else { Err(Lost) }
    }

    fn check_since(&self, failures: u64) -> Result<(), Lost> {
        if self.shared().failures() == failures { self.check() } else { Err(Lost) }
    }

    fn publish_head(&self, head: &State) {
        if self.shared().published() != *head {
            self.turns.publish(head);
        }
    }

    fn flush_log(&mut self) -> Result<(), Lost> {
        self.check()?;
        let (turns, shared) = (self.turns, self.shared());
        let (head, (durable, flushed)) = (shared.head(), shared.durable());
        if head.txn > durable {
            let extent = self.log();
            let places: Vec<Place> = (flushed..head.log.offset).map(|at| Place::Log(extent, at)).collect();
            if turns.fault == Fault::PublishBeforeFlush {
                self.publish_head(&head);
            }
            self.risk(|_| turns.disk(|disk| disk.flush(&places)))?;
            if turns.fault == Fault::DurableBeforePublishing {
                shared.set_durable(head.txn, head.log.offset);
                self.settle();
            }
            self.publish_head(&head);
            shared.set_durable(head.txn, head.log.offset);
        }
        self.publish_head(&head);
        self.settle();
        Ok(())
    }

    fn publish_eventual(&mut self) -> Result<(), Lost> {
        self.check()?;
        if self.shared().asked() > self.shared().durable().0 {
            return self.flush_log();
        }
        self.publish_head(&self.shared().head());
        Ok(())
    }

    fn flush_growth(&mut self, page: u64) -> Result<(), Lost> {
        self.check()?;
        let turns = self.turns;
        self.risk(|_| turns.disk(|disk| disk.flush(&[Place::Page(page)])))?;
        self.settle();
        Ok(())
    }

    /// The checkpoint of `state`, whose log begins in `extent`.
    fn checkpoint(&mut self, state: &State, extent: u64) -> Result<State, Lost> {
        let (turns, shared) = (self.turns, self.shared());
        let (_, durable_slot) = shared.checkpoint().expect("recovered");
        let chain = turns.look(Disk::next_unique);
        let (state, slot) = (State { log: Tail { offset: 0, chain }, ..*state }, 1 - durable_slot);
        let pages: Vec<Place> = (0..state.page_count).map(Place::Page).collect();
        if turns.fault == Fault::CheckpointSaidEarly {
            shared.set_checkpoint(state.txn, slot);
        }
        let flushed = self.risk(|_| {
            turns.disk(|disk| disk.flush(&pages))?;
            turns.disk(|disk| disk.write(Place::Meta(slot), Content::Meta(state, extent)));
            turns.disk(|disk| disk.flush(&[Place::Meta(slot)]))
        });
        if let Err(lost) = flushed {
            let (meta, old, _) = self.checkpoint_in_use();
            turns.disk(|disk| disk.write(Place::Meta(slot), Content::Meta(meta, old)));
            return Err(lost);
        }
        shared.set_checkpoint(state.txn, slot);
        self.log = (state.txn, extent);
        turns.set_head(&state);
        turns.publish(&state);
        self.settle();
        Ok(state)
    }

    fn checkpoint_head(&mut self) -> Result<(), Lost> {
        self.check()?;
        let (extent, head) = (self.log(), self.shared().head());
        if head.txn == self.log.0 {
            return Ok(());
        }
        self.checkpoint(&head, extent).map(|_| ())
    }

    // ---- as in `recover` ----

    fn recover(&mut self) -> Result<(), Lost> {
        self.lead(|process| {
            if process.shared().flush_state() == FlushState::Settled {
                return Ok(());
            }
            process.recover_with_lead()
        })
    }

    fn recover_with_lead(&mut self) -> Result<(), Lost> {
        let (turns, shared, fresh) = (self.turns, self.shared(), self.unopened);
        let (base, extent, slot) = self.checkpoint_in_use();
        if shared.checkpoint().is_none() {
            for slot in 0..2 {
                turns.disk(|disk| {
                    let content = disk.content(Place::Meta(slot), false);
                    disk.write(Place::Meta(slot), content);
                });
            }
            turns.disk(|disk| disk.flush(&[Place::Meta(0), Place::Meta(1)]))?;
            shared.set_checkpoint(base.txn, slot);
        }
        let (published, head) = (shared.published(), shared.head());
        let log = self.log();
        assert_eq!(log, extent);
        let records = turns.disk(|disk| disk.records(&base, extent, false));
        let wanted = if fresh { u64::MAX } else { published.txn.max(shared.durable().0) };
        let found: Vec<u64> = records.iter().map(|(txn, _)| *txn).take_while(|txn| *txn <= wanted).collect();
        let last = found.last().copied().unwrap_or(base.txn);
        assert!(last >= shared.durable().0, "the log ends at {last}, {:?} is durable", shared.durable());
        let page_count = base.page_count.max(published.page_count).max(head.page_count);
        if fresh && found.is_empty() {
            turns.disk(|disk| disk.cut(page_count));
            if published.txn != base.txn {
                turns.set_head(&base);
                turns.publish(&base);
            }
            self.settle();
            return Ok(());
        }
        turns.disk(|disk| disk.write(Place::Meta(1 - slot), Content::Meta(base, extent)));
        turns.disk(|disk| disk.flush(&[Place::Meta(1 - slot)]))?;
        turns.disk(|disk| disk.cut(page_count));
        let logged = records.last().map_or(0, |(txn, _)| *txn);
        let states = [base.txn, published.txn, head.txn, logged, shared.open_turn().unwrap_or(0)];
        let txn = self.next_txn.max(states.into_iter().max().unwrap_or(0) + 1);
        self.next_txn = txn + 1;
        shared.set_open_turn(txn);
        let state = self.new_page(txn, &State { page_count, ..base }, &found);
        let next = if fresh { extent } else { turns.look(Disk::next_unique) };
        self.checkpoint(&state, next)?;
        shared.set_open_turn(0);
        Ok(())
    }

    /// Writes a page of a txn that adds these to what the base contains: its state, of a longer file.
    fn new_page(&self, txn: u64, base: &State, more: &[u64]) -> State {
        let page = base.page_count;
        self.turns.disk(|disk| {
            disk.write(Place::Page(page), Content::Page(txn));
            let (mut contents, mut pages) = disk.txns[&base.txn].clone();
            contents.extend(more);
            pages.push((page, txn));
            let head = self.turns.head.load(SeqCst);
            let is_named = |by: u64| disk.contents(by).contains(&txn);
            assert!(!is_named(disk.shown) && !is_named(head), "txn {txn} twice");
            // Whoever had the id died, or has undone everything.
            disk.asked.retain(|asked| *asked != txn);
            disk.txns.insert(txn, (contents, pages));
        });
        State { txn, page_count: page + 1, held: txn * 7, ..*base }
    }

    // ---- as in `commit` ----

    /// A turn, and waiting for it where it is wished. `Err`: it was said to be lost.
    fn write(&mut self, wish: Wish) -> Result<u64, Lost> {
        let (base, failures) = self.begin();
        let txn = self.next_txn;
        // Whatever becomes of it, its page was written.
        self.next_txn = txn + 1;
        let (done, is_clean) = self.commit(wish, base, txn, failures);
        self.end(is_clean);
        let was_handed_over = done.is_ok() || !is_clean;
        let outcome = done.and_then(|is_done| match wish {
            Wish::Handed => Ok(()),
            _ => self.wait(txn, failures, is_done),
        });
        match outcome {
            Ok(()) if wish == Wish::Handed => {}
            Ok(()) => self.turns.acknowledge(txn, wish != Wish::Eventual),
            Err(Lost) if !was_handed_over => {}
            Err(Lost) => self.turns.look(|disk| disk.lost.push(txn)),
        }
        outcome.map(|()| txn)
    }

    /// How it went, with whether there is nothing to wait for; and whether the turn leaves nothing behind.
    fn commit(&mut self, wish: Wish, base: State, txn: u64, failures: u64) -> (Result<bool, Lost>, bool) {
        let (turns, shared, extent) = (self.turns, self.shared(), self.log());
        let counted = turns.fault != Fault::FailuresUncounted;
        // Nothing names it: another process may take its id.
        let undo = || {
            turns.disk(|disk| {
                disk.cut(base.page_count);
                disk.txns.remove(&txn);
            });
        };
        if counted && shared.failures() != failures {
            return (Err(Lost), true);
        }
        let mut base = base;
        if wish == Wish::Crowded {
            if self.lead(Self::checkpoint_head).is_err() {
                return (Err(Lost), true);
            }
            base = shared.head();
        }
        let state = self.new_page(txn, &base, &[txn]);
        if wish == Wish::Ordered || base.log.offset == LOG {
            let done = self.lead(|process| {
                let may = if counted { process.check_since(failures) } else { process.check() };
                may.map_err(|lost| (lost, true))?;
                turns.look(|disk| disk.asked.push(txn));
                process.checkpoint(&state, extent).map_err(|lost| (lost, false))
            });
            return match done {
                Ok(_) => (Ok(wish == Wish::Eventual), true),
                Err((lost, is_clean)) => {
                    if is_clean {
                        undo();
                    }
                    (Err(lost), is_clean)
                }
            };
        }
        let grown = self.lead(|process| {
            let may = if counted { process.check_since(failures) } else { process.check() };
            may.map_err(|lost| (lost, true))?;
            process.flush_growth(base.page_count).map_err(|lost| (lost, false))
        });
        if let Err((lost, is_clean)) = grown {
            if is_clean {
                undo();
            }
            return (Err(lost), is_clean);
        }
        let extent = self.log();
        let after = turns.look(Disk::next_unique);
        let record = Content::Record { before: base.log.chain, after, txn, previous: base.txn };
        let place = Place::Log(extent, base.log.offset);
        let state = State { log: Tail { offset: base.log.offset + 1, chain: after }, ..state };
        if turns.fault == Fault::HeadBeforeRecord {
            turns.set_head(&state);
        }
        turns.disk(|disk| disk.write(place, record));
        if wish != Wish::Eventual {
            turns.look(|disk| disk.asked.push(txn));
            if turns.fault != Fault::Unasked {
                shared.ask(txn);
            }
        }
        if turns.fault != Fault::HeadBeforeRecord {
            turns.set_head(&state);
        }
        match wish {
            Wish::Eventual => match self.lead(Self::publish_eventual) {
                Ok(()) => (Ok(true), true),
                // Another leader may have published it, and died.
                Err(_) if self.is_kept(txn, failures) => (Ok(true), true),
                Err(lost) => (Err(lost), false),
            },
            _ => (Ok(false), true),
        }
    }

    /// Whether a flush that failed since has not cost it.
    fn is_kept(&self, txn: u64, failures: u64) -> bool {
        let shared = self.shared();
        self.turns.fault != Fault::KeptSaidLost
            && shared.failures() != failures
            && shared.kept_at_failure(failures).is_some_and(|kept| kept >= txn)
    }

    /// As `Ticket::wait`.
    fn wait(&mut self, txn: u64, failures: u64, is_done: bool) -> Result<(), Lost> {
        loop {
            if let Some(outcome) = self.outcome(txn, failures, is_done) {
                return outcome;
            }
            let flushed = self.lead(|process| match process.outcome(txn, failures, is_done) {
                Some(_) => None,
                None => Some(process.flush_log()),
            });
            match flushed {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(lost)) => return self.outcome(txn, failures, is_done).unwrap_or(Err(lost)),
            }
        }
    }

    /// As `Ticket::outcome`.
    fn outcome(&self, txn: u64, failures: u64, is_done: bool) -> Option<Result<(), Lost>> {
        let shared = self.shared();
        let done = is_done || shared.published().txn >= txn;
        if self.turns.fault == Fault::FailuresUncounted {
            return done.then_some(Ok(()));
        }
        match (done, shared.failures() != failures) {
            (true, false) => Some(Ok(())),
            (false, false) => None,
            _ => {
                let kept = shared.kept_at_failure(failures);
                Some(if is_done || kept.is_some_and(|kept| kept >= txn) { Ok(()) } else { Err(Lost) })
            }
        }
    }
}

/// Lets a process do this, at most so many steps of it. Returns whether it lives.
fn process(turns: &Turns, steps: u32, work: impl FnOnce(&mut Process<'_>)) -> bool {
    let mut process = Process::new(turns);
    let lives = mortal(steps, || work(&mut process)).is_some();
    process.bury();
    lives
}

/// Whatever happened before: a writer makes progress, and so does one after all have died.
fn finish(turns: &Turns) {
    assert!(process(turns, u32::MAX, |process| {
        // An earlier failure may still cost one txn, not two.
        let done = process.write(Wish::Durable).or_else(|_| process.write(Wish::Durable));
        done.expect("progress");
    }));
    let published = turns.shared.published().txn;
    turns.look(|disk| {
        let contents = disk.contents(published);
        let gone = disk.visible.iter().chain(&disk.acknowledged).find(|txn| !contents.contains(txn));
        assert!(gone.is_none(), "{gone:?} was acknowledged, and is not in {contents:?}");
    });
    turns.check_power_cut();
}

/// All die, and the store is opened again. What is left of the disk is taken along.
fn reopen(turns: Arc<Turns>) -> Turns {
    let turns = Arc::into_inner(turns).expect("all are dead");
    Turns::start(turns.disk.into_inner().unwrap(), turns.fault)
}

const WISHES: [Wish; 5] = [Wish::Durable, Wish::Handed, Wish::Eventual, Wish::Ordered, Wish::Crowded];

/// Steps after which a writer dies; two turns have some hundred.
const DEATHS: std::ops::Range<u32> = 1..600;
const NO_DEATHS: std::ops::Range<u32> = u32::MAX - 1..u32::MAX;

/// Writers at the same time, of whom some die and some flushes fail; a reader; and a power cut.
fn writers(
    fault: Fault,
    wishes: &'static [Wish],
    steps: std::ops::Range<u32>,
    failures: bool,
) -> impl Fn() + Send + Sync + 'static {
    move || {
        let turns = Turns::new(fault);
        let mut random = shuttle::rand::thread_rng();
        if failures {
            turns.look(|disk| disk.failing = Some(random.gen_range(0..20)));
        }
        let mut threads: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for _ in 0..3 {
            let turns = Arc::clone(&turns);
            let wanted: Vec<Wish> = (0..2).map(|_| wishes[random.gen_range(0..wishes.len())]).collect();
            let steps = random.gen_range(steps.clone());
            threads.push(Box::new(move || {
                process(&turns, steps, |process| {
                    wanted.iter().for_each(|wish| drop(process.write(*wish)));
                });
            }));
        }
        let observer = Arc::clone(&turns);
        threads.push(Box::new(move || {
            let mut before = observer.shared.published();
            for _ in 0..4 {
                observer.check_power_cut();
                let now = observer.shared.published();
                assert_eq!(now.held, now.txn * 7, "torn");
                observer.look(|disk| {
                    let (before, now) = (disk.contents(before.txn), disk.contents(now.txn));
                    assert!(now.starts_with(before), "a reader sees {now:?} after {before:?}");
                });
                before = now;
            }
        }));
        at_once(threads);
        finish(&turns);
        finish(&reopen(turns));
    }
}

/// One leads, and dies at some step; another has set the head, and waits for the lead.
fn leader_that_dies(fault: Fault) -> impl Fn() + Send + Sync + 'static {
    move || {
        let turns = Turns::new(fault);
        process(&turns, u32::MAX, |process| drop(process.write(Wish::Durable)));
        let (leader, waiting) = (Arc::clone(&turns), Arc::clone(&turns));
        let steps = shuttle::rand::thread_rng().gen_range(60..90);
        at_once(vec![
            Box::new(move || {
                process(&leader, steps, |process| drop(process.write(Wish::Durable)));
            }),
            Box::new(move || {
                process(&waiting, u32::MAX, |process| drop(process.write(Wish::Eventual)));
            }),
        ]);
        finish(&turns);
    }
}

#[test]
fn a_leader_that_dies_costs_nothing_that_it_has_published() {
    check_random(1_500, leader_that_dies(Fault::Nothing));
    check_pct(1_500, 3, leader_that_dies(Fault::Nothing));
}

#[test]
fn what_was_acknowledged_stays_while_writers_take_turns() {
    check_random(1_000, writers(Fault::Nothing, &WISHES, NO_DEATHS, false));
    check_pct(500, 3, writers(Fault::Nothing, &WISHES, NO_DEATHS, false));
}

#[test]
fn what_was_acknowledged_stays_though_writers_die() {
    check_random(1_500, writers(Fault::Nothing, &WISHES, DEATHS, false));
    check_pct(1_000, 3, writers(Fault::Nothing, &WISHES, DEATHS, false));
}

#[test]
fn what_was_acknowledged_stays_though_flushes_fail_and_writers_die() {
    check_random(1_000, writers(Fault::Nothing, &WISHES, NO_DEATHS, true));
    check_random(1_500, writers(Fault::Nothing, &WISHES, DEATHS, true));
}

/// One process dies at each of its steps, one behind the other; the next, which takes over, at some of its own.
#[test]
fn a_turn_is_taken_over_at_every_step() {
    let (mut deaths, start) = (0, std::time::Instant::now());
    for wish in WISHES {
        for steps in 1.. {
            let lives = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let outcome = Arc::clone(&lives);
            check_quietly(move || {
                let turns = Turns::new(Fault::Nothing);
                let mut random = shuttle::rand::thread_rng();
                let live = process(&turns, steps, |process| {
                    let _ = process.write(Wish::Eventual);
                    let _ = process.write(wish);
                });
                outcome.store(live, SeqCst);
                process(&turns, random.gen_range(1..300), |process| drop(process.write(wish)));
                if random.gen_bool(0.5) {
                    finish(&turns);
                }
                finish(&reopen(turns));
            });
            if lives.load(SeqCst) {
                break;
            }
            deaths += 1;
        }
    }
    println!("{deaths} deaths, {:.1} s", start.elapsed().as_secs_f64());
}

#[test]
fn the_checker_finds_turns_that_leave_out_a_step() {
    must_fail(
        "published before it is on the disk",
        3_000,
        writers(Fault::PublishBeforeFlush, &WISHES, DEATHS, false),
    );
    must_fail(
        "is not published",
        3_000,
        writers(Fault::DurableBeforePublishing, &[Wish::Durable], 1..300, false),
    );
    must_fail("", 3_000, writers(Fault::NoTakeOver, &WISHES, DEATHS, false));
    must_fail("", 3_000, writers(Fault::FlushUnsaid, &WISHES, DEATHS, false));
    must_fail("", 3_000, writers(Fault::CheckpointSaidEarly, &WISHES, DEATHS, false));
}

#[test]
fn the_checker_finds_writers_that_do_not_tell_the_next() {
    must_fail("published before it is on the disk", 3_000, writers(Fault::Unasked, &WISHES, DEATHS, false));
    must_fail("", 3_000, writers(Fault::HeadBeforeRecord, &[Wish::Durable], NO_DEATHS, false));
}

#[test]
fn the_checker_finds_failed_flushes_that_are_forgotten() {
    must_fail("", 3_000, writers(Fault::FailureForgotten, &WISHES, DEATHS, true));
    must_fail("", 3_000, writers(Fault::FailuresUncounted, &WISHES, DEATHS, true));
}

#[test]
#[ignore = "takes a minute"]
fn the_checker_finds_a_head_that_is_older_than_the_checkpoint() {
    must_fail("page", 20_000, writers(Fault::HeadBehindCheckpoint, &WISHES, DEATHS, false));
}

#[test]
fn the_checker_finds_what_a_leader_leaves_that_dies_at_a_bad_moment() {
    must_fail("was said to be lost", 5_000, leader_that_dies(Fault::KeptSaidLost));
}
