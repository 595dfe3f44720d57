//! Judging images: each must open, be sound, hold what one permitted txn left, and take another.
//!
//! Owns: what is permitted at each place of a log, laying images out with some sidecar beside them, and
//! cutting the power again while they are opened.

use crate::script::{digest, look, open};
use crate::settled::mark_truly;
use mapleaf::{Options, Schema};
use mapleaf_crash::{Amount, Disk, Event, FailedFlush, Image, Pool, Recorder, memory_directory};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of the first txn with which an image is tried out.
const PROBE: u64 = 1 << 40;

/// Which state an image held, and what it must hold once it was opened and written to.
#[derive(Clone, Copy, Debug)]
struct Found {
    txn: u64,
    digest: u64,
}

/// States that are permitted at a place of the log.
#[derive(Clone, Debug)]
pub struct Permitted {
    states: BTreeMap<u64, u64>,
    acknowledged: u64,
    /// What readers have seen, so that it survives the death of the process.
    seen: u64,
    /// Txns that may be on the disk although they were not acknowledged, and whether they have failed.
    started: BTreeMap<u64, bool>,
}

impl Permitted {
    /// Only the first of `states`, before anything of the log has happened.
    pub fn new(states: &BTreeMap<u64, u64>) -> Self {
        let first = *states.keys().next().expect("there is a first state");
        Permitted { states: states.clone(), acknowledged: first, seen: first, started: BTreeMap::new() }
    }

    /// Adds the states of another process, which went on from what it found.
    pub fn with(&self, states: &BTreeMap<u64, u64>) -> Self {
        let mut permitted = self.clone();
        permitted.states.extend(states);
        permitted
    }

    /// What is permitted after `log`.
    pub fn after(mut self, log: &[Event]) -> Self {
        log.iter().for_each(|event| self.note(event));
        self
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Started(txn) => drop(self.started.insert(*txn, false)),
            Event::Acknowledged(txn) => {
                self.acknowledged = self.acknowledged.max(*txn);
                self.seen = self.seen.max(*txn);
                self.started.retain(|started, _| started > txn);
            }
            Event::Committed(txn) => self.seen = self.seen.max(*txn),
            Event::Failed(txn) => drop(self.started.insert(*txn, true)),
            Event::Settled => self.started.retain(|_, failed| !*failed),
            _ => {}
        }
    }

    /// Whether `txn` may be found where no power was cut, but all processes have died. One that had failed
    /// does not come back.
    pub fn check_killed(&self, txn: u64, has_reverted: bool) -> Result<(), String> {
        if has_reverted && (self.acknowledged..self.seen).contains(&txn) {
            // Eventual commits were nowhere but in the cache.
            return Ok(());
        }
        match txn == self.seen || txn > self.seen && self.started.get(&txn) == Some(&false) {
            true => Ok(()),
            false => Err(format!("txn {txn} was found, seen is {}, started {:?}", self.seen, self.started)),
        }
    }

    fn check(&self, found: Found) -> Result<(), String> {
        let expected = self.states.get(&found.txn);
        if found.txn != self.acknowledged && !self.started.contains_key(&found.txn) {
            return Err(format!(
                "holds txn {}, acknowledged is {}, started since are (and have failed) {:?}",
                found.txn, self.acknowledged, self.started
            ));
        }
        match expected == Some(&found.digest) {
            true => Ok(()),
            false => Err(format!("says it holds txn {}, but the tables are not those of it", found.txn)),
        }
    }
}

/// How thoroughly a log is examined.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Combinations of uncertain blocks up to which all are tried.
    pub all_up_to: u64,
    /// Samples before each flush, where there are more.
    pub at_flush: usize,
    /// Samples at the other places; 0: no cut there. What may be on the disk only grows until the
    /// next flush, so the place before it has every image of the places since the last one.
    pub elsewhere: usize,
    /// One image in so many is cut a second time while it is opened; 0: none.
    pub recover_every: u64,
    /// One image of a second cut in so many is cut a third time; 0: none.
    pub third_every: u64,
    /// The first event at which power is cut.
    pub from: usize,
}

pub struct Judge {
    pub pool: Pool,
    pub seed: u64,
    rng: StdRng,
    directory: tempfile::TempDir,
    outcomes: HashMap<u64, Result<Found, String>>,
    pub options: Options,
    /// Images met, and those among them that were new and opened.
    pub images: u64,
    pub opened: u64,
    /// Images that were cut again while they were opened, and the images that came of that.
    pub again: u64,
    pub of_again: u64,
    /// Images with torn blocks, and with another length than the file had when the power was cut.
    pub torn: u64,
    pub other_len: u64,
    depth: usize,
}

