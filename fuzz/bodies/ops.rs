//! Any sequence of what a program can do to a store, beside a map that does the same, with crashes.
//!
//! Every txn sets the user version to a number of its own, so a state says which txn left it. Asserted: what a call
//! returns is what the map says; a reader sees, for as long as it is held, what one txn left, no older than the newest
//! acknowledged one and never one that failed; the death of all processes (a copy of the file as the page cache has it)
//! and a power cut ([`super::shadow`]) leave the state of one whole txn, acknowledged ≤ k ≤ started, which `verify`
//! finds clean and can be written to. After a failed flush the failed txns may be there after a crash, but for a
//! process that goes on never.
//!
//! Input: page size, options, then operations of a few bytes each. What a write txn can do beyond putting and deleting
//! is in [`super::changes`], for inputs that say so in the options.

use super::changes::{Changing, is_trouble, refused};
use super::contents::{Contents, LABELS, NAMES, TableModel, key, member, schemas, value};
use super::input::{Dice, Input};
use super::look::{assert_differs, assert_holds, assert_table};
use super::shadow::{Fault, Shadow};
use mapleaf::{Database, Durability, Error, Options, ReadTxn, Result, Savepoint, Schema, Ticket, WriteTxn};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

const MOST_OPS: usize = 300;
/// Operations of inputs that know nothing of [`super::changes`].
const FEW: u8 = 36;
const MANY: u8 = 76;

/// A write txn, and what it must see.
struct Open {
    w: WriteTxn,
    contents: Contents,
    number: usize,
    saved: Vec<(Savepoint, Contents)>,
}

/// How a txn was handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Handed {
    number: usize,
    durability: Durability,
    /// Whether its commit, or one that it is built on, has failed.
    failed: bool,
}

struct World {
    path: PathBuf,
    options: Options,
    page_size: usize,
    shadow: Arc<Shadow>,
    db: Option<Database>,
    /// By number: what the txn left.
    states: Vec<Contents>,
    /// What was handed over since the oldest state that is still possible, which comes first.
    chain: Vec<Handed>,
    /// Places in the chain: what readers see at least, what a death leaves at least, what a power cut does.
    seen: usize,
    alive: usize,
    flushed: usize,
    /// Whether a flush or a write has failed since a txn began well.
    unsettled: bool,
    open: Option<Open>,
    readers: Vec<(ReadTxn, usize)>,
    tickets: Vec<(Ticket, usize)>,
    /// How many kinds of operations there are.
    kinds: u8,
}

/// Files of empty stores, by page size; with `room` one that has free pages and may begin a log.
fn base(page_size: usize, room: bool) -> &'static [u8] {
    type Bases = BTreeMap<(usize, bool), Vec<u8>>;
    static BASES: OnceLock<Bases> = OnceLock::new();
    let bases = BASES.get_or_init(|| {
        let make = |page_size: usize, room: bool| {
            let path = super::scratch("ops", "ops-base.maple");
            let _ = std::fs::remove_file(&path);
            let db = open(&path, &Options::new().page_size(page_size)).expect("a new store");
            if room {
                db.write(|w| {
                    w.create_table("room", &Schema::bytes())?;
                    w.raw_put("room", b"", &vec![1; 1 << 20])
                })
                .expect("room");
                for round in 0..3 {
                    db.write(|w| w.raw_put("room", b"small", &[round])).expect("room");
                }
                db.write(|w| w.drop_table("room")).expect("room");
            }
            db.close().expect("a new store");
            std::fs::read(&path).expect("it was just written")
        };
        [4096, 8192, 65536]
            .into_iter()
            .flat_map(|size| [false, true].map(|room| ((size, room), make(size, room))))
            .collect()
    });
    &bases[&(page_size, room)]
}

fn open(path: &Path, options: &Options) -> Result<Database> {
    // SAFETY: the file is this process's own.
    unsafe { options.open(path) }
}

