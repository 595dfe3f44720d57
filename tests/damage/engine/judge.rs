//! The judge: opens a damaged file with mapleaf, calls everything, and compares every answer.

use super::damages::Good;
use super::shapes::{Change, Contents, Entries, apply};
use super::{Mode, Outcome, Reason};
use mapleaf::{
    Database, Error, Options, PageDetail, PageUse, Prefix, ReadTxn, Salvage, Table, TableView, Verify,
    WriteTxn,
};
use rand::prelude::*;
use std::panic::AssertUnwindSafe;
use std::path::Path;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
/// More entries than any file here can hold.
const ENDLESS: usize = 1 << 18;
/// The version of the first txn that the judge commits.
const FIRST_OWN: u64 = 1_000_000;
/// Single reads by rank or range a table.
const PROBES: usize = 12;

/// A damaged file, and what it may say.
pub struct Suspect<'a> {
    pub good: &'a Good,
    pub damaged: &'a [u8],
    /// What each txn left.
    pub states: &'a [Contents],
    pub mode: Mode,
    /// Chooses what is probed.
    pub seed: u64,
}

/// Why the judgement ends early.
type Verdict<T> = Result<T, String>;

/// Judges the file, which is written to `path`.
pub fn judge(suspect: &Suspect<'_>, path: &Path) -> Outcome {
    std::fs::write(path, suspect.damaged).expect("there is room");
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| Judge::new(suspect, path).run()));
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(lock_file(path));
    match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(failure)) => Outcome::Failed(failure),
        Err(panic) => Outcome::Failed(format!("panic: {}", message(&*panic))),
    }
}

fn lock_file(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    name.into()
}

/// What a panic says.
pub fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(|text| &text[..]);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_owned()
}

struct Judge<'a> {
    suspect: &'a Suspect<'a>,
    path: &'a Path,
    random: StdRng,
    /// Typed errors that reading gave.
    errors: Vec<String>,
    /// Whether every answer must be right.
    is_strict: bool,
}

impl<'a> Judge<'a> {
    fn new(suspect: &'a Suspect<'a>, path: &'a Path) -> Self {
        let random = StdRng::seed_from_u64(suspect.seed ^ 0xdead_beef);
        let is_strict = matches!(suspect.mode, Mode::Rot | Mode::Control);
        Judge { suspect, path, random, errors: Vec::new(), is_strict }
    }

    fn options(&self) -> Options {
        let verify = match self.suspect.mode {
            Mode::Unverified | Mode::Control => Verify::Never,
            _ if self.suspect.seed % 5 == 4 => Verify::Always,
            _ => Verify::Once,
        };
        Options::new().max_size(1 << 26).verify(verify).guarded_reads(self.suspect.seed % 6 == 5)
    }

    fn open(&mut self, options: &Options) -> Verdict<Option<Database>> {
        // SAFETY: the file is this program's own.
        let opened = unsafe { options.open(self.path) };
        self.answer("open", opened)
    }

    /// An answer; `None` when it is an error that damage may give.
    fn answer<T>(&mut self, what: &str, result: mapleaf::Result<T>) -> Verdict<Option<T>> {
        match result {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => {
                let is_owed = matches!(error, Error::Corrupt { .. } | Error::NotAStore { .. });
                self.expect(is_owed, || format!("{what}: an error of another kind: {error}"))?;
                self.errors.push(format!("{what}: {error}"));
                Ok(None)
            }
        }
    }

    fn expect(&self, is_right: bool, what: impl FnOnce() -> String) -> Verdict<()> {
        if is_right || !self.is_strict { Ok(()) } else { Err(what()) }
    }

