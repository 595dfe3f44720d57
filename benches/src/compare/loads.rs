//! Loads of empty stores, overwriting and deleting, each in one durable txn; and what the files take
//! afterwards. Stores of 1-KiB values are large: there is one at a time, and the gets of them are here.

use super::store::Store;
use super::{Run, nanos};
use crate::data::{Data, Pairs, Shape};
use crate::engines::{Direction, Kind};
use rand::prelude::*;

const OVERWRITTEN: usize = 100_000;
const GETS: usize = 200_000;

pub fn run(run: &mut Run) {
    let random = run.data(Shape::Bytes);
    let ascending = random.sorted();
    for round in 0..run.rounds {
        let stores = load(run, round, Shape::Bytes, ascending.pairs(), "load_ascending", "size_ascending");
        stores.into_iter().for_each(Store::remove);
        let stores = load(run, round, Shape::Bytes, random.pairs(), "load_random", "size_random");
        change(run, round, stores, random.pairs());
    }
    drop((random, ascending));
    let numbers = run.data(Shape::Numbers);
    for round in 0..run.rounds {
        let stores = load(run, round, Shape::Numbers, numbers.pairs(), "load_u64", "size_u64");
        stores.into_iter().for_each(Store::remove);
    }
    let kib = run.data(Shape::Kib);
    for round in 0..run.rounds {
        for kind in run.turn(round).into_iter().filter(|kind| kind.takes(Shape::Kib)) {
            let store = load_one(run, round, kind, Shape::Kib, kib.pairs(), "load_kib", "size_kib");
            get(run, round, &store, kib.pairs());
            store.remove();
        }
    }
}

/// Loads each store, and leaves it at rest.
fn load(run: &mut Run, round: u64, shape: Shape, pairs: Pairs, time: &str, size: &str) -> Vec<Store> {
    let kinds = run.turn(round).into_iter().filter(|kind| kind.takes(shape));
    kinds.map(|kind| load_one(run, round, kind, shape, pairs, time, size)).collect()
}

fn load_one(
    run: &mut Run,
    round: u64,
    kind: Kind,
    shape: Shape,
    pairs: Pairs,
    time: &str,
    size: &str,
) -> Store {
    let store = Store::create(kind, &run.place, shape);
    let value = nanos(pairs.len(), || store.engine().put(pairs));
    run.record(time, kind, round, value);
    store.rest();
    if kind.is_stored() {
        run.record(size, kind, round, store.bytes() as f64);
    }
    store
}

/// Gets of a store of which everything was read before.
fn get(run: &mut Run, round: u64, store: &Store, pairs: Pairs) {
    store.engine().scan(Direction::Forward);
    let mut random = SmallRng::seed_from_u64(round);
    let mut any = || pairs.pick((0..run.count(GETS)).map(|_| random.random_range(0..pairs.len())));
    store.engine().get_all(any().pairs());
    let gets = any();
    run.record(
        "get_kib",
        store.kind,
        round,
        nanos(gets.pairs().len(), || store.engine().get_all(gets.pairs())),
    );
}

/// Overwrites some, deletes half, compacts.
fn change(run: &mut Run, round: u64, stores: Vec<Store>, pairs: Pairs) {
    let mut random = SmallRng::seed_from_u64(round);
    let mut places: Vec<usize> = (0..pairs.len()).collect();
    places.shuffle(&mut random);
    let half = places.len() / 2;
    let (deleted, kept) = (pairs.pick(places[..half].to_vec()), &places[half..]);
    let chosen = || places[..run.count(OVERWRITTEN)].iter().map(|i| (*i as u64, round + 1));
    let overwritten = Data::of(Shape::Bytes, chosen());
    let sample = pairs
        .pick(kept.iter().copied().filter(|i| *i % 16 == 0 && !chosen().any(|c| c.0 == *i as u64)).take(1));
    for mut store in stores {
        let value = nanos(overwritten.pairs().len(), || store.engine().put(overwritten.pairs()));
        run.record("overwrite", store.kind, round, value);
        store.engine().get_all(overwritten.pairs());
        store.rest();
        let value = nanos(half, || store.engine().delete(deleted.pairs()));
        run.record("delete_half", store.kind, round, value);
        store.rest();
        if store.kind.is_stored() {
            store.engine_mut().compact();
            store.rest();
            run.record("size_compacted", store.kind, round, store.bytes() as f64);
        }
        store.engine().get_all(sample.pairs());
        store.remove();
    }
}
