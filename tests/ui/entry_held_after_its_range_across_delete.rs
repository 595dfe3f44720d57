//! An entry borrows the txn, not the range it came from.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let mut w = db.begin_write()?;
    let entry = w.range(WORDS, ..)?.next_back().transpose()?;
    w.delete(WORDS, "a")?; //~ E0502
    Ok(entry.map_or(0, |(key, _)| key.len()))
}

fn main() {}
