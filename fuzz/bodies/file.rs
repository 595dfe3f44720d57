//! A good file with edits, opened, read in every way, written to, committed, closed, and opened again.
//!
//! Input: image, kind, options, then edits. Two kinds. *Craft* puts checksums right behind the edits (pages, large
//! values, slots, the log's chain): answers may be wrong then, but there is no panic, no signal, no endless walk, no
//! unbounded allocation. *Rot* leaves checksums alone: what is still answered is what one whole txn left, and so it
//! is behind a commit; everything else is `Corrupt` or `NotAStore`. Where an edit has forged a checksum, rot is judged
//! as craft. Stored snapshots are read too; where the flags say so the file is salvaged first: of rot nothing comes that
//! was never there.
//!
//! In debug builds the accounting is asserted after every commit, which such a file need not pass: there, it is
//! committed only where `verify` finds nothing. Long runs are without debug assertions (`CRAFT=1 fuzz/run file`).

use super::image::{
    Image, SLOTS, chain, fix_overflow, images, newest_slot, page_checksum, read_log, slot_checksum, word,
    write_log,
};
use super::input::Input;
use super::plan::{Change, Contents, Held};
use super::reading::{assert_damage, examine, is_damage, read_all};
use mapleaf::{Database, Durability, Error, Options, ReadTxn, Result, Salvage, Schema, Verify};
use std::collections::BTreeSet;
use std::path::Path;

/// Fields of a meta slot: offset and length.
const SLOT_FIELDS: [(usize, usize); 23] = [
    (12, 4),
    (16, 4),
    (20, 4),
    (24, 8),
    (32, 8),
    (40, 8),
    (56, 8),
    (64, 8),
    (72, 8),
    (80, 8),
    (88, 8),
    (96, 8),
    (104, 8),
    (112, 4),
    (116, 1),
    (117, 1),
    (120, 8),
    (128, 8),
    (136, 8),
    (144, 8),
    (152, 8),
    (160, 8),
    (392, 8),
];
/// Fields of a page header.
const HEADER_FIELDS: [(usize, usize); 9] =
    [(0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8), (24, 4), (28, 2), (30, 2)];

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let all = images();
    let image = &all[usize::from(input.u8()) % all.len()];
    let flags = input.u8();
    let mut case = Case { image, file: image.bytes.clone(), touched: BTreeSet::new() };
    let edits = input.below(24);
    (0..edits).for_each(|_| case.edit(&mut input));
    let crafted = flags & 1 == 1;
    if crafted {
        case.fix(flags & 2 != 0);
    }
    let oracle = !crafted && !case.is_forged();
    let path = super::scratch("file", "file.maple");
    std::fs::write(&path, &case.file).expect("room in shared memory");
    if flags & 64 != 0 {
        salvage(&path, image, oracle);
    }
    let result = exercise(&path, image, oracle, flags, &mut input);
    if let (Err(error), true) = (&result, oracle) {
        assert!(
            super::reading::is_damage(error) || matches!(error, Error::LogToReplay { .. }),
            "rot gives another error: {error:?}"
        );
    }
    // The next one is another store.
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_file(path.with_extension("maple-lock"));
}

struct Case {
    image: &'static Image,
    file: Vec<u8>,
    /// Pages with edits.
    touched: BTreeSet<usize>,
}

impl Case {
    fn pages(&self) -> usize {
        self.file.len() / self.image.page_size
    }

    /// A page, the lower ones more often.
    fn page(&self, input: &mut Input<'_>) -> usize {
        match input.below(512) {
            page @ 0..500 => page % self.pages().max(1),
            _ => self.pages().saturating_sub(1),
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.file.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
            self.touched.insert(at / self.image.page_size);
        }
    }

    fn put_number(&mut self, at: usize, len: usize, number: u64) {
        self.put(at, &number.to_le_bytes()[..len]);
    }

