//! The twin of `txn_changed_beside_a_cursor`, which compiles.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<bool> {
    let mut w = db.begin_write()?;
    w.cursor_mut(WORDS)?.put("a", "b")?;
    w.delete(WORDS, "a")
}

fn main() {}
