//! A number of another width is another type: it would be looked up in vain.
use mapleaf::{Database, Result, Table};

const NUMBERS: Table<u64, u64> = Table::new("numbers");

pub fn run(db: &Database, key: u32) -> Result<Option<u64>> {
    db.begin_read()?.get(NUMBERS, &key) //~ E0277
}

fn main() {}
