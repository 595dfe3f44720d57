//! Wrong on purpose: each of these breaks one claim of `docs/soundness.md`, and the checker named must report it. If it
//! does not, what it says about everything else is worth nothing. Only `.ci/sanitize` runs them.

use super::{DataMap, SharedWords, Words};
use std::hint::black_box;
use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

/// `--ignored` alone must not do it.
fn be_asked() {
    assert!(std::env::var_os("MAPLEAF_WRONG").is_some(), "wrong on purpose; MAPLEAF_WRONG asks for it");
}

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A slice whose lifetime says more than is true.
fn unbound<'a>(slice: &[u8]) -> &'a [u8] {
    // SAFETY: none: this is what M3 forbids.
    unsafe { std::slice::from_raw_parts(slice.as_ptr(), slice.len()) }
}

#[test]
#[ignore = "wrong on purpose: the address sanitizer and valgrind must report it"]
fn a_slice_outlives_its_mapping_against_m3() {
    be_asked();
    let map = DataMap::reserve(&file(&[7; 4096]), 4096).unwrap();
    let slice = unbound(map.bytes(0, 4096));
    drop(map);
    // The standard library is not instrumented: reading must happen here, not where it is printed.
    let byte = black_box(slice)[100];
    println!("read {byte} behind the end of the mapping's life");
}

#[test]
#[ignore = "wrong on purpose: the address sanitizer and valgrind must report it"]
fn a_slice_is_longer_than_its_page_against_m1() {
    be_asked();
    let page: Box<[u8]> = vec![7; 4096].into();
    // SAFETY: none: this is what M1 forbids.
    let longer = unsafe { std::slice::from_raw_parts(page.as_ptr(), 4097) };
    let byte = black_box(longer)[black_box(4096)];
    println!("read {byte} behind the page");
}

/// With the test map only: what the kernel stores through a real one no checker sees.
#[test]
#[ignore = "wrong on purpose: the thread sanitizer must report it on the test map"]
fn a_page_is_written_while_it_is_borrowed_against_m2() {
    be_asked();
    let mut file = file(&[7; 4096]);
    let map = DataMap::reserve(&file, 4096).unwrap();
    let slice = map.bytes(0, 4096);
    thread::scope(|scope| {
        scope.spawn(|| println!("read {}", slice.iter().map(|byte| u64::from(*byte)).sum::<u64>()));
        scope.spawn(|| {
            file.seek(SeekFrom::Start(0)).unwrap();
            file.write_all(&[8; 4096]).unwrap();
            println!("read {}", map.bytes(0, 4096)[0]);
        });
    });
}

#[test]
#[ignore = "wrong on purpose: the thread sanitizer must report it"]
fn a_shared_word_is_stored_to_as_plain_memory_against_w1() {
    be_asked();
    let words = SharedWords::map(&file(&[0; 4096]), 4096).unwrap();
    let store = || {
        let place = words.place(5);
        for value in 0..1000 {
            // SAFETY: none: this is what W1 forbids.
            unsafe { std::ptr::write_volatile(place, value) };
        }
    };
    thread::scope(|scope| {
        scope.spawn(store);
        scope.spawn(store);
    });
    println!("word {}", words.word(5).load(SeqCst));
}

/// A slot is pinned, as it should be, but given back before the last look at what it keeps.
#[test]
#[ignore = "wrong on purpose: the thread sanitizer must report it on the test map"]
fn a_reader_reads_on_behind_its_unpin_against_m2() {
    be_asked();
    let mut file = file(&[7; 4096]);
    let map = DataMap::reserve(&file, 4096).unwrap();
    let words = SharedWords::wiped_on_fork().unwrap();
    let (read, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    words.word(0).store(1, SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| {
            let slice = map.bytes(0, 4096);
            words.word(0).store(0, SeqCst);
            read.store(usize::from(slice[9]), Relaxed);
            done.store(true, Relaxed);
        });
        scope.spawn(|| {
            while words.word(0).load(SeqCst) != 0 || !done.load(Relaxed) {
                thread::yield_now();
            }
            file.seek(SeekFrom::Start(0)).unwrap();
            file.write_all(&[8; 4096]).unwrap();
            println!("read {}", map.bytes(0, 4096)[0]);
        });
    });
    println!("read {}", read.load(Relaxed));
}
