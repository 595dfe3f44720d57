//! Flushing and publishing, for all threads and processes together.
//!
//! Owns: the flush lock ([`Lead`]), group commit, the checkpoint, and what a failed flush means. Promises: a
//! txn is published only when it is as durable as it was asked to be; one flush serves every txn that is
//! in the log when it begins; after a failed flush nothing that was not on the disk before is
//! published, in any process, until the store has recovered. Leaves to others: what is written before
//! ([`crate::commit`]), and recovery ([`crate::recover`]).
//!
//! Whoever needs a flush takes the lead: the only one in all processes that flushes and publishes.
//! Meanwhile the next writers append to the log; whoever of them takes the lead next flushes for all
//! of them, the others find that it was done. So the number of txns a flush grows with the number of
//! threads that wait, without a thread of our own and without a delay.
//!
//! **After a failed flush** the page cache is no evidence: blocks may be marked clean that are not on the
//! disk. So the state of the sidecar becomes [`FlushState::Failed`] and stays it, whatever happens to
//! this process; every txn that was not on the disk is an error to whoever waits for it; and the next
//! writer, in any process, recovers first. The same holds when the leader dies while it flushes.
//!
//! Invariants:
//! 1. A meta slot is written only when everything that it refers to was flushed ([`Lead::checkpoint`]).
//! 2. Published txns never go back, but for those that were only [`Durability::Eventual`] and whose log
//!    could not be read after a failed flush.
//!
//! [`Durability::Eventual`]: crate::Durability::Eventual

use crate::create::slots_in;
use crate::error::{Error, Result};
use crate::lock::{self, Mode};
use crate::log::{Log, RECORD_HEAD};
use crate::shared::{FlushState, State};
use crate::store::{Store, Transient};
use crate::write_back::INTERVAL;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The right to flush and to publish. Its holder is the only one, in all processes.
pub struct Lead<'s> {
    store: &'s Store,
    /// Whether the store has not recovered since it was opened: that stays so when a flush fails.
    unopened: bool,
}

impl Store {
    /// Waits until nobody else leads.
    ///
    /// # Errors
    /// `Io` when the lock cannot be had.
    pub fn lead(&self) -> Result<Lead<'_>> {
        self.lead_unless(&|| false).map(|lead| lead.expect("it waits"))
    }

    /// The same, or `None` as soon as `is_over` says that there is nothing left to do.
    fn lead_unless(&self, is_over: &dyn Fn() -> bool) -> Result<Option<Lead<'_>>> {
        self.check_process()?;
        if !self.flushers.enter(is_over) {
            return Ok(None);
        }
        if let Err(error) = lock::lock(self.pages.disk.file(), lock::FLUSH, Mode::Exclusive) {
            self.flushers.leave();
            return Err(self.pages.disk.io_error("lock", error));
        }
        let lead = Lead { store: self, unopened: self.readers.flush_state() == FlushState::Unopened };
        if self.readers.flush_state() == FlushState::UnderWay {
            lead.take_over()?;
        }
        Ok(Some(lead))
    }

    /// Asks the system to begin writing what the next checkpoint will flush. Only advice: errors come back from the
    /// next flush.
    pub fn write_back(&self) {
        let (head, Ok(log)) = (self.readers.head(), self.log()) else { return };
        let part = |of: u64, whole: u64| {
            (u128::from(of.min(whole)) * u128::from(INTERVAL) / u128::from(whole.max(1))) as u64
        };
        let now = part(head.held, self.held_limit(&head)).max(part(head.log.offset, log.capacity()));
        let due = self.unwritten.lock().due(now);
        let page_size = self.pages.page_size as u64;
        for run in due {
            self.pages.disk.start_write_back(run.start * page_size, run.len * page_size);
        }
    }

    /// The error of a txn that was not on the disk when a flush failed.
    pub fn lost(&self) -> Error {
        let errno = self.flushers.last_error.lock().unwrap_or(libc::EIO);
        let doing = "flush, for this commit or one before it,";
        self.pages.disk.io_error(doing, io::Error::from_raw_os_error(errno))
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Unlocking what is held does not fail; and the lock ends with the descriptor.
        let _ = lock::unlock(self.store.pages.disk.file(), lock::FLUSH);
        self.store.flushers.leave();
    }
}

