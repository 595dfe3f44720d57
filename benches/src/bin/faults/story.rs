//! A story without end, for writers that are killed or run out of space: what txn `k` changes, and what stands
//! there after it. Also which stores take part.

use crate::engine::shapes::{Bytes, Change, Contents, apply};
use crate::peers::{Lmdb, Maple, Peer};
use rand::prelude::*;

const KEYS: u64 = 400;

/// The txn of this number.
pub fn txn(k: u64) -> Vec<Change> {
    let mut random = StdRng::seed_from_u64(k);
    (0..random.random_range(1..8)).map(|_| change(&mut random)).collect()
}

fn change(random: &mut StdRng) -> Change {
    let table = *["a", "b", "c"].choose(random).expect("not empty");
    let key: Bytes = format!("key {:05}", random.random_range(0..KEYS)).into_bytes().into();
    if random.random_bool(0.3) {
        return Change::Delete(table, key);
    }
    let len = if random.random_bool(0.03) { 6000 } else { random.random_range(10..500) };
    let mut value = vec![0; len];
    random.fill_bytes(&mut value);
    Change::Put(table, key, value.into())
}

/// What stands there after txn `last`.
pub fn after(last: u64) -> Contents {
    let mut contents = Contents::new();
    for k in 1..=last {
        txn(k).iter().for_each(|change| apply(&mut contents, change));
    }
    contents
}

/// The names of the stores.
pub fn stores() -> Vec<&'static str> {
    if cfg!(feature = "redb") { vec!["mapleaf", "lmdb", "redb"] } else { vec!["mapleaf", "lmdb"] }
}

/// Something that is done with a store of any kind.
pub trait Task {
    type Result;
    fn run<P: Peer>(self) -> Self::Result;
}

/// Does it with the one of this name.
pub fn with<T: Task>(store: &str, task: T) -> T::Result {
    match store {
        "mapleaf" => task.run::<Maple>(),
        "lmdb" => task.run::<Lmdb>(),
        #[cfg(feature = "redb")]
        "redb" => task.run::<crate::peers::Redb>(),
        other => panic!("no store {other}"),
    }
}
