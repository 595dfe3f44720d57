//! Runs of nearby keys: what a write txn keeps of one change for the next one must never show.
//!
//! Every store is verified whole when its test ends.

mod common;

use common::TestDb;
use mapleaf::{Options, Schema, WriteTxn};
use rand::prelude::*;
use std::collections::BTreeMap;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A form of tables, with keys by number in ascending order.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Values up to so many bytes.
    Bytes(usize),
    /// Keys of which many begin with the same bytes, some being all that others begin with.
    Nested,
    Aligned,
    Fixed,
}

use Form::{Aligned, Bytes, Fixed, Nested};
const FORMS: [Form; 6] = [Bytes(40), Bytes(300), Bytes(2500), Nested, Aligned, Fixed];

impl Form {
    fn schema(self) -> Schema {
        let mut schema = Schema::bytes();
        match self {
            Bytes(_) | Nested => {}
            Aligned => schema.value_align = 16,
            Fixed => {
                (schema.key_type, schema.value_type) = ("u64".into(), "u64".into());
                (schema.key_width, schema.value_width) = (Some(8), Some(8));
            }
        }
        schema
    }

    fn key(self, i: u32) -> Vec<u8> {
        match self {
            Fixed => u64::from(i).to_be_bytes().to_vec(),
            Nested => {
                [vec![0; (i % 7) as usize], b"a".repeat((i / 7 % 11) as usize), vec![(i / 77) as u8]].concat()
            }
            _ => format!("key/{i:08}").into_bytes(),
        }
    }

    fn value(self, random: &mut SmallRng) -> Vec<u8> {
        let len = match self {
            Fixed => 8,
            Bytes(most) => random.random_range(0..=most),
            Nested | Aligned => random.random_range(0..200),
        };
        vec![random.random(); len]
    }
}

struct World {
    form: Form,
    random: SmallRng,
    maps: [Map; 2],
}

const TABLES: [&str; 2] = ["one", "two"];

impl World {
    fn put(&mut self, w: &mut WriteTxn, table: usize, i: u32) {
        let (key, value) = (self.form.key(i), self.form.value(&mut self.random));
        let replaced = self.maps[table].insert(key.clone(), value.clone()).is_some();
        assert_eq!(w.raw_put(TABLES[table], &key, &value).unwrap(), replaced, "{i}");
    }

    fn put_new(&mut self, w: &mut WriteTxn, table: usize, i: u32) {
        let (key, value) = (self.form.key(i), self.form.value(&mut self.random));
        let is_new = !self.maps[table].contains_key(&key);
        assert_eq!(w.raw_put_new(TABLES[table], &key, &value).unwrap(), is_new, "{i}");
        self.maps[table].entry(key).or_insert(value);
    }

    fn delete(&mut self, w: &mut WriteTxn, table: usize, i: u32) {
        let key = self.form.key(i);
        let was_there = self.maps[table].remove(&key).is_some();
        assert_eq!(w.raw_delete(TABLES[table], &key).unwrap(), was_there, "{i}");
    }

    /// A run of changes of one kind, now and then of another one in between.
    fn run(&mut self, w: &mut WriteTxn) {
        let (kind, table) = (self.random.random_range(0..10), self.random.random_range(0..2));
        let step = [1, 1, 1, -1, 3, 0][self.random.random_range(0..6)];
        let mut i: i64 = self.random.random_range(0..20_000);
        for _ in 0..self.random.random_range(1..120) {
            i = (i + step).rem_euclid(20_000);
            match kind {
                0..=5 => self.put(w, table, i as u32),
                6 => self.put_new(w, table, i as u32),
                _ => self.delete(w, table, i as u32),
            }
            if self.random.random_ratio(1, 40) {
                let other = self.random.random_range(0..20_000);
                self.put(w, 1 - table, other);
            }
            if self.random.random_ratio(1, 40) {
                self.delete(w, table, i as u32);
            }
        }
    }

    fn judge(&self, w: &WriteTxn) {
        for (table, map) in TABLES.iter().zip(&self.maps) {
            let view = w.raw_table(table).unwrap().unwrap();
            assert_eq!(view.len(), map.len() as u64);
            let found = view.iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
            let found: Vec<_> = found.collect::<mapleaf::Result<_>>().unwrap();
            assert!(found.iter().map(|(key, value)| (key, value)).eq(map), "{:?}: {table}", self.form);
            for rank in (0..map.len()).step_by(map.len() / 7 + 1) {
                assert_eq!(view.rank(&found[rank].0[..]).unwrap(), rank as u64);
                assert_eq!(view.nth(rank as u64).unwrap().unwrap().0, &found[rank].0[..]);
            }
        }
    }
}