impl Lead<'_> {
    /// Whether nobody has looked at the log since the store was opened.
    pub fn is_first(&self) -> bool {
        self.unopened
    }

    /// Whoever had the lead died while flushing. What was acknowledged is published; the rest is lost.
    fn take_over(&self) -> Result<()> {
        let readers = &self.store.readers;
        if readers.checkpoint().is_some_and(|(txn, _)| txn > readers.published().txn) {
            readers.publish(&State::from_meta(&self.store.checkpoint()?.0));
        }
        readers.fail();
        self.take_back_records();
        Ok(())
    }

    /// Runs a step that flushes; the caller then publishes and calls [`Lead::settle`].
    fn risk<T>(&self, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let readers = &self.store.readers;
        let is_first = readers.flush_state() == FlushState::Settled;
        if !self.unopened {
            readers.set_flush_state(FlushState::UnderWay);
        }
        step().inspect_err(|error| {
            self.store.counters().failed_flushes.add(1);
            if let Error::Io { source, .. } = error {
                *self.store.flushers.last_error.lock() = source.raw_os_error();
            }
            if !self.unopened {
                readers.fail();
            }
            self.store.pages.distrust();
            if is_first {
                self.take_back_records();
            }
        })
    }

    /// What was flushed is published: nothing is open any more.
    pub fn settle(&self) {
        self.store.readers.set_flush_state(FlushState::Settled);
    }

    /// What goes wrong unless the last flush is settled.
    fn check(&self) -> Result<()> {
        match self.store.readers.flush_state() {
            FlushState::Settled => Ok(()),
            _ => Err(self.store.lost()),
        }
    }

    /// Flushes the log up to the head and publishes that; nothing where it was done already.
    ///
    /// # Errors
    /// `Io`, also when an earlier flush failed: the txns that were not on the disk are lost.
    pub fn flush_log(&self) -> Result<()> {
        self.check()?;
        let (store, readers) = (self.store, &self.store.readers);
        let (head, (durable, flushed)) = (store.head()?, readers.durable());
        if head.txn > durable {
            let log = store.log()?;
            let flushed = flushed.min(head.log.offset);
            self.risk(|| log.flush(&store.pages.disk, flushed..head.log.offset))?;
            // In this order: what is published is kept, whenever this process dies.
            self.publish_head(&head);
            readers.set_durable(head.txn, head.log.offset);
            store.counters().log_flushes.add(1);
        }
        self.publish_head(&head);
        self.settle();
        Ok(())
    }

    /// Spoils the records of the txns that are lost, so that they do not come back when every process dies. (After
    /// a power cut they may, until the store has recovered: what is on the disk is unknown.)
    fn take_back_records(&self) {
        let (readers, published) = (&self.store.readers, self.store.readers.published());
        let (durable, flushed) = readers.durable();
        let from = if published.txn > durable { published.log.offset } else { flushed };
        let disk = &self.store.pages.disk;
        // Where this fails too, only the promise of the next opening is weaker. The flush leaves no dirty block
        // behind that could fail a later one.
        let _ = self.store.log().and_then(|log| {
            let from = from.min(log.capacity());
            let len = (log.capacity() - from).min(RECORD_HEAD as u64);
            log.write(disk, from, &[0; RECORD_HEAD][..len as usize])?;
            log.flush(disk, from..from + len)
        });
    }

    /// Publishes the head, which is not on the disk, where no txn in it has asked for more.
    ///
    /// # Errors
    /// `Io` when it must be flushed and cannot be, or an earlier flush failed.
    pub fn publish_eventual(&self) -> Result<()> {
        self.check()?;
        let readers = &self.store.readers;
        if readers.asked() > readers.durable().0 {
            return self.flush_log();
        }
        self.publish_head(&readers.head());
        Ok(())
    }

    fn publish_head(&self, head: &State) {
        if self.store.readers.published() != *head {
            self.store.readers.publish(head);
        }
    }

    /// Flushes new space, byte ranges of the file, before a logged txn speaks of it.
    ///
    /// # Errors
    /// `Io`.
    pub fn flush_growth(&self, fresh: &[Range<u64>]) -> Result<()> {
        self.check()?;
        let disk = &self.store.pages.disk;
        self.risk(|| fresh.iter().try_for_each(|range| disk.sync(range.start, range.end - range.start)))?;
        self.settle();
        Ok(())
    }

    /// The checkpoint: makes `state` durable in place. Steps 3 to 6 of a commit; the pages are written.
    /// `written` is where all of them lie that were not flushed yet, byte ranges of the file; `log` begins with it.
    /// Returns the state with the log's beginning.
    ///
    /// # Errors
    /// `Io`.
    pub fn checkpoint(&self, state: &State, log: Log, written: &[Range<u64>]) -> Result<State> {
        let (store, readers) = (self.store, &self.store.readers);
        let (_, durable_slot) = readers.checkpoint().expect("the store has recovered, or is about to");
        let (state, slot) = (State { log: log.start(), held: 0, ..*state }, 1 - durable_slot);
        self.risk(|| {
            // 3. Flush the pages.
            written
                .iter()
                .try_for_each(|range| store.pages.disk.sync(range.start, range.end - range.start))?;
            // 4. and 5. Write the other meta slot and flush it.
            store.write_meta(&state, &log, slot)
        })
        .inspect_err(|_| store.take_back_meta(slot))?;
        // 6. Publish. Only from here on may the log begin again.
        let before = readers.head().page_count.max(readers.published().page_count);
        if state.page_count < before {
            // No state has more pages than the file, whatever there once was.
            let in_file = store.pages.disk.len().map_or(u64::MAX, |len| len / store.pages.page_size as u64);
            readers.set_shrunk(state.txn, before.max(readers.shrunk().1.min(in_file)));
        }
        readers.set_checkpoint(state.txn, slot);
        store.set_log(log);
        store.unwritten.lock().clear();
        readers.set_head(&state);
        readers.publish(&state);
        self.settle();
        store.counters().checkpoints.add(1);
        Ok(state)
    }

    /// Whether no flush has failed since the caller's txn began, and none is open.
    ///
    /// # Errors
    /// `Io`.
    pub fn check_since(&self, failures: u64) -> Result<()> {
        match self.store.readers.failures() == failures {
            true => self.check(),
            false => Err(self.store.lost()),
        }
    }

    /// Sees to it that neither meta slot speaks of more than so many pages, unless the checkpoint has more: writes that into
    /// the other slot too.
    ///
    /// # Errors
    /// `Io`.
    pub fn level_slots(&self, page_count: u64) -> Result<()> {
        self.check()?;
        let (meta, slot) = self.store.checkpoint()?;
        let most = page_count.max(meta.page_count.get());
        if slots_in(&self.store.pages.disk)[1 - slot]
            .as_ref()
            .is_ok_and(|other| other.page_count.get() > most)
        {
            self.risk(|| self.store.write_slot(&meta, 1 - slot))?;
            self.settle();
        }
        Ok(())
    }

    /// Makes the head a checkpoint, unless it is one. The caller has the turn to write.
    ///
    /// # Errors
    /// `Io`.
    pub fn checkpoint_head(&self) -> Result<()> {
        self.check()?;
        let (store, head) = (self.store, self.store.head()?);
        let log = store.log()?;
        if head.txn == log.checkpoint {
            return Ok(());
        }
        let len = head.page_count * store.pages.page_size as u64;
        self.checkpoint(&head, log.next(head.txn)?, std::slice::from_ref(&(0..len))).map(|_| ())
    }
}