fn put_file(path: &Path, bytes: &[u8]) {
    // A new file: the old one may still be open.
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(path.with_extension("maple-lock"));
    std::fs::write(path, bytes).expect("room in shared memory");
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let page_size = [4096, 4096, 4096, 8192, 65536][input.below(5)];
    let flags = input.u8();
    let file = base(page_size, flags & 1 == 0);
    let shadow = Arc::new(Shadow::of(file));
    let options = Options::new()
        .log_limit(0)
        .held_limit(if flags & 2 == 0 { 0 } else { 1 << 24 })
        .max_size(if flags & 4 == 0 { 1 << 28 } else { file.len() as u64 + (64 << 10) })
        .dirty_limit(0)
        .durability([Durability::Durable, Durability::Eventual, Durability::Ordered][input.below(3)]);
    let path = super::scratch("ops", "ops.maple");
    put_file(&path, file);
    let options = options.observer(shadow.clone());
    let db = open(&path, &options).expect("a good store");
    let first = Handed { number: 0, durability: Durability::Ordered, failed: false };
    let mut world = World {
        path,
        options,
        page_size,
        shadow,
        db: Some(db),
        states: vec![Contents::default()],
        chain: vec![first],
        seen: 0,
        alive: 0,
        flushed: 0,
        unsettled: false,
        open: None,
        readers: Vec::new(),
        tickets: Vec::new(),
        kinds: if flags & 128 == 0 { FEW } else { MANY },
    };
    for _ in 0..MOST_OPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.end();
}

/// Judges errors of input that the model knows to be wrong.
fn assert_refused<T: std::fmt::Debug>(result: Result<T>, is_right: impl FnOnce(&Error) -> bool) {
    // Trouble is noticed by whoever comes next.
    let _ = refused(result, is_right);
}

impl World {
    fn db(&self) -> &Database {
        self.db.as_ref().expect("open between steps")
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % self.kinds {
            0..4 => self.put(input, 1),
            4 | 5 => {
                let count = input.u16() % 200;
                self.put(input, count);
            }
            6 | 7 => self.delete(input, 1),
            8 => {
                let count = input.u16() % 200;
                self.delete(input, count);
            }
            9 => self.create(input),
            10 => self.drop_table(input),
            11 => self.rename(input),
            12 => self.savepoint(),
            13 => self.roll_back(input),
            14..18 => self.commit(input),
            18 | 19 => self.hand_over(input),
            20 => drop(self.open.take()),
            21 | 22 => self.begin_read(),
            23 => {
                drop((!self.readers.is_empty()).then(|| self.readers.remove(input.below(self.readers.len()))))
            }
            24 => self.check_reader(input),
            25 => self.check_open(input),
            26 => self.checkpoint(),
            27 => self.wait(input),
            28 => self.reopen(),
            29 => self.die(),
            30 | 31 => self.cut(input),
            32 => self.batch(input),
            33 => self.arm(input),
            34 => self.judge(),
            35 => self.hand_on(input),
            36 => self.release(input),
            37..40 => self.read_snapshot(input),
            74 | 75 => self.compare(input),
            kind => self.change(kind - 40, input),
        }
    }

    /// Numbers of txns that a crash may leave.
    fn possible(&self, floor: usize) -> BTreeSet<usize> {
        self.chain[floor..].iter().map(|handed| handed.number).collect()
    }

    /// The newest state that a txn may build on.
    fn head(&self) -> &Handed {
        self.chain.last().expect("the first one at least")
    }

    // ---- writing ----

    /// The write txn; begins one where there is none. None where that fails.
    fn writing(&mut self) -> Option<&mut Open> {
        if self.open.is_none() {
            let mut w = match self.db().begin_write() {
                Ok(w) => w,
                Err(error) => {
                    assert!(is_trouble(&error), "{error:?}");
                    self.unsettled = true;
                    return None;
                }
            };
            let base = w.user_version() as usize;
            self.settle(base);
            let number = self.states.len();
            w.set_user_version(number as u64);
            let contents = self.states[base].clone();
            self.states.push(contents.clone());
            self.open = Some(Open { w, contents, number, saved: Vec::new() });
        }
        self.open.as_mut()
    }

    /// A txn has begun on the state of this number.
    fn settle(&mut self, base: usize) {
        if !self.unsettled {
            assert_eq!(base, self.head().number, "a txn is built on another than the newest");
            return;
        }
        // Recovery: the newest that is on the disk, or was asked for no more than Eventual.
        let place = self.chain.iter().rposition(|handed| handed.number == base);
        let place = place.unwrap_or_else(|| panic!("recovered to txn {base}, not in {:?}", self.chain));
        assert!(
            place >= self.seen,
            "what was acknowledged is gone: {base} of {:?}, {}",
            self.chain,
            self.seen
        );
        if place + 1 < self.chain.len() || self.chain[place].failed {
            assert!(!self.chain[place].failed || self.tickets.is_empty(), "a failed txn is there");
        }
        self.chain.truncate(place + 1);
        self.alive = self.alive.min(place);
        self.flushed = self.flushed.min(place);
        self.unsettled = false;
    }

