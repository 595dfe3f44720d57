//! The standard library's BTreeMap behind a read-write lock: what a tree in memory costs that no process
//! shares and no crash outlives. A yardstick, not a store.

use super::{Direction, Engine};
use crate::data::{Pairs, Seen, Shape, Source, number, number_value};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub fn open(shape: Shape) -> Box<dyn Engine> {
    match shape {
        Shape::Numbers => Box::new(Map::<Numbers>(Arc::default())),
        Shape::Bytes => Box::new(Map::<Bytes>(Arc::default())),
        Shape::Kib => Box::new(Map::<Kib>(Arc::default())),
    }
}

/// The types of a table.
trait Form: 'static {
    type Key: Ord + Copy + Send + Sync;
    type Value: PartialEq + Send + Sync;
    fn key(bytes: &[u8]) -> Self::Key;
    fn value(bytes: &[u8]) -> Self::Value;
    fn is(value: &Self::Value, bytes: &[u8]) -> bool;
    fn see(seen: &mut Seen, key: &Self::Key, value: &Self::Value);
}

struct Numbers;
struct Bytes;
struct Kib;

impl Form for Numbers {
    type Key = u64;
    type Value = u64;

    fn key(bytes: &[u8]) -> u64 {
        number(bytes)
    }

    fn value(bytes: &[u8]) -> u64 {
        number_value(bytes)
    }

    fn is(value: &u64, bytes: &[u8]) -> bool {
        *value == number_value(bytes)
    }

    fn see(seen: &mut Seen, key: &u64, value: &u64) {
        seen.numbers(*key, *value);
    }
}

/// Keys of 24 bytes, and these values.
macro_rules! form {
    ($form:ty, $value:ty) => {
        impl Form for $form {
            type Key = [u8; 24];
            type Value = $value;

            fn key(bytes: &[u8]) -> [u8; 24] {
                bytes.try_into().expect("24 bytes")
            }

            fn value(bytes: &[u8]) -> $value {
                bytes.try_into().expect("of its length")
            }

            fn is(value: &$value, bytes: &[u8]) -> bool {
                value[..] == *bytes
            }

            fn see(seen: &mut Seen, key: &[u8; 24], value: &$value) {
                seen.entry(key, &value[..]);
            }
        }
    };
}

form!(Bytes, [u8; 150]);
form!(Kib, Box<[u8]>);

type Tree<F> = BTreeMap<<F as Form>::Key, <F as Form>::Value>;

struct Map<F: Form>(Arc<RwLock<Tree<F>>>);

impl<F: Form> Map<F> {
    fn read(&self) -> RwLockReadGuard<'_, Tree<F>> {
        self.0.read().expect("nobody panicked")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tree<F>> {
        self.0.write().expect("nobody panicked")
    }
}

impl<F: Form> Engine for Map<F> {
    fn put_all(&self, source: &mut dyn Source) {
        let mut map = self.write();
        while let Some(pairs) = source.next() {
            map.extend(pairs.iter().map(|(key, value)| (F::key(key), F::value(value))));
        }
    }

    fn delete(&self, pairs: Pairs) {
        let mut map = self.write();
        for (key, _) in pairs.iter() {
            assert!(map.remove(&F::key(key)).is_some(), "not there");
        }
    }

    fn get_all(&self, pairs: Pairs) {
        let map = self.read();
        for (key, value) in pairs.iter() {
            assert!(map.get(&F::key(key)).is_some_and(|found| F::is(found, value)), "a wrong value");
        }
    }

    fn seek(&self, keys: Pairs, entries: usize) -> Seen {
        let map = self.read();
        let mut seen = Seen::default();
        for (key, _) in keys.iter() {
            map.range(F::key(key)..).take(entries).for_each(|(key, value)| F::see(&mut seen, key, value));
        }
        seen
    }

    fn scan(&self, direction: Direction) -> Seen {
        let map = self.read();
        let mut seen = Seen::default();
        let see = |(key, value): (&F::Key, &F::Value)| F::see(&mut seen, key, value);
        match direction {
            Direction::Forward => map.iter().for_each(see),
            Direction::Reverse => map.iter().rev().for_each(see),
        }
        seen
    }

    fn begin_read(&self, times: usize) {
        for _ in 0..times {
            drop(black_box(self.read()));
        }
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(Map::<F>(self.0.clone()))
    }
}
