//! `long_reader FILE [COMMITS]`: a reader stays open while the same 1,000 keys are rewritten over and over
//! (100,000 commits by default), and the file must not grow by more than what only the reader can see, and 10 %.

use mapleaf::{Error, Options, Table};
use mapleaf_bench::pair;

const PAIRS: Table<[u8], [u8]> = Table::new("pairs");

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: long_reader FILE [COMMITS]");
    let commits: u64 = arguments.next().map_or(100_000, |n| n.parse().expect("a number of commits"));
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().open(&path)? };
    db.write(|w| {
        for i in 0..100_000 {
            let (key, value) = pair(i);
            w.put(PAIRS, &key, &value)?;
        }
        Ok(())
    })?;
    let reader = db.begin_read()?;
    let len = || std::fs::metadata(&path).map_or(0, |meta| meta.len());
    let before = len();
    for commit in 0..commits {
        let (key, _) = pair(commit % 1000);
        db.write(|w| w.put(PAIRS, &key, &commit.to_le_bytes()))?;
    }
    let seen = db.stats()?;
    println!(
        "{commits} commits beside one reader: {before} -> {} bytes, {:+.2} %; pending pages {}, space record pages {}",
        len(),
        100.0 * (len() as f64 / before as f64 - 1.0),
        seen.pending_pages,
        seen.space_pages,
    );
    for i in 0..100_000 {
        let (key, value) = pair(i);
        assert_eq!(reader.get(PAIRS, &key)?, Some(&value[..]), "the reader's snapshot changed");
    }
    assert!(db.verify(&mut |_| {})?.is_clean());
    let seen_only_by_reader = seen.pending_pages * seen.page_size;
    let grown = len() - before;
    assert!(grown as f64 <= seen_only_by_reader as f64 + before as f64 / 10.0, "{grown} bytes of growth");
    Ok(())
}
