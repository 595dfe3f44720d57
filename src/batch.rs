//! Updates of many threads in one txn.
//!
//! Owns: the txn that threads share ([`Batches`]). The first thread that comes begins it; those that come while
//! it waits for the flush of the txn before run their closures in it too, one after the other, each on its own
//! thread; then the first commits for all. So a batch is as large as a flush is long, without a delay
//! of its own. Promises: a closure that fails or panics leaves nothing in the txn and is nobody else's
//! problem; if the shared txn cannot be committed, each closure is run again in a txn of its own.
//! The idea is that of bbolt's `DB.Batch`; savepoints take the place of its second attempts.

use crate::error::{Error, Result};
use crate::group::Ticket;
use crate::store::{Store, Wait};
use crate::txn::WriteTxn;
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// So many threads are served by one txn at most.
const MAX_MEMBERS: usize = 1024;

/// The batch that threads can join, if there is one.
#[derive(Default)]
pub struct Batches {
    open: Mutex<Option<Batch>>,
}

struct Batch {
    txn: WriteTxn,
    outcome: Arc<Outcome>,
    members: usize,
}

/// The ticket of a batch once it is committed; `None` in it when it could not be.
#[derive(Default)]
struct Outcome {
    ticket: Mutex<Option<Option<Ticket>>>,
    known: Condvar,
}

/// What a closure returned, or the panic that it ended with.
type Ran<T, E> = std::thread::Result<Result<T, E>>;

impl Batches {
    /// Runs `update` in a txn that it may share, and waits until that is committed.
    pub fn run<T, E: From<Error>>(
        &self,
        store: &Arc<Store>,
        update: &mut dyn FnMut(&mut WriteTxn) -> Result<T, E>,
    ) -> Result<T, E> {
        let (ran, outcome, is_first) = self.join(store, update)?;
        if is_first {
            self.commit(store);
        }
        let value = match ran {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return Err(error),
            Err(panic) => resume_unwind(panic),
        };
        match outcome.wait() {
            Some(ticket) => {
                ticket.wait()?;
                Ok(value)
            }
            None => alone(store, update),
        }
    }

    /// Runs `update` in the open batch, or in a new one; then the caller is the first, and commits it.
    fn join<T, E: From<Error>>(
        &self,
        store: &Arc<Store>,
        update: &mut dyn FnMut(&mut WriteTxn) -> Result<T, E>,
    ) -> Result<(Ran<T, E>, Arc<Outcome>, bool)> {
        let mut open = self.open.lock();
        let is_full = open.as_ref().is_some_and(|batch| batch.members == MAX_MEMBERS);
        if is_full && let Some(batch) = open.take() {
            batch.commit();
        }
        let is_first = open.is_none();
        let batch = match &mut *open {
            Some(batch) => batch,
            none => none.insert(Batch::begin(store)?),
        };
        batch.members += 1;
        Ok((batch.run(update), Arc::clone(&batch.outcome), is_first))
    }

    /// Commits the open batch as soon as the flush under way has ended.
    fn commit(&self, store: &Store) {
        store.flushers.wait_until_idle();
        if let Some(batch) = self.open.lock().take() {
            batch.commit();
        }
    }
}

impl Batch {
    fn begin(store: &Arc<Store>) -> Result<Self> {
        let txn = WriteTxn::begin(store, Wait::Forever)?.expect("waits until it is its turn");
        Ok(Batch { txn, outcome: Arc::default(), members: 0 })
    }

    /// Runs `update`; what it did is undone unless it succeeds.
    fn run<T, E>(&mut self, update: &mut dyn FnMut(&mut WriteTxn) -> Result<T, E>) -> Ran<T, E> {
        let before = self.txn.savepoint();
        let ran = catch_unwind(AssertUnwindSafe(|| update(&mut self.txn)));
        if !matches!(ran, Ok(Ok(_))) {
            // Where that fails the txn is poisoned, and cannot be committed.
            let _ = self.txn.rollback_to(before);
        }
        ran
    }

    fn commit(self) {
        let ticket = self.txn.commit_ticket().ok();
        *self.outcome.ticket.lock() = Some(ticket);
        self.outcome.known.notify_all();
    }
}

impl Outcome {
    /// Waits until the batch is committed.
    fn wait(&self) -> Option<Ticket> {
        let mut ticket = self.ticket.lock();
        while ticket.is_none() {
            self.known.wait(&mut ticket);
        }
        ticket.as_ref().and_then(|ticket| ticket.as_ref().map(Ticket::another))
    }
}

/// Runs `update` in a txn of its own.
fn alone<T, E: From<Error>>(
    store: &Arc<Store>,
    update: &mut dyn FnMut(&mut WriteTxn) -> Result<T, E>,
) -> Result<T, E> {
    let mut txn = WriteTxn::begin(store, Wait::Forever)?.expect("waits until it is its turn");
    let value = update(&mut txn)?;
    txn.commit()?;
    Ok(value)
}