    fn run(&mut self) -> Verdict<Outcome> {
        if self.suspect.seed % 4 == 1 {
            self.salvage()?;
        }
        self.read_only()?;
        self.errors.clear();
        let Some(db) = self.open(&self.options())? else { return Ok(Outcome::Refused) };
        let read_first = self.suspect.seed.is_multiple_of(2);
        let mut found = None;
        if read_first {
            found = Some(self.read(&db, None)?);
        }
        let report = db.verify(&mut |_| {}).map_err(|error| format!("verify: {error}"))?;
        if !read_first {
            found = Some(self.read(&db, None)?);
        }
        let version = found.expect("it was read");
        let is_clean = report.is_clean();
        let first_errors = self.errors.len();
        let silent = || format!("verify finds nothing, but reading says {}", self.errors[0]);
        self.expect(first_errors == 0 || !is_clean, silent)?;
        let slots: Vec<_> = report.problems.iter().filter(|it| it.detail.contains("meta slot")).collect();
        let outcome = self.older(version, !slots.is_empty(), &db)?;
        self.look_around(&db, version, is_clean)?;
        let may_commit = is_clean || !cfg!(debug_assertions);
        let (version, expected) = match may_commit {
            true => self.change(&db, version, is_clean)?,
            false => (version, self.state(version)),
        };
        self.errors.clear();
        let closed = db.close();
        self.answer("close", closed)?;
        self.reopened(version, &expected, is_clean)?;
        Ok(match outcome {
            Outcome::Right if first_errors > 0 => Outcome::Partly,
            other => other,
        })
    }

    /// What salvaging brings to light: a sound store, of entries that some txn left.
    fn salvage(&mut self) -> Verdict<()> {
        let path = self.path.with_extension("salvaged");
        let older = self.suspect.seed % 8 == 1;
        let salvaged = Salvage::of(self.path).map(|salvage| salvage.older_versions(older));
        let report = match salvaged.and_then(|salvage| salvage.write_to(&path, &mut |_| {})) {
            Ok(report) => report,
            Err(error) => {
                let is_owed = matches!(error, Error::Corrupt { .. } | Error::NotAStore { .. });
                return self.expect(is_owed, || format!("salvage: {error}"));
            }
        };
        // SAFETY: the file is this program's own.
        let db = unsafe { Options::new().open(&path) }.map_err(|error| format!("salvaged: {error}"))?;
        let found = db.verify(&mut |_| {}).map_err(|error| format!("salvaged: {error}"))?;
        if let Some(problem) = found.problems.first() {
            return Err(format!("salvaged: {}", problem.detail));
        }
        if self.is_strict {
            self.salvaged(&db, &report)?;
        }
        drop(db);
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(lock_file(&path));
        Ok(())
    }

    fn salvaged(&mut self, db: &Database, report: &mapleaf::SalvageReport) -> Verdict<()> {
        let (good, damaged, states) = (self.suspect.good, self.suspect.damaged, self.suspect.states);
        let last = states.last().expect("the empty one");
        let is_last = !good.is_hit(damaged, &good.slots) && !good.is_hit(damaged, &good.log);
        let r = db.begin_read().map_err(|error| format!("salvaged: {error}"))?;
        let (mut right, mut other) = (0, 0);
        for table in r.tables().map_err(|error| format!("salvaged: {error}"))? {
            let is_listed = !table.name.starts_with("salvaged-");
            let view = r.raw_table(&table.name).map_err(|error| format!("salvaged: {error}"))?;
            for entry in view.iter().flat_map(TableView::iter) {
                let (key, value) = entry.map_err(|error| format!("salvaged: {error}"))?;
                let holds = |state: &Contents| {
                    let is_here =
                        |entries: &Entries| entries.get(key).is_some_and(|found| &found[..] == value);
                    match is_listed {
                        true => state.get(&table.name[..]).is_some_and(|entries| is_here(entries)),
                        false => state.values().any(|entries| is_here(entries)),
                    }
                };
                match holds(last) {
                    true => right += 1,
                    false if states.iter().any(holds) => other += 1,
                    false => return Err(format!("salvaged: {}", what_is_wrong(key, Some(value)))),
                }
            }
        }
        let older: u64 = report.tables.iter().map(|table| table.older).sum();
        // Where the catalog or the log is damaged, a note says what is in doubt.
        let is_known = is_last && report.checkpoint.is_some() && report.notes.is_empty();
        self.expect(!is_known || other <= older, || {
            format!("salvaged: {other} entries of other txns, it says {older}")
        })?;
        let wanted: u64 = last.values().map(|entries| entries.len() as u64).sum();
        let is_complete = is_last && report.is_complete();
        self.expect(!is_complete || right == wanted && other == 0, || {
            format!("salvaged: {right} of {wanted} entries, it says that nothing is lost")
        })
    }

    /// Sometimes: opened only to read, first.
    fn read_only(&mut self) -> Verdict<()> {
        let options = match self.suspect.seed % 7 {
            0 => self.options().read_only(true).ignore_log(true),
            1 => self.options().immutable(true).ignore_log(true),
            _ => return Ok(()),
        };
        let Some(db) = self.open(&options)? else { return Ok(()) };
        self.read(&db, None)?;
        let _ = (db.stats(), db.verify(&mut |_| {}));
        let is_refused = matches!(db.begin_write(), Err(Error::ReadOnly));
        self.expect(is_refused, || "a read-only handle may write".into())
    }

