//! Gets from a store of which nothing is in the page cache; opening one of which everything is; gets from two
//! processes at once.

use super::child::Getting;
use super::store::{Store, next_first};
use super::{Run, nanos};
use crate::data::{Data, Shape};
use crate::device_bytes_read;
use crate::engines::{Kind, Mode};
use rand::prelude::*;
use std::time::Instant;

const COLD: usize = 2000;
const GETS: usize = 200_000;
const OPENED: usize = 11;

pub fn run(run: &mut Run) {
    let kinds: Vec<Kind> = run.kinds.iter().copied().filter(|kind| kind.is_stored()).collect();
    let data = run.data(Shape::Bytes);
    let mut stores = Store::load_each(&kinds, &run.place, Shape::Bytes, &data);
    stores.iter_mut().for_each(|store| {
        store.rest();
        store.close();
    });
    for round in 0..run.rounds {
        let mut random = SmallRng::seed_from_u64(round);
        let count = run.count(COLD);
        let places: Vec<usize> = (0..count).map(|_| random.random_range(0..data.pairs().len())).collect();
        let gets = data.pairs().pick(places);
        for store in &mut stores {
            cold(run, round, store, &gets);
        }
        for store in &mut stores {
            open(run, round, store, &gets);
        }
        for store in stores.iter().filter(|store| store.kind.shares()) {
            two_processes(run, round, store);
        }
        next_first(&mut stores);
    }
    stores.into_iter().for_each(Store::remove);
}

fn cold(run: &mut Run, round: u64, store: &mut Store, gets: &Data) {
    store.forget_pages();
    let count = gets.pairs().len();
    store.open(Mode::Durable);
    let before = device_bytes_read(&store.directory);
    let value = nanos(count, || store.engine().get_all(gets.pairs()));
    let read = device_bytes_read(&store.directory) - before;
    run.record("cold_get", store.kind, round, value);
    run.record("cold_bytes", store.kind, round, read as f64 / count as f64);
    store.engine().scan(crate::engines::Direction::Forward);
    store.close();
}

/// Opening and a first get, so that a store that puts things off has done them.
fn open(run: &mut Run, round: u64, store: &mut Store, gets: &Data) {
    let mut times = Vec::new();
    for _ in 0..OPENED {
        let start = Instant::now();
        store.open(Mode::Durable);
        store.engine().get_all(gets.pairs().slice(0..1));
        times.push(start.elapsed().as_nanos() as f64);
        store.close();
    }
    run.record("open", store.kind, round, crate::median(times));
}

fn two_processes(run: &mut Run, round: u64, store: &Store) {
    let count = run.count(GETS);
    let start = |seed| Getting::start(store.kind, &store.directory, run, count, seed);
    let (mut one, mut two) = (start(2 * round), start(2 * round + 1));
    let mut turn = |together: bool| {
        one.go();
        if together {
            two.go();
        }
        let took = one.took();
        if together { (took + two.took()) / 2.0 } else { took }
    };
    turn(true);
    let (alone, together) = (turn(false), turn(true));
    run.record("get_two_processes", store.kind, round, together);
    run.record("two_processes", store.kind, round, alone / together);
}
