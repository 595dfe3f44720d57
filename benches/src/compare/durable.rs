//! Commits to a store of all the pairs: durable ones, from one thread and from eight, those that do not wait
//! for the disk, and gets beside a writer that commits all the time.

use super::store::{Store, next_first};
use super::{Clock, Latency, Run, nanos};
use crate::data::{Data, Pairs, Shape};
use crate::device_bytes;
use crate::engines::{Engine, Kind, Mode};
use rand::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

const SAMPLE: usize = 4000;
const GETS: usize = 200_000;
const PUTS_BESIDE: usize = 1000;
const GETS_A_SNAPSHOT: usize = 100;

/// What is committed in a round.
struct Workload {
    row: &'static str,
    threads: u64,
    /// Of each thread.
    commits: usize,
    puts: usize,
    mode: Mode,
    /// The row of the bytes that the disk writes for each put.
    device: Option<&'static str>,
}

const fn workload(row: &'static str, threads: u64, commits: usize, puts: usize) -> Workload {
    Workload { row, threads, commits, puts, mode: Mode::Durable, device: None }
}

const WORKLOADS: &[Workload] = &[
    Workload { device: Some("device_single"), ..workload("single", 1, 2000, 1) },
    Workload { device: Some("device_batch100"), ..workload("batch100", 1, 60, 100) },
    workload("batch1000", 1, 12, 1000),
    workload("threads8", 8, 500, 1),
    Workload { mode: Mode::NotWaiting, ..workload("not_waiting", 1, 20_000, 1) },
];

/// What every store must hold.
struct Model {
    pairs: u64,
    puts: u64,
    /// Of the pairs that were put since the load, which had version 0.
    versions: HashMap<u64, u64>,
    random: SmallRng,
}

impl Model {
    fn new(pairs: u64) -> Self {
        Model { pairs, puts: 0, versions: HashMap::new(), random: SmallRng::seed_from_u64(7) }
    }

    /// For each thread random pairs in new versions. No two threads have the same pair, so what is there in
    /// the end does not depend on who was faster.
    fn work(&mut self, threads: u64, puts: usize) -> Vec<Data> {
        let mut put = |thread| {
            let i = self.random.random_range(0..self.pairs / threads) * threads + thread;
            self.puts += 1;
            self.versions.insert(i, self.puts);
            (i, self.puts)
        };
        let mut of_thread = |thread| Data::of(Shape::Bytes, (0..puts).map(|_| put(thread)));
        (0..threads).map(&mut of_thread).collect()
    }

    /// Pairs as they must be now, half of them among those that were put.
    fn sample(&mut self) -> Data {
        let mut chosen = self.versions.keys().copied().choose_multiple(&mut self.random, SAMPLE / 2);
        chosen.extend((chosen.len()..SAMPLE).map(|_| self.random.random_range(0..self.pairs)));
        let current = |i: u64| (i, self.versions.get(&i).copied().unwrap_or(0));
        Data::of(Shape::Bytes, chosen.into_iter().map(current))
    }
}

pub fn run(run: &mut Run) {
    let kinds: Vec<Kind> = run.kinds.iter().copied().filter(|kind| kind.is_stored()).collect();
    let data = run.data(Shape::Bytes);
    let mut stores = Store::load_each(&kinds, &run.place, Shape::Bytes, &data);
    drop(data);
    let mut model = Model::new(run.pairs);
    for round in 0..run.rounds {
        for workload in WORKLOADS {
            let commits = (workload.commits / run.less).max(2);
            let work = model.work(workload.threads, commits * workload.puts);
            for store in &mut stores {
                match store.kind.offers(workload.mode) {
                    true => commit(run, round, store, workload, &work),
                    false => work.iter().for_each(|data| store.engine().put(data.pairs())),
                }
            }
        }
        let sample = model.sample();
        stores.iter().for_each(|store| store.engine().get_all(sample.pairs()));
        for store in &stores {
            beside(run, round, store, &mut model);
        }
        next_first(&mut stores);
    }
    stores.into_iter().for_each(Store::remove);
}

/// Commits one after another.
fn commit_all(engine: &dyn Engine, pairs: Pairs, puts: usize, is_alone: bool) -> Clock {
    let mut clock = Clock::new();
    for some in pairs.chunks(puts) {
        clock.time(|| match is_alone {
            true => engine.put(some),
            false => engine.put_beside_others(some),
        });
    }
    clock
}

fn commit(run: &mut Run, round: u64, store: &mut Store, workload: &Workload, work: &[Data]) {
    store.reopen(workload.mode);
    store.rest();
    let written = device_bytes(&store.directory);
    let is_alone = work.len() == 1;
    let handles: Vec<_> = work.iter().map(|_| store.engine().another()).collect();
    let puts: usize = work.iter().map(|data| data.pairs().len()).sum();
    let mut clock = Clock::new();
    let value = nanos(puts, || {
        thread::scope(|scope| {
            let job = |(data, handle): (&'_ Data, Box<dyn Engine>)| {
                let pairs = data.pairs();
                commit_all(handle.as_ref(), pairs, workload.puts, is_alone)
            };
            let jobs = work.iter().zip(handles);
            let threads: Vec<_> = jobs.map(|mine| scope.spawn(move || job(mine))).collect();
            for thread in threads {
                clock.0.add(thread.join().expect("all committed").0).expect("it grows");
            }
        });
    });
    run.record_with(workload.row, store.kind, round, value, Some(Latency::of(&clock.0)));
    store.rest();
    if let Some(row) = workload.device {
        let bytes = device_bytes(&store.directory) - written;
        run.record(row, store.kind, round, bytes as f64 / puts as f64);
    }
}

/// Gets of pairs with even numbers, while another thread puts those with odd ones.
fn beside(run: &mut Run, round: u64, store: &Store, model: &mut Model) {
    let mut random = SmallRng::seed_from_u64(round);
    let half = (run.pairs / 2).max(1);
    let evens: Vec<u64> = (0..run.count(GETS)).map(|_| random.random_range(0..half) * 2).collect();
    let current = |i: u64| (i, model.versions.get(&i).copied().unwrap_or(0));
    let gets = Data::of(Shape::Bytes, evens.into_iter().map(current));
    let odds: Vec<u64> = (0..run.count(PUTS_BESIDE)).map(|_| random.random_range(0..half) * 2 + 1).collect();
    let puts = Data::of(Shape::Bytes, odds.into_iter().filter(|i| *i < run.pairs).map(current));
    let (writer, stop) = (store.engine().another(), AtomicBool::new(false));
    let puts = &puts;
    let stop = &stop;
    thread::scope(|scope| {
        scope.spawn(move || {
            for put in puts.pairs().chunks(1).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                writer.put(put);
            }
        });
        let start = Instant::now();
        for some in gets.pairs().chunks(GETS_A_SNAPSHOT) {
            store.engine().get_all(some);
        }
        let value = start.elapsed().as_nanos() as f64 / gets.pairs().len() as f64;
        stop.store(true, Ordering::Relaxed);
        run.record("get_beside", store.kind, round, value);
    });
}
