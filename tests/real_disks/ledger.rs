//! Which states a store may be in, by what it has acknowledged.
//!
//! A state says of each key which version of its value there is and how long it is; every byte of the value follows
//! from that. After a power cut a store must be in the state of the last commit that was acknowledged as durable, or in one
//! that was begun later, whole. While the system runs it must be in the one that was acknowledged last.

use mapleaf::{Database, Durability, Error, Options, Table, WriteTxn};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;

const VALUES: Table<u64, [u8]> = Table::new("values");
/// The same numbers of versions, in another table, so that a txn is seen to be whole.
const VERSIONS: Table<u64, u64> = Table::new("versions");

/// The version and the length of each key's value.
type State = BTreeMap<u64, (u64, usize)>;

/// What txns are like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub keys: u64,
    /// Keys below this get values of up to a MiB and a half.
    pub large: u64,
    pub puts: u64,
    /// Of 100 txns.
    pub durable: u32,
    pub ordered: u32,
    /// Each put out of so many is a delete.
    pub deletes: u32,
}

impl Shape {
    pub fn small() -> Self {
        Shape { keys: 400, large: 0, puts: 12, durable: 70, ordered: 15, deletes: 6 }
    }

    pub fn mixed() -> Self {
        Shape { keys: 300, large: 6, puts: 8, durable: 60, ordered: 20, deletes: 5 }
    }

    pub fn only(self, durability: Durability) -> Self {
        let (durable, ordered) = match durability {
            Durability::Eventual => (0, 0),
            Durability::Durable => (100, 0),
            Durability::Ordered => (0, 100),
        };
        Shape { durable, ordered, ..self }
    }

    fn durability(&self, rng: &mut StdRng) -> Durability {
        match rng.random_range(0..100) {
            at if at < self.durable => Durability::Durable,
            at if at < self.durable + self.ordered => Durability::Ordered,
            _ => Durability::Eventual,
        }
    }

    fn len(&self, key: u64, rng: &mut StdRng) -> usize {
        match key < self.large {
            true => rng.random_range(50_000..1_500_000),
            false => rng.random_range(8..2500),
        }
    }
}

/// How a commit ended.
#[derive(Debug)]
pub enum Ended {
    Acknowledged,
    /// Nothing was written that could count.
    NotBegun(Error),
    Failed(Error),
}

impl Ended {
    pub fn error(self) -> Option<Error> {
        match self {
            Ended::Acknowledged => None,
            Ended::NotBegun(error) | Ended::Failed(error) => Some(error),
        }
    }

    pub fn is_ok(&self) -> bool {
        matches!(self, Ended::Acknowledged)
    }
}

/// The states that a store may be in.
#[derive(Clone)]
pub struct Ledger {
    pub rng: StdRng,
    version: u64,
    /// The one that was acknowledged last.
    seen: State,
    /// Those acknowledged since the last durable one, with it.
    acknowledged: Vec<State>,
    /// Those that a power cut may leave.
    possible: Vec<State>,
    has_failed: bool,
    pub commits: usize,
    pub failures: usize,
}

impl Ledger {
    pub fn new(seed: u64) -> Self {
        Ledger {
            rng: StdRng::seed_from_u64(seed),
            version: 0,
            seen: State::new(),
            acknowledged: vec![State::new()],
            possible: vec![State::new()],
            has_failed: false,
            commits: 0,
            failures: 0,
        }
    }

    /// One txn of random changes.
    pub fn commit(&mut self, db: &Database, shape: &Shape) -> Ended {
        let changes: Vec<(u64, Option<usize>)> = (0..self.rng.random_range(1..=shape.puts))
            .map(|_| {
                let key = self.rng.random_range(0..shape.keys);
                let is_delete = shape.deletes > 0 && self.rng.random_ratio(1, shape.deletes);
                (key, (!is_delete).then(|| shape.len(key, &mut self.rng)))
            })
            .collect();
        let durability = shape.durability(&mut self.rng);
        self.commit_changes(db, durability, &changes)
    }

    /// One txn that deletes all keys from `from` to `to`.
    pub fn delete(&mut self, db: &Database, durability: Durability, from: u64, to: u64) -> Ended {
        let changes: Vec<_> = (from..to).map(|key| (key, None)).collect();
        self.commit_changes(db, durability, &changes)
    }

    pub fn commit_changes(
        &mut self,
        db: &Database,
        durability: Durability,
        changes: &[(u64, Option<usize>)],
    ) -> Ended {
        let mut w = match db.begin_write() {
            Ok(w) => w,
            Err(error) => return self.failed(Ended::NotBegun(error)),
        };
        if self.has_failed {
            // Recovery may have given up txns that were acknowledged as eventual, and nothing else.
            self.seen = read(|| w.iter(VALUES), || w.iter(VERSIONS));
            assert!(self.acknowledged.contains(&self.seen), "a state that nobody acknowledged is seen");
            self.has_failed = false;
        }
        w.set_durability(durability);
        self.version += 1;
        let mut after = self.seen.clone();
        for (key, len) in changes {
            match *len {
                Some(len) => after.insert(*key, (self.version, len)),
                None => after.remove(key),
            };
            if let Err(error) = change(&mut w, *key, self.version, *len) {
                return self.failed(Ended::NotBegun(error));
            }
        }
        match w.commit() {
            Ok(()) => {
                self.commits += 1;
                // A txn that changes nothing flushes nothing, whatever was committed as eventual before it.
                if durability != Durability::Eventual && after != self.seen {
                    self.possible.clear();
                    self.acknowledged.clear();
                }
                self.possible.push(after.clone());
                self.acknowledged.push(after.clone());
                self.seen = after;
                Ended::Acknowledged
            }
            Err(error) => {
                self.possible.push(after);
                self.failed(Ended::Failed(error))
            }
        }
    }

