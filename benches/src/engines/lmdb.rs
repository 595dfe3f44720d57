//! LMDB through heed, with its default durability: a commit writes its pages, then the meta page through a
//! synchronous descriptor.

use super::Engine;
use crate::Pair;
use heed::types::Bytes;
use std::path::Path;

#[derive(Clone)]
pub struct Lmdb {
    env: heed::Env,
    table: heed::Database<Bytes, Bytes>,
}

impl Lmdb {
    pub fn open(directory: &Path) -> Self {
        let mut options = heed::EnvOpenOptions::new();
        // SAFETY: the files are this program's own.
        let env = unsafe { options.map_size(64 << 30).max_dbs(1).open(directory) }.expect("opened");
        let mut w = env.write_txn().expect("a txn");
        let table = env.create_database(&mut w, Some("pairs")).expect("a table");
        w.commit().expect("committed");
        Lmdb { env, table }
    }
}

impl Engine for Lmdb {
    fn commit(&self, pairs: &[Pair]) {
        let mut w = self.env.write_txn().expect("a txn");
        for (key, value) in pairs {
            self.table.put(&mut w, key, value).expect("put");
        }
        w.commit().expect("committed");
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let r = self.env.read_txn().expect("a snapshot");
        self.table.get(&r, key).expect("readable").map(<[u8]>::to_vec)
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }
}
