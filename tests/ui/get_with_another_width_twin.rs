//! The twin of `get_with_another_width`, which compiles.
use mapleaf::{Database, Result, Table};

const NUMBERS: Table<u64, u64> = Table::new("numbers");

pub fn run(db: &Database, key: u32) -> Result<Option<u64>> {
    db.begin_read()?.get(NUMBERS, &u64::from(key))
}

fn main() {}
