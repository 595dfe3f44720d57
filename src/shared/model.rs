//! The protocol of [`super`], run by a model checker (`shuttle`): the real code, on words at which the checker
//! may switch from one process to another, or let one die.
//!
//! Two models. **Slots**: readers pin, read pages and unpin while a writer publishes and reuses pages.
//! **Turns**: writers take the turn, flush, publish and recover in the order of `group`, `commit`, `store` and
//! `recover`, on a disk that remembers what was flushed; each may die at every step. What is checked stands
//! in [`Slots::read`] and [`Turns::shown`], [`Turns::acknowledge`] and [`Turns::check_power_cut`].
//!
//! The checker explores sequentially consistent interleavings; all that the protocol rests on is `SeqCst`. Each model
//! can also be run with one thing taken out ([`Fault`]), which it must find: else it would show nothing.
//! A failure prints its schedule, for `shuttle::replay`; `SHUTTLE_RANDOM_SEED` makes a run repeatable.

use super::*;
use shuttle::current;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, AtomicU64 as LoudWord};
use shuttle::thread;
use shuttle::{Config, Runner};
use std::collections::BTreeMap;
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
        (0, at) => (BLOCKS_WORD..=HEADS_WORD).contains(&at) || at >= FAILED_AT_WORD,
        (_, at @ 0..LINE_WORDS) => at < PID_AT,
        (_, at) => at % LINE_WORDS == 0 && !(2..61).contains(&(at / LINE_WORDS - 1)),
    }
}

fn new_words(blocks: usize) -> Shared<ModelWords> {
    // The hint is one for all threads here, which is allowed; but no run may depend on the one before.
    HINT.set(usize::MAX);
    LIVES.with_borrow_mut(BTreeMap::clear);
    let words = (0..(1 + blocks) * PAGE_WORDS).map(|_| OnceLock::new());
    Shared { words: ModelWords { words: words.collect(), is_loud } }
}