/// A commit that was handed over but need not be on the disk yet: see
/// [`WriteTxn::commit_ticket`](crate::WriteTxn::commit_ticket).
///
/// Dropping it takes nothing back: the txn is flushed and seen together with the next one that anyone
/// waits for, or when this process closes the store.
#[must_use = "only `wait` says whether the commit is durable"]
pub struct Ticket {
    store: Arc<Store>,
    txn: u64,
    /// Number of failed flushes when its txn began.
    failures: u64,
    /// Whether there is nothing to wait for.
    done: bool,
}

impl Ticket {
    pub(crate) fn new(store: Arc<Store>, txn: u64, failures: u64, done: bool) -> Self {
        Ticket { store, txn, failures, done }
    }

    /// The id of the txn.
    pub fn txn_id(&self) -> u64 {
        self.txn
    }

    /// Whether it is known how the commit ended, so that [`Ticket::wait`] returns at once. Costs a few loads.
    pub fn is_done(&self) -> bool {
        self.outcome().is_some()
    }

    /// Waits until the commit is as durable as it was asked to be, and published. One of those who wait
    /// flushes, for all.
    ///
    /// # Errors
    /// `Io` when the flush failed: the changes are visible to nobody, in no process, and neither is any later
    /// txn that was built on them.
    pub fn wait(self) -> Result<()> {
        self.write_back(self.flush()?);
        Ok(())
    }

