//! So does the value that an entry gives.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let mut w = db.begin_write()?;
    let word = w.entry(WORDS, "a")?.or_insert("b")?;
    w.put(WORDS, "c", "d")?; //~ E0499
    Ok(word.len())
}

fn main() {}