    /// What a txn left.
    fn state(&self, version: u64) -> Contents {
        self.suspect.states.get(version as usize).cloned().unwrap_or_default()
    }

    /// Reads everything in a new snapshot and compares it with `expected`, or with what its version left.
    /// Returns the version.
    fn read(&mut self, db: &Database, expected: Option<(u64, &Contents)>) -> Verdict<u64> {
        let Some(r) = self.answer("begin_read", db.begin_read())? else { return Ok(0) };
        let version = r.user_version();
        let is_known = (version as usize) < self.suspect.states.len();
        match expected {
            None => self.expect(is_known, || format!("version {version}"))?,
            Some((own, _)) => {
                self.expect(version == own, || format!("version {version}, committed was {own}"))?
            }
        }
        let contents = match expected {
            Some((_, contents)) => contents.clone(),
            None => self.state(version),
        };
        self.tables(&r, &contents)?;
        for (name, entries) in &contents {
            let Some(view) = self.answer("raw_table", r.raw_table(name))? else { continue };
            match view {
                Some(view) => self.table(name, &view, entries)?,
                None => self.expect(false, || format!("table {name} is missing"))?,
            }
        }
        if let Some(view) = self.answer("raw_table", r.raw_table("no such table"))? {
            self.expect(view.is_none(), || "a table that was never made".into())?;
        }
        self.typed(&r, &contents)?;
        Ok(version)
    }

    fn tables(&mut self, r: &ReadTxn, contents: &Contents) -> Verdict<()> {
        let Some(listed) = self.answer("tables", r.tables())? else { return Ok(()) };
        let listed: Vec<_> = listed.iter().map(|table| (&table.name[..], table.len)).collect();
        let wanted: Vec<_> = contents.iter().map(|(name, entries)| (*name, entries.len() as u64)).collect();
        self.expect(listed == wanted, || format!("tables {listed:?}, expected {wanted:?}"))?;
        // Where names are made up, they are opened as well.
        for (name, _) in listed.iter().filter(|_| !self.is_strict) {
            if let Ok(Some(view)) = r.raw_table(name) {
                let walked = view.iter().take(ENDLESS).filter(Result::is_ok).count();
                let back = view.iter().rev().take(ENDLESS).filter(Result::is_ok).count();
                if walked.max(back) == ENDLESS {
                    return Err(format!("table {name} has no end"));
                }
            }
        }
        Ok(())
    }

