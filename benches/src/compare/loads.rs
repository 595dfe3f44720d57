//! Loads of empty stores, overwriting and deleting, each in one durable txn; and what the files take
//! afterwards.

use super::store::Store;
use super::{Run, nanos};
use crate::data::{Data, Pairs, Shape};
use rand::prelude::*;

const OVERWRITTEN: usize = 100_000;

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
    for (shape, time, size) in
        [(Shape::Numbers, "load_u64", "size_u64"), (Shape::Kib, "load_kib", "size_kib")]
    {
        let data = run.data(shape);
        for round in 0..run.rounds {
            load(run, round, shape, data.pairs(), time, size).into_iter().for_each(Store::remove);
        }
    }
}

/// Loads each store, and leaves it at rest.
fn load(run: &mut Run, round: u64, shape: Shape, pairs: Pairs, time: &str, size: &str) -> Vec<Store> {
    let mut stores = Vec::new();
    for kind in run.turn(round).into_iter().filter(|kind| kind.takes(shape)) {
        let store = Store::create(kind, &run.place, shape);
        let value = nanos(pairs.len(), || store.engine().put(pairs));
        run.record(time, kind, round, value);
        store.rest();
        if kind.is_stored() {
            run.record(size, kind, round, store.bytes() as f64);
        }
        stores.push(store);
    }
    stores
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
