//! A value borrows its txn, so a put may not come before its last use.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<usize> {
    let mut w = db.begin_write()?;
    let value = w.get(WORDS, "a")?;
    w.put(WORDS, "b", "c")?; //~ E0502
    Ok(value.map_or(0, str::len))
}

fn main() {}