fn begin(form: Form, db: &TestDb) -> WriteTxn {
    let mut w = db.begin_write().unwrap();
    TABLES.iter().for_each(|table| w.create_table(table, &form.schema()).unwrap());
    w
}

#[test]
fn runs_of_changes_do_what_single_changes_do() {
    for (seed, form) in FORMS.into_iter().enumerate() {
        for page_size in [4096, 16384] {
            let db = TestDb::with(Options::new().page_size(page_size).dirty_limit(1 << 20));
            let random = SmallRng::seed_from_u64(seed as u64);
            let mut world = World { form, random, maps: Default::default() };
            begin(form, &db).commit().unwrap();
            for _ in 0..4 {
                let mut w = db.begin_write().unwrap();
                let mut saved = Vec::new();
                for _ in 0..30 {
                    match world.random.random_range(0..8) {
                        0 => saved.push((w.savepoint(), world.maps.clone())),
                        1 if !saved.is_empty() => {
                            saved.truncate(world.random.random_range(1..=saved.len()));
                            let (savepoint, maps) = saved.last().unwrap();
                            w.rollback_to(*savepoint).unwrap();
                            world.maps = maps.clone();
                        }
                        _ => world.run(&mut w),
                    }
                }
                world.judge(&w);
                w.commit().unwrap();
                world.judge(&db.begin_write().unwrap());
            }
        }
    }
}

#[test]
fn an_append_goes_on_after_rollback_delete_and_another_table() {
    for form in FORMS {
        let db = TestDb::new();
        let mut world = World { form, random: SmallRng::seed_from_u64(1), maps: Default::default() };
        let mut w = begin(form, &db);
        (0..3_000).for_each(|i| world.put(&mut w, 0, i));
        let (savepoint, maps) = (w.savepoint(), world.maps.clone());
        (3_000..6_000).for_each(|i| world.put(&mut w, 0, i));
        w.rollback_to(savepoint).unwrap();
        world.maps = maps;
        (3_000..4_000).for_each(|i| world.put(&mut w, 0, i));
        for i in 4_000..5_000 {
            world.put(&mut w, 0, i);
            world.put(&mut w, 1, i);
            world.delete(&mut w, 0, i);
        }
        (0..3_990).rev().for_each(|i| world.delete(&mut w, 0, i));
        (5_000..6_000).for_each(|i| world.put(&mut w, 0, i));
        world.judge(&w);
        w.commit().unwrap();
    }
}

#[test]
fn ascending_and_descending_loads_leave_full_pages() {
    for (order, most) in [(false, 1.02), (true, 1.03)] {
        let db = TestDb::new();
        let mut w = begin(Bytes(0), &db);
        for i in 0..40_000_u32 {
            let i = if order { 40_000 - i } else { i };
            w.raw_put("one", &Bytes(0).key(i), &[7; 100]).unwrap();
        }
        w.commit().unwrap();
        let stats = db.stats().unwrap();
        let leaves = &stats.tables.iter().find(|table| table.info.name == "one").unwrap().levels[0];
        let fill = leaves.pages as f64 * 4064.0 / (leaves.entries as f64 * 122.0);
        assert!(fill < most, "{} leaves for {} entries: {fill}", leaves.pages, leaves.entries);
    }
}

#[test]
fn a_load_in_random_order_leaves_pages_three_quarters_full() {
    let mut random = SmallRng::seed_from_u64(3);
    for form in [Bytes(0), Aligned, Fixed] {
        let db = TestDb::new();
        let mut w = begin(form, &db);
        let mut keys: Vec<u32> = (0..40_000).collect();
        keys.shuffle(&mut random);
        for i in keys {
            w.raw_put("one", &form.key(i), &[7; 100][..if matches!(form, Fixed) { 8 } else { 100 }]).unwrap();
        }
        w.commit().unwrap();
        let stats = db.stats().unwrap();
        let leaves = &stats.tables.iter().find(|table| table.info.name == "one").unwrap().levels[0];
        let fill = leaves.used_bytes as f64 / (leaves.pages * 4096) as f64;
        assert!(fill > 0.73, "{form:?}: {fill}");
    }
}