    fn edit(&mut self, input: &mut Input<'_>) {
        let size = self.image.page_size;
        let kind = input.u8() % 16;
        match kind {
            0 | 1 => {
                let at = self.page(input) * size + input.below(size);
                self.put(at, &[input.u8()]);
            }
            2 => {
                let at = self.page(input) * size + input.below(size);
                let flipped = self.file.get(at).map_or(0, |byte| byte ^ (1 << (input.u8() % 8)));
                self.put(at, &[flipped]);
            }
            3 => {
                let at = self.page(input) * size + input.below(size);
                let len = [2, 4, 6, 8][input.below(4)];
                self.put_number(at, len, input.number());
            }
            4 | 5 => {
                let (offset, len) = HEADER_FIELDS[input.below(HEADER_FIELDS.len())];
                let at = self.page(input) * size + offset;
                self.put_number(at, len, input.number());
            }
            6 | 7 => {
                let slot = SLOTS[input.below(2)];
                let (offset, len) = SLOT_FIELDS[input.below(SLOT_FIELDS.len())];
                self.put_number(slot + offset, len, input.number());
            }
            8 => {
                // A page of this or an earlier or later file, in the place of another, or of itself.
                let donor = &images()[self.image.relatives[input.below(self.image.relatives.len())]];
                let to = self.page(input);
                let from = if input.u8().is_multiple_of(2) { to } else { self.page(input) };
                if let Some(page) = donor.bytes.get(from * size..(from + 1) * size) {
                    self.put(to * size, page);
                    if input.u8().is_multiple_of(3) {
                        self.put_number(to * size + 8, 8, to as u64);
                    }
                }
            }
            9 => {
                let (a, b) = (self.page(input) * size, self.page(input) * size);
                if let (Some(x), Some(y)) = (self.file.get(a..a + size), self.file.get(b..b + size)) {
                    let (x, y) = (x.to_vec(), y.to_vec());
                    self.put(a, &y);
                    self.put(b, &x);
                }
            }
            10 => {
                let at = self.page(input) * size;
                self.put(at, &vec![0; size]);
            }
            11 => {
                let at = self.page(input) * size + input.below(size);
                let len = input.below(64);
                self.put(at, input.bytes(len));
            }
            12 => {
                // Within the places where references are: small changes of small numbers.
                let at = self.page(input) * size + 32 + input.below(200);
                let old = self.file.get(at).copied().unwrap_or(0);
                self.put(at, &[old.wrapping_add(input.u8() % 5).wrapping_sub(2)]);
            }
            13 => {
                let donor = &images()[self.image.relatives[input.below(self.image.relatives.len())]];
                let (to, from) = (SLOTS[input.below(2)], SLOTS[input.below(2)]);
                let slot = donor.bytes[from..from + 512].to_vec();
                self.put(to, &slot);
            }
            14 => {
                let len = match input.u8() % 4 {
                    0 => input.below(64) * size,
                    1 => self.file.len() + input.below(64) * size,
                    2 => self.file.len().saturating_sub(1 + input.below(9000)),
                    _ => self.file.len() + 1 + input.below(5000),
                };
                self.file.resize(len, 0);
            }
            _ => {
                let at = self.page(input) * size + input.below(size);
                let (from, len) = (self.page(input) * size + input.below(size), 1 + input.below(300));
                if let Some(bytes) = self.file.get(from..from + len) {
                    let bytes = bytes.to_vec();
                    self.put(at, &bytes);
                }
            }
        }
    }

    /// Puts right the checksums of what was edited.
    fn fix(&mut self, with_numbers: bool) {
        let size = self.image.page_size;
        for page in self.touched.clone() {
            let Some(range) = (page * size < self.file.len()).then(|| page * size..(page + 1) * size) else {
                continue;
            };
            if page * size < 8192 || range.end > self.file.len() {
                continue;
            }
            // Parts of large values and of the log have no checksum of their own.
            let was_tree = self
                .image
                .bytes
                .get(range.clone())
                .is_some_and(|old| word(old, 8) == page as u64 && old[..4] == page_checksum(old));
            if !was_tree && word(&self.file, range.start + 8) != page as u64 {
                continue;
            }
            if with_numbers {
                self.file[range.start + 8..range.start + 16].copy_from_slice(&(page as u64).to_le_bytes());
            }
            fix_overflow(&mut self.file, size, page);
            let checksum = page_checksum(&self.file[range.clone()]);
            self.file[range.start..range.start + 4].copy_from_slice(&checksum);
        }
        for slot in SLOTS {
            if self.file.len() >= slot + 512 && self.file[slot..slot + 512].iter().any(|byte| *byte != 0) {
                let checksum = slot_checksum(&self.file, slot);
                self.file[slot + 8..slot + 12].copy_from_slice(&checksum);
            }
        }
        if let Some(slot) = newest_slot(&self.file) {
            let mut log = read_log(&self.file, slot, size);
            chain(&mut log, word(&self.file, slot + 128), true);
            write_log(&mut self.file, slot, size, &log);
        }
    }

