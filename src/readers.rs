//! The sidecar: the file in which processes that share a store tell each other what is published and
//! who reads what.
//!
//! Owns: the file `<data>-lock` (or one without a name), which process has which blocks of reader slots, and
//! taking back those of the dead. Promises: a process whose lock is gone is dead, whatever its pid, and one that
//! lives keeps its slots; slots grow instead of running out. Nothing in the file must last: it is begun anew by
//! whoever opens the store alone. Leaves to others: what the words mean ([`crate::shared`]).
//!
//! A process is known by an index: byte `PROCESS + index` of the sidecar is locked for as long as it has the
//! store open. So is a *delegate*: an index, with snapshots pinned, whose lock travels in a descriptor instead of
//! belonging to a process (an exported snapshot, or what a child finds after a fork).
//!
//! Invariants:
//! 1. The number of blocks is raised after the file was extended and before a slot of the new block is used.
//! 2. A block is given away and taken back under the `ADMIN` lock only.

use crate::descriptor;
use crate::disk::within_limit;
use crate::error::{Error, Result};
use crate::fork;
use crate::lock::{self, Mode};
use crate::map::SharedWords;
use crate::shared::{MAX_BLOCKS, OwnBlocks, PAGE, Pin, Pinned, SLOTS_PER_BLOCK, Shared, State, WAKE_WORD};
use rustix::thread::futex;
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::time::{Duration, Instant};

/// Processes that there can be at a time.
pub const MAX_PROCESSES: usize = 1 << 16;
/// The index of a process that has none.
const NOBODY: usize = usize::MAX;
/// So many blocks there may be before anyone looks for those of the dead.
const FEW_BLOCKS: usize = 64;

/// The sidecar of an open store; it can do what its words can.
pub struct Readers {
    shared: Shared<SharedWords>,
    file: File,
    /// Its index; [`NOBODY`] in a forked process that has none.
    process: AtomicUsize,
    /// The generation of the process that opened it.
    generation: u64,
    own: OwnBlocks,
    /// Blocks known to lie inside the file.
    known_blocks: AtomicUsize,
    /// OFD locks do not tell threads of one process apart; this does.
    admin: sync::Mutex<()>,
    /// For display.
    label: String,
}

impl Deref for Readers {
    type Target = Shared<SharedWords>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.shared
    }
}

/// A process index of its own, with snapshots pinned.
pub struct Delegate {
    /// The sidecar, opened anew; its description holds the index's lock.
    pub file: File,
    /// The index.
    pub process: usize,
    /// One for each of the snapshots.
    pub pins: Vec<Pin>,
}

/// The session that the file is the sidecar of, if it is one; nothing else is judged.
///
/// # Errors
/// `Io`.
pub fn session_of(file: &File, store_id: &[u8; 16]) -> Result<Option<u64>> {
    let meta = file.metadata().map_err(|error| Error::io("examine the lock file", error))?;
    if meta.size() < PAGE as u64 {
        return Ok(None);
    }
    let shared = Shared { words: SharedWords::map(file, PAGE)? };
    Ok(shared.session(store_id, meta.ino()))
}

impl Readers {
    /// Begins a session: writes the sidecar anew. The caller is alone, and holds [`lock::ADMIN`] on `file`.
    ///
    /// # Errors
    /// `Io`.
    pub fn begin(
        file: File,
        store_id: &[u8; 16],
        session: u64,
        state: &State,
        label: String,
    ) -> Result<Self> {
        let io = |doing: &'static str| move |error| Error::io(doing, error);
        let meta = file.metadata().map_err(io("examine the lock file"))?;
        if meta.size() == 0 {
            // Copied on write, each store through the mapping would need room on the disk.
            let flags = rustix::fs::ioctl_getflags(&file).unwrap_or(rustix::fs::IFlags::empty());
            let _ = rustix::fs::ioctl_setflags(&file, flags | rustix::fs::IFlags::NOCOW);
        }
        // The first pages keep their places on a disk that may be full; what is written has one.
        let kept = meta.size().min(2 * PAGE as u64);
        within_limit(2 * PAGE as u64).map_err(io("write the lock file"))?;
        let (written, len) = match if meta.size() == kept { Ok(()) } else { file.set_len(kept) } {
            Ok(()) => {
                file.write_all_at(&[0; 2 * PAGE][..kept as usize], 0).map_err(io("write the lock file"))?;
                (kept, kept)
            }
            // What is sealed keeps its length, and is emptied.
            Err(_) => {
                descriptor::empty_from(&file, 0).map_err(io("empty the lock file"))?;
                (0, meta.size())
            }
        };
        let rest = len.max(PAGE as u64) - written;
        descriptor::reserve(&file, written, rest).map_err(io("write the lock file"))?;
        let readers = Self::over(file, label)?;
        readers.initialise(store_id, session, meta.ino(), state);
        // Room for snapshots, before the disk is full.
        readers.add_blocks()?;
        readers.with_process()
    }

