//! The twin of `open_without_unsafe`, which compiles.
use mapleaf::{Database, Result};

pub fn run() -> Result<Database> {
    // SAFETY: only mapleaf changes the file.
    unsafe { Database::open("app.maple") }
}

fn main() {}