fn few_blocks() -> OwnBlocks {
    OwnBlocks { blocks: (0..4).map(|_| AtomicUsize::new(0)).collect(), count: AtomicUsize::new(0) }
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

fn check_random(runs: usize, model: impl Fn() + Send + Sync + 'static) {
    check(RandomScheduler::new(runs), model);
}

fn check_pct(runs: usize, depth: usize, model: impl Fn() + Send + Sync + 'static) {
    check(PctScheduler::new(depth, runs), model);
}

/// The model must fail, one way of choosing or the other.
fn must_fail(runs: usize, model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let found = [false, true].into_iter().any(|in_order| {
        let model = Arc::clone(&model);
        let run = move || match in_order {
            false => check(RandomScheduler::new_from_seed(1, runs), move || model()),
            true => check(PctScheduler::new_from_seed(1, 3, runs), move || model()),
        };
        catch_unwind(AssertUnwindSafe(run)).is_err()
    });
    assert!(found, "the checker does not find what is wrong here");
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
    /// The turn is not said to be open, so that ids come twice.
    TurnUnsaid,
    /// A failed flush is only an error.
    FailureForgotten,
}

// ---- model 1: slots ----

/// A store of two pages a state, of which each txn replaces one.
struct Slots {
    shared: Shared<ModelWords>,
    /// What they hold: the txn that wrote it.
    pages: Vec<LoudWord>,
    /// The `ADMIN` lock.
    admin: Mutex<()>,
    /// The locks by which processes live.
    alive: Vec<AtomicBool>,
    fault: Fault,
}

/// A page that is given up: its number, birth and death.
type GivenPage = (usize, u64, u64);

const NO_STATE: [u64; STATE_WORDS] = [0; STATE_WORDS];
/// A txn that needs none of the pages, for slots that are only to be taken.
const FAR: u64 = 1 << 40;

fn two_pages(txn: u64, places: [(usize, u64); 2]) -> State {
    let [(a, a_birth), (b, b_birth)] = places;
    let catalog = ChildRef { page: a as u64, birth: a_birth, count: 0 };
    let space = (b as u64, b_birth, 0);
    State { txn, catalog, space, held: txn * 7, ..State::from_words(&NO_STATE) }
}

impl Slots {
    fn new(blocks: usize, fault: Fault) -> Arc<Self> {
        let shared = new_words(blocks.max(1));
        shared.initialise(&[1; 16], 1, 1, &two_pages(1, [(0, 1), (1, 1)]));
        shared.set_blocks(blocks);
        let pages = (0..40).map(|page| LoudWord::new(u64::from(page < 2))).collect();
        let alive = (0..8).map(|_| AtomicBool::new(true)).collect();
        Arc::new(Slots { shared, pages, admin: Mutex::new(()), alive, fault })
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
        slots.for_each(|at| drop(self.shared.pin_at(block, at, FAR)));
    }

    /// As `Readers::pinned`.
    fn scan(&self) -> Vec<u64> {
        self.shared.pinned(self.shared.claimed_blocks())
    }

    fn write(&self, txns: u64) {
        let mut places = [(0, 1), (1, 1)];
        let (mut free, mut fresh, mut given) = (Vec::new(), 2, Vec::<GivenPage>::new());
        for txn in 2..2 + txns {
            let page = free.pop().unwrap_or_else(|| {
                fresh += 1;
                fresh - 1
            });
            self.pages[page].store(txn, SeqCst);
            let (old, birth) = std::mem::replace(&mut places[(txn % 2) as usize], (page, txn));
            given.push((old, birth, txn));
            let early = (self.fault == Fault::ScanBeforePublishing).then(|| self.scan());
            self.shared.publish(&two_pages(txn, places));
            // As `Store::prepare` and `Space::reclaim`.
            let published = self.shared.published().txn;
            let pinned = early.unwrap_or_else(|| self.scan());
            given.retain(|(page, birth, death)| {
                let is_needed = pinned.iter().any(|txn| (*birth..*death).contains(txn));
                if *death <= published && !is_needed {
                    free.push(*page);
                }
                *death > published || is_needed
            });
        }
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
    move || {
        let model = Slots::new(2, fault);
        let (one, other) = (model.process(0, 0..1), model.process(1, 1..2));
        let mut threads: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for own in [Arc::clone(&one), one, other] {
            let model = Arc::clone(&model);
            threads.push(Box::new(move || model.read(&own, 2)));
        }
        threads.push(Box::new(move || model.write(4)));
        at_once(threads);
    }
}

#[test]
fn a_reader_sees_what_it_pinned_for_as_long_as_it_holds_it() {
    check_random(5_000, three_readers(Fault::Nothing));
}

#[test]
fn a_reader_that_is_overtaken_sees_what_it_pinned() {
    check_pct(5_000, 4, three_readers(Fault::Nothing));
}

/// Every interleaving of one reader with two publications or more.
#[test]
fn a_reader_and_a_writer_in_every_order() {
    check(DfsScheduler::new(Some(100_000), false), || {
        let model = Slots::new(1, Fault::Nothing);
        let own = model.process(0, 0..1);
        let reader = Arc::clone(&model);
        let reader = thread::spawn(move || {
            let (pin, state) = reader.shared.try_pin(&own).unwrap();
            let found = reader.pages[state.catalog.page as usize].load(SeqCst);
            assert_eq!((found, state.held), (state.catalog.birth, state.txn * 7));
            reader.shared.unpin(pin);
        });
        // One txn, whose old page is overwritten at once where nobody needs it.
        model.pages[2].store(2, SeqCst);
        model.shared.publish(&two_pages(2, [(2, 2), (1, 1)]));
        if !model.scan().contains(&1) {
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
    check_random(2_000, || {
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
    check_random(4_000, growing(Fault::Nothing));
    check_pct(2_000, 3, growing(Fault::Nothing));
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

#[test]
fn a_snapshot_that_is_handed_over_to_a_later_block_is_seen() {
    check_random(3_000, hand_over(Fault::Nothing, 0, 1));
    check_pct(3_000, 3, hand_over(Fault::Nothing, 0, 1));
}

#[test]
fn a_snapshot_that_is_handed_over_to_an_earlier_block_is_seen() {
    check_random(3_000, hand_over(Fault::Nothing, 1, 0));
    check_pct(3_000, 3, hand_over(Fault::Nothing, 1, 0));
}

#[test]
fn the_checker_finds_readers_and_writers_that_leave_out_a_step() {
    must_fail(5_000, three_readers(Fault::NoSecondLook));
    must_fail(5_000, three_readers(Fault::ScanBeforePublishing));
    must_fail(5_000, three_readers(Fault::UsedRaisedLate));
}

#[test]
fn the_checker_finds_blocks_and_slots_that_are_given_away_too_early() {
    must_fail(5_000, growing(Fault::BlocksRaisedLate));
    must_fail(5_000, growing(Fault::ReapsTheLiving));
    must_fail(5_000, hand_over(Fault::UnpinBeforeHandOver, 0, 1));
}