    /// Joins a session: that of [`session_of`], which others are in.
    ///
    /// # Errors
    /// `Io`; `Busy` when there are too many processes.
    pub fn join(file: File, label: String) -> Result<Self> {
        Self::over(file, label)?.with_process()
    }

    /// The sidecar seen by one who has no part in the session but what the descriptor holds: it pins nothing.
    ///
    /// # Errors
    /// `Io`.
    pub fn beside(file: File) -> Result<Self> {
        Self::over(file, String::new())
    }

    fn over(file: File, label: String) -> Result<Self> {
        Ok(Readers {
            shared: Shared { words: SharedWords::map(&file, (1 + MAX_BLOCKS) * PAGE)? },
            file,
            process: AtomicUsize::new(NOBODY),
            generation: fork::generation(),
            own: OwnBlocks::new(),
            known_blocks: AtomicUsize::new(0),
            admin: sync::Mutex::new(()),
            label,
        })
    }

    fn with_process(self) -> Result<Self> {
        let process = self.claim_process(&self.file)?;
        self.process.store(process, Relaxed);
        // Before the disk is full. Where it is already, the first snapshot says so.
        if let Ok(block) = self.claim_block(process) {
            self.own.add(block);
        }
        Ok(self)
    }

    /// This process has no more snapshots and no part in the session. The caller holds `ADMIN`.
    pub fn resign(&self) {
        let process = self.process.swap(NOBODY, Relaxed);
        if process != NOBODY {
            // Where this fails the blocks stay, until they are found to be a dead process's.
            let _ = self.free_blocks_of(process);
            let _ = lock::unlock(&self.file, lock::PROCESS + process as i64);
        }
    }

    /// In a forked process: the index whose lock its description of the sidecar holds now.
    pub fn adopt(&self, process: Option<usize>) {
        self.process.store(process.unwrap_or(NOBODY), Relaxed);
    }

    /// Takes a free process index through this description of the sidecar, first one that has no blocks. Blocks
    /// that a dead holder of it left are freed. The caller holds `ADMIN`.
    fn claim_process(&self, file: &File) -> Result<usize> {
        let owners = self.owners()?;
        let without_blocks = (0..MAX_PROCESSES).filter(|index| !owners.contains(index));
        for index in without_blocks.chain(owners.iter().copied()) {
            let byte = lock::PROCESS + index as i64;
            let got = lock::try_lock(file, byte, Mode::Exclusive)
                .map_err(|error| Error::io("lock a process slot", error))?;
            if got {
                self.free_blocks_of(index)?;
                return Ok(index);
            }
        }
        Err(Error::Busy { detail: format!("{MAX_PROCESSES} processes have the store open") })
    }

    fn owners(&self) -> Result<BTreeSet<usize>> {
        Ok((0..self.blocks()?).filter_map(|block| self.owner(block)).collect())
    }

    fn free_blocks_of(&self, process: usize) -> Result<()> {
        for block in 0..self.blocks()? {
            if self.owner(block) == Some(process) {
                self.free_block(block);
            }
        }
        Ok(())
    }

    /// The file, for handing it over.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Number of blocks, no more than the file really has.
    fn blocks(&self) -> Result<usize> {
        let claimed = self.claimed_blocks();
        if claimed > self.known_blocks.load(Acquire) {
            let real =
                self.file.metadata().map_err(|error| Error::io("examine the lock file", error))?.size();
            self.known_blocks.store((real as usize / PAGE).saturating_sub(1).min(MAX_BLOCKS), Release);
        }
        Ok(claimed.min(self.known_blocks.load(Acquire)))
    }

    /// Makes `state` the newest for readers, and wakes those who wait for it. The caller holds the flush lock.
    pub fn publish(&self, state: &State) {
        self.shared.publish(state);
        self.wake();
    }

    // ---- pinning ----

