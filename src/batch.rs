//! Updates of many threads in one txn.
//!
//! Owns: the txn that threads share ([`Batches`]). The first thread that comes begins it; those that come while
//! it waits for the batch before run their closures in it too, one after the other, each on its own thread;
//! then the first commits for all. When the batch before is done its threads come back, one by one: the
//! first waits for as many as there were, but no longer than half of what the last flush took. So threads that
//! keep updating share every commit, and a thread alone never waits. Promises: a closure that fails or
//! panics leaves nothing in the txn and is nobody else's problem; if the shared txn cannot be committed, each
//! closure is run again in a txn of its own.
//! The idea is that of bbolt's `DB.Batch`; nested txns take the place of its second attempts.

use crate::error::{Error, Result};
use crate::group::Ticket;
use crate::options::Durability;
use crate::store::Store;
use crate::txn::WriteTxn;
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

/// So many threads are served by one txn at most.
const MAX_MEMBERS: usize = 1024;
/// Nobody waits longer for others to join.
const MAX_PATIENCE: Duration = Duration::from_millis(2);

/// The batch that threads can join, if there is one.
#[derive(Default)]
pub struct Batches {
    open: Mutex<Option<Batch>>,
    joined: Condvar,
    /// The newest batch that was committed.
    last: Mutex<Arc<Outcome>>,
}

struct Batch {
    txn: WriteTxn,
    outcome: Arc<Outcome>,
    /// As many members as the batch before had.
    expected: usize,
    /// The strictest level that a member has asked for.
    durability: Durability,
}

/// How far a batch has come.
#[derive(Default)]
struct Outcome {
    stage: Mutex<Stage>,
    reached: Condvar,
    /// Closures that ran in it.
    members: AtomicUsize,
    /// What committing and flushing it took, in nanoseconds.
    nanos: AtomicU64,
}

#[derive(Default)]
enum Stage {
    /// It can be joined, or is being committed.
    Open,
    /// It is handed over. Its first member takes the ticket and waits for the disk, for all.
    Committed(Option<Ticket>),
    /// It is on the disk and published.
    #[default]
    Done,
    /// Its flush failed.
    Lost,
    /// It could not be committed.
    Refused,
}

/// What a closure returned, or the panic that it ended with.
type Ran<T> = std::thread::Result<Result<T>>;

/// A closure that has run in a batch.
struct Member<T> {
    ran: Ran<T>,
    outcome: Arc<Outcome>,
    /// For the first of a batch: the batch before.
    before: Option<Arc<Outcome>>,
}

impl Batches {
    /// Runs `update` in a txn that it may share, and waits until that is committed.
    pub fn run<T>(
        &self,
        store: &Arc<Store>,
        update: &mut dyn FnMut(&mut WriteTxn) -> Result<T>,
    ) -> Result<T> {
        let Member { ran, outcome, before } = self.join(store, update)?;
        let lost = before.and_then(|before| self.lead(&before, &outcome).err());
        let value = match ran {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return Err(error),
            Err(panic) => resume_unwind(panic),
        };
        match outcome.wait() {
            Stage::Done => Ok(value),
            Stage::Lost => Err(lost.unwrap_or_else(|| store.lost())),
            _ => WriteTxn::run(store, update),
        }
    }

    /// Runs `update` in the open batch, or in a new one, which the caller then leads.
    fn join<T>(
        &self,
        store: &Arc<Store>,
        update: &mut dyn FnMut(&mut WriteTxn) -> Result<T>,
    ) -> Result<Member<T>> {
        let mut open = self.open.lock();
        let is_full = open.as_ref().is_some_and(|batch| batch.members() == MAX_MEMBERS);
        if is_full && let Some(batch) = open.take() {
            let outcome = Arc::clone(&batch.outcome);
            self.commit(batch);
            // Its leader waits for that.
            outcome.reached.notify_all();
        }
        let mut before = None;
        let batch = match &mut *open {
            Some(batch) => batch,
            none => {
                let last = before.insert(Arc::clone(&self.last.lock()));
                none.insert(Batch::begin(store, last.members.load(Relaxed))?)
            }
        };
        let members = batch.outcome.members.fetch_add(1, Relaxed) + 1;
        if members == batch.expected {
            self.joined.notify_all();
        }
        let member = Member { ran: batch.run(update), outcome: Arc::clone(&batch.outcome), before };
        if batch.txn.is_poisoned() {
            // Nobody else is to join; who was in it runs again, alone.
            *open = None;
            member.outcome.reach(Stage::Refused);
        }
        Ok(member)
    }