    fn typed(&mut self, r: &ReadTxn, contents: &Contents) -> Verdict<()> {
        let Some(entries) = contents.get("numbers") else { return Ok(()) };
        for (key, value) in entries.iter().take(PROBES) {
            let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("8 bytes"));
            if let Some(found) = self.answer("typed get", r.get(NUMBERS, &number(key)))? {
                self.expect(found == Some(number(value)), || format!("number {found:?}"))?;
            }
        }
        Ok(())
    }

    fn table(&mut self, name: &str, view: &TableView<'_, [u8], [u8]>, entries: &Entries) -> Verdict<()> {
        self.expect(view.len() == entries.len() as u64, || format!("{name}: len {}", view.len()))?;
        for (key, value) in entries {
            if let Some(found) = self.answer("get", view.get(&key[..]))? {
                self.expect(found == Some(&value[..]), || {
                    format!("{name}: get {}", what_is_wrong(key, found))
                })?;
            }
        }
        self.absent(name, view, entries)?;
        self.walk(name, "forwards", view.iter(), entries.iter())?;
        self.walk(name, "backwards", view.iter().rev(), entries.iter().rev())?;
        self.walk_both_ends(name, view, entries)?;
        self.probe(name, view, entries)
    }

    /// Keys that are not there, of other txns among them.
    fn absent(&mut self, name: &str, view: &TableView<'_, [u8], [u8]>, entries: &Entries) -> Verdict<()> {
        let states = self.suspect.states;
        let other = &states[self.random.random_range(0..states.len())];
        let others = other.get(name).into_iter().flat_map(|table| table.keys().map(|key| key.to_vec()));
        let mut keys: Vec<Vec<u8>> = others.filter(|key| !entries.contains_key(&key[..])).take(100).collect();
        keys.extend([vec![], vec![0xff; 9], b"some".to_vec()]);
        for key in keys {
            let is_there = entries.contains_key(&key[..]);
            if let Some(found) = self.answer("get", view.get(&key[..]))? {
                self.expect(found.is_some() == is_there, || {
                    format!("{name}: absent {}", what_is_wrong(&key, found))
                })?;
            }
            if let Some(found) = self.answer("contains", view.contains(&key[..]))? {
                self.expect(found == is_there, || format!("{name}: contains {key:?}"))?;
            }
        }
        Ok(())
    }

    /// Walks until the end or an error.
    fn walk<'t, 'm>(
        &mut self,
        name: &str,
        way: &str,
        mut found: impl Iterator<Item = mapleaf::Result<(&'t [u8], &'t [u8])>>,
        mut wanted: impl Iterator<Item = (&'m super::shapes::Bytes, &'m super::shapes::Bytes)>,
    ) -> Verdict<()> {
        for _ in 0..ENDLESS {
            let Some(step) = found.next() else {
                let left = wanted.count();
                return self.expect(left == 0, || format!("{name} {way}: {left} entries are missing"));
            };
            let Some((key, value)) = self.answer(way, step)? else {
                self.expect(found.next().is_none(), || format!("{name} {way}: goes on after an error"))?;
                return Ok(());
            };
            let next = wanted.next();
            let is_right = next.is_some_and(|(k, v)| key == &k[..] && value == &v[..]);
            self.expect(is_right, || format!("{name} {way}: {}", what_is_wrong(key, Some(value))))?;
        }
        Err(format!("{name} {way}: no end"))
    }

    fn walk_both_ends(
        &mut self,
        name: &str,
        view: &TableView<'_, [u8], [u8]>,
        entries: &Entries,
    ) -> Verdict<()> {
        let (mut found, mut wanted) = (view.iter(), entries.iter());
        for i in 0..ENDLESS {
            let front = i % 3 != 0;
            let step = if front { found.next() } else { found.next_back() };
            let next = if front { wanted.next() } else { wanted.next_back() };
            let Some(step) = step else {
                return self.expect(next.is_none(), || format!("{name} from both ends: entries are missing"));
            };
            let Some((key, value)) = self.answer("both ends", step)? else { return Ok(()) };
            let is_right = next.is_some_and(|(k, v)| key == &k[..] && value == &v[..]);
            self.expect(is_right, || format!("{name} from both ends: {}", what_is_wrong(key, Some(value))))?;
        }
        Err(format!("{name} from both ends: no end"))
    }

    fn probe(&mut self, name: &str, view: &TableView<'_, [u8], [u8]>, entries: &Entries) -> Verdict<()> {
        let keys: Vec<&[u8]> = entries.keys().map(|key| &key[..]).collect();
        let at = |rank: usize| keys.get(rank).map(|key| (*key, &entries[*key][..]));
        for (what, found, rank) in
            [("first", view.first(), 0), ("last", view.last(), keys.len().wrapping_sub(1))]
        {
            if let Some(found) = self.answer(what, found)? {
                self.expect(found == at(rank), || format!("{name}: {what}"))?;
            }
        }
        for _ in 0..PROBES.min(keys.len()) {
            let (low, high) =
                (self.random.random_range(0..=keys.len()), self.random.random_range(0..keys.len()));
            if let Some(found) = self.answer("nth", view.nth(low as u64))? {
                self.expect(found == at(low), || format!("{name}: nth {low}"))?;
            }
            if let Some(found) = self.answer("rank", view.rank(keys[high]))? {
                self.expect(found == high as u64, || format!("{name}: rank {high} is {found}"))?;
            }
            let Some(low_key) = keys.get(low) else { continue };
            let wanted = (high + 1).saturating_sub(low);
            if let Some(found) = self.answer("count", view.count(*low_key..=keys[high]))? {
                self.expect(found == wanted as u64, || format!("{name}: count {found}, expected {wanted}"))?;
            }
            let range = view.range(*low_key..).take(PROBES);
            let slice =
                entries.range::<[u8], _>((std::ops::Bound::Included(*low_key), std::ops::Bound::Unbounded));
            self.walk(name, "range", range, slice.take(PROBES))?;
            let prefix = &low_key[..low_key.len().min(6)];
            let begins = entries.iter().filter(|(key, _)| key.starts_with(prefix));
            self.walk(name, "prefix", view.range(Prefix(prefix)), begins)?;
        }
        Ok(())
    }

    /// Whether this version may be shown, and why.
    fn older(&self, version: u64, slot_is_reported: bool, db: &Database) -> Verdict<Outcome> {
        let (good, damaged) = (self.suspect.good, self.suspect.damaged);
        let last = self.suspect.states.len() as u64 - 1;
        let hit: Vec<_> = good.slots.iter().filter(|slot| good.is_hit(damaged, &[(*slot).clone()])).collect();
        let is_rotten = hit.iter().any(|slot| damaged.get((*slot).clone()).is_none_or(|slot| !is_meta(slot)));
        if version == last || !self.is_strict {
            // A slot that recovery has not written over.
            let stands = is_rotten && db.counters().replayed_txns == 0;
            self.expect(!stands || slot_is_reported, || {
                "a damaged meta slot that verify does not report".into()
            })?;
            return Ok(Outcome::Right);
        }
        if version == 0 && damaged.iter().all(|byte| *byte == 0) {
            return Ok(Outcome::Older(Reason::Blank));
        }
        match (is_rotten, slot_is_reported) {
            (true, true) => Ok(Outcome::Older(Reason::SlotReported)),
            _ if good.is_hit(damaged, &good.log) => Ok(Outcome::Older(Reason::LogEnd)),
            (true, false) => {
                Err(format!("version {version} of {last} for a damaged slot, and verify is silent"))
            }
            _ if !hit.is_empty() => Ok(Outcome::Older(Reason::SlotStale)),
            _ => Err(format!("version {version} of {last}, although neither slots nor log were hit")),
        }
    }

    /// Everything that is not reading entries.
    fn look_around(&mut self, db: &Database, version: u64, is_clean: bool) -> Verdict<()> {
        let stats = db.stats();
        self.expect(stats.is_ok() || !is_clean, || format!("verify finds nothing, stats says {stats:?}"))?;
        if let Some(stats) = self.answer("stats", stats)? {
            let counted: u64 = stats.tables.iter().map(|table| table.info.len).sum();
            let wanted: usize = self.state(version).values().map(|entries| entries.len()).sum();
            self.expect(counted == wanted as u64, || {
                format!("stats counts {counted} entries, not {wanted}")
            })?;
            let is_reported = stats.meta_problems.is_empty() || !is_clean;
            self.expect(is_reported, || format!("stats says {:?}, verify nothing", stats.meta_problems))?;
        }
        self.answer("readers", db.readers())?;
        self.look_at_pages(db, is_clean)?;
        for _ in 0..6 {
            let _ = db.page(self.random.random_range(0..self.suspect.good.bytes.len() as u64 / 4096 + 2));
        }
        self.answer("reap", db.reap())?;
        self.answer("checkpoint", if is_clean { db.checkpoint() } else { Ok(()) })?;
        Ok(())
    }

    /// Every page is told once, and damage only where verify finds some.
    fn look_at_pages(&mut self, db: &Database, is_clean: bool) -> Verdict<()> {
        let Some(r) = self.answer("begin_read", db.begin_read())? else { return Ok(()) };
        for detail in [PageDetail::Space, PageDetail::Branches, PageDetail::Leaves] {
            let (mut told, mut damaged) = (0, 0);
            let visited = r.visit_pages(detail, &mut |run| {
                told += run.pages;
                damaged += if run.what == PageUse::Damaged { run.pages } else { 0 };
            });
            self.expect(visited.is_ok() || !is_clean, || {
                format!("verify finds nothing, visit_pages {visited:?}")
            })?;
            if self.answer("visit_pages", visited)?.is_some() {
                let count = r.page_count();
                self.expect(told == count, || format!("{told} of {count} pages were told"))?;
                self.expect(damaged == 0 || !is_clean, || format!("{damaged} damaged, verify finds none"))?;
            }
        }
        Ok(())
    }

    /// Some txns. Returns the version and the contents of the last that was committed.
    fn change(&mut self, db: &Database, version: u64, is_clean: bool) -> Verdict<(u64, Contents)> {
        let (mut version, mut contents) = (version, self.state(version));
        for own in FIRST_OWN..FIRST_OWN + 3 {
            let before = self.errors.len();
            if let Some(committed) = self.txn(db, own, &contents)? {
                (version, contents) = (own, committed);
            }
            let said = || format!("verify found nothing, but writing says {}", self.errors[before]);
            self.expect(!is_clean || self.errors.len() == before, said)?;
        }
        if version >= FIRST_OWN {
            self.read(db, Some((version, &contents)))?;
        } else {
            self.read(db, None)?;
        }
        Ok((version, contents))
    }

    /// One txn; `None` if damage was in its way.
    fn txn(&mut self, db: &Database, version: u64, before: &Contents) -> Verdict<Option<Contents>> {
        let Some(mut w) = self.answer("begin_write", db.begin_write())? else { return Ok(None) };
        let mut contents = before.clone();
        w.set_user_version(version);
        for change in self.changes(before) {
            let was_there = match &change {
                Change::Put(table, key, _) | Change::Delete(table, key) => {
                    contents.get(table).is_some_and(|entries| entries.contains_key(key))
                }
                Change::Drop(table) => contents.contains_key(table),
            };
            let Some(found) = self.answer("change", carry_out(&mut w, &change))? else { return Ok(None) };
            self.expect(found == was_there, || format!("a change found {found}, expected {was_there}"))?;
            apply(&mut contents, &change);
            if let Change::Put(table, key, value) = &change
                && let Some(Some(view)) = self.answer("raw_table", w.raw_table(table))?
                && let Some(found) = self.answer("own get", view.get(&key[..]))?
            {
                self.expect(found == Some(&value[..]), || {
                    format!("{table}: own {}", what_is_wrong(key, found))
                })?;
            }
        }
        Ok(self.answer("commit", w.commit())?.map(|()| contents))
    }

    fn changes(&mut self, contents: &Contents) -> Vec<Change> {
        let random = &mut self.random;
        let names: Vec<&'static str> = contents.keys().copied().collect();
        let mut changes = Vec::new();
        for _ in 0..if names.is_empty() { 0 } else { random.random_range(1..30) } {
            let table = *names.choose(random).expect("there are some");
            let entries = &contents[table];
            let Some((key, value)) = entries.iter().nth(random.random_range(0..entries.len().max(1))) else {
                continue;
            };
            let mut new_key = key.to_vec();
            let last = new_key.last_mut().expect("keys have a byte");
            *last = last.wrapping_add(random.random_range(0..3));
            let mut new_value = value.to_vec();
            new_value.iter_mut().for_each(|byte| *byte ^= 0x55);
            changes.push(match random.random_range(0..3) {
                0 => Change::Delete(table, key.clone()),
                _ => Change::Put(table, new_key.into(), new_value.into()),
            });
        }
        if random.random_bool(0.2) && !names.is_empty() {
            changes.push(Change::Drop(names.choose(random).expect("there are some")));
        }
        changes
    }

    /// Opened once more: what was committed is there.
    fn reopened(&mut self, version: u64, expected: &Contents, was_clean: bool) -> Verdict<()> {
        let opened = self.open(&self.options())?;
        self.expect(opened.is_some() || !was_clean, || {
            format!("it does not open again: {}", self.errors[0])
        })?;
        let Some(db) = opened else { return Ok(()) };
        self.read(&db, Some((version, expected)))?;
        let report = db.verify(&mut |_| {}).map_err(|error| format!("verify: {error}"))?;
        self.expect(report.is_clean() || !was_clean, || {
            format!("verify, in the end: {:?}", report.problems[0])
        })
    }
}

fn carry_out(w: &mut WriteTxn, change: &Change) -> mapleaf::Result<bool> {
    match change {
        Change::Put(table, key, value) => w.raw_put(table, key, value),
        Change::Delete(table, key) => w.raw_delete(table, key),
        Change::Drop(table) => w.drop_table(table),
    }
}

/// Whether a slot reads as one.
fn is_meta(slot: &[u8]) -> bool {
    slot[..8] == *b"mapleaf\n" && slot[8..12] == crc32fast::hash(&slot[12..]).to_le_bytes()
}

fn what_is_wrong(key: &[u8], found: Option<&[u8]>) -> String {
    let key = String::from_utf8_lossy(&key[..key.len().min(24)]).into_owned();
    match found {
        Some(value) => format!("{key:?} gives {} bytes {:?}", value.len(), &value[..value.len().min(8)]),
        None => format!("{key:?} gives nothing"),
    }
}