    /// Whether a changed page, slot or log has the right checksum, and is none that mapleaf wrote.
    fn is_forged(&self) -> bool {
        let (size, all) = (self.image.page_size, images());
        let family = || self.image.relatives.iter().map(|i| &all[*i].bytes);
        let page_forged = |page: &usize| {
            let Some(bytes) = self.file.get(page * size..(page + 1) * size) else { return false };
            bytes[..4] == page_checksum(bytes)
                && !family().any(|file| file.chunks_exact(size).any(|good| good == bytes))
        };
        let slot_forged = |slot: &usize| {
            let Some(bytes) = self.file.get(*slot..slot + 512) else { return false };
            bytes[8..12] == slot_checksum(bytes, 0)
                && !family().any(|file| SLOTS.iter().any(|good| &file[*good..good + 512] == bytes))
        };
        let log_forged = |slot: &usize| {
            if self.file.len() < slot + 512 {
                return false;
            }
            let records = |file: &[u8]| {
                let mut log = read_log(file, *slot, size);
                let found = chain(&mut log, word(file, slot + 128), false);
                let found: Vec<Vec<u8>> = found.into_iter().map(|range| log[range].to_vec()).collect();
                found
            };
            let found = records(&self.file);
            !family().any(|file| records(file).starts_with(&found)) && !found.is_empty()
        };
        self.touched.iter().any(page_forged) || SLOTS.iter().any(slot_forged) || SLOTS.iter().any(log_forged)
    }
}

fn options(flags: u8) -> Options {
    let options = Options::new().max_size(1 << 24).log_limit(0).label("fuzz");
    let options = match flags >> 2 & 7 {
        0 => options.read_only(true),
        1 => options.read_only(true).ignore_log(true),
        2 => options.immutable(true).ignore_log(true),
        3 => options.verify(Verify::Always),
        4 => options.durability(Durability::Ordered),
        _ => options,
    };
    if flags & 32 != 0 { options.held_limit(0) } else { options }
}

fn exercise(
    path: &Path,
    image: &'static Image,
    oracle: bool,
    flags: u8,
    input: &mut Input<'_>,
) -> Result<()> {
    let options = options(flags);
    // SAFETY: the file is this process's own.
    let db = unsafe { options.open(path)? };
    let clean = examine(&db, input);
    let r = db.begin_read()?;
    let expected = oracle.then(|| state(image, r.user_version()));
    read_all(&r, expected, input);
    read_stored(&db, image, expected, input);
    let mut after = expected.cloned();
    match write(&db, image, &mut after, clean, input) {
        Err(error) if oracle => {
            assert!(
                super::reading::is_damage(&error) || matches!(error, Error::ReadOnly | Error::Full { .. }),
                "{error:?}"
            );
        }
        Err(_) => after = None,
        Ok(()) => {}
    }
    // What the reader sees has not changed.
    read_all(&r, expected, input);
    drop(r);
    let (read, now) = (db.begin_read()?, after.as_ref());
    read_all(&read, now, input);
    read_stored(&db, image, now, input);
    drop(read);
    let closed = db.close();
    if oracle && let Err(error) = &closed {
        assert_damage(error);
    }
    // SAFETY: as above.
    let db = unsafe { options.open(path)? };
    examine(&db, input);
    read_all(&db.begin_read()?, now, input);
    Ok(())
}