    /// Commits the batch when the one before is done and its threads are back, and waits until it is on the disk.
    fn lead(&self, before: &Outcome, outcome: &Outcome) -> Result<()> {
        before.wait();
        self.gather(before, outcome);
        let begun = Instant::now();
        let Some(ticket) = outcome.take_ticket() else { return Ok(()) };
        let flushed = ticket.flush();
        outcome.nanos.store(begun.elapsed().as_nanos() as u64, Relaxed);
        outcome.reach(if flushed.is_ok() { Stage::Done } else { Stage::Lost });
        ticket.write_back(flushed?);
        Ok(())
    }

    /// Waits a little for as many members as the batch before had, then commits.
    fn gather(&self, before: &Outcome, outcome: &Outcome) {
        let until = Instant::now() + Duration::from_nanos(before.nanos.load(Relaxed) / 2).min(MAX_PATIENCE);
        let mut open = self.open.lock();
        while outcome.members.load(Relaxed) < before.members.load(Relaxed) {
            if self.joined.wait_until(&mut open, until).timed_out() {
                break;
            }
        }
        if let Some(batch) = open.take_if(|batch| std::ptr::eq(&*batch.outcome, outcome)) {
            self.commit(batch);
        }
    }

    /// The caller holds the lock of `open`.
    fn commit(&self, batch: Batch) {
        *self.last.lock() = Arc::clone(&batch.outcome);
        batch.commit();
    }
}

impl Batch {
    fn begin(store: &Arc<Store>, expected: usize) -> Result<Self> {
        let txn = WriteTxn::begin_waiting(store)?;
        let outcome = Outcome { stage: Mutex::new(Stage::Open), ..Outcome::default() };
        Ok(Batch { txn, outcome: Arc::new(outcome), expected, durability: Durability::Eventual })
    }

    fn members(&self) -> usize {
        self.outcome.members.load(Relaxed)
    }

    /// Runs `update`; what it did is undone unless it succeeds.
    fn run<T>(&mut self, update: &mut dyn FnMut(&mut WriteTxn) -> Result<T>) -> Ran<T> {
        let mut nested = match self.txn.begin_nested() {
            Ok(nested) => nested,
            Err(error) => return Ok(Err(error)),
        };
        nested.reset_durability();
        let ran = catch_unwind(AssertUnwindSafe(|| update(&mut nested)));
        if let Ok(Ok(_)) = ran {
            let durability = nested.durability();
            // Where it fails otherwise the txn is poisoned, and the closure is run again.
            if let Err(error @ (Error::Poisoned | Error::UnknownSavepoint)) = nested.commit() {
                return Ok(Err(error));
            }
            self.durability = self.durability.max(durability);
        }
        ran
    }

    fn commit(mut self) {
        let _guard = Guard(Arc::clone(&self.outcome));
        self.txn.set_durability(self.durability);
        match self.txn.commit_ticket() {
            // Only the leader cares; the others sleep on.
            Ok(ticket) => *self.outcome.stage.lock() = Stage::Committed(Some(ticket)),
            Err(_) => self.outcome.reach(Stage::Refused),
        }
    }
}

/// Lets nobody wait for ever for a commit that ended in a panic.
struct Guard(Arc<Outcome>);

impl Drop for Guard {
    fn drop(&mut self) {
        if matches!(*self.0.stage.lock(), Stage::Open) {
            self.0.reach(Stage::Refused);
        }
    }
}

impl Outcome {
    fn reach(&self, stage: Stage) {
        *self.stage.lock() = stage;
        self.reached.notify_all();
    }

    /// Waits for the ticket; `None` when there is none.
    fn take_ticket(&self) -> Option<Ticket> {
        let mut stage = self.stage.lock();
        loop {
            match &mut *stage {
                Stage::Open => self.reached.wait(&mut stage),
                Stage::Committed(ticket) => return ticket.take(),
                _ => return None,
            }
        }
    }

    /// Waits until the batch is done, one way or the other.
    fn wait(&self) -> Stage {
        let mut stage = self.stage.lock();
        loop {
            match *stage {
                Stage::Open | Stage::Committed(_) => self.reached.wait(&mut stage),
                Stage::Done => return Stage::Done,
                Stage::Lost => return Stage::Lost,
                Stage::Refused => return Stage::Refused,
            }
        }
    }
}
