//! Anything in the lock file beside a store, before it is opened and while it is open.
//!
//! *Before*: whatever is there, the store opens, alone, with all that the data file holds, goes on, and is found whole
//! behind closing. *While open*: 8-byte words are changed between calls. Asserted for every word: no panic, no signal,
//! every call ends, and memory is bounded; calls may fail, and once the store is closed it opens or is refused.
//! Asserted for words that only tell (labels, process ids, times, the wake-up word, words without a meaning, and the
//! words by which others join: magic, layout, store id, session, inode) and for pins of slots that nobody has:
//! everything that is read, written and found afterwards is right. What a hostile process publishes (states, heads,
//! counts, how far the disk is, the pins of others) may be answered wrongly: nothing in the lock file says otherwise.
//!
//! In debug builds nothing is committed behind a change of such a word: the accounting is asserted then.

use super::file;
use super::image::{Image, image};
use super::input::Input;
use super::plan::{Change, Contents};
use super::reading::{examine, read_all};
use mapleaf::{Database, Options, ReadTxn, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

const PAGE_WORDS: usize = 512;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let flags = input.u8();
    let image = image(["log", "closed", "empty", "holes"][usize::from(flags >> 1 & 3)]);
    let path = super::scratch("sidecar", "sidecar.maple");
    let lock = path.with_extension("maple-lock");
    std::fs::write(&path, &image.bytes).expect("room in shared memory");
    std::fs::write(&lock, lock_file(flags, &mut input)).expect("room in shared memory");
    let options = Options::new().max_size(1 << 24).log_limit(0).label("fuzz");
    // SAFETY: the file is this process's own.
    let db = unsafe { options.open(&path) }.expect("the lock file is not believed");
    let newest = (image.states.len() - 1) as u64;
    assert_eq!(db.begin_read().expect("good").user_version(), newest);
    if flags & 1 == 0 {
        before(&path, db, image, &mut input);
    } else {
        while_open(&lock, db, image, &mut input);
        // SAFETY: as above.
        let again = unsafe { options.open(&path) };
        if let Ok(db) = again {
            examine(&db, &mut input);
        }
    }
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_file(&lock);
}

/// A lock file of a live store, of another one.
fn sample() -> &'static [u8] {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let path: PathBuf = super::scratch("sidecar", "sidecar-sample.maple");
        std::fs::write(&path, &image("log").bytes).expect("room in shared memory");
        // SAFETY: the file is this process's own.
        let db = unsafe { Options::new().open(&path) }.expect("a good store");
        let _r = db.begin_read().expect("good");
        std::fs::read(path.with_extension("maple-lock")).expect("it is beside the file")
    })
}

/// What is in the lock file before anybody opens the store.
fn lock_file(flags: u8, input: &mut Input<'_>) -> Vec<u8> {
    if flags & 8 != 0 {
        let len = input.below(9000);
        return input.bytes(len).to_vec();
    }
    let mut lock = sample().to_vec();
    for _ in 0..input.below(12) {
        let at = word_at(input) * 8;
        if let Some(place) = lock.get_mut(at..at + 8) {
            place.copy_from_slice(&input.number().to_le_bytes());
        }
    }
    if input.u8().is_multiple_of(8) {
        lock.resize(usize::from(input.u16()), 0xff);
    }
    lock
}

fn before(path: &Path, db: Database, image: &Image, input: &mut Input<'_>) {
    let mut contents = image.states.last().cloned();
    read_all(&db.begin_read().expect("good"), contents.as_ref(), input);
    file::write(&db, image, &mut contents, true, input).expect("good");
    read_all(&db.begin_read().expect("good"), contents.as_ref(), input);
    db.close().expect("good");
    // SAFETY: the file is this process's own.
    let db = unsafe { Options::new().open(path) }.expect("good");
    assert!(examine(&db, input), "what was closed is clean");
    read_all(&db.begin_read().expect("good"), contents.as_ref(), input);
}

/// A word, those with a meaning more often.
fn word_at(input: &mut Input<'_>) -> usize {
    match input.u8() % 8 {
        0 | 1 => input.below(18),
        2 => 64 + input.below(128),
        3 => 192 + input.below(64),
        4 => 256 + input.below(64),
        // The block's head, and its first slots.
        5 => PAGE_WORDS + input.below(8),
        6 => PAGE_WORDS + 8 + input.below(64),
        _ => input.below(2 * PAGE_WORDS),
    }
}