/// The stored snapshots, which must be these.
fn read_stored(db: &Database, image: &'static Image, expected: Option<&Contents>, input: &mut Input<'_>) {
    let judge = |error: Error| {
        if expected.is_some() {
            assert_damage(&error);
        }
    };
    let listed = match db.begin_read().and_then(|r| r.snapshots()) {
        Ok(listed) => listed,
        Err(error) => return judge(error),
    };
    if let Some(expected) = expected {
        let listed = listed.iter().map(|snapshot| (&snapshot.name, &snapshot.user_version));
        assert!(listed.eq(&expected.snapshots), "other snapshots");
    }
    for snapshot in listed.iter().take(5) {
        match db.read_snapshot(&snapshot.name) {
            Ok(r) => {
                let held = expected.map(|_| state(image, snapshot.user_version));
                read_all(&r, held, input);
                if let Ok(newest) = db.begin_read() {
                    compare(&r, &newest, held.zip(expected));
                }
            }
            Err(error) => judge(error),
        }
    }
}

/// What differs, of each table; what `expected` says.
fn compare(old: &ReadTxn, new: &ReadTxn, expected: Option<(&Contents, &Contents)>) {
    let judge = |error: &Error| {
        if expected.is_some() {
            assert_damage(error);
        }
    };
    let _ = old.changed_tables(new).map_err(|error| judge(&error));
    for table in old.tables().unwrap_or_default().iter().take(20) {
        let held = expected.map(|(a, b)| (a.tables.get(&table.name), b.tables.get(&table.name)));
        let is_same = held.is_some_and(|(a, b)| a == b);
        let mut found = 0;
        if table.schema.multi {
            let Ok(Some(pairs)) = old.raw_diff_multi(new, &table.name).map_err(|error| judge(&error)) else {
                continue;
            };
            for pair in pairs.take(3000) {
                found += usize::from(pair.map_err(|error| judge(&error)).is_ok());
            }
        } else {
            let Ok(Some(entries)) = old.raw_diff(new, &table.name).map_err(|error| judge(&error)) else {
                continue;
            };
            for entry in entries.take(3000) {
                found += usize::from(entry.map_err(|error| judge(&error)).is_ok());
            }
        }
        assert!(!is_same || found == 0, "{:?} does not differ", table.name);
    }
}

/// Rescues what can be. What is found of a file with rot was there once; where nothing is in doubt, it is one state.
fn salvage(path: &Path, image: &'static Image, oracle: bool) {
    let output = super::scratch("file", "salvaged.maple");
    let _ = std::fs::remove_file(&output);
    let report = Salvage::of(path).and_then(|salvage| {
        let _ = salvage.survey(&mut |_| {});
        salvage.write_to(&output, &mut |_| {})
    });
    let report = match report {
        Ok(report) => report,
        Err(error) => return assert!(!oracle || is_damage(&error), "{error:?}"),
    };
    // SAFETY: the file is this process's own.
    let db = unsafe { Options::new().open(&output) }.expect("it was just written");
    let verified = db.verify(&mut |_| {}).expect("good");
    assert!(verified.is_clean(), "{:#?}", verified.problems);
    let r = db.begin_read().expect("good");
    if oracle && report.is_complete() {
        read_all(&r, Some(state(image, r.user_version())), &mut Input::new(&[]));
    }
    for table in r.tables().expect("good").iter().filter(|_| oracle) {
        let was_there = |key: &[u8], value: &[u8]| {
            image.states.iter().flat_map(|state| state.tables.values()).any(|held| match held {
                Held::Map(map) => map.get(key).is_some_and(|right| right == value),
                Held::Sets(sets) => sets.get(key).is_some_and(|set| set.contains(value)),
            })
        };
        let entries: Vec<Result<(&[u8], &[u8])>> = match table.schema.multi {
            true => r.raw_multi(&table.name).expect("good").expect("it is listed").iter().collect(),
            false => r.raw_table(&table.name).expect("good").expect("it is listed").iter().collect(),
        };
        for entry in entries {
            let (key, value) = entry.expect("good");
            assert!(was_there(key, value), "{:?} in {:?} was never there", key.escape_ascii(), table.name);
        }
    }
}

