//! A key type needs an encoding that keeps its order: `usize` has none that is the same everywhere.
use mapleaf::{Database, Result, Table};

const PLACES: Table<usize, u64> = Table::new("places"); //~ E0277

pub fn run(_: &Database) -> Result<()> {
    let _ = PLACES;
    Ok(())
}

fn main() {}