    fn name(input: &mut Input<'_>) -> &'static str {
        NAMES[input.below(NAMES.len())]
    }

    /// Gives up the txn where a fault has spoilt it.
    fn after(&mut self, result: &Result<bool>) -> bool {
        match result {
            Ok(_) => true,
            Err(error) => {
                assert!(is_trouble(error), "{error:?}");
                self.unsettled = true;
                self.open = None;
                false
            }
        }
    }

    fn put(&mut self, input: &mut Input<'_>, count: u16) {
        let (name, first, kind, page_size) =
            (Self::name(input), input.u16() % 1000, input.u8(), self.page_size);
        let new_only = kind >= 240;
        for i in 0..count {
            let Some(open) = self.writing() else { return };
            let Some(table) = open.contents.tables.get_mut(name) else {
                assert_refused(open.w.raw_put(name, b"k", b"v"), |e| {
                    matches!(e, Error::TableNotFound { .. })
                });
                return;
            };
            if table.is_multi() {
                return;
            }
            let key = key(table.schema, first.wrapping_add(i * 3), page_size);
            let value = value(table.schema, kind.wrapping_add((i % 7) as u8 * 10), page_size);
            let old = table.entries.get(&key).copied();
            let result = match new_only {
                true => open.w.raw_put_new(name, &key, &value.bytes()).map(|put| !put),
                false => open.w.raw_put(name, &key, &value.bytes()),
            };
            if let Ok(was_there) = result {
                assert_eq!(was_there, old.is_some());
            }
            if result.is_ok() && !(new_only && old.is_some()) {
                table.entries.insert(key, value);
            }
            if !self.after(&result) {
                return;
            }
        }
        if kind == 77 {
            self.put_wrong(name);
        }
    }

    /// What a table does not take changes nothing.
    fn put_wrong(&mut self, name: &'static str) {
        let Some(open) = &mut self.open else { return };
        let Some(table) = open.contents.tables.get(name) else { return };
        let wrong = vec![1; 40_000];
        let result = open.w.raw_put(name, &wrong, b"");
        let width = schemas()[table.schema].key_width;
        assert_refused(result, |e| match width {
            Some(_) => matches!(e, Error::WrongWidth { .. }),
            None => matches!(e, Error::KeyTooLong { .. }),
        });
    }

    fn delete(&mut self, input: &mut Input<'_>, count: u16) {
        let (name, first, page_size) = (Self::name(input), input.u16() % 1000, self.page_size);
        for i in 0..count {
            let Some(open) = self.writing() else { return };
            let Some(table) = open.contents.tables.get_mut(name).filter(|table| !table.is_multi()) else {
                return;
            };
            let key = key(table.schema, first.wrapping_add(i * 3), page_size);
            let result = open.w.raw_delete(name, &key);
            if let Ok(was_there) = result {
                assert_eq!(table.entries.remove(&key).is_some(), was_there);
            }
            if !self.after(&result) {
                return;
            }
        }
    }

    fn create(&mut self, input: &mut Input<'_>) {
        let most = if self.kinds == FEW { 5 } else { schemas().len() };
        let (name, schema) = (Self::name(input), input.below(most));
        let Some(open) = self.writing() else { return };
        let result = open.w.create_table(name, &schemas()[schema]).map(|()| true);
        if open.contents.tables.contains_key(name) {
            return assert_refused(result, |e| matches!(e, Error::TableExists { .. }));
        }
        if result.is_ok() {
            open.contents.tables.insert(name, TableModel::new(schema));
        }
        self.after(&result);
    }

    fn drop_table(&mut self, input: &mut Input<'_>) {
        let name = Self::name(input);
        let Some(open) = self.writing() else { return };
        let result = open.w.drop_table(name);
        if let Ok(was_there) = result {
            assert_eq!(open.contents.tables.remove(name).is_some(), was_there);
        }
        self.after(&result);
    }

    fn rename(&mut self, input: &mut Input<'_>) {
        let (from, to) = (Self::name(input), Self::name(input));
        let Some(open) = self.writing() else { return };
        let result = open.w.rename_table(from, to).map(|()| true);
        match (open.contents.tables.contains_key(from), open.contents.tables.contains_key(to)) {
            (false, _) => return assert_refused(result, |e| matches!(e, Error::TableNotFound { .. })),
            (true, true) => return assert_refused(result, |e| matches!(e, Error::TableExists { .. })),
            (true, false) => {}
        }
        if result.is_ok() {
            let table = open.contents.tables.remove(from).expect("it is there");
            open.contents.tables.insert(to, table);
        }
        self.after(&result);
    }

    fn savepoint(&mut self) {
        if let Some(open) = &mut self.open
            && open.saved.len() < 8
        {
            open.saved.push((open.w.savepoint(), open.contents.clone()));
        }
    }

    fn roll_back(&mut self, input: &mut Input<'_>) {
        let Some(open) = &mut self.open else { return };
        if open.saved.is_empty() {
            return;
        }
        let index = input.below(open.saved.len());
        let gone = open.saved.get(index + 1).map(|(savepoint, _)| *savepoint);
        open.saved.truncate(index + 1);
        let (savepoint, contents) = open.saved[index].clone();
        let result = open.w.rollback_to(savepoint).map(|()| true);
        open.contents = contents;
        // The user version goes back too.
        open.w.set_user_version(open.number as u64);
        if let Some(gone) = gone.filter(|_| result.is_ok()) {
            assert_refused(open.w.rollback_to(gone), |e| matches!(e, Error::UnknownSavepoint));
        }
        self.after(&result);
    }

    fn release(&mut self, input: &mut Input<'_>) {
        let Some(open) = &mut self.open else { return };
        if open.saved.is_empty() {
            return;
        }
        let index = input.below(open.saved.len());
        let (savepoint, _) = open.saved[index];
        open.saved.truncate(index);
        let result = open.w.release(savepoint).map(|()| true);
        self.after(&result);
    }

    /// One of the other changes. Where it meets trouble the txn goes on from its last savepoint, or is given up.
    fn change(&mut self, kind: u8, input: &mut Input<'_>) {
        if self.writing().is_none() {
            return;
        }
        let World { open: Some(open), readers, states, page_size, .. } = self else { return };
        let Open { w, contents, number, saved } = open;
        let (number, page_size) = (*number, *page_size);
        let mut changing =
            Changing { w, contents, number, page_size, readers, states, depth: 0, was_troubled: false };
        let mut result = changing.one(kind, input);
        self.unsettled |= changing.was_troubled;
        if let (Err(error), Some((savepoint, before))) = (&result, saved.last()) {
            assert!(is_trouble(error), "{error:?}");
            self.unsettled = true;
            contents.clone_from(before);
            result = w.rollback_to(*savepoint);
            w.set_user_version(number as u64);
        }
        self.after(&result.map(|()| true));
    }

    fn durability(input: &mut Input<'_>) -> Option<Durability> {
        [None, Some(Durability::Durable), Some(Durability::Eventual), Some(Durability::Ordered)]
            [input.below(4)]
    }

    /// Ends the txn with a ticket, which stands at this place of the chain.
    fn hand(&mut self, input: &mut Input<'_>) -> Option<(Ticket, usize)> {
        let level = Self::durability(input);
        let Open { mut w, contents, number, .. } = self.open.take()?;
        level.into_iter().for_each(|level| w.set_durability(level));
        let durability = w.durability();
        self.states[number] = contents;
        match w.commit_ticket() {
            Ok(ticket) => {
                self.chain.push(Handed { number, durability, failed: false });
                Some((ticket, number))
            }
            Err(error) => {
                assert!(is_trouble(&error), "{error:?}");
                self.unsettled = true;
                if !matches!(error, Error::Full { .. }) {
                    // A crash may find it.
                    self.chain.push(Handed { number, durability, failed: true });
                }
                None
            }
        }
    }

    fn acknowledged(&mut self, number: usize) {
        let Some(place) = self.chain.iter().rposition(|handed| handed.number == number) else { return };
        self.seen = self.seen.max(place);
        self.alive = self.alive.max(place);
        if self.chain[place].durability >= Durability::Durable {
            self.flushed = self.flushed.max(place);
        }
    }

    fn failed(&mut self, number: usize, error: &Error) {
        assert!(is_trouble(error), "{error:?}");
        self.unsettled = true;
        if let Some(place) = self.chain.iter().rposition(|handed| handed.number == number) {
            assert!(place > self.seen, "it was seen, and has failed");
            self.chain[place..].iter_mut().for_each(|handed| handed.failed = true);
        }
    }

    fn commit(&mut self, input: &mut Input<'_>) {
        if let Some((ticket, number)) = self.hand(input) {
            match ticket.wait() {
                Ok(()) => self.acknowledged(number),
                Err(error) => self.failed(number, &error),
            }
        }
    }

    fn hand_over(&mut self, input: &mut Input<'_>) {
        let handed = self.hand(input);
        self.tickets.extend(handed.filter(|_| self.tickets.len() < 6));
    }

    fn wait(&mut self, input: &mut Input<'_>) {
        if self.tickets.is_empty() {
            return;
        }
        let (ticket, number) = self.tickets.remove(input.below(self.tickets.len()));
        if input.u8().is_multiple_of(8) {
            return;
        }
        match ticket.wait() {
            Ok(()) => self.acknowledged(number),
            Err(error) => self.failed(number, &error),
        }
    }

    fn batch(&mut self, input: &mut Input<'_>) {
        if self.open.is_some() {
            return;
        }
        let (number, page_size) = (self.states.len(), self.page_size);
        let (i, fill) = (input.u16() % 1000, input.u8());
        let (mut base, mut calls) = (None, 0);
        let mut left = Contents::default();
        let result = self.db().batch(|w| {
            let on = w.user_version() as usize;
            (base, calls) = (Some(on), calls + 1);
            left = self.states[on].clone();
            w.set_user_version(number as u64);
            for (name, table) in &mut left.tables {
                let key = key(table.schema, i, page_size);
                if table.is_multi() {
                    let value = member(table.schema, u16::from(fill), page_size);
                    w.raw_put_value(name, &key, &value)?;
                    table.add(&key, value);
                    continue;
                }
                let value = value(table.schema, fill, page_size);
                w.raw_put(name, &key, &value.bytes())?;
                table.entries.insert(key, value);
            }
            Ok(w.durability())
        });
        // Where it runs again, a commit has failed.
        self.unsettled |= calls > 1;
        base.into_iter().for_each(|base| self.settle(base));
        self.states.push(left);
        match result {
            Ok(durability) => {
                self.chain.push(Handed { number, durability, failed: false });
                self.acknowledged(number);
            }
            Err(error) => {
                assert!(is_trouble(&error), "{error:?}");
                self.unsettled = true;
                if base.is_some() {
                    let durability = Durability::Durable;
                    self.chain.push(Handed { number, durability, failed: true });
                }
            }
        }
    }

    fn checkpoint(&mut self) {
        if self.open.is_some() {
            return;
        }
        match self.db().checkpoint() {
            Ok(()) if !self.unsettled => {
                let newest = self.chain.len() - 1;
                (self.seen, self.alive, self.flushed) = (newest, newest, newest);
            }
            // It has recovered.
            Ok(()) => {}
            Err(error) => {
                assert!(is_trouble(&error), "{error:?}");
                self.unsettled = true;
            }
        }
    }

    fn arm(&mut self, input: &mut Input<'_>) {
        let left = u32::from(input.u8() % 12);
        let fault =
            [Fault::Sync(left), Fault::Write(left), Fault::Short(left), Fault::Grow(left)][input.below(4)];
        self.shadow.arm(fault, u64::from(input.u16()));
        // From here on anything may fail, and so may what was handed over before.
        self.unsettled = true;
    }

    // ---- reading ----

    fn begin_read(&mut self) {
        let (r, number) = self.read();
        if self.readers.len() < 5 {
            self.readers.push((r, number));
        }
    }

    /// A snapshot of the newest state, and its number.
    fn read(&mut self) -> (ReadTxn, usize) {
        let r = self.db().begin_read().expect("reading goes on");
        let number = r.user_version() as usize;
        let place = self.chain.iter().rposition(|handed| handed.number == number);
        let place = place.unwrap_or_else(|| panic!("a reader sees {number}, not in {:?}", self.chain));
        assert!(place >= self.seen, "a reader sees {number} behind {:?}, {}", self.chain, self.seen);
        assert!(!self.chain[place].failed, "a reader sees {number}, which has failed: {:?}", self.chain);
        // What is seen is as durable as it was asked to be.
        (self.seen, self.alive) = (place, self.alive.max(place));
        let asked = |handed: &Handed| handed.durability >= Durability::Durable;
        if let Some(flushed) = self.chain[..=place].iter().rposition(asked) {
            self.flushed = self.flushed.max(flushed);
        }
        assert_lists(&r, &self.states[number]);
        (r, number)
    }

    /// A stored snapshot is there if the newest state knows it, and is what it was made of.
    fn read_snapshot(&mut self, input: &mut Input<'_>) {
        let name = LABELS[input.below(LABELS.len())];
        let (_, newest) = self.read();
        let found = self.db().read_snapshot(name);
        let Some(number) = self.states[newest].snapshots.get(name).copied() else {
            return assert!(matches!(found, Err(Error::SnapshotNotFound { .. })), "{found:?}");
        };
        let r = found.expect("the newest state knows it");
        assert_eq!(r.user_version(), number as u64);
        assert_holds(&r, &self.states[number]);
        if self.readers.len() < 5 {
            self.readers.push((r, number));
        }
    }

    /// Any two snapshots.
    fn compare(&self, input: &mut Input<'_>) {
        if !self.readers.is_empty() {
            let (old, before) = &self.readers[input.below(self.readers.len())];
            let (new, after) = &self.readers[input.below(self.readers.len())];
            assert_differs(old, new, &self.states[*before], &self.states[*after]);
        }
    }

    fn check_reader(&self, input: &mut Input<'_>) {
        if !self.readers.is_empty() {
            let (r, number) = &self.readers[input.below(self.readers.len())];
            assert_holds(r, &self.states[*number]);
        }
    }

    fn hand_on(&mut self, input: &mut Input<'_>) {
        if self.readers.is_empty() {
            return;
        }
        let index = input.below(self.readers.len());
        let (r, number) = &self.readers[index];
        let exported = r.export("fuzz").expect("it can be handed on");
        // SAFETY: the file is this process's own, and the descriptor is one of `export`.
        let imported = unsafe { ReadTxn::import(&exported) }.expect("it is what was exported");
        assert_holds(&imported, &self.states[*number]);
        self.readers[index] = (imported, *number);
    }

    /// What the txn under way sees.
    fn check_open(&mut self, input: &mut Input<'_>) {
        let page_size = self.page_size;
        let Some(Open { w, contents, .. }) = &self.open else { return };
        for (name, table) in &contents.tables {
            let i = input.u16() % 1000;
            assert_table(w, name, table, usize::from(i));
            if table.is_multi() {
                continue;
            }
            let view = w.raw_table(name).expect("good").expect("it is there");
            let key = key(table.schema, i, page_size);
            let found = view.get(&key[..]).expect("good");
            let right = table.entries.get(&key);
            assert!(found.map_or(right.is_none(), |found| right.is_some_and(|right| right.is(found))));
            let below = table.entries.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(&key[..]))).count();
            assert_eq!(view.rank(&key[..]).expect("good"), below as u64);
            assert_eq!(view.count(&key[..]..).expect("good"), (table.entries.len() - below) as u64);
        }
        assert_eq!(w.tables().expect("good").len(), contents.tables.len());
    }

    fn judge(&mut self) {
        let report = self.db().verify(&mut |_| {}).expect("good");
        assert!(report.is_clean(), "{:#?}", report.problems);
        self.db().stats().expect("good");
        self.db().readers().expect("good");
    }

    // ---- ends ----

    fn reopen(&mut self) {
        self.open = None;
        self.tickets.clear();
        self.readers.clear();
        let closed = self.db.take().expect("open").close();
        if closed.is_ok() && !self.unsettled {
            self.alive = self.chain.len() - 1;
            self.flushed = self.alive;
        }
        self.shadow.disarm();
        let db = open(&self.path, &self.options).expect("a good store");
        let number = assert_opened(&db, &self.possible(self.alive), &self.states);
        self.start_again(db, number);
    }

    /// Goes on from the state that a store was opened with.
    fn start_again(&mut self, db: Database, number: usize) {
        let place = self.chain.iter().rposition(|handed| handed.number == number).expect("it is possible");
        self.chain = vec![Handed { failed: false, ..self.chain[place] }];
        (self.seen, self.alive, self.flushed, self.unsettled) = (0, 0, 0, false);
        self.db = Some(db);
    }

    /// All processes die: a copy of the file is opened.
    fn die(&self) {
        let copy = super::scratch("ops", "ops-copy.maple");
        let file = std::fs::read(&self.path).expect("it is there");
        self.shadow.assert_is(&file);
        put_file(&copy, &file);
        let db = open(&copy, &Options::new()).expect("a store whose processes died");
        assert_opened(&db, &self.possible(self.alive), &self.states);
        assert_usable(&db);
    }

    /// The power is cut, perhaps once more while the store recovers; the program goes on with what is left, or not.
    fn cut(&mut self, input: &mut Input<'_>) {
        let mut dice = Dice(u64::from(input.u16()));
        let possible = self.possible(self.flushed);
        let mut left = self.shadow.cut(&mut dice);
        let copy = super::scratch("ops", "ops-copy.maple");
        if dice.below(3) == 0 {
            let shadow = Arc::new(Shadow::of(&left));
            put_file(&copy, &left);
            let db =
                open(&copy, &Options::new().observer(shadow.clone())).expect("a store behind a power cut");
            left = shadow.cut(&mut dice);
            assert_opened(&db, &possible, &self.states);
        }
        put_file(&copy, &left);
        let db = open(&copy, &Options::new()).expect("a store behind a power cut");
        let number = assert_opened(&db, &possible, &self.states);
        if input.u8().is_multiple_of(2) {
            return assert_usable(&db);
        }
        drop(db);
        self.open = None;
        self.tickets.clear();
        self.readers.clear();
        self.db = None;
        put_file(&self.path, &left);
        self.shadow = Arc::new(Shadow::of(&left));
        self.options = self.options.clone().observer(self.shadow.clone());
        let db = open(&self.path, &self.options).expect("a store behind a power cut");
        assert_eq!(assert_opened(&db, &possible, &self.states), number);
        self.start_again(db, number);
    }

    fn end(mut self) {
        for (r, number) in &self.readers {
            assert_holds(r, &self.states[*number]);
        }
        self.shadow.disarm();
        self.die();
        self.reopen();
        assert_usable(self.db());
        self.db.take().expect("open").close().expect("good");
    }
}

