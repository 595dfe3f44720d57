//! redb with a cache of 1 GiB (its default) and `Durability::Immediate`.

use super::Engine;
use crate::Pair;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::path::Path;
use std::sync::Arc;

const PAIRS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("pairs");

#[derive(Clone)]
pub struct Redb(Arc<Database>);

impl Redb {
    pub fn open(directory: &Path) -> Self {
        Redb(Arc::new(Database::create(directory.join("store")).expect("opened")))
    }
}

impl Engine for Redb {
    fn commit(&self, pairs: &[Pair]) {
        let mut w = self.0.begin_write().expect("a txn");
        w.set_durability(Durability::Immediate).expect("durable");
        let mut table = w.open_table(PAIRS).expect("a table");
        for (key, value) in pairs {
            table.insert(&key[..], &value[..]).expect("put");
        }
        drop(table);
        w.commit().expect("committed");
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let r = self.0.begin_read().expect("a snapshot");
        let table = r.open_table(PAIRS).expect("the table");
        table.get(key).expect("readable").map(|value| value.value().to_vec())
    }

    fn another(&self) -> Box<dyn Engine> {
        Box::new(self.clone())
    }
}
