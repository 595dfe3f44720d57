//! A value of another type than the table's.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<bool> {
    db.write(|w| w.put(WORDS, "a", &7u64)) //~ E0277
}

fn main() {}
