//! Workloads as data, so that the same one can be run again with a failure in another place.
//!
//! Owns: steps and actions, the model of what they leave, and the session that carries them out. Asserts
//! after every action that readers see exactly what they may.

use crate::judge::sound;
use crate::operations::{self, Operation};
use mapleaf::{Budget, Database, Durability, Error, Options, ReadTxn, Result, Schema, Ticket, WriteTxn};
use mapleaf_crash::{Event, Recorder};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All tables with all entries; those of the stored snapshot `s` as `@s/table`.
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
    Rename(&'static str, &'static str),
    /// A stored snapshot, of what there is when the step comes: nothing is changed behind it.
    Store(&'static str),
    Forget(&'static str),
    /// Steps behind a savepoint, to which the txn is rolled back.
    Undone(Vec<Step>),
    /// One of the larger operations.
    Run(Operation),
}

/// One thing that a workload does.
#[derive(Clone, Debug)]
pub enum Action {
    /// With the durability that the store was opened with.
    Commit(Vec<Step>),
    CommitAs(Durability, Vec<Step>),
    /// Handed over, and not waited for.
    Hand(Vec<Step>),
    /// Waits for everything that was handed over.
    Wait,
    /// The txn begins while others are in flight; these are waited for before it is committed.
    CommitOver(Vec<Step>),
    Abort(Vec<Step>),
    Checkpoint,
    /// So many pages of the end of the file are moved.
    Compact(u64),
    /// All free space goes back to the system.
    Trim,
    /// The store is closed, and opened again.
    Reopen,
    /// A reader begins, and stays until it is let go; one before it ends.
    Pin,
    /// One more begins.
    PinAnother,
    /// All of them end.
    Unpin,
    /// One of them ends: this one, counted round and round.
    UnpinOne(usize),
}

pub fn put(table: &'static str, key: u32, len: usize, seed: u8) -> Step {
    Step::Put { table, key, len, seed }
}

pub fn delete(table: &'static str, key: u32) -> Step {
    Step::Delete { table, key }
}

pub fn value(key: u32, len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u32 / 7 + key).wrapping_mul(31) as u8 ^ seed).collect()
}

impl Step {
    pub fn carry_out(&self, txn: &mut WriteTxn) -> Result<()> {
        match self {
            Step::Put { table, key, len, seed } => {
                if txn.raw_table(table)?.is_none() {
                    txn.create_table(table, &Schema::bytes())?;
                }
                txn.raw_put(table, &key.to_be_bytes(), &value(*key, *len, *seed)).map(|_| ())
            }
            Step::Delete { table, key } => txn.raw_delete(table, &key.to_be_bytes()).map(|_| ()),
            Step::DropTable(table) => txn.drop_table(table).map(|_| ()),
            Step::Rename(from, to) => txn.rename_table(from, to).map(|_| ()),
            Step::Store(name) => txn.create_snapshot(name),
            Step::Forget(name) => txn.drop_snapshot(name).map(|_| ()),
            Step::Undone(steps) => {
                let savepoint = txn.savepoint();
                steps.iter().try_for_each(|step| step.carry_out(txn))?;
                txn.rollback_to(savepoint)
            }
            Step::Run(operation) => operation.carry_out(txn),
        }
    }

    pub fn model(&self, contents: &mut Contents) {
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
            Step::Rename(from, to) => {
                let table = contents.remove(*from).expect("there is such a table");
                contents.insert((*to).to_owned(), table);
            }
            Step::Store(name) => {
                let now = without_stored(contents).into_iter();
                contents.extend(now.map(|(table, entries)| (format!("@{name}/{table}"), entries)));
            }
            Step::Forget(name) => contents.retain(|table, _| !table.starts_with(&format!("@{name}/"))),
            Step::Undone(_) => {}
            Step::Run(operation) => operation.model(contents),
        }
    }
}

/// What a reader of the newest state sees.
fn without_stored(contents: &Contents) -> Contents {
    let tables = contents.iter().filter(|(name, _)| !name.starts_with('@'));
    tables.map(|(name, entries)| (name.clone(), entries.clone())).collect()
}