    fn failed(&mut self, ended: Ended) -> Ended {
        self.failures += 1;
        self.has_failed = true;
        ended
    }

    /// What a checkpoint that succeeded says.
    pub fn all_is_durable(&mut self) {
        self.possible = vec![self.seen.clone()];
        self.acknowledged = self.possible.clone();
    }

    /// Asserts that the store shows what was acknowledged and nothing else, and that every page of it is right.
    pub fn assert_seen(&self, db: &Database) {
        let found = state(db);
        match self.has_failed {
            true => assert!(self.acknowledged.contains(&found), "a state that nobody acknowledged is seen"),
            false => assert!(
                found == self.seen,
                "what was acknowledged last is not seen: {}",
                self.differs(&found)
            ),
        }
        assert_clean(db);
    }

    /// Opens what a power cut has left. It must be in a possible state, and work.
    pub fn assert_survived(&self, path: &Path) {
        let db = try_open(&Options::new(), path).unwrap_or_else(|error| panic!("it does not open: {error}"));
        self.assert_possible(&db);
        db.write(|w| w.put(VERSIONS, &u64::MAX, &7)).unwrap();
        db.checkpoint().unwrap();
        assert_clean(&db);
        db.close().unwrap();
        assert_clean(&open(path));
    }

    /// Asserts that everything acknowledged is there in another opening, and goes on from what there is.
    pub fn assert_reopened(&mut self, db: &Database) {
        let found = state(db);
        assert!(
            found == self.seen || self.possible.contains(&found),
            "what was acknowledged last is not there: {}",
            self.differs(&found)
        );
        assert_clean(db);
        self.seen = found;
        self.all_is_durable();
        self.has_failed = false;
    }

    /// Asserts that a power cut may have left this.
    pub fn assert_possible(&self, db: &Database) {
        let found = state(db);
        assert!(self.possible.contains(&found), "of {}: {}", self.possible.len(), self.differs(&found));
        assert_clean(db);
    }

    fn differs(&self, found: &State) -> String {
        let from = |state: &State| {
            let keys: Vec<u64> = state.keys().chain(found.keys()).copied().collect();
            let differ = keys.into_iter().find(|key| state.get(key) != found.get(key));
            differ.map(|key| format!("key {key} is {:?}, not {:?}", found.get(&key), state.get(&key)))
        };
        let all: Vec<_> = self.possible.iter().map(from).collect();
        format!("{all:?}, version {}", self.version)
    }
}

/// The bytes of a value.
fn bytes(key: u64, version: u64, len: usize) -> Vec<u8> {
    let mut state = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version;
    let mut bytes = version.to_le_bytes().to_vec();
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state | 1).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn change(w: &mut WriteTxn, key: u64, version: u64, len: Option<usize>) -> mapleaf::Result<()> {
    match len {
        Some(len) => {
            w.put(VALUES, &key, &bytes(key, version, len))?;
            w.put(VERSIONS, &key, &version).map(drop)
        }
        None => {
            w.delete(VALUES, &key)?;
            w.delete(VERSIONS, &key).map(drop)
        }
    }
}

/// What the two tables say, every byte of it compared.
fn read<'t, V, N>(
    values: impl FnOnce() -> mapleaf::Result<V>,
    versions: impl FnOnce() -> mapleaf::Result<N>,
) -> State
where
    V: Iterator<Item = mapleaf::Result<(u64, &'t [u8])>>,
    N: Iterator<Item = mapleaf::Result<(u64, u64)>>,
{
    let mut found = State::new();
    for entry in values().unwrap() {
        let (key, value) = entry.unwrap();
        let version = u64::from_le_bytes(value[..8].try_into().unwrap());
        assert!(value == bytes(key, version, value.len()), "the value of key {key} is not what was put");
        found.insert(key, (version, value.len()));
    }
    let versions: BTreeMap<u64, u64> = versions().unwrap().map(|entry| entry.unwrap()).collect();
    let expected: BTreeMap<u64, u64> = found.iter().map(|(key, (version, _))| (*key, *version)).collect();
    let versions: BTreeMap<u64, u64> = versions.into_iter().filter(|(key, _)| *key != u64::MAX).collect();
    assert!(versions == expected, "a txn is not whole");
    found
}

/// The state that a store shows.
pub fn state(db: &Database) -> BTreeMap<u64, (u64, usize)> {
    let r = db.begin_read().unwrap();
    read(|| r.iter(VALUES), || r.iter(VERSIONS))
}

pub fn assert_clean(db: &Database) {
    let report = db.verify(&mut |_| {}).unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
}

pub fn open(path: &Path) -> Database {
    try_open(&Options::new(), path).unwrap()
}

#[allow(unsafe_code)]
pub fn try_open(options: &Options, path: &Path) -> mapleaf::Result<Database> {
    // SAFETY: the file is the test's own.
    unsafe { options.open(path) }
}
