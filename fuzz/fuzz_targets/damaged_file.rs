//! A good file with bytes overwritten and checksums put right again: opening, verifying, reading and
//! writing may give errors, and nothing else. Run with `cargo +nightly fuzz run damaged_file`.
//!
//! The input is a list of edits of four bytes: offset (3, modulo the file's length), new value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mapleaf::{Options, Result};

const GOOD: &[u8] = include_bytes!("../../tests/fixtures/three-keys.maple");
const PAGE: usize = 4096;

fuzz_target!(|edits: &[u8]| {
    let mut file = GOOD.to_vec();
    for edit in edits.chunks_exact(4) {
        let offset = u32::from_le_bytes([edit[0], edit[1], edit[2], 0]) as usize % file.len();
        file[offset] = edit[3];
    }
    for slot in [0, PAGE] {
        let checksum = crc32fast::hash(&file[slot + 12..slot + 512]);
        file[slot + 8..slot + 12].copy_from_slice(&checksum.to_le_bytes());
    }
    for page in file.chunks_mut(PAGE).skip(2) {
        let checksum = crc32fast::hash(&page[4..]);
        page[..4].copy_from_slice(&checksum.to_le_bytes());
    }
    let path = std::path::PathBuf::from(format!("/dev/shm/mapleaf-fuzz-{}", std::process::id()));
    std::fs::write(&path, &file).expect("room in shared memory");
    let _ = exercise(&path);
});

fn exercise(path: &std::path::Path) -> Result<()> {
    // SAFETY: the file is this process's own.
    let db = unsafe { Options::new().max_size(1 << 24).open(path)? };
    let _ = db.verify(&mut |_| {});
    let _ = db.stats();
    for page in 0..16 {
        let _ = db.page(page);
    }
    let r = db.begin_read()?;
    for table in r.tables()? {
        let Some(view) = r.raw_table(&table.name)? else { continue };
        let _ = view.iter().take(1000).filter(|entry| entry.is_ok()).count();
        let _ = view.iter().rev().take(1000).filter(|entry| entry.is_ok()).count();
        let _ = (view.get(&b"banana"[..]), view.nth(1), view.rank(&b"c"[..]), view.count(..));
    }
    let names: Vec<String> = r.tables()?.into_iter().map(|table| table.name).collect();
    drop(r);
    let mut w = db.begin_write()?;
    for name in &names {
        let _ = w.raw_put(name, b"blueberry", b"blue");
        let _ = w.raw_delete(name, b"apple");
    }
    // Accounting is asserted after a commit in debug builds; a crafted file may not pass it.
    if !cfg!(debug_assertions) {
        w.commit()?;
    }
    Ok(())
}
