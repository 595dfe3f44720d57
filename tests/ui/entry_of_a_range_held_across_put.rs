//! So does an entry of a range, and the range.
use mapleaf::{Database, Result, Table};

const WORDS: Table<str, str> = Table::new("words");

pub fn run(db: &Database) -> Result<()> {
    let mut w = db.begin_write()?;
    for entry in w.range(WORDS, "a"..)? {
        let (key, value) = entry?;
        w.put(WORDS, value, key)?; //~ E0502
    }
    w.commit()
}

fn main() {}
