//! YCSB's workloads A to F: single operations, each read in a snapshot of its own and each write in a txn of
//! its own, waiting for the disk (`ycsb_a`) and not (`ycsb_a_not_waiting`).

use super::store::{Store, next_first};
use super::{Clock, Latency, Run};
use crate::data::{Data, Seen, Shape, Zipf};
use crate::engines::{Engine, Kind, Mode};
use rand::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

const DURABLE: usize = 2000;
const NOT_WAITING: usize = 50_000;
const LONGEST_SCAN: usize = 100;

/// Shares of the operations in percent; what is left are reads.
struct Mix {
    name: &'static str,
    updates: u64,
    inserts: u64,
    scans: u64,
    modifications: u64,
    /// Whether the newest pairs are the frequent ones.
    latest: bool,
}

const NONE: Mix = Mix { name: "", updates: 0, inserts: 0, scans: 0, modifications: 0, latest: false };
const MIXES: &[Mix] = &[
    Mix { name: "ycsb_a", updates: 50, ..NONE },
    Mix { name: "ycsb_b", updates: 5, ..NONE },
    Mix { name: "ycsb_c", ..NONE },
    Mix { name: "ycsb_d", inserts: 5, latest: true, ..NONE },
    Mix { name: "ycsb_e", inserts: 5, scans: 95, ..NONE },
    Mix { name: "ycsb_f", modifications: 50, ..NONE },
];

/// What to do with the pair at a place of the data.
enum Op {
    Read,
    Write,
    Scan(usize, Seen),
    /// Reads this pair and writes the one behind it, of the same key.
    Modify,
}

/// What every store holds.
struct Model {
    pairs: u64,
    versions: HashMap<u64, u64>,
    entries: BTreeMap<Vec<u8>, Seen>,
    random: SmallRng,
    zipf: Zipf,
    written: u64,
}

impl Model {
    fn new(pairs: u64, data: &Data) -> Self {
        let entry = |(key, value): (&[u8], &[u8])| {
            let mut seen = Seen::default();
            seen.entry(key, value);
            (key.to_vec(), seen)
        };
        let entries = data.pairs().iter().map(entry).collect();
        let (random, zipf) = (SmallRng::seed_from_u64(7), Zipf::new(pairs));
        Model { pairs, versions: HashMap::new(), entries, random, zipf, written: 0 }
    }

    fn chosen(&mut self, mix: &Mix) -> u64 {
        match mix.latest {
            true => self.pairs - 1 - self.zipf.rank(&mut self.random),
            false => self.zipf.scattered(&mut self.random),
        }
    }

    fn current(&self, i: u64) -> u64 {
        self.versions.get(&i).copied().unwrap_or(0)
    }

    fn write(&mut self, i: u64, data: &mut Data) {
        self.written += 1;
        self.versions.insert(i, self.written);
        data.push(Shape::Bytes, i, self.written);
        let (key, value) = data.pairs().get(data.pairs().len() - 1);
        let mut seen = Seen::default();
        seen.entry(key, value);
        self.entries.insert(key.to_vec(), seen);
    }

    fn scan(&mut self, key: &[u8]) -> Op {
        let len = self.random.random_range(1..=LONGEST_SCAN);
        let mut expected = Seen::default();
        self.entries.range(key.to_vec()..).take(len).for_each(|(_, seen)| expected.add(*seen));
        Op::Scan(len, expected)
    }

    fn work(&mut self, mix: &Mix, count: usize) -> (Vec<Op>, Data) {
        let (mut ops, mut data) = (Vec::new(), Data::new(Shape::Bytes));
        for _ in 0..count {
            let percent = self.random.random_range(0..100);
            let until = [mix.updates, mix.inserts, mix.scans, mix.modifications];
            let is = |kind: usize| percent < until[..=kind].iter().sum::<u64>();
            let i = self.chosen(mix);
            if is(0) {
                self.write(i, &mut data);
                ops.push(Op::Write);
            } else if is(1) {
                self.pairs += 1;
                self.write(self.pairs - 1, &mut data);
                ops.push(Op::Write);
            } else {
                data.push(Shape::Bytes, i, self.current(i));
                if is(2) {
                    let key = data.pairs().get(data.pairs().len() - 1).0.to_vec();
                    ops.push(self.scan(&key));
                } else if is(3) {
                    self.write(i, &mut data);
                    ops.push(Op::Modify);
                } else {
                    ops.push(Op::Read);
                }
            }
        }
        (ops, data)
    }
}

pub fn run(run: &mut Run) {
    let kinds: Vec<Kind> = run.kinds.iter().copied().filter(|kind| kind.is_stored()).collect();
    let data = run.data(Shape::Bytes);
    let mut stores = Store::load_each(&kinds, &run.place, Shape::Bytes, &data);
    let mut model = Model::new(run.pairs, &data);
    drop(data);
    for round in 0..run.rounds {
        for (mode, count, suffix) in
            [(Mode::Durable, DURABLE, ""), (Mode::NotWaiting, NOT_WAITING, "_not_waiting")]
        {
            stores.iter_mut().for_each(|store| store.reopen(mode));
            for mix in MIXES {
                let (ops, data) = model.work(mix, run.count(count));
                for store in &stores {
                    if !store.kind.offers(mode) {
                        // In order, so that the newest of each pair stays.
                        store.engine().put(data.pairs());
                        continue;
                    }
                    let (nanos, clock) = perform(store.engine(), &ops, &data);
                    let row = format!("{}{suffix}", mix.name);
                    run.record_with(&row, store.kind, round, nanos, Some(Latency::of(&clock.0)));
                }
            }
            stores.iter().for_each(Store::rest);
        }
        next_first(&mut stores);
    }
    stores.into_iter().for_each(Store::remove);
}

fn perform(engine: &dyn Engine, ops: &[Op], data: &Data) -> (f64, Clock) {
    let mut clock = Clock::new();
    let mut pairs = data.pairs().chunks(1);
    let mut next = || pairs.next().expect("a pair for each operation");
    let start = Instant::now();
    for op in ops {
        let pair = next();
        match op {
            Op::Read => clock.time(|| engine.get_all(pair)),
            Op::Write => clock.time(|| engine.put(pair)),
            Op::Scan(len, expected) => {
                clock.time(|| assert_eq!(engine.seek(pair, *len), *expected, "a wrong scan"));
            }
            Op::Modify => {
                let changed = next();
                clock.time(|| {
                    engine.get_all(pair);
                    engine.put(changed);
                });
            }
        }
    }
    (start.elapsed().as_nanos() as f64 / ops.len() as f64, clock)
}
