//! `peers DIRECTORY [PAIRS [ROUNDS]]`: the same work on mapleaf and on LMDB (through heed), interleaved in rounds;
//! medians in nanoseconds an operation and mapleaf's speed as a multiple of LMDB's in the same run.
//! Every value that is read is compared.

use heed::types::Bytes;
use mapleaf::{Database, Error, Options, Table};
use mapleaf_bench::{median, pair};
use rand::prelude::*;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::path::Path;
use std::time::Instant;

const PAIRS: Table<[u8], [u8]> = Table::new("pairs");
const SINGLE: usize = 1000;
const BATCHES: usize = 20;

type Pair = ([u8; 24], [u8; 150]);

/// One engine's way of doing each piece of work.
trait Engine {
    fn name(&self) -> &'static str;
    fn load(&self, pairs: &[Pair]);
    fn get_all(&self, pairs: &[Pair], order: &[usize]);
    fn scan(&self, expected: usize);
    fn seek_and_next(&self, pairs: &[Pair], order: &[usize]);
    fn delete(&self, keys: &[&Pair]);
    fn begin_read(&self);
}

struct Mapleaf(Database);

impl Engine for Mapleaf {
    fn name(&self) -> &'static str {
        "mapleaf"
    }

    fn load(&self, pairs: &[Pair]) {
        self.0
            .write(|w| {
                for (key, value) in pairs {
                    w.put(PAIRS, key, value)?;
                }
                Ok::<_, Error>(())
            })
            .expect("loaded");
    }

    fn get_all(&self, pairs: &[Pair], order: &[usize]) {
        let r = self.0.begin_read().expect("a snapshot");
        let table = r.table(PAIRS).expect("the table");
        for i in order {
            let (key, value) = &pairs[*i];
            assert_eq!(table.get(key).expect("readable").expect("loaded"), value);
        }
    }

    fn scan(&self, expected: usize) {
        let r = self.0.begin_read().expect("a snapshot");
        let mut seen = 0;
        for entry in r.iter(PAIRS).expect("the table") {
            let (key, value) = entry.expect("readable");
            seen += 1;
            black_box((key[0], value[0]));
        }
        assert_eq!(seen, expected);
    }

    fn seek_and_next(&self, pairs: &[Pair], order: &[usize]) {
        let r = self.0.begin_read().expect("a snapshot");
        let table = r.table(PAIRS).expect("the table");
        for i in order {
            for entry in table.range(&pairs[*i].0[..]..).take(11) {
                black_box(entry.expect("readable"));
            }
        }
    }

    fn delete(&self, keys: &[&Pair]) {
        self.0
            .write(|w| {
                for (key, _) in keys {
                    assert!(w.delete(PAIRS, key)?);
                }
                Ok::<_, Error>(())
            })
            .expect("deleted");
    }

    fn begin_read(&self) {
        black_box(self.0.begin_read().expect("a snapshot"));
    }
}

struct Lmdb {
    env: heed::Env,
    table: heed::Database<Bytes, Bytes>,
}

impl Lmdb {
    fn open(path: &Path) -> Self {
        std::fs::create_dir_all(path).expect("a directory");
        // SAFETY: the files are this program's own.
        let env =
            unsafe { heed::EnvOpenOptions::new().map_size(8 << 30).max_dbs(4).open(path) }.expect("opened");
        let mut w = env.write_txn().expect("a txn");
        let table = env.create_database(&mut w, Some("pairs")).expect("a table");
        w.commit().expect("committed");
        Lmdb { env, table }
    }
}

impl Engine for Lmdb {
    fn name(&self) -> &'static str {
        "lmdb"
    }

    fn load(&self, pairs: &[Pair]) {
        let mut w = self.env.write_txn().expect("a txn");
        for (key, value) in pairs {
            self.table.put(&mut w, key, value).expect("put");
        }
        w.commit().expect("committed");
    }

    fn get_all(&self, pairs: &[Pair], order: &[usize]) {
        let r = self.env.read_txn().expect("a snapshot");
        for i in order {
            let (key, value) = &pairs[*i];
            assert_eq!(self.table.get(&r, key).expect("readable").expect("loaded"), value);
        }
    }

    fn scan(&self, expected: usize) {
        let r = self.env.read_txn().expect("a snapshot");
        let mut seen = 0;
        for entry in self.table.iter(&r).expect("the table") {
            let (key, value) = entry.expect("readable");
            seen += 1;
            black_box((key[0], value[0]));
        }
        assert_eq!(seen, expected);
    }

    fn seek_and_next(&self, pairs: &[Pair], order: &[usize]) {
        let r = self.env.read_txn().expect("a snapshot");
        for i in order {
            for entry in self
                .table
                .range(&r, &(Bound::Included(&pairs[*i].0[..]), Bound::Unbounded))
                .expect("the table")
                .take(11)
            {
                black_box(entry.expect("readable"));
            }
        }
    }

    fn delete(&self, keys: &[&Pair]) {
        let mut w = self.env.write_txn().expect("a txn");
        for (key, _) in keys {
            assert!(self.table.delete(&mut w, key).expect("deleted"));
        }
        w.commit().expect("committed");
    }

    fn begin_read(&self) {
        black_box(self.env.read_txn().expect("a snapshot"));
    }
}