impl Judge {
    /// One that takes its seed from `MAPLEAF_SEED`, or the default.
    pub fn new(options: &Options) -> Self {
        let given = std::env::var("MAPLEAF_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or(0x6d61_706c);
        Judge {
            pool: Pool::default(),
            seed,
            rng: StdRng::seed_from_u64(seed),
            directory: memory_directory(),
            outcomes: HashMap::new(),
            options: options.clone(),
            images: 0,
            opened: 0,
            again: 0,
            of_again: 0,
            torn: 0,
            other_len: 0,
            depth: 0,
        }
    }

    /// The bytes of a file as an image.
    pub fn image_of(&mut self, path: &Path) -> Image {
        self.pool.image(&std::fs::read(path).unwrap())
    }

    /// Cuts the power before and after every event of `log` and returns what was wrong, at most one
    /// violation for each place.
    pub fn examine(
        &mut self,
        mut disk: Disk,
        log: &[Event],
        mut permitted: Permitted,
        effort: Effort,
    ) -> Vec<String> {
        let mut violations = Vec::new();
        for at in 0..=log.len() {
            let event = log.get(at);
            if at >= effort.from && !event.is_some_and(Event::is_mark) {
                let thorough = matches!(event, Some(Event::Sync { .. }) | None);
                let samples = if thorough { effort.at_flush } else { effort.elsewhere };
                if thorough || samples > 0 {
                    let wrong = self.cut(&disk, &permitted, samples, effort);
                    violations.extend(wrong.map(|wrong| self.locate(at, log, &wrong)));
                }
            }
            if let Some(event) = event {
                disk.apply(event, &mut self.pool);
                permitted.note(event);
            }
        }
        violations
    }

    /// [`Judge::examine`], where nothing may be wrong.
    pub fn accept(&mut self, disk: Disk, log: &[Event], permitted: Permitted, effort: Effort) {
        let violations = self.examine(disk, log, permitted, effort);
        let noun = if violations.len() == 1 { "violation" } else { "violations" };
        assert!(violations.is_empty(), "{} {noun}, the first: {}", violations.len(), violations[0]);
    }

    fn locate(&self, at: usize, log: &[Event], wrong: &str) -> String {
        let around = log[at.saturating_sub(6)..(at + 2).min(log.len())].iter().map(brief);
        format!(
            "power cut before event {at} of {} (seed {}): {wrong}\nlog around it:\n{}",
            log.len(),
            self.seed,
            around.collect::<Vec<_>>().join("\n")
        )
    }

    fn cut(&mut self, disk: &Disk, permitted: &Permitted, samples: usize, effort: Effort) -> Option<String> {
        let mut images = Vec::new();
        let mut rng = StdRng::seed_from_u64(self.rng.random());
        let amount = Amount { all_up_to: effort.all_up_to, samples };
        disk.images(amount, &mut self.pool, &mut rng, &mut |image| images.push(image));
        let present = disk.cached().len;
        for image in images {
            self.images += 1;
            self.of_again += u64::from(self.depth > 0);
            self.torn += u64::from(image.is_torn);
            self.other_len += u64::from(image.len != present);
            let known = self.outcomes.len();
            if let Err(wrong) = self.judge(&image, permitted) {
                let uncertain = format!("{} blocks, {} bytes", image.blocks.len(), image.len);
                return Some(format!("image of {uncertain} {wrong}"));
            }
            let (is_new, every) = (self.outcomes.len() > known, effort.recover_every);
            if every > 0 && is_new && (self.outcomes.len() as u64).is_multiple_of(every) {
                let wrong = self.cut_again(&image, permitted, effort.third_every);
                if let Some(wrong) = wrong.first() {
                    return Some(format!("second cut, while opening: {wrong}"));
                }
            }
        }
        None
    }

    /// Opens an image and writes to it.
    pub fn judge(&mut self, image: &Image, permitted: &Permitted) -> Result<(), String> {
        let fingerprint = image.fingerprint();
        if !self.outcomes.contains_key(&fingerprint) {
            let path = self.lay_out_marked(image);
            let options = self.options.clone();
            let outcome = guarded(|| try_out(&path, &options, is_large(image)));
            self.opened += 1;
            self.outcomes.insert(fingerprint, outcome);
        }
        permitted.check(self.outcomes[&fingerprint].clone()?)
    }

    /// Opens an image, writes to it, and cuts the power at every place of that.
    fn cut_again(&mut self, image: &Image, permitted: &Permitted, third_every: u64) -> Vec<String> {
        self.again += 1;
        let found = self.outcomes[&image.fingerprint()].clone().expect("it was accepted");
        let number = PROBE.max(found.txn + 1);
        let path = self.lay_out_marked(image);
        let recorder = Arc::new(Recorder::default());
        let options = self.options.clone().observer(Arc::clone(&recorder) as _);
        let probed = guarded(|| {
            let db = open(&path, &options).map_err(|error| format!("does not open: {error}"))?;
            recorder.note(Event::Started(number));
            probe(&db, number, is_large(image))?;
            recorder.note(Event::Acknowledged(number));
            Ok(digest(&look(&db).unwrap().1))
        });
        let probed = match probed {
            Ok(probed) => probed,
            Err(wrong) => return vec![wrong],
        };
        let mut permitted = permitted.clone();
        (permitted.acknowledged, permitted.started) = (found.txn, BTreeMap::new());
        permitted.states.insert(number, probed);
        let effort = Effort {
            all_up_to: 16,
            at_flush: 3,
            elsewhere: 0,
            recover_every: third_every,
            third_every: 0,
            from: 0,
        };
        self.depth += 1;
        let disk = Disk::holding(image, FailedFlush::Keeps);
        let violations = self.examine(disk, &recorder.log(), permitted, effort);
        self.depth -= 1;
        violations
    }

    /// Behind a power cut any mark may be back that the file ever had; the worst is one that fits.
    fn lay_out_marked(&mut self, image: &Image) -> PathBuf {
        let path = self.lay_out(image);
        if self.opened.is_multiple_of(2) {
            mark_truly(&path);
        }
        path
    }

    /// Writes the image to a file of its own. Beside it: no sidecar, one of an earlier image, or garbage.
    pub fn lay_out(&mut self, image: &Image) -> PathBuf {
        let path = self.directory.path().join("image.maple");
        let sidecar = self.directory.path().join("image.maple-lock");
        let _ = std::fs::remove_file(&path);
        match self.rng.random_range(0..4) {
            0 => drop(std::fs::remove_file(&sidecar)),
            1 => std::fs::write(&sidecar, vec![self.rng.random(); self.rng.random_range(0..9000)]).unwrap(),
            _ => {}
        }
        std::fs::write(&path, self.pool.file(image)).unwrap();
        path
    }
}

fn brief(event: &Event) -> String {
    match event {
        Event::Write { offset, data } => format!("  write {} at {offset}", data.len()),
        other => format!("  {other:?}"),
    }
}

/// A panic inside is a finding like any other.
pub fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panics: {}", text.unwrap_or("?")))
    })
}

