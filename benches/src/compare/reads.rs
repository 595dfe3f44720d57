//! Gets, seeks and scans of stores that lie in the page cache.

use super::store::{Store, next_first};
use super::{Run, nanos};
use crate::data::{Data, Pairs, Seen, Shape, Zipf};
use crate::engines::{Direction, Engine};
use rand::prelude::*;

const GETS: usize = 200_000;
const SEEKS: usize = 50_000;
const ENTRIES: usize = 11;
const SNAPSHOTS: usize = 200_000;
const TOGETHER: usize = 16;

/// What the stores hold, in order, and the sums over all entries up to each.
struct Model {
    sorted: Data,
    until: Vec<Seen>,
}

impl Model {
    fn new(data: &Data) -> Self {
        let sorted = data.sorted();
        let mut until = vec![Seen::default()];
        for (key, value) in sorted.pairs().iter() {
            let mut seen = *until.last().expect("the first");
            seen.entry(key, value);
            until.push(seen);
        }
        Model { sorted, until }
    }

    fn pairs(&self) -> Pairs<'_> {
        self.sorted.pairs()
    }

    fn between(&self, start: usize, end: usize) -> Seen {
        let (start, end) = (self.until[start], self.until[end]);
        Seen { entries: end.entries - start.entries, sum: end.sum.wrapping_sub(start.sum) }
    }

    /// What seeks to these places must find.
    fn sought(&self, places: &[usize]) -> Seen {
        let mut all = Seen::default();
        let last = self.pairs().len();
        places.iter().for_each(|at| all.add(self.between(*at, last.min(at + ENTRIES))));
        all
    }
}

/// The work of one round: the same for all stores.
struct Work {
    gets: Data,
    zipf: Data,
    seeks: Data,
    sought: Seen,
    all: Seen,
}

impl Work {
    fn new(run: &Run, model: &Model, zipf: &Zipf, round: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(round);
        let pairs = model.pairs();
        let mut any = |count: usize| -> Vec<usize> {
            (0..count).map(|_| random.random_range(0..pairs.len())).collect()
        };
        let (gets, places) = (any(run.count(GETS)), any(run.count(SEEKS)));
        let frequent = (0..run.count(GETS)).map(|_| zipf.scattered(&mut random) as usize);
        Work {
            zipf: pairs.pick(frequent),
            gets: pairs.pick(gets),
            seeks: pairs.pick(places.iter().copied()),
            sought: model.sought(&places),
            all: model.between(0, pairs.len()),
        }
    }
}

type Measure = fn(&dyn Engine, &Work) -> f64;

fn get(engine: &dyn Engine, work: &Work) -> f64 {
    let gets = work.gets.pairs();
    nanos(gets.len(), || engine.get_all(gets))
}

fn get_zipf(engine: &dyn Engine, work: &Work) -> f64 {
    let gets = work.zipf.pairs();
    nanos(gets.len(), || engine.get_all(gets))
}

fn get_many(engine: &dyn Engine, work: &Work) -> f64 {
    let gets = work.gets.pairs();
    nanos(gets.len(), || engine.get_many(gets, TOGETHER))
}

fn seek(engine: &dyn Engine, work: &Work) -> f64 {
    let seeks = work.seeks.pairs();
    nanos(seeks.len(), || assert_eq!(engine.seek(seeks, ENTRIES), work.sought, "a wrong entry"))
}

fn scan(engine: &dyn Engine, work: &Work) -> f64 {
    nanos(work.all.entries as usize, || assert_eq!(engine.scan(Direction::Forward), work.all, "a wrong scan"))
}

fn scan_reverse(engine: &dyn Engine, work: &Work) -> f64 {
    nanos(work.all.entries as usize, || assert_eq!(engine.scan(Direction::Reverse), work.all, "a wrong scan"))
}

fn begin_read(engine: &dyn Engine, _: &Work) -> f64 {
    nanos(SNAPSHOTS, || engine.begin_read(SNAPSHOTS))
}

const BYTES: &[(&str, Measure)] = &[
    ("get", get),
    ("get_zipf", get_zipf),
    ("get_many", get_many),
    ("seek", seek),
    ("scan", scan),
    ("scan_reverse", scan_reverse),
    ("begin_read", begin_read),
];
const NUMBERS: &[(&str, Measure)] = &[("get_u64", get), ("scan_u64", scan)];

pub fn run(run: &mut Run) {
    for (shape, rows) in [(Shape::Bytes, BYTES), (Shape::Numbers, NUMBERS)] {
        measure(run, shape, rows);
    }
}

fn measure(run: &mut Run, shape: Shape, rows: &[(&str, Measure)]) {
    let data = run.data(shape);
    let mut stores = Store::load_each(&run.kinds, &run.place, shape, &data);
    let model = Model::new(&data);
    drop(data);
    let zipf = Zipf::new(run.pairs);
    // Whatever a store does once, when a page is first read, is done.
    for store in &stores {
        assert_eq!(store.engine().scan(Direction::Forward), model.between(0, model.pairs().len()));
        store.engine().get_all(Work::new(run, &model, &zipf, u64::MAX).gets.pairs());
    }
    for round in 0..run.rounds {
        let work = Work::new(run, &model, &zipf, round);
        for (row, measure) in rows {
            for store in &stores {
                let value = measure(store.engine(), &work);
                run.record(row, store.kind, round, value);
            }
        }
        next_first(&mut stores);
    }
    stores.into_iter().for_each(Store::remove);
}
