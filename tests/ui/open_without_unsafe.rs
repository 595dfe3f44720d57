//! Whoever opens a file promises that nobody else changes it: the compiler has it said.
use mapleaf::{Database, Result};

pub fn run() -> Result<Database> {
    Database::open("app.maple") //~ E0133
}

fn main() {}