    /// Pins the newest state: no page that it needs is reused until [`Shared::unpin`].
    ///
    /// # Errors
    /// `Io` or `Busy` when all slots are taken and there can be no more.
    #[inline]
    pub fn pin(&self) -> Result<(Pin, State)> {
        loop {
            let seen = self.own.count();
            if let Some((pin, state)) = self.try_pin(&self.own) {
                self.set_since(pin, now());
                return Ok((pin, state));
            }
            self.claim_own_block(seen)?;
        }
    }

    /// Pins a txn that is not the newest. Its pages are safe only if a state that is looked at afterwards still needs
    /// them.
    ///
    /// # Errors
    /// As for [`Readers::pin`].
    pub fn pin_older(&self, txn: u64) -> Result<Pin> {
        loop {
            let seen = self.own.count();
            if let Some(pin) = self.claim_slot(&self.own, txn) {
                self.set_since(pin, now());
                return Ok(pin);
            }
            self.claim_own_block(seen)?;
        }
    }

    /// Gets this process one more block, unless another thread did since `seen` was read.
    #[cold]
    fn claim_own_block(&self, seen: usize) -> Result<()> {
        let _admin = self.lock_admin()?;
        if self.own.count() == seen {
            self.own.add(self.claim_block(self.process.load(Relaxed))?);
        }
        Ok(())
    }

    /// A block for this process index. The caller holds `ADMIN`.
    fn claim_block(&self, process: usize) -> Result<usize> {
        if self.free_blocks()?.next().is_none() {
            if self.blocks()? >= FEW_BLOCKS {
                // Before the file grows, what the dead have is taken.
                self.dead_processes()?.into_iter().try_for_each(|dead| self.free_blocks_of(dead))?;
            }
            if self.free_blocks()?.next().is_none() {
                self.add_blocks()?;
            }
        }
        let none =
            || Error::Busy { detail: "the lock file gives no reader slots: it was changed by others".into() };
        let block = self.free_blocks()?.next().ok_or_else(none)?;
        self.give_block(block, process, std::process::id(), &self.label);
        Ok(block)
    }

