//! Cursors, entries and changes at a place in files whose tree pages have right checksums and a few wrong bytes: answers
//! or errors, but no panic, and an end.

mod common;
mod kinds;
mod oracle;

use kinds::{Fixed, Kind, Long, Short};
use mapleaf::{CursorMut, Error, Options, Result, WriteTxn};
use oracle::{Fixture, Image};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Files of each kind.
const FILES: u64 = 150;

fn fixture<T: Kind>() -> Fixture {
    let mut scribe = oracle::Scribe::new(4096);
    scribe.write(true, |w| {
        (0..400).try_for_each(|number| {
            let len = if number % 5 == 0 { 5000 } else { 90 };
            w.put(T::TABLE, &T::key(number), &T::value(len, number as u8)).map(drop)
        })
    });
    scribe.close()
}

/// Changes some bytes of a page, or a whole one to another of its level.
fn craft<T: Kind>(fixture: &Fixture, random: &mut StdRng) -> Image {
    let mut image = fixture.image.clone();
    let (table, _) = fixture.live.table_named(T::TABLE.name());
    let level = if random.random_ratio(1, 2) { 0 } else { random.random_range(0..4) };
    let mut pages = fixture.live.on_level(table, level);
    if pages.is_empty() {
        pages = fixture.live.on_level(table, 0);
    }
    let page = pages[random.random_range(0..pages.len())];
    for _ in 0..random.random_range(1..4) {
        let at = match random.random_range(0..3) {
            0 => random.random_range(4..64),
            1 => random.random_range(32..400),
            _ => random.random_range(4..4096),
        };
        let to = match random.random_range(0..3) {
            0 => image.page(page)[at].wrapping_add(1),
            1 => image.page(page)[at] ^ 1 << random.random_range(0..8),
            _ => random.random(),
        };
        image.page_mut(page)[at] = to;
    }
    image.seal_page(page);
    image
}

fn judge<T>(outcome: Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        // Keys in the file may have lengths that no key has.
        Err(
            Error::Corrupt { .. }
            | Error::Decode { .. }
            | Error::Poisoned
            | Error::WrongWidth { .. }
            | Error::KeyTooLong { .. },
        ) => None,
        Err(other) => panic!("{other}"),
    }
}

fn wander<T: Kind>(cursor: &mut CursorMut<'_, T::K, T::V>, random: &mut StdRng) {
    for _ in 0..60 {
        let key = T::key(random.random_range(0..400));
        match random.random_range(0..14) {
            0 => drop(judge(cursor.first())),
            1 => drop(judge(cursor.last())),
            2..=4 => drop(judge(cursor.next())),
            5 => drop(judge(cursor.previous())),
            6 => drop(judge(cursor.seek_ge(&key))),
            7 => drop(judge(cursor.seek_lt(&key))),
            8 => drop(judge(cursor.seek_exact(&key))),
            9 => drop(judge(cursor.put(&key, &T::value(200, 1)))),
            10 => drop(judge(cursor.replace(&T::value(random.random_range(0..3000), 1)))),
            11 => drop(judge(cursor.delete())),
            12 => drop(judge(cursor.remove())),
            _ => drop(judge(cursor.current())),
        }
    }
}

fn change<T: Kind>(w: &mut WriteTxn, random: &mut StdRng) {
    for _ in 0..20 {
        let key = T::key(random.random_range(0..400));
        match random.random_range(0..6) {
            0 => drop(
                judge(w.entry(T::TABLE, &key)).map(|entry| judge(entry.or_insert(&T::value(9, 9))).is_some()),
            ),
            1 => drop(judge(w.update_in_place(T::TABLE, &key, |bytes| bytes.reverse()))),
            2 => drop(judge(w.remove(T::TABLE, &key))),
            3 => drop(judge(w.pop_first(T::TABLE))),
            4 => drop(judge(w.pop_last(T::TABLE))),
            _ => drop(judge(w.entry(T::TABLE, &key)).map(|mut entry| judge(entry.remove()).is_some())),
        }
    }
}

fn whatever_a_file_says<T: Kind>() {
    let fixture = fixture::<T>();
    for seed in oracle::first_seed()..oracle::first_seed() + FILES {
        oracle::named(format!("seed {seed}"), || {
            let mut random = StdRng::seed_from_u64(seed);
            let image = craft::<T>(&fixture, &mut random);
            let directory = oracle::memory_directory();
            let path = directory.path().join("crafted.maple");
            std::fs::write(&path, &image.bytes).unwrap();
            let db = common::open(&Options::new(), &path);
            let r = db.begin_read().unwrap();
            if let Some(mut cursor) = judge(r.cursor(T::TABLE)) {
                for _ in 0..2000 {
                    judge(if random.random_ratio(2, 3) { cursor.next() } else { cursor.previous() });
                }
            }
            for way in 0..4 {
                let mut w = db.begin_write().unwrap();
                match way {
                    0 => drop(
                        judge(w.cursor_mut(T::TABLE)).map(|mut cursor| wander::<T>(&mut cursor, &mut random)),
                    ),
                    1 => change::<T>(&mut w, &mut random),
                    2 => drop(judge(w.retain(T::TABLE, .., |_, _| random.random()))),
                    _ => drop(judge(w.extract_if(T::TABLE, .., |_, _| true)).map(|all| all.count())),
                }
            }
        });
    }
}

#[test]
fn whatever_a_file_of_long_keys_says_a_place_in_it_is_an_answer_or_an_error() {
    whatever_a_file_says::<Long>();
}

#[test]
fn whatever_a_file_of_short_keys_says_a_place_in_it_is_an_answer_or_an_error() {
    whatever_a_file_says::<Short>();
}

#[test]
fn whatever_a_file_of_fixed_widths_says_a_place_in_it_is_an_answer_or_an_error() {
    whatever_a_file_says::<Fixed>();
}
