//! Waiting for commits as a future.

mod common;

use common::TestDb;
use mapleaf::{Database, Table};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

const NUMBERS: Table<u64, u64> = Table::new("numbers");

struct Unparks(Thread, AtomicUsize);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// The smallest executor there is. Returns the output, and how often it was woken.
fn block_on<T>(future: impl Future<Output = T>) -> (T, usize) {
    let unparks = Arc::new(Unparks(std::thread::current(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&unparks));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return (output, unparks.1.load(Ordering::SeqCst)),
            Poll::Pending => std::thread::park(),
        }
    }
}

fn put(db: &Database, value: u64) {
    db.write(|w| w.put(NUMBERS, &1, &value)).unwrap();
}

fn listeners() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "mapleaf-listen").count()
}

fn wait_until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One test, because it counts the threads of the process.
#[test]
fn futures_resolve_with_the_next_commit_and_their_thread_ends_with_them() {
    let db = TestDb::new();
    put(&db, 1);
    let seen = db.begin_read().unwrap().txn_id();
    let (ready, wakes) = block_on(db.next_commit(seen - 1).unwrap());
    assert_eq!(
        (ready.unwrap(), wakes, listeners()),
        (seen, 0, 0),
        "what was published before is there at once"
    );

    std::thread::scope(|threads| {
        let waiting: Vec<_> =
            (0..20).map(|_| threads.spawn(|| block_on(db.next_commit(seen).unwrap()))).collect();
        wait_until(|| listeners() == 1);
        put(&db, 2);
        for waiting in waiting {
            let (txn, wakes) = waiting.join().unwrap();
            assert!(txn.unwrap() > seen && wakes <= 1, "woken {wakes} times");
        }
    });
    wait_until(|| listeners() == 0);

    // One that is given up ends the thread, although nothing is committed.
    let seen = db.begin_read().unwrap().txn_id();
    let mut given_up = Box::pin(db.next_commit(seen).unwrap());
    assert!(given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    wait_until(|| listeners() == 1);
    drop(given_up);
    wait_until(|| listeners() == 0);

    // From one commit to the next.
    std::thread::scope(|threads| {
        threads.spawn(|| (3..200).for_each(|value| put(&db, value)));
        let mut seen = seen;
        while db.begin_read().unwrap().get(NUMBERS, &1).unwrap() != Some(199) {
            let (txn, _) = block_on(db.next_commit(seen).unwrap());
            seen = txn.unwrap();
        }
    });
}