    /// A part of the work for the next checkpoint, for whoever has flushed.
    pub(crate) fn write_back(&self, has_flushed: bool) {
        if has_flushed {
            self.store.write_back();
        }
    }

    /// The same without [`Ticket::write_back`]. Returns whether this thread has flushed.
    pub(crate) fn flush(&self) -> Result<bool> {
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome.map(|()| false);
            }
            let Some(lead) = self.store.lead_unless(&|| self.is_done())? else { continue };
            if self.outcome().is_some() {
                continue;
            }
            return match lead.flush_log() {
                Ok(()) => Ok(true),
                Err(error) => self.outcome().unwrap_or(Err(error)).map(|()| false),
            };
        }
    }

    /// How it ended, if it did.
    fn outcome(&self) -> Option<Result<()>> {
        let readers = &self.store.readers;
        // In this order: what was published before a failure came is kept. What waits is published only when
        // it is on the disk.
        let done = self.done || readers.published().txn >= self.txn;
        let failed = readers.failures() != self.failures;
        match (done, failed) {
            (true, false) => Some(Ok(())),
            (false, false) => None,
            (_, true) => Some(self.outcome_of_failure()),
        }
    }

    fn outcome_of_failure(&self) -> Result<()> {
        let kept = self.store.readers.kept_at_failure(self.failures);
        match self.done || kept.is_some_and(|txn| txn >= self.txn) {
            true => Ok(()),
            false => Err(self.store.lost()),
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket of txn {}", self.txn)
    }
}

impl Drop for Store {
    /// The last handle in any process leaves a checkpoint behind, so that there is nothing to replay.
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

impl Store {
    /// This process is done with the store. Makes the head a checkpoint if nobody else has it open, in any
    /// process; else everything handed over is flushed and published, and this handle no longer counts.
    ///
    /// # Errors
    /// `Io`; nothing is lost then, the log is replayed when the store is opened again.
    pub fn finish(&self) -> Result<()> {
        let readers = &self.readers;
        let is_over = self.is_finished.swap(true, Relaxed);
        if is_over || self.read_only || !self.is_own_process() || readers.checkpoint().is_none() {
            return Ok(());
        }
        // A child would not end it.
        let mut transient = Transient::default();
        transient.add(self.pages.disk.file());
        transient.add(readers.file());
        // Nobody can begin anew before this is given back, which is the last thing that touches the sidecar.
        let _admin = readers.lock_admin()?;
        if self.is_unsettled()? {
            return Ok(());
        }
        if !self.is_alone()? {
            let is_waiting =
                readers.published() != readers.head() || readers.head().txn > readers.durable().0;
            let flushed = if is_waiting { self.lead()?.flush_log() } else { Ok(()) };
            self.unshare()?;
            return flushed;
        }
        let finished = match readers.open_turn() {
            None => self.finish_alone(),
            Some(_) => Ok(()),
        };
        self.unshare()?;
        finished
    }

    fn finish_alone(&self) -> Result<()> {
        self.lead()?.checkpoint_head()?;
        self.shorten()?;
        self.leave_mark();
        Ok(())
    }

    /// Cuts off what lies behind the head, as far as no state that somebody can still see has more pages. Returns how many
    /// bytes that were. The caller has the turn to write, or is alone.
    ///
    /// # Errors
    /// `Io`.
    pub fn shorten(&self) -> Result<u64> {
        let (page_count, has) = (self.head()?.page_count, self.pages.disk.len()?);
        if has <= page_count * self.pages.page_size as u64 {
            return Ok(0);
        }
        self.readers.reap()?;
        // Nothing is flushed meanwhile.
        let lead = self.lead()?;
        lead.level_slots(page_count)?;
        self.cut(page_count)?;
        Ok(has.saturating_sub(self.pages.disk.len()?))
    }
}