/// The store holds what one of these txns left, and is clean. Returns which.
fn assert_opened(db: &Database, possible: &BTreeSet<usize>, states: &[Contents]) -> usize {
    let r = db.begin_read().expect("good");
    let number = r.user_version() as usize;
    assert!(possible.contains(&number), "opened as txn {number}, not one of {possible:?}");
    assert_holds(&r, &states[number]);
    assert_lists(&r, &states[number]);
    for (name, number) in &states[number].snapshots {
        let stored = db.read_snapshot(name).expect("it is listed");
        assert_eq!(stored.user_version(), *number as u64);
        assert_holds(&stored, &states[*number]);
    }
    let report = db.verify(&mut |_| {}).expect("good");
    assert!(report.is_clean(), "{:#?}", report.problems);
    number
}

/// It can be written to.
fn assert_usable(db: &Database) {
    db.write(|w| {
        w.create_table("usable", &Schema::bytes())?;
        (0..30u8).try_for_each(|i| w.raw_put("usable", &[i], &vec![i; 700]).map(drop))
    })
    .or_else(|error| if matches!(error, Error::Full { .. }) { Ok(()) } else { Err(error) })
    .expect("it can be written to");
    let report = db.verify(&mut |_| {}).expect("good");
    assert!(report.is_clean(), "{:#?}", report.problems);
}

/// That a snapshot, which is not a stored one itself, knows these stored ones.
fn assert_lists(r: &ReadTxn, contents: &Contents) {
    let found = r.snapshots().expect("good").into_iter();
    let found = found.map(|snapshot| (snapshot.name, snapshot.user_version as usize));
    let right = contents.snapshots.iter().map(|(name, number)| ((*name).to_owned(), *number));
    assert!(found.eq(right), "other snapshots than {:?}", contents.snapshots);
}
