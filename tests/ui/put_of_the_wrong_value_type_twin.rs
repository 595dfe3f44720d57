//! The twin of `put_of_the_wrong_value_type`, which compiles.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<bool> {
    db.write(|w| w.put(WORDS, "a", "7"))
}

fn main() {}
