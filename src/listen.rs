//! Waiting for commits without blocking a thread each: the async form, behind the feature `async`.
//!
//! Owns: [`NextCommit`], and the thread that waits for all of them. Promises: no asking again and again; the thread
//! is there only while a future waits. It needs no executor in particular. Leaves to others: the wait itself
//! ([`crate::readers`]).

use crate::error::{Error, Result};
use crate::store::Store;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker};

/// The futures of one handle that wait.
#[derive(Default)]
pub struct Listeners {
    waiting: Mutex<Waiting>,
    /// Whether the thread is to look whether it is still needed.
    look: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    /// By their numbers: the txn that they have seen, and whom to wake.
    wakers: BTreeMap<u64, (u64, Waker)>,
    next: u64,
    has_thread: bool,
}

/// Resolves when a txn newer than a given one is published; see
/// [`Database::next_commit`](crate::Database::next_commit).
#[must_use = "a future does nothing unless it is awaited"]
pub struct NextCommit {
    store: Arc<Store>,
    listeners: Arc<Listeners>,
    after: u64,
    number: Option<u64>,
}

impl NextCommit {
    pub(crate) fn new(store: Arc<Store>, listeners: Arc<Listeners>, after: u64) -> Self {
        NextCommit { store, listeners, after, number: None }
    }
}

impl Future for NextCommit {
    type Output = Result<u64>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = self.store.check_process() {
            return Poll::Ready(Err(error));
        }
        let newest = || Some(self.store.readers.published().txn).filter(|txn| *txn > self.after);
        if let Some(txn) = newest() {
            return Poll::Ready(Ok(txn));
        }
        let number = match self.listeners.add(&self.store, self.number, self.after, context.waker()) {
            Ok(number) => number,
            Err(error) => return Poll::Ready(Err(error)),
        };
        // Behind the registration: what was published before it is seen here, what comes later wakes.
        let found = newest();
        self.number = Some(number);
        found.map_or(Poll::Pending, |txn| Poll::Ready(Ok(txn)))
    }
}

impl Drop for NextCommit {
    fn drop(&mut self) {
        if let Some(number) = self.number.filter(|_| self.store.is_own_process()) {
            self.listeners.remove(&self.store, number);
        }
    }
}

impl std::fmt::Debug for NextCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NextCommit after txn {}", self.after)
    }
}

impl Listeners {
    fn add(
        self: &Arc<Self>,
        store: &Arc<Store>,
        number: Option<u64>,
        after: u64,
        waker: &Waker,
    ) -> Result<u64> {
        let mut waiting = self.waiting.lock();
        let number = number.unwrap_or(waiting.next);
        waiting.next = waiting.next.max(number + 1);
        waiting.wakers.insert(number, (after, waker.clone()));
        if !waiting.has_thread {
            let (store, listeners) = (Arc::clone(store), Arc::clone(self));
            std::thread::Builder::new()
                .name("mapleaf-listen".into())
                .spawn(move || listeners.listen(&store))
                .map_err(|error| Error::io("start the thread that waits for commits", error))?;
            waiting.has_thread = true;
        }
        Ok(number)
    }

    fn remove(&self, store: &Store, number: u64) {
        let mut waiting = self.waiting.lock();
        waiting.wakers.remove(&number);
        if waiting.wakers.is_empty() && waiting.has_thread {
            self.look.store(true, SeqCst);
            store.readers.wake_all();
        }
    }

    /// The thread: waits for publications, and wakes whom they concern, until nobody waits.
    fn listen(&self, store: &Store) {
        let mut seen = 0;
        loop {
            let waited = store
                .readers
                .wait(None, || self.look.swap(false, SeqCst) || store.readers.published().txn > seen);
            seen = store.readers.published().txn;
            let mut waiting = self.waiting.lock();
            let concerned = |after: u64| after < seen || waited.is_err();
            let done: Vec<u64> = waiting
                .wakers
                .iter()
                .filter(|(_, (after, _))| concerned(*after))
                .map(|(number, _)| *number)
                .collect();
            let wakers: Vec<Waker> = done
                .iter()
                .filter_map(|number| waiting.wakers.remove(number))
                .map(|(_, waker)| waker)
                .collect();
            let is_over = waiting.wakers.is_empty();
            waiting.has_thread = !is_over;
            drop(waiting);
            wakers.into_iter().for_each(Waker::wake);
            if is_over {
                return;
            }
        }
    }
}
