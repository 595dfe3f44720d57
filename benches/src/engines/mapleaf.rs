//! mapleaf with its defaults: every commit is durable.

use super::Engine;
use crate::{PAIRS, Pair};
use mapleaf::{Database, Error, Options, WriteTxn};
use std::path::Path;

#[derive(Clone)]
pub struct Mapleaf(Database);

impl Mapleaf {
    pub fn open(directory: &Path) -> Self {
        // SAFETY: the file is this program's own.
        Mapleaf(unsafe { Options::new().open(directory.join("store")) }.expect("opened"))
    }
}

fn put(w: &mut WriteTxn, pairs: &[Pair]) -> Result<(), Error> {
    pairs.iter().try_for_each(|(key, value)| w.put(PAIRS, key, value).map(|_| ()))
}

impl Engine for Mapleaf {
    fn commit(&self, pairs: &[Pair]) {
        self.0.write(|w| put(w, pairs)).expect("committed");
    }

    fn commit_beside_others(&self, pairs: &[Pair]) {
        self.0.batch(|w| put(w, pairs)).expect("committed");
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let r = self.0.begin_read().expect("a snapshot");
        r.get(PAIRS, key).expect("readable").map(<[u8]>::to_vec)
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }
}