/// What a user version stands for.
fn state(image: &'static Image, version: u64) -> &'static Contents {
    image
        .states
        .get(version as usize)
        .unwrap_or_else(|| panic!("no txn has set the user version to {version}"))
}

/// Some txns. Where one fails, `after` is not right any more.
pub fn write(
    db: &Database,
    image: &Image,
    after: &mut Option<Contents>,
    clean: bool,
    input: &mut Input<'_>,
) -> Result<()> {
    for txn in 0..1 + input.below(3) {
        let mut w = db.begin_write()?;
        if let Some(after) = after
            && txn == 0
        {
            // A log that a read-only look has not replayed is replayed by now.
            image.states.get(w.user_version() as usize).expect("a version of the plan").clone_into(after);
        }
        w.set_durability([Durability::Durable, Durability::Eventual, Durability::Ordered][input.below(3)]);
        let mut next = after.clone();
        let savepoint = w.savepoint();
        let back = next.clone();
        let mut wanted = changes(&w.tables()?, input);
        if input.u8().is_multiple_of(4) {
            wanted.extend(w.snapshots()?.into_iter().next().map(|snapshot| Change::Forget(snapshot.name)));
        }
        for change in wanted {
            change.carry_out(&mut w)?;
            if let Some(next) = &mut next {
                change.apply(next, 0);
            }
        }
        if input.u8().is_multiple_of(4) {
            w.rollback_to(savepoint)?;
            next = back;
        }
        if cfg!(debug_assertions) && !clean {
            return Ok(());
        }
        match input.u8() % 4 {
            0 => drop(w),
            1 => {
                w.commit_ticket()?.wait()?;
                *after = next;
            }
            _ => {
                w.commit()?;
                *after = next;
            }
        }
    }
    if !cfg!(debug_assertions) || clean {
        db.checkpoint()?;
    }
    Ok(())
}

/// Changes that are allowed for these tables.
fn changes(tables: &[mapleaf::TableInfo], input: &mut Input<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    for table in tables.iter().take(8) {
        let Some(name) = known(&table.name) else { continue };
        let schema = &table.schema;
        for i in 0..input.below(6) as u32 {
            let mut key = match input.u8() % 3 {
                0 => format!("some/prefix/{:05}", (i + u32::from(input.u8())) * 7919 % 100_003).into_bytes(),
                1 => input.bytes(4).to_vec(),
                _ => vec![b'k'; 300 + i as usize],
            };
            let mut value = vec![i as u8; [0, 5, 60, 900, 6000][input.below(5)]];
            if let Some(width) = schema.key_width {
                key.resize(width.min(4000), 0);
            }
            if let Some(width) = schema.value_width {
                value.resize(width.min(70_000), 0);
            }
            let kind = input.u8();
            if schema.multi && schema.value_width.is_none() {
                value.truncate(1200);
            }
            changes.push(match (schema.multi, kind % 8) {
                (_, 7) => Change::DeleteRange(name, key, vec![0xff; 1 + usize::from(kind >> 6)]),
                (false, 0..3) => Change::Delete(name, key),
                (false, _) => Change::Put(name, key, value),
                (true, 0..2) => Change::DeleteValue(name, key, value),
                (true, 2) => Change::DeleteValues(name, key),
                (true, 3) => Change::PutValue(name, b"many".to_vec(), value),
                (true, _) => Change::PutValue(name, key, value),
            });
        }
    }
    let listed = |name: &str| tables.iter().any(|table| table.name == name);
    match (input.u8() % 6, tables.first().and_then(|table| known(&table.name))) {
        (0, Some(name)) => changes.push(Change::Drop(name)),
        (1, Some(name)) if !listed("other") => changes.push(Change::Rename(name, "other")),
        (2, _) if !listed("another") => {
            changes.push(Change::Create("another", Schema::bytes()));
            changes.push(Change::Put("another", vec![1], vec![2; 5000]));
        }
        _ => {}
    }
    changes
}

/// Names of the plans' tables; what a crafted file calls its tables is left alone.
fn known(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 20] = [
        "words", "numbers", "", "long", "blobs", "new", "renamed", "a", "b", "c", "d", "e", "fixed", "t",
        "other", "another", "tags", "ids", "mixed", "files",
    ];
    NAMES.into_iter().find(|known| *known == name)
}
