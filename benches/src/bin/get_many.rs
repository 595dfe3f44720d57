//! `get_many`: how much faster a key is found by `get_many` than by `get`, by how many keys are asked for at once.
//!
//! One table of random 16-byte keys with 24-byte values, and one of random u64 with u64, in a store in memory. Rounds go
//! through all sizes and `get` in turn, each with keys in a random order of its own; the medians over the rounds are
//! printed, and the median of the ratios within a round, which other load on the machine disturbs least.

use clap::Parser;
use mapleaf::codec::Key;
use mapleaf::{Database, ReadTxn, Result, Table};
use rand::prelude::*;
use std::hint::black_box;
use std::time::Instant;

const BYTES: Table<[u8; 16], [u8]> = Table::new("bytes");
const NUMBERS: Table<u64, u64> = Table::new("numbers");
const SIZES: [usize; 5] = [1, 4, 16, 64, 256];

/// `get_many` beside `get`.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Lookups of one measurement.
    #[arg(long, default_value_t = 200_000)]
    lookups: usize,
    #[arg(long, default_value_t = 21)]
    rounds: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut random = StdRng::seed_from_u64(1);
    let numbers: Vec<u64> = (0..arguments.entries).map(|_| random.random()).collect();
    let bytes: Vec<[u8; 16]> = numbers
        .iter()
        .map(|number| u128::from(*number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
        .collect();
    let db = Database::in_memory()?;
    db.write(|w| {
        numbers.iter().try_for_each(|number| w.put(NUMBERS, number, number).map(drop))?;
        bytes.iter().try_for_each(|key| w.put(BYTES, key, &[key[0]; 24]).map(drop))
    })?;
    let r = db.begin_read()?;
    let mut compare = |name: &str, measure: &dyn Fn(&mut StdRng, usize) -> f64| {
        println!("{name}, {} entries", arguments.entries);
        let rounds: Vec<[f64; SIZES.len() + 1]> = (0..arguments.rounds)
            .map(|_| std::array::from_fn(|i| measure(&mut random, if i == 0 { 0 } else { SIZES[i - 1] })))
            .collect();
        let median_of = |of: &dyn Fn(&[f64; SIZES.len() + 1]) -> f64| median(rounds.iter().map(of).collect());
        println!("  get            {:7.1} ns a key", median_of(&|round| round[0]));
        for (i, size) in SIZES.iter().enumerate() {
            let (nanos, ratio) =
                (median_of(&|round| round[i + 1]), median_of(&|round| round[0] / round[i + 1]));
            println!("  get_many({size:3})  {nanos:7.1} ns a key, {ratio:.2} × the lookups of get");
        }
    };
    compare("16-byte keys, 24-byte values", &|random, size| {
        nanos(&r, BYTES, &bytes, arguments.lookups, random, size)
    });
    compare("u64 to u64", &|random, size| nanos(&r, NUMBERS, &numbers, arguments.lookups, random, size));
    Ok(())
}

/// A lookup, by `size` at once, or by `get` where that is 0.
fn nanos<K: Key + mapleaf::codec::Encode<K> + Copy, V: mapleaf::codec::Codec + ?Sized>(
    r: &ReadTxn,
    table: Table<K, V>,
    keys: &[K],
    lookups: usize,
    random: &mut StdRng,
    size: usize,
) -> f64 {
    let asked: Vec<K> = (0..lookups).map(|_| *keys.choose(random).expect("there are some")).collect();
    let begun = Instant::now();
    if size == 0 {
        for key in &asked {
            black_box(r.get(table, key).expect("readable").is_some());
        }
    } else {
        for keys in asked.chunks(size) {
            black_box(r.get_many(table, keys).expect("readable").len());
        }
    }
    begun.elapsed().as_nanos() as f64 / lookups as f64
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
