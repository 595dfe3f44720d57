//! `mapleaf bench`: how fast a store is on this machine and this file system.
//!
//! Keys are 16 bytes, random ones made of a fixed series, so that each run does the same work. Each row is timed as a whole.

use crate::cli::JsonArg;
use crate::failure::{Failure, Outcome, Result, tell};
use crate::output::{print, print_json};
use crate::progress::Meter;
use mapleaf::{Database, Durability, Error, Options, Table};
use serde::Serialize;
use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The arguments of bench.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Works in a temporary store in DIRECTORY, which needs room for about COUNT × (VALUE-LEN + 40) × 3 bytes and is empty again afterwards, however it ends. Nothing else should run meanwhile. --durable says how many commits of one put each wait for the disk.\n\nExamples:\n  mapleaf bench\n  mapleaf bench /var/lib/app --count 10000000 --value-len 32 --json"
)]
pub struct Args {
    /// Where; the file system matters
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// How many entries
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    count: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1 << 30))]
    value_len: u32,
    /// How many durable commits of one put
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    durable: u64,
    /// Bytes of a page: a power of two from 4096 to 65536
    #[arg(long, value_name = "BYTES", value_parser = super::load::parse_page_size)]
    page_size: Option<usize>,
    #[command(flatten)]
    json: JsonArg,
}

const ASCENDING: Table<[u8; 16], [u8]> = Table::new("ascending");
const RANDOM: Table<[u8; 16], [u8]> = Table::new("random");

#[derive(Serialize)]
struct Row {
    work: &'static str,
    count: u64,
    seconds: f64,
    per_second: f64,
    nanoseconds_each: f64,
}

impl Row {
    fn of(work: &'static str, count: u64, took: Duration) -> Self {
        let seconds = took.as_secs_f64().max(1e-9);
        let each = seconds / count.max(1) as f64;
        Row { work, count, seconds, per_second: count as f64 / seconds, nanoseconds_each: each * 1e9 }
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let options = args.page_size.into_iter().fold(Options::new(), Options::page_size);
    let db = options.temporary_in(&args.directory).map_err(|error| args.explained(error))?;
    let rows = args.rows(&db).map_err(|error| args.explained(error))?;
    if args.json.json {
        return print_json(&rows);
    }
    print(|output| {
        writeln!(
            output,
            "{:28}  {:>12}  {:>10}  {:>12}  {:>10}",
            "", "count", "seconds", "a second", "ns each"
        )?;
        rows.iter().try_for_each(|row| {
            let Row { work, count, seconds, per_second, nanoseconds_each } = row;
            Ok(writeln!(
                output,
                "{work:28}  {count:>12}  {seconds:>10.3}  {per_second:>12.0}  {nanoseconds_each:>10.0}"
            )?)
        })
    })?;
    if cfg!(debug_assertions) {
        tell(
            "this mapleaf was built without optimisation, and is many times slower than one built with --release",
        );
    }
    Ok(Outcome::Fine)
}

type Work<'w> = (&'static str, u64, Box<dyn Fn(&Database) -> mapleaf::Result<()> + 'w>);

impl Args {
    fn explained(&self, error: Error) -> Failure {
        Failure::from(error).of(&self.directory.display().to_string())
    }

    fn rows(&self, db: &Database) -> mapleaf::Result<Vec<Row>> {
        let value = vec![b'v'; self.value_len as usize];
        let (count, value) = (self.count, &value[..]);
        const BATCH: u64 = 100;
        let batches = (count / BATCH).clamp(1, 10_000);
        let works: Vec<Work<'_>> = vec![
            (
                "load, keys in order",
                count,
                Box::new(move |db| {
                    db.write(|w| {
                        (0..count).try_for_each(|i| w.put(ASCENDING, &in_order(i), value).map(|_| ()))
                    })
                }),
            ),
            (
                "load, keys in random order",
                count,
                Box::new(move |db| {
                    db.write(|w| (0..count).try_for_each(|i| w.put(RANDOM, &random(i), value).map(|_| ())))
                }),
            ),
            (
                "get, random",
                count,
                Box::new(move |db| {
                    let r = db.begin_read()?;
                    (0..count).try_for_each(|i| {
                        let i = mixed(i.wrapping_add(1 << 40)) % count;
                        r.get(RANDOM, &random(i)).map(|value| _ = black_box(value))
                    })
                }),
            ),
            (
                "scan",
                count,
                Box::new(|db| {
                    let r = db.begin_read()?;
                    r.iter(RANDOM)?.try_for_each(|pair| pair.map(|pair| _ = black_box(pair)))
                }),
            ),
            (
                "put, 100 a commit, eventual",
                batches * BATCH,
                Box::new(move |db| {
                    (0..batches).try_for_each(|batch| {
                        let mut w = db.begin_write()?;
                        w.set_durability(Durability::Eventual);
                        for i in batch * BATCH..(batch + 1) * BATCH {
                            w.put(RANDOM, &random(mixed(i) % count), value)?;
                        }
                        w.commit()
                    })
                }),
            ),
            (
                "put, 1 a commit, durable",
                self.durable,
                Box::new(move |db| {
                    (0..self.durable).try_for_each(|i| {
                        db.write(|w| w.put(RANDOM, &random(mixed(i) % count), value).map(|_| ()))
                    })
                }),
            ),
            (
                "delete a range of all",
                count,
                Box::new(|db| db.write(|w| w.delete_range(ASCENDING, ..).map(|_| ()))),
            ),
        ];
        let meter = Meter::new("measuring", "rows", Some(works.len() as u64));
        let mut rows = Vec::new();
        for (work, count, run) in works {
            let begin = Instant::now();
            run(db)?;
            rows.push(Row::of(work, count, begin.elapsed()));
            meter.set(rows.len() as u64);
        }
        Ok(rows)
    }
}

fn in_order(i: u64) -> [u8; 16] {
    u128::from(i).to_be_bytes()
}

fn random(i: u64) -> [u8; 16] {
    (u128::from(mixed(i)) << 64 | u128::from(i)).to_be_bytes()
}

/// A permutation of the numbers that leaves no order to see (the finalizer of splitmix64).
fn mixed(i: u64) -> u64 {
    let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
