//! The twin of `get_with_the_wrong_key_type`, which compiles.
use mapleaf::{Database, Result, Table};

const NUMBERS: Table<u64, u64> = Table::new("numbers");

pub fn run(db: &Database) -> Result<Option<u64>> {
    db.begin_read()?.get(NUMBERS, &1)
}

fn main() {}
