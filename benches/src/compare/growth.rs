//! How the cost of a get, a put, a commit, of opening and of a snapshot grows with the number of pairs. The
//! pairs are loaded in the order of their keys: in random order the larger stores would take hours. No more
//! than some of them are in memory at once; one store lies on the disk at a time.

use super::store::Store;
use super::{Clock, Latency, Run, nanos};
use crate::data::{Data, Made, Shape};
use crate::engines::{Kind, Mode};
use rand::prelude::*;
use std::time::Instant;

const GETS: usize = 200_000;
const PUTS: usize = 10_000;
const COMMITS: usize = 500;
const SNAPSHOTS: usize = 100_000;
/// Of the load.
const TOGETHER: usize = 100_000;
const OPENED: usize = 5;
/// The yardstick keeps all in memory.
const MOST_IN_MEMORY: u64 = 10_000_000;

pub fn run(run: &mut Run) {
    for size in run.sizes.clone() {
        let order = Shape::Bytes.order(size);
        for kind in run.kinds.clone() {
            if kind.is_stored() || size <= MOST_IN_MEMORY {
                measure(run, kind, &order);
            }
        }
    }
}

fn measure(run: &mut Run, kind: Kind, order: &[u32]) {
    let size = order.len() as u64;
    let mut store = Store::create(kind, &run.place, Shape::Bytes);
    let row = |what: &str| format!("growth_{what}@{size}");
    let load = load(&store, order);
    run.record(&row("load"), kind, 0, load);
    store.rest();
    if kind.is_stored() {
        run.record(&row("size"), kind, 0, store.bytes() as f64);
        let opened = open(&mut store);
        run.record(&row("open"), kind, 0, opened);
    }
    for round in 0..run.rounds {
        let mut random = SmallRng::seed_from_u64(round);
        // Pairs with even numbers are read, those with odd ones are put.
        let mut any = |count: usize, odd: u64, version: u64| {
            let count = (count / run.less).max(1);
            Data::of(Shape::Bytes, (0..count).map(|_| (random.random_range(0..size / 2) * 2 + odd, version)))
        };
        let (gets, puts, commits) = (any(GETS, 0, 0), any(PUTS, 1, round + 1), any(COMMITS, 1, round + 1));
        store.engine().get_all(gets.pairs().slice(0..gets.pairs().len() / 2));
        let value = nanos(gets.pairs().len(), || store.engine().get_all(gets.pairs()));
        run.record(&row("get"), kind, round, value);
        let value = nanos(puts.pairs().len(), || store.engine().put(puts.pairs()));
        run.record(&row("put"), kind, round, value);
        let mut clock = Clock::new();
        commits.pairs().chunks(1).for_each(|put| clock.time(|| store.engine().put(put)));
        let latency = Latency::of(&clock.0);
        run.record_with(&row("commit"), kind, round, latency.p50 as f64, Some(latency));
        let value = nanos(SNAPSHOTS, || store.engine().begin_read(SNAPSHOTS));
        run.record(&row("begin_read"), kind, round, value);
        store.rest();
    }
    store.remove();
}

/// Nanoseconds a pair, without those of making them.
fn load(store: &Store, order: &[u32]) -> f64 {
    let start = Instant::now();
    let mut making = std::time::Duration::ZERO;
    for some in order.chunks(TOGETHER) {
        let mut made = Made::new(Shape::Bytes, some.iter().map(|i| u64::from(*i)));
        store.engine().put_all(&mut made);
        making += made.making;
    }
    (start.elapsed() - making).as_nanos() as f64 / order.len() as f64
}

/// With a first get; the store stays open.
fn open(store: &mut Store) -> f64 {
    let first = Data::of(Shape::Bytes, [(0, 0)]);
    let mut times = Vec::new();
    for _ in 0..OPENED {
        store.close();
        let start = Instant::now();
        store.open(Mode::Durable);
        store.engine().get_all(first.pairs());
        times.push(start.elapsed().as_nanos() as f64);
    }
    crate::median(times)
}
