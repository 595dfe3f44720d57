//! Durable single puts of random pairs for a set time beside a thread that gets, one store after another:
//! latencies, the longest stall, how the files grow.

use super::store::Store;
use super::{Clock, Latency, Run};
use crate::data::{Data, Shape};
use crate::engines::{Engine, Kind, Mode};
use rand::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const GETS: usize = 100;

pub fn run(run: &mut Run) {
    let data = run.data(Shape::Bytes);
    let kinds: Vec<Kind> = run.kinds.iter().copied().filter(|kind| kind.is_stored()).collect();
    for kind in kinds {
        let mut store = Store::load(kind, &run.place, Shape::Bytes, data.pairs());
        store.reopen(Mode::Durable);
        measure(run, &store);
        store.remove();
    }
}

fn measure(run: &mut Run, store: &Store) {
    let time = Duration::from_secs(run.seconds);
    let before = store.bytes();
    let (stop, reader) = (AtomicBool::new(false), store.engine().another());
    let (puts, gets) = thread::scope(|scope| {
        let (pairs, stop) = (run.pairs, &stop);
        let reading = scope.spawn(move || get(reader.as_ref(), pairs, stop));
        let puts = put(store.engine(), pairs, time);
        stop.store(true, Ordering::Relaxed);
        (puts, reading.join().expect("every value was right"))
    });
    let growth = store.bytes() as f64 - before as f64;
    let kind = store.kind;
    run.record_with("sustained_put", kind, 0, puts.0.mean(), Some(Latency::of(&puts.0)));
    run.record_with("sustained_get", kind, 0, gets.0.mean() / GETS as f64, Some(Latency::of(&gets.0)));
    run.record("sustained_stall", kind, 0, puts.0.max() as f64);
    run.record("sustained_growth", kind, 0, growth);
}

/// Pairs with odd numbers.
fn put(engine: &dyn Engine, pairs: u64, time: Duration) -> Clock {
    let mut random = SmallRng::seed_from_u64(7);
    let mut clock = Clock::new();
    let start = Instant::now();
    while start.elapsed() < time {
        let odd = random.random_range(0..pairs / 2) * 2 + 1;
        let put = Data::of(Shape::Bytes, [(odd, clock.0.len() + 1)]);
        clock.time(|| engine.put(put.pairs()));
    }
    clock
}

/// Those with even ones, a snapshot for each 100.
fn get(engine: &dyn Engine, pairs: u64, stop: &AtomicBool) -> Clock {
    let mut random = SmallRng::seed_from_u64(8);
    let mut clock = Clock::new();
    while !stop.load(Ordering::Relaxed) {
        let evens = (0..GETS).map(|_| (random.random_range(0..pairs.div_ceil(2)) * 2, 0));
        let gets = Data::of(Shape::Bytes, evens);
        clock.time(|| engine.get_all(gets.pairs()));
    }
    clock
}
