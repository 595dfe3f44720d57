//! Workloads as data, so that the same one can be run again with a failure in another place.

use crate::recorder::{Event, Recorder};
use mapleaf::{Database, Options, ReadTxn, Result, Schema, WriteTxn};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// All tables with all entries.
pub type Contents = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// One change within a txn.
#[derive(Clone, Debug)]
pub enum Step {
    /// The entry has this many bytes; which ones follows from key and seed.
    Put {
        table: &'static str,
        key: u32,
        len: usize,
        seed: u8,
    },
    Delete {
        table: &'static str,
        key: u32,
    },
    DropTable(&'static str),
}

/// One thing that a workload does.
#[derive(Clone, Debug)]
pub enum Action {
    Commit(Vec<Step>),
    Abort(Vec<Step>),
    /// A reader begins, and stays until it is let go.
    Pin,
    Unpin,
}

pub fn put(table: &'static str, key: u32, len: usize, seed: u8) -> Step {
    Step::Put { table, key, len, seed }
}

pub fn delete(table: &'static str, key: u32) -> Step {
    Step::Delete { table, key }
}

fn value(key: u32, len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u32 / 7 + key).wrapping_mul(31) as u8 ^ seed).collect()
}

impl Step {
    fn carry_out(&self, txn: &mut WriteTxn) -> Result<()> {
        match self {
            Step::Put { table, key, len, seed } => {
                if txn.raw_table(table)?.is_none() {
                    txn.create_table(table, &Schema::bytes())?;
                }
                txn.raw_put(table, &key.to_be_bytes(), &value(*key, *len, *seed)).map(|_| ())
            }
            Step::Delete { table, key } => txn.raw_delete(table, &key.to_be_bytes()).map(|_| ()),
            Step::DropTable(table) => txn.drop_table(table).map(|_| ()),
        }
    }

    fn model(&self, contents: &mut Contents) {
        match self {
            Step::Put { table, key, len, seed } => {
                let table = contents.entry((*table).to_owned()).or_default();
                table.insert(key.to_be_bytes().to_vec(), value(*key, *len, *seed));
            }
            Step::Delete { table, key } => {
                contents.get_mut(*table).and_then(|table| table.remove(&key.to_be_bytes()[..]));
            }
            Step::DropTable(table) => {
                contents.remove(*table);
            }
        }
    }
}

/// What is in a snapshot.
pub fn contents(txn: &ReadTxn) -> Result<Contents> {
    let mut contents = Contents::new();
    for info in txn.tables()? {
        let table = txn.raw_table(&info.name)?.expect("it was listed");
        let entries = table.iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
        contents.insert(info.name, entries.collect::<Result<_>>()?);
    }
    Ok(contents)
}

/// A number for contents, so that many can be remembered.
pub fn digest(contents: &Contents) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        let hash = u64::from(crc32fast::hash(bytes)) | (bytes.len() as u64) << 32;
        digest = (digest ^ hash).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    };
    for (name, table) in contents {
        add(name.as_bytes());
        add(&(table.len() as u64).to_le_bytes());
        for (key, value) in table {
            add(key);
            add(value);
        }
    }
    digest
}

/// A store in which a workload runs, recorded, with a model of what it must hold.
pub struct Session {
    pub db: Database,
    pub recorder: Arc<Recorder>,
    /// What the last acknowledged txn left.
    pub model: Contents,
    /// Digest of what each txn leaves, by its number.
    pub states: BTreeMap<u64, u64>,
    /// Number of the next txn.
    pub next: u64,
    pinned: Option<(ReadTxn, Contents)>,
}

impl Session {
    /// Opens or creates the store; what it holds now is the first state.
    pub fn open(path: &Path, options: &Options, recorder: Arc<Recorder>) -> Result<Session> {
        let db = open(path, &options.clone().observer(Arc::clone(&recorder) as _))?;
        let (model, first) = {
            let reader = db.begin_read()?;
            (contents(&reader)?, reader.user_version())
        };
        let states = BTreeMap::from([(first, digest(&model))]);
        Ok(Session { db, recorder, model, states, next: first + 1, pinned: None })
    }

    /// Does one thing. After an error nothing of it may be there, whatever the thing was.
    pub fn act(&mut self, action: &Action) -> Result<()> {
        let result = match action {
            Action::Commit(steps) => self.commit(steps),
            Action::Abort(steps) => self.prepare(steps).map(|(txn, _)| drop(txn)),
            Action::Pin => {
                self.pinned = Some((self.db.begin_read()?, self.model.clone()));
                Ok(())
            }
            Action::Unpin => {
                self.pinned = None;
                Ok(())
            }
        };
        self.check();
        result
    }

    fn prepare(&mut self, steps: &[Step]) -> Result<(WriteTxn, Contents)> {
        let mut model = self.model.clone();
        let mut txn = self.db.begin_write()?;
        txn.set_user_version(self.next);
        for step in steps {
            step.carry_out(&mut txn)?;
            step.model(&mut model);
        }
        Ok((txn, model))
    }

    fn commit(&mut self, steps: &[Step]) -> Result<()> {
        let (txn, model) = self.prepare(steps)?;
        let number = self.next;
        self.next += 1;
        self.states.insert(number, digest(&model));
        self.recorder.note(Event::Started(number));
        txn.commit()?;
        self.recorder.note(Event::Acknowledged(number));
        self.model = model;
        Ok(())
    }

    /// New readers see the last acknowledged state, an old one what it saw.
    fn check(&self) {
        let now = contents(&self.db.begin_read().expect("reading goes on")).expect("readable");
        assert!(now == self.model, "a new reader sees something else than the last acknowledged txn");
        if let Some((reader, model)) = &self.pinned {
            assert!(contents(reader).expect("readable") == *model, "the open reader's snapshot changed");
        }
    }
}

pub fn open(path: &Path, options: &Options) -> Result<Database> {
    #[allow(unsafe_code)]
    // SAFETY: the file is the test's own.
    unsafe {
        options.open(path)
    }
}