fn try_out(path: &Path, options: &Options, large: bool) -> Result<Found, String> {
    let db = open(path, options).map_err(|error| format!("does not open: {error}"))?;
    let pages = sound(&db)?;
    let (txn, tables) = look(&db).map_err(|error| format!("does not read: {error}"))?;
    let len = std::fs::metadata(path).unwrap().len();
    if len != pages * db.page_size() as u64 {
        return Err(format!("has {len} bytes after opening, but {pages} pages"));
    }
    let found = Found { txn, digest: digest(&tables) };
    probe(&db, PROBE.max(txn + 1), large)?;
    sound(&db)?;
    Ok(found)
}

/// Whether an image is tried out with a large value, and thus a checkpoint, or with a logged commit.
fn is_large(image: &Image) -> bool {
    image.fingerprint().is_multiple_of(2)
}

/// Commits a txn.
pub fn probe(db: &mapleaf::Database, number: u64, large: bool) -> Result<(), String> {
    let committed = db.write(|txn| {
        if txn.raw_table("probe")?.is_none() {
            txn.create_table("probe", &Schema::bytes())?;
        }
        txn.set_user_version(number);
        txn.raw_put("probe", b"key", &vec![7; if large { 6000 } else { 600 }])
    });
    committed.map(|_| ()).map_err(|error| format!("cannot be written to: {error}"))
}

/// The number of pages, if every page is sound and one thing: reachable, free or pending.
pub fn sound(db: &mapleaf::Database) -> Result<u64, String> {
    let report = db.verify(&mut |_| {}).map_err(|error| format!("cannot be verified: {error}"))?;
    match report.is_clean() {
        true => Ok(report.page_count),
        false => Err(format!("is damaged: {:?}", report.problems)),
    }
}