/// Whether everything stays right when this word is changed, whatever it says: see above.
fn only_tells(word: usize) -> bool {
    match word {
        0..=4 | 7 | 11 | 18..64 | 320..PAGE_WORDS => true,
        _ if word > PAGE_WORDS => match word - PAGE_WORDS {
            in_head @ 0..8 => in_head >= 2,
            // The first slots are those of this process; the last ones nobody has.
            in_slots => in_slots % 8 > 0 || in_slots >= 32 * 8,
        },
        _ => false,
    }
}

struct Lock {
    file: File,
    /// Whether nothing but words that tell were changed.
    tame: bool,
}

impl Lock {
    fn change(&mut self, input: &mut Input<'_>) {
        let word = word_at(input);
        let old = self.word(word);
        let new = match input.u8() % 5 {
            0 => old.wrapping_add(u64::from(input.u8() % 5)).wrapping_sub(2),
            1 => self.word(word_at(input)),
            2 => old ^ 1 << (input.u8() % 64),
            _ => input.number(),
        };
        self.tame &= only_tells(word) || old == new;
        // Behind the end of the file there are no words.
        if self.file.metadata().expect("it is open").len() >= word as u64 * 8 + 8 {
            self.file.write_all_at(&new.to_le_bytes(), word as u64 * 8).expect("room in shared memory");
        }
    }

    fn word(&self, word: usize) -> u64 {
        let mut bytes = [0; 8];
        let _ = self.file.read_exact_at(&mut bytes, word as u64 * 8);
        u64::from_le_bytes(bytes)
    }
}

fn while_open(lock: &Path, db: Database, image: &Image, input: &mut Input<'_>) {
    let file = OpenOptions::new().read(true).write(true).open(lock).expect("it is beside the file");
    let mut lock = Lock { file, tame: true };
    let (mut contents, mut readers) = (image.states.last().cloned(), Vec::new());
    for _ in 0..24 {
        if input.is_empty() {
            break;
        }
        match input.u8() % 12 {
            0..6 => lock.change(input),
            call => {
                let result = use_it(call, &db, image, lock.tame, &mut contents, &mut readers, input);
                assert!(!lock.tame || result.is_ok(), "{result:?} although nothing matters that was changed");
            }
        }
        if !lock.tame {
            contents = None;
        }
    }
    for (r, expected) in &readers {
        read_all(r, expected.as_ref().filter(|_| lock.tame), input);
    }
    drop(readers);
    if let Ok(r) = db.begin_read() {
        read_all(&r, contents.as_ref(), input);
    }
    let closed = db.close();
    assert!(!lock.tame || closed.is_ok(), "{closed:?}");
}

type Readers = Vec<(ReadTxn, Option<Contents>)>;

fn use_it(
    call: u8,
    db: &Database,
    image: &Image,
    tame: bool,
    contents: &mut Option<Contents>,
    readers: &mut Readers,
    input: &mut Input<'_>,
) -> Result<()> {
    match call {
        6 | 7 if tame || !cfg!(debug_assertions) => {
            // Its first txn takes the state for one of the plan's, so what it builds on is given back.
            let mut w = db.begin_write()?;
            for i in 0..input.below(20) as u8 {
                let (name, key) = ("words", vec![b's', i, input.u8()]);
                if contents.as_ref().is_some_and(|contents| contents.map(name).is_none()) {
                    break;
                }
                w.raw_put(name, &key, &[i; 40])?;
                if let Some(contents) = contents {
                    Change::Put(name, key, vec![i; 40]).apply(contents, 0);
                }
            }
            w.commit()
        }
        8 => {
            let r = db.begin_read()?;
            read_all(&r, contents.as_ref(), input);
            if readers.len() < 4 {
                readers.push((r, contents.clone()));
            }
            Ok(())
        }
        9 => {
            drop((!readers.is_empty()).then(|| readers.remove(input.below(readers.len()))));
            Ok(())
        }
        10 => {
            if let Some((r, expected)) = readers.first() {
                let exported = r.export("fuzz")?;
                // SAFETY: the file is this process's own, and the descriptor is one of `export`.
                let imported = unsafe { ReadTxn::import(&exported)? };
                read_all(&imported, expected.as_ref().filter(|_| tame), input);
            }
            Ok(())
        }
        _ => {
            let clean = examine(db, input);
            assert!(!tame || clean, "not clean");
            let last = db.wait_for_commit(input.number(), Some(Duration::from_micros(50)))?;
            let _ = (last, image.page_size);
            if tame || !cfg!(debug_assertions) { db.checkpoint() } else { Ok(()) }
        }
    }
}