#[test]
fn deleting_in_any_order_joins_pages_until_none_is_left() {
    let mut random = SmallRng::seed_from_u64(5);
    for form in FORMS {
        let db = TestDb::new();
        let mut world = World { form, random: SmallRng::seed_from_u64(1), maps: Default::default() };
        let mut w = begin(form, &db);
        (0..15_000).for_each(|i| world.put(&mut w, 0, i));
        w.commit().unwrap();
        let mut keys: Vec<u32> = (0..15_000).collect();
        keys.shuffle(&mut random);
        let pages = || {
            let stats = db.stats().unwrap();
            stats
                .tables
                .iter()
                .map(|table| table.levels.iter().map(|level| level.pages).sum::<u64>())
                .sum::<u64>()
        };
        let before = pages();
        for part in [&keys[..14_000], &keys[14_000..]] {
            let mut w = db.begin_write().unwrap();
            part.iter().for_each(|i| world.delete(&mut w, 0, *i));
            world.judge(&w);
            w.commit().unwrap();
            assert!(pages() < before / 3 + 2, "{form:?}: {before} pages, then {}", pages());
        }
        assert_eq!(pages(), 0);
    }
}

#[test]
fn a_key_below_a_leaf_that_was_just_appended_goes_to_the_leaf_before() {
    // Two neighbours in turn begin with the same 900 bytes, so that a branch has few children and there are many levels.
    let key = |i: u32| [&(i.div_ceil(20)).to_be_bytes()[..], &[0; 900], &i.to_be_bytes()].concat();
    let db = TestDb::new();
    let mut w = db.begin_write().unwrap();
    for count in 2..120_u32 {
        let table = format!("{count}");
        w.create_table(&table, &Schema::bytes()).unwrap();
        let mut map = Map::new();
        let below = (1..=count.min(6_u32)).filter_map(|k| (10 * (count - k)).checked_sub(5));
        for i in (0..count).map(|i| 10 * i).chain(below) {
            assert!(!w.raw_put(&table, &key(i), &[i as u8; 40]).unwrap());
            map.insert(key(i), vec![i as u8; 40]);
        }
        let view = w.raw_table(&table).unwrap().unwrap();
        assert!(
            view.iter().map(|entry| entry.unwrap()).eq(map.iter().map(|(k, v)| (&k[..], &v[..]))),
            "{count}"
        );
        assert!(map.iter().all(|(key, value)| view.get(&key[..]).unwrap() == Some(&value[..])), "{count}");
    }
    w.commit().unwrap();
}

/// Separators whose heads are the same only because short ones are padded with zeros.
#[test]
fn keys_that_differ_in_the_zeros_at_their_end_keep_their_order() {
    for seed in 0..20 {
        let mut random = SmallRng::seed_from_u64(seed);
        let db = TestDb::with(Options::new());
        let mut map = Map::new();
        let mut w = begin(Bytes(0), &db);
        for i in 0..1500 {
            let mut key = vec![b'a'; random.random_range(0..4)];
            key.resize(key.len() + random.random_range(0..40), 0);
            if random.random_ratio(1, 3) {
                key.push(random.random_range(0..3));
            }
            if random.random_ratio(1, 4) {
                assert_eq!(w.raw_delete(TABLES[0], &key).unwrap(), map.remove(&key).is_some(), "seed {seed}");
            } else {
                let value = vec![i as u8; random.random_range(0..900)];
                let new = map.insert(key.clone(), value.clone()).is_none();
                assert_eq!(w.raw_put(TABLES[0], &key, &value).unwrap(), !new, "seed {seed}");
            }
            if i % 150 == 149 {
                let view = w.raw_table(TABLES[0]).unwrap().unwrap();
                let found: Vec<_> = view.iter().map(|entry| entry.unwrap()).collect();
                assert!(found.iter().copied().eq(map.iter().map(|(k, v)| (&k[..], &v[..]))), "seed {seed}");
                map.iter().for_each(|(k, v)| assert_eq!(view.get(k).unwrap(), Some(&v[..]), "seed {seed}"));
                w.commit().unwrap();
                w = db.begin_write().unwrap();
            }
        }
    }
}