    fn free_blocks(&self) -> Result<impl Iterator<Item = usize> + '_> {
        Ok((0..self.blocks()?).filter(|block| self.owner(*block).is_none()))
    }

    /// Extends the file, by a part of what it has, so that this and looking for the dead happen seldom.
    fn add_blocks(&self) -> Result<()> {
        let blocks = self.blocks()?;
        if blocks == MAX_BLOCKS {
            let detail = format!("all {} reader slots are taken", MAX_BLOCKS * SLOTS_PER_BLOCK);
            return Err(Error::Busy { detail });
        }
        let more = (blocks / 4).clamp(1, MAX_BLOCKS - blocks);
        let len = (blocks + more + 1) as u64 * PAGE as u64;
        let old = self.file.metadata().map_err(|error| Error::io("examine the lock file", error))?.size();
        within_limit(len)
            .and_then(|()| descriptor::reserve(&self.file, old, len.saturating_sub(old)))
            .map_err(|error| Error::io("extend the lock file", error))?;
        self.known_blocks.fetch_max(blocks + more, Release);
        self.set_blocks(blocks + more);
        Ok(())
    }

    /// The txns that are pinned, ascending, each once.
    ///
    /// # Errors
    /// `Io` when the file cannot be examined.
    pub fn pinned(&self) -> Result<Vec<u64>> {
        loop {
            // A snapshot that is handed over from a slot that was not looked at yet to one that was is missed.
            let handovers = self.handovers();
            let pinned = self.shared.pinned(self.blocks()?);
            if self.handovers() == handovers {
                return Ok(pinned);
            }
        }
    }

    /// What the pinned slots say, and whether whoever pinned them is dead.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self) -> Result<Vec<(Pinned, bool)>> {
        let dead = self.dead_processes()?;
        let pinned = (0..self.blocks()?).flat_map(|block| self.describe_block(block));
        let with_fate = |pinned: Pinned| {
            let is_dead = dead.contains(&pinned.process);
            (pinned, is_dead)
        };
        Ok(pinned.map(with_fate).collect())
    }

    /// Pins snapshots again, in slots whose lock goes with the descriptor that is returned. They are pinned by the
    /// caller meanwhile.
    ///
    /// # Errors
    /// `Io`, also when this process may not open the sidecar anew; `Busy` when there are no more slots.
    pub fn delegate(&self, snapshots: &[(u64, &str)]) -> Result<Delegate> {
        let file = descriptor::reopen(&self.file, true)
            .map_err(|error| Error::io("open the lock file once more", error))?;
        let _admin = self.lock_admin()?;
        let process = self.claim_process(&file)?;
        let mut pins = Vec::new();
        for part in snapshots.chunks(SLOTS_PER_BLOCK) {
            let block = self.claim_block(process)?;
            for (at, (txn, label)) in part.iter().enumerate() {
                let pin = self.pin_at(block, at, *txn);
                self.set_since(pin, now());
                self.set_label(pin, label);
                pins.push(pin);
            }
        }
        Ok(Delegate { file, process, pins })
    }

    /// The pinned slots of this process.
    pub fn own_pins(&self) -> Vec<(Pin, u64)> {
        let slots = self.own.iter().flat_map(|block| self.used_slots(block));
        slots.filter_map(|pin| Some((pin, self.pinned_at(pin)?))).collect()
    }

    // ---- the dead ----

    /// Frees the slots of processes that died. Returns how many snapshots they had.
    ///
    /// # Errors
    /// `Io` when the kernel does not say who lives.
    pub fn reap(&self) -> Result<usize> {
        if self.dead_processes()?.is_empty() {
            return Ok(0);
        }
        let _admin = self.lock_admin()?;
        // Again, now that nobody can take an index of theirs.
        let dead = self.dead_processes()?;
        let pinned = (0..self.blocks()?).flat_map(|block| self.describe_block(block));
        let count = pinned.filter(|pinned| dead.contains(&pinned.process)).count();
        dead.into_iter().try_for_each(|process| self.free_blocks_of(process))?;
        Ok(count)
    }

    fn dead_processes(&self) -> Result<BTreeSet<usize>> {
        let mut dead = BTreeSet::new();
        // The kernel does not speak of one's own locks.
        let own = self.process.load(Relaxed);
        for process in self.owners()?.into_iter().filter(|owner| *owner != own) {
            let held = lock::is_held(&self.file, lock::PROCESS + process as i64)
                .map_err(|error| Error::io("examine a process slot", error))?;
            if !held {
                dead.insert(process);
            }
        }
        Ok(dead)
    }

    /// Keeps others from opening the store, and from handing out slots, until the guard is dropped.
    ///
    /// # Errors
    /// `Io`.
    pub fn lock_admin(&self) -> Result<impl Drop + '_> {
        let guard = match self.generation == fork::generation() {
            true => fork::lock(&self.admin),
            false => fork::lock_unless_lost(&self.admin).ok_or(Error::Forked)?,
        };
        lock::lock(&self.file, lock::ADMIN, Mode::Exclusive)
            .map_err(|error| Error::io("lock the lock file", error))?;
        Ok(AdminLock { file: &self.file, _guard: guard })
    }

    // ---- waiting ----

    /// Wakes those who wait for a publication. No system call where nobody does.
    pub fn wake(&self) {
        let someone_waits = self.words.half(WAKE_WORD, 1);
        if someone_waits.load(SeqCst) != 0 {
            someone_waits.store(0, SeqCst);
            self.wake_all();
        }
    }

    /// Wakes those who wait, whether or not there is something new.
    pub fn wake_all(&self) {
        let number = self.words.half(WAKE_WORD, 0);
        number.fetch_add(1, SeqCst);
        // It fails only where the kernel has no futexes.
        let _ = futex::wake(number, futex::Flags::empty(), i32::MAX as u32);
    }

    /// Waits until `is_over`, which is asked anew whenever something was published, or until `deadline`. Returns
    /// whether it is over.
    ///
    /// # Errors
    /// `Io` when the kernel refuses to wait.
    pub fn wait(&self, deadline: Option<Instant>, is_over: impl Fn() -> bool) -> Result<bool> {
        let (number, someone_waits) = (self.words.half(WAKE_WORD, 0), self.words.half(WAKE_WORD, 1));
        loop {
            let seen = number.load(SeqCst);
            someone_waits.store(1, SeqCst);
            // Behind the store: whoever publishes from here on sees it and wakes.
            if is_over() {
                return Ok(true);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            // A time beyond what the kernel can count is for ever.
            let left = left.and_then(|left| left.try_into().ok());
            match futex::wait(number, futex::Flags::empty(), seen, left.as_ref()) {
                Ok(())
                | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::TIMEDOUT) => {}
                Err(error) => return Err(Error::io("wait for a commit", error.into())),
            }
        }
    }
}

/// Milliseconds of the coarse monotonic clock: for display, and cheap to ask.
#[inline]
pub fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

