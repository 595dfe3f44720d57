//! The twin of `entry_of_a_range_held_across_put`, which compiles.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<()> {
    let mut w = db.begin_write()?;
    let mut entries = Vec::new();
    for entry in w.range(WORDS, "a"..)? {
        let (key, value) = entry?;
        entries.push((key.to_owned(), value.to_owned()));
    }
    for (key, value) in &entries {
        w.put(WORDS, value, key)?;
    }
    w.commit()
}

fn main() {}
