//! Any bytes as a page: leaves of both forms, branches, space records, parsed, judged, searched, walked and edited, and
//! told in words by `Database::page`.
//!
//! Input: page size, layout, then the page. What is asserted stands in `src/fuzzing.rs`; here, that describing a page
//! of a store gives labels inside of it.

use super::input::Input;
use mapleaf::{Database, Options};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

pub fn run(bytes: &[u8]) {
    mapleaf::fuzzing::page(bytes);
    let mut input = Input::new(bytes);
    let (_, _) = (input.u8(), input.u8());
    describe(input.rest());
}

/// A store of 4-KiB pages with one that nobody refers to.
fn store() -> &'static (Database, File, u64) {
    static STORE: OnceLock<(Database, File, u64)> = OnceLock::new();
    STORE.get_or_init(|| {
        let path = super::scratch("page", &format!("page-{}.maple", std::process::id()));
        let options = Options::new();
        // SAFETY: the file is this process's own; only a page is changed that nothing refers to.
        let db = unsafe { options.open(&path) }.expect("a new store");
        let file = File::options().write(true).open(&path).expect("it is there");
        let last = file.metadata().expect("it is open").len() / 4096 - 1;
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(path.with_extension("maple-lock"));
        (db, file, last)
    })
}

fn describe(bytes: &[u8]) {
    let (db, file, last) = store();
    let mut page = vec![0; 4096];
    let len = bytes.len().min(4096);
    page[..len].copy_from_slice(&bytes[..len]);
    page[8..16].copy_from_slice(&last.to_le_bytes());
    file.write_all_at(&page, last * 4096).expect("room in shared memory");
    let dump = db.page(*last).expect("it is inside the file");
    assert_eq!(dump.bytes, page);
    for field in &dump.fields {
        let end = field.offset.checked_add(field.len);
        assert!(end.is_some_and(|end| end <= page.len()), "{field:?} is not in the page");
    }
}