struct AdminLock<'a> {
    file: &'a File,
    _guard: sync::MutexGuard<'a, ()>,
}

impl Drop for AdminLock<'_> {
    fn drop(&mut self) {
        // Unlocking a byte that is held does not fail; the kernel would do it at exit anyway.
        let _ = lock::unlock(self.file, lock::ADMIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Meta;

    const ID: [u8; 16] = [3; 16];

    fn state(txn: u64) -> State {
        State { txn, ..State::from_meta(&Meta::new(4096, 16, ID)) }
    }

    fn begin(file: &tempfile::NamedTempFile) -> Readers {
        Readers::begin(file.reopen().unwrap(), &ID, 77, &state(1), "first".into()).unwrap()
    }

    fn join(file: &tempfile::NamedTempFile) -> Readers {
        Readers::join(file.reopen().unwrap(), "second".into()).unwrap()
    }

    #[test]
    fn a_pin_is_seen_by_others_until_it_is_given_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (a, b) = (begin(&file), join(&file));
        a.publish(&state(7));
        let (pin, pinned) = b.pin().unwrap();
        assert_eq!(pinned.txn, 7);
        a.publish(&state(8));
        assert_eq!(a.pinned().unwrap(), [7]);
        b.set_label(pin, "a label that is longer than the room for labels, which has 48 bytes");
        let listed = a.list().unwrap();
        assert_eq!((listed.len(), listed[0].0.txn, listed[0].1), (1, 7, false));
        assert_eq!(listed[0].0.label, "a label that is longer than the room for labels,");
        b.set_label(pin, "");
        assert_eq!(a.list().unwrap()[0].0.label, "second");
        b.unpin(pin);
        assert!(a.pinned().unwrap().is_empty());
    }

    #[test]
    fn slots_grow_and_the_dead_are_reaped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (a, b) = (begin(&file), join(&file));
        for txn in 1..=1000 {
            a.publish(&state(txn));
            b.pin().unwrap();
        }
        assert_eq!(a.pinned().unwrap().len(), 1000);
        assert_eq!(a.reap().unwrap(), 0, "b lives");
        drop(b);
        assert_eq!(a.reap().unwrap(), 1000);
        assert!(a.pinned().unwrap().is_empty());
    }

    #[test]
    fn what_the_dead_had_is_used_before_the_file_grows() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let a = begin(&file);
        let len = |count: usize| {
            for _ in 0..count {
                let dying = join(&file);
                (0..100).for_each(|_| assert!(dying.pin().is_ok()));
            }
            file.as_file().metadata().unwrap().len()
        };
        assert_eq!(len(FEW_BLOCKS), len(2 * FEW_BLOCKS));
        drop(a);
    }

    #[test]
    fn a_delegate_keeps_its_pins_until_its_descriptor_is_closed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (a, b) = (begin(&file), join(&file));
        let (pin, _) = b.pin().unwrap();
        let delegate = b.delegate(&[(1, "handed over")]).unwrap();
        let copy = delegate.file.try_clone().unwrap();
        b.unpin(pin);
        drop((b, delegate));
        assert_eq!((a.reap().unwrap(), a.pinned().unwrap()), (0, vec![1]));
        assert_eq!(a.list().unwrap()[0].0.label, "handed over");
        drop(copy);
        assert!(a.list().unwrap()[0].1, "dead");
        assert_eq!((a.reap().unwrap(), a.pinned().unwrap()), (1, vec![]));
    }

    #[test]
    fn a_sidecar_says_which_store_and_session_it_is_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(session_of(file.as_file(), &ID).unwrap(), None);
        let _a = begin(&file);
        assert_eq!(session_of(file.as_file(), &ID).unwrap(), Some(77));
        assert_eq!(session_of(file.as_file(), &[4; 16]).unwrap(), None);
        let copy = tempfile::NamedTempFile::new().unwrap();
        std::fs::copy(file.path(), copy.path()).unwrap();
        assert_eq!(session_of(copy.as_file(), &ID).unwrap(), None, "a copy is not the one in use");
    }

    #[test]
    fn whoever_waits_is_woken() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (a, b) = (begin(&file), join(&file));
        let waiting = std::thread::spawn(move || b.wait(None, || b.published().txn > 4).unwrap());
        for txn in 2..=5 {
            a.publish(&state(txn));
            a.wake();
        }
        assert!(waiting.join().unwrap());
        assert!(!a.wait(Some(Instant::now() + Duration::from_millis(5)), || false).unwrap());
    }
}