/// What is in a snapshot.
pub fn contents(txn: &ReadTxn) -> Result<Contents> {
    let mut contents = Contents::new();
    for info in txn.tables()? {
        let entries = operations::read(txn, &info)?;
        contents.insert(info.name, entries);
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
    db: Option<Database>,
    path: PathBuf,
    options: Options,
    recorder: Arc<Recorder>,
    /// What each txn leaves, by its number.
    models: BTreeMap<u64, Contents>,
    /// The txn that readers see.
    visible: u64,
    /// Txns that were handed over, and are not waited for yet.
    pending: Vec<(u64, Ticket)>,
    /// Txns whose commit has failed since the last turn began.
    lost: Vec<u64>,
    /// The last txn that is on the disk for certain.
    acknowledged: u64,
    /// How often the cache had reverted when a turn began last: what was lost with it was rebuilt then.
    rebuilt: usize,
    /// Number of the next txn.
    pub next: u64,
    pinned: Vec<(ReadTxn, Contents)>,
}

impl Session {
    /// Opens or creates the store; what it holds now is the first state.
    pub fn open(path: &Path, options: &Options, recorder: Arc<Recorder>) -> Result<Session> {
        let options = options.clone().observer(Arc::clone(&recorder) as _);
        let db = open(path, &options)?;
        let (first, model) = look(&db)?;
        let (path, models) = (path.to_owned(), BTreeMap::from([(first, model)]));
        Ok(Session {
            db: Some(db),
            path,
            options,
            recorder,
            models,
            visible: first,
            pending: Vec::new(),
            lost: Vec::new(),
            acknowledged: first,
            rebuilt: 0,
            next: first + 1,
            pinned: Vec::new(),
        })
    }

    pub fn db(&self) -> &Database {
        self.db.as_ref().expect("it is open")
    }

    /// Everything that readers see.
    pub fn read(&self) -> Result<Contents> {
        look(self.db()).map(|(_, contents)| contents)
    }

    /// What readers must see.
    pub fn model(&self) -> &Contents {
        &self.models[&self.visible]
    }

    /// What each txn leaves, by its number.
    pub fn models(&self) -> &BTreeMap<u64, Contents> {
        &self.models
    }

    /// Digest of what each txn leaves, by its number.
    pub fn states(&self) -> BTreeMap<u64, u64> {
        self.models.iter().map(|(number, model)| (*number, digest(model))).collect()
    }

    /// Does one thing. After an error nothing of it may be there, whatever the thing was.
    pub fn act(&mut self, action: &Action) -> Result<()> {
        let result = match action {
            Action::Commit(steps) => self.commit(None, steps),
            Action::CommitAs(durability, steps) => self.commit(Some(*durability), steps),
            Action::Hand(steps) => self.hand_over(steps),
            Action::Wait => self.wait(),
            Action::CommitOver(steps) => self.commit_over(steps),
            Action::Abort(steps) => self.prepare(steps).map(|(txn, _)| drop(txn)),
            Action::Compact(pages) => self.compact(*pages),
            Action::Checkpoint => self.checkpoint(|db| db.checkpoint()),
            Action::Trim => self.checkpoint(|db| db.trim().map(drop)),
            Action::Reopen => self.reopen(),
            Action::Pin => self.pin().map(|pinned| self.pinned = vec![pinned]),
            Action::PinAnother => self.pin().map(|pinned| self.pinned.push(pinned)),
            Action::Unpin => {
                self.pinned.clear();
                Ok(())
            }
            Action::UnpinOne(i) => {
                let i = i.checked_rem(self.pinned.len());
                i.into_iter().for_each(|i| drop(self.pinned.swap_remove(i)));
                Ok(())
            }
        };
        self.collect();
        self.check();
        result
    }

    /// Closes the store, whose last commits are waited for.
    pub fn close(mut self) -> Result<()> {
        let waited = self.wait();
        self.pinned.clear();
        let closed = self.db.take().expect("it is open").close();
        waited.and(closed)
    }

    fn pin(&self) -> Result<(ReadTxn, Contents)> {
        Ok((self.db().begin_read()?, without_stored(self.model())))
    }

    fn prepare(&mut self, steps: &[Step]) -> Result<(WriteTxn, Contents)> {
        let mut txn = self.db().begin_write()?;
        self.fall_back(txn.user_version());
        self.settled();
        let head = self.pending.last().map_or(self.visible, |(number, _)| *number);
        let mut model = self.models[&head].clone();
        txn.set_user_version(self.next);
        for step in steps {
            step.carry_out(&mut txn)?;
            step.model(&mut model);
        }
        Ok((txn, model))
    }

    /// A turn was begun: what has failed before is put right.
    fn settled(&mut self) {
        if !self.lost.is_empty() {
            self.lost.clear();
            self.recorder.note(Event::Settled);
        }
    }

    /// Whether the cache has reverted since a turn began: until the next one pages may be missing that were not on the
    /// disk yet. What is read then is right or `Corrupt`.
    fn is_in_doubt(&self) -> bool {
        self.recorder.reverts() > self.rebuilt
    }

    /// A turn builds on `base`. Where the cache has reverted, eventual commits that were seen may be gone.
    fn fall_back(&mut self, base: u64) {
        if self.is_in_doubt() && self.pending.is_empty() {
            assert!(
                (self.acknowledged..=self.visible).contains(&base),
                "{base} in place of {}",
                self.visible
            );
            (base + 1..=self.visible).for_each(|number| self.lose(number));
            self.visible = base;
        }
        self.rebuilt = self.recorder.reverts();
    }

    fn acknowledge(&mut self, number: u64) {
        self.acknowledged = self.acknowledged.max(number);
        self.recorder.note(Event::Acknowledged(number));
    }

    fn start(&mut self, model: Contents) -> u64 {
        let number = self.next;
        self.next += 1;
        self.models.insert(number, model);
        self.recorder.note(Event::Started(number));
        number
    }

    fn commit(&mut self, durability: Option<Durability>, steps: &[Step]) -> Result<()> {
        let (mut txn, model) = self.prepare(steps)?;
        if let Some(durability) = durability {
            txn.set_durability(durability);
        }
        let number = self.start(model);
        let done = match durability {
            Some(Durability::Eventual) => Event::Committed(number),
            _ => Event::Acknowledged(number),
        };
        let result = txn.commit();
        self.ended(number, done, result)
    }

    fn commit_over(&mut self, steps: &[Step]) -> Result<()> {
        let (txn, model) = self.prepare(steps)?;
        let waited = self.wait();
        let number = self.start(model);
        let result = txn.commit();
        assert!(waited.is_ok() || result.is_err(), "a txn is committed that is built on one that failed");
        self.ended(number, Event::Acknowledged(number), result)
    }

    fn hand_over(&mut self, steps: &[Step]) -> Result<()> {
        let (txn, model) = self.prepare(steps)?;
        let number = self.start(model);
        match txn.commit_ticket() {
            Ok(ticket) if !ticket.is_done() => {
                self.pending.push((number, ticket));
                Ok(())
            }
            Ok(ticket) => self.ended(number, Event::Acknowledged(number), ticket.wait()),
            Err(error) => self.ended(number, Event::Settled, Err(error)),
        }
    }

    /// With `number` everything before it is seen; if it failed nothing of it is.
    fn ended(&mut self, number: u64, done: Event, result: Result<()>) -> Result<()> {
        if result.is_ok() {
            self.visible = number;
            match done {
                Event::Acknowledged(number) => self.acknowledge(number),
                other => self.recorder.note(other),
            }
            for (number, ticket) in std::mem::take(&mut self.pending) {
                ticket.wait().expect("a later one succeeded");
                self.acknowledge(number);
            }
        } else {
            self.lose(number);
        }
        result
    }

    fn lose(&mut self, number: u64) {
        self.recorder.note(Event::Failed(number));
        self.lost.push(number);
    }

    fn wait(&mut self) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        let last = pending.last().map_or(self.visible, |(number, _)| *number);
        if pending.len().is_multiple_of(2) {
            // Whoever is waited for first flushes for all.
            pending.reverse();
        }
        let mut results = Vec::new();
        for (number, ticket) in pending {
            results.push(ticket.wait());
            match results[0].is_ok() {
                true => self.acknowledge(number),
                false => self.lose(number),
            }
        }
        let good = results.iter().filter(|result| result.is_ok()).count();
        assert!(good == 0 || good == results.len(), "one flush has two outcomes: {results:?}");
        results.pop().unwrap_or(Ok(()))?;
        self.visible = last;
        Ok(())
    }

    /// Looks at what is in flight: some of it may be seen since, because the last action was a checkpoint on
    /// the way; or a flush has failed, and then all the rest has failed too.
    fn collect(&mut self) {
        let mut failed = false;
        for (number, ticket) in std::mem::take(&mut self.pending) {
            if !ticket.is_done() {
                assert!(!failed, "txn {number} is in flight although a flush failed");
                self.pending.push((number, ticket));
            } else if ticket.wait().is_ok() {
                assert!(!failed && self.pending.is_empty(), "txn {number} succeeds behind one that did not");
                self.acknowledge(number);
                self.visible = number;
            } else {
                failed = true;
                self.lose(number);
            }
        }
    }

    fn checkpoint(&mut self, make: impl Fn(&Database) -> Result<()>) -> Result<()> {
        make(self.db())?;
        self.fall_back(look(self.db())?.0);
        self.settled();
        self.visible = self.pending.last().map_or(self.visible, |(number, _)| *number);
        self.ended(self.visible, Event::Acknowledged(self.visible), Ok(()))
    }

    fn compact(&mut self, pages: u64) -> Result<()> {
        self.db().compact(Budget::pages(pages))?;
        self.fall_back(look(self.db())?.0);
        self.settled();
        Ok(())
    }

    /// A failure to close or to open is returned; the store is open in the end.
    fn reopen(&mut self) -> Result<()> {
        let waited = self.wait();
        self.pinned.clear();
        let closed = self.db.take().expect("it is open").close();
        if closed.is_ok() && self.recorder.hits() == 0 {
            self.acknowledge(self.visible);
        }
        let mut result = waited.and(closed);
        for _ in 0..100 {
            match open(&self.path, &self.options) {
                Ok(db) => {
                    self.reopened(db);
                    return result;
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        panic!("opening never succeeds: {result:?}");
    }

    /// Where more than one operation has failed, a commit that failed may be there now: who opens the store
    /// anew knows nothing of it, and taking it back may have failed too.
    fn reopened(&mut self, db: Database) {
        let (found, _) = look(&db).expect("readable");
        let may_be_back = self.recorder.hits() > 1 && self.lost.contains(&found);
        if !may_be_back {
            self.fall_back(found);
            assert!(found == self.visible, "txn {found} is there in place of {}", self.visible);
        }
        self.visible = found;
        self.acknowledge(found);
        self.db = Some(db);
        self.settled();
    }

    /// New readers see the last txn that they may see, an old one what it saw.
    fn check(&self) {
        match look(self.db()) {
            Ok((number, now)) => {
                assert!(number == self.visible, "readers see txn {number} in place of {}", self.visible);
                assert!(now == *self.model(), "readers see something else than txn {number}");
            }
            Err(error) => self.check_unreadable(&error),
        }
        for (reader, model) in &self.pinned {
            match contents(reader) {
                Ok(now) => assert!(now == *model, "the open reader's snapshot changed"),
                // What it saw was nowhere but in the cache.
                Err(Error::Corrupt { .. }) if self.recorder.reverts() > 0 => {}
                Err(error) => panic!("the open reader cannot read: {error}"),
            }
        }
    }

    fn check_unreadable(&self, error: &Error) {
        let may_be = self.is_in_doubt() && matches!(error, Error::Corrupt { .. });
        assert!(may_be, "reading does not go on: {error}");
    }

    /// Every page is sound, unless the cache has just lost some.
    pub fn check_pages(&self) {
        if let Err(wrong) = sound(self.db()) {
            assert!(self.is_in_doubt(), "{wrong}");
        }
    }
}

/// The number of the newest txn and what it left.
pub fn look(db: &Database) -> Result<(u64, Contents)> {
    let reader = db.begin_read()?;
    let mut found = contents(&reader)?;
    for snapshot in reader.snapshots()? {
        let stored = contents(&db.read_snapshot(&snapshot.name)?)?.into_iter();
        found.extend(stored.map(|(table, entries)| (format!("@{}/{table}", snapshot.name), entries)));
    }
    Ok((reader.user_version(), found))
}

pub fn open(path: &Path, options: &Options) -> Result<Database> {
    #[allow(unsafe_code)]
    // SAFETY: the file is the test's own.
    unsafe {
        options.open(path)
    }
}