/// Per workload the times of both engines.
type Times = BTreeMap<&'static str, [Vec<f64>; 2]>;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().expect("usage: peers DIRECTORY [PAIRS [ROUNDS]]");
    let mut number = |default: usize| arguments.next().map_or(default, |n| n.parse().expect("a number"));
    let (count, rounds) = (number(1_000_000), number(5));
    let pairs: Vec<Pair> = (0..count as u64).map(pair).collect();
    let mut sorted = pairs.clone();
    sorted.sort_unstable();
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(7));
    let mut times = Times::new();
    for round in 0..rounds {
        let place = Path::new(&directory).join(format!("round-{round}"));
        std::fs::create_dir_all(&place).expect("a directory");
        let open = |name: &str| -> [Box<dyn Engine>; 2] {
            // SAFETY: the file is this program's own.
            let db = unsafe { Options::new().open(place.join(name)) }.expect("opened");
            [Box::new(Mapleaf(db)), Box::new(Lmdb::open(&place.join(format!("{name}.lmdb"))))]
        };
        let engines = open("random");
        let mut run = |what: &'static str, operations: usize, work: &dyn Fn(&dyn Engine)| {
            for (i, engine) in engines.iter().enumerate() {
                let start = Instant::now();
                work(engine.as_ref());
                let nanos = start.elapsed().as_nanos() as f64 / operations as f64;
                times.entry(what).or_default()[i].push(nanos);
                eprintln!("round {round}: {what}, {}: {nanos:.0} ns", engine.name());
            }
        };
        run("load, random order", count, &|engine| engine.load(&pairs));
        run("first get of each page", count, &|engine| engine.get_all(&pairs, &order));
        run("random get", count, &|engine| engine.get_all(&pairs, &order));
        run("seek + 10 next", count / 4, &|engine| engine.seek_and_next(&pairs, &order[..count / 4]));
        run("scan", count, &|engine| engine.scan(count));
        run("begin_read + drop", 100_000, &|engine| (0..100_000).for_each(|_| engine.begin_read()));
        run("durable single put", SINGLE, &|engine| {
            order[..SINGLE].iter().for_each(|i| engine.load(&pairs[*i..=*i]));
        });
        run("durable batch of 100, a put", BATCHES * 100, &|engine| {
            (0..BATCHES).for_each(|batch| {
                let chosen: Vec<Pair> = order[batch * 100..][..100].iter().map(|i| pairs[*i]).collect();
                engine.load(&chosen);
            });
        });
        let half: Vec<&Pair> = order.iter().step_by(2).map(|i| &pairs[*i]).collect();
        run("delete half, one txn", count / 2, &|engine| engine.delete(&half));
        drop(engines);
        let engines = open("ascending");
        for (i, engine) in engines.iter().enumerate() {
            let start = Instant::now();
            engine.load(&sorted);
            times.entry("load, ascending").or_default()[i]
                .push(start.elapsed().as_nanos() as f64 / count as f64);
        }
        drop(engines);
        let len = |name: &str| std::fs::metadata(place.join(name)).map_or(0, |meta| meta.len() / 1_000_000);
        eprintln!(
            "round {round}: MB after all of it, random order: {} and {}; ascending load: {} and {}",
            len("random"),
            len("random.lmdb/data.mdb"),
            len("ascending"),
            len("ascending.lmdb/data.mdb")
        );
        std::fs::remove_dir_all(&place).expect("removed");
    }
    println!("| workload | mapleaf, ns | LMDB, ns | mapleaf's speed, × LMDB's |\n|---|---:|---:|---:|");
    for (what, [ours, theirs]) in times {
        let (ours, theirs) = (median(ours), median(theirs));
        println!("| {what} | {ours:.0} | {theirs:.0} | {:.2} |", theirs / ours);
    }
}
