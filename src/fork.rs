//! Forking: which process this is, and what happens at a fork.
//!
//! Owns: the generation, a number that a process and a child forked from it do not share; the handlers
//! that run at a fork; and putting another file under a descriptor. Promises: asking for the generation is a few loads,
//! no system call. Leaves to others: what a child needs ([`crate::heritage`]).
//!
//! The generation stands in a page that the kernel empties in a child, so that a child is noticed
//! however it came about. The handlers (`pthread_atfork`) run with `fork` of the C library only, not with a bare
//! `clone` system call; programs that are started (`posix_spawn`, `std::process`) are no children in this sense.

#![allow(unsafe_code)]

use crate::map::{SharedWords, Word, Words};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
#[cfg(not(mapleaf_test_map))]
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, TryLockError};
use std::time::Duration;

static PAGE: OnceLock<SharedWords> = OnceLock::new();
/// The newest generation among this process and its ancestors; a child has a copy.
static NEWEST: AtomicU64 = AtomicU64::new(0);

/// The generation of this process.
#[inline(always)]
pub fn generation() -> u64 {
    match PAGE.get().map(|page| Word::load(page.word(0), Relaxed)) {
        Some(generation) if generation != 0 => generation,
        _ => begin_generation(),
    }
}

#[cold]
fn begin_generation() -> u64 {
    let page = PAGE.get_or_init(|| SharedWords::wiped_on_fork().expect("prepared before a store is opened"));
    let next = NEWEST.load(SeqCst) + 1;
    if page.word(0).exchange_if(0, next) {
        NEWEST.store(next, SeqCst);
    }
    Word::load(page.word(0), SeqCst)
}

/// Gets the memory that this needs, before anything else here is called.
///
/// # Errors
/// `Io` when there is none.
pub fn prepare() -> io::Result<()> {
    if PAGE.get().is_none() {
        // Another thread may have been quicker.
        let _ = PAGE.set(SharedWords::wiped_on_fork()?);
    }
    Ok(())
}

/// A child was forked, whether or not the kernel has emptied the page.
fn enter_child() {
    if let Some(page) = PAGE.get() {
        Word::store(page.word(0), 0, SeqCst);
    }
    begin_generation();
}

/// Has these run at every fork from now on: before it, and after it in the parent and in the child. Only
/// the first call counts.
pub fn at_fork(handlers: &'static Handlers) {
    static ONCE: Once = Once::new();
    static HANDLERS: OnceLock<&Handlers> = OnceLock::new();
    extern "C" fn before() {
        run(|handlers| (handlers.before)());
    }
    extern "C" fn in_parent() {
        run(|handlers| (handlers.in_parent)());
    }
    extern "C" fn in_child() {
        enter_child();
        run(|handlers| (handlers.in_child)());
    }
    /// A panic must not leave a function that C calls; there is none that is expected.
    fn run(handler: impl Fn(&Handlers)) {
        let Some(handlers) = HANDLERS.get() else { return };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handler(handlers)));
    }
    ONCE.call_once(|| {
        let _ = HANDLERS.set(handlers);
        // SAFETY: claim F1: the three functions live as long as the program, or as the library that this code is in,
        // with which the C library forgets them.
        let _ = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    });
}

/// Locks what a fork locks, too.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The thread sanitizer does not see what std's own code does for a thread that waits (docs/soundness.md).
    #[cfg(mapleaf_test_map)]
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    #[cfg(not(mapleaf_test_map))]
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks, in a process that was forked; `None` where whoever held it at the fork is not there to let it go.
pub fn lock_unless_lost<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    // Nobody holds these locks for long.
    for _ in 0..200 {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}

/// What runs at a fork.
pub struct Handlers {
    /// In the parent, before.
    pub before: fn(),
    /// In the parent, after.
    pub in_parent: fn(),
    /// In the child.
    pub in_child: fn(),
}

/// Makes the descriptor of `file` one of `other`'s open file description; its own is let go.
///
/// # Errors
/// The system's.
pub fn replace(file: &File, other: &File) -> io::Result<()> {
    put_under(file.as_raw_fd(), other)
}

/// The same for a descriptor that is open in a thread which this process, a forked one, does not have.
pub fn replace_raw(fd: RawFd, other: &File) {
    // Where it fails the parent's locks last as long as this process.
    let _ = put_under(fd, other);
}

fn put_under(fd: RawFd, other: &File) -> io::Result<()> {
    loop {
        // SAFETY: claim L1: both descriptors are open, as the callers know; the number stays that of an open
        // file, now the other one, so whoever owns it may go on using and closing it.
        let result = unsafe { libc::dup3(other.as_raw_fd(), fd, libc::O_CLOEXEC) };
        if result != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_generation() {
        let first = generation();
        assert!(first > 0);
        assert_eq!(std::thread::spawn(generation).join().unwrap(), first);
    }
}
