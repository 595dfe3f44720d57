//! Judging images: each must open, be sound, hold what one permitted txn left, and take another.

use crate::disk::{BLOCK, Disk, FailedFlush, Image, Pool};
use crate::recorder::{Event, Recorder};
use crate::script::{contents, digest, open};
use mapleaf::{Options, Schema};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of the txn with which an image is tried out.
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
    started: Vec<u64>,
}

impl Permitted {
    /// Only the first of `states`, before anything of the log has happened.
    pub fn new(states: &BTreeMap<u64, u64>) -> Self {
        let first = *states.keys().next().expect("there is a first state");
        Permitted { states: states.clone(), acknowledged: first, started: Vec::new() }
    }

    /// Adds the states of another process, which went on from what it found.
    pub fn with(&self, states: &BTreeMap<u64, u64>) -> Self {
        let mut permitted = self.clone();
        permitted.states.extend(states);
        permitted
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Started(txn) => self.started.push(*txn),
            Event::Acknowledged(txn) => {
                self.acknowledged = *txn;
                self.started.clear();
            }
            _ => {}
        }
    }

    fn check(&self, found: Found) -> Result<(), String> {
        let expected = self.states.get(&found.txn);
        if found.txn != self.acknowledged && !self.started.contains(&found.txn) {
            return Err(format!(
                "holds txn {}, acknowledged is {}, started since are {:?}",
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
    /// The first event at which power is cut.
    pub from: usize,
}

pub struct Judge {
    pub pool: Pool,
    pub seed: u64,
    rng: StdRng,
    directory: tempfile::TempDir,
    outcomes: HashMap<u64, Result<Found, String>>,
    options: Options,
    /// Images met, and those among them that were new and opened.
    pub images: u64,
    pub opened: u64,
}

impl Judge {
    /// One that takes its seed from `MAPLEAF_SEED`, or the default.
    pub fn new(options: &Options) -> Self {
        let given = std::env::var("MAPLEAF_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or(0x6d61_706c);
        Judge {
            pool: Pool::new(),
            seed,
            rng: StdRng::seed_from_u64(seed),
            directory: memory_directory(),
            outcomes: HashMap::new(),
            options: options.clone(),
            images: 0,
            opened: 0,
        }
    }

    /// The bytes of a file as an image.
    pub fn image_of(&mut self, path: &Path) -> Image {
        let bytes = std::fs::read(path).unwrap();
        let blocks = bytes.chunks(BLOCK).map(|block| self.pool.add(block)).collect();
        Image { len: bytes.len() as u64, blocks }
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
            let is_mark = matches!(event, Some(Event::Started(_) | Event::Acknowledged(_)));
            if at >= effort.from && !is_mark {
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
        assert!(violations.is_empty(), "{} violations, the first: {}", violations.len(), violations[0]);
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
        disk.images(effort.all_up_to, samples, &mut self.pool, &mut rng, &mut |image| images.push(image));
        for image in images {
            self.images += 1;
            let known = self.outcomes.len();
            if let Err(wrong) = self.judge(&image, permitted) {
                let uncertain = format!("{} blocks, {} bytes", image.blocks.len(), image.len);
                return Some(format!("image of {uncertain} {wrong}"));
            }
            let (is_new, every) = (self.outcomes.len() > known, effort.recover_every);
            if every > 0 && is_new && (self.outcomes.len() as u64).is_multiple_of(every) {
                let wrong = self.cut_again(&image, permitted);
                if let Some(wrong) = wrong.first() {
                    return Some(format!("second cut, while opening: {wrong}"));
                }
            }
        }
        None
    }

    fn judge(&mut self, image: &Image, permitted: &Permitted) -> Result<(), String> {
        let fingerprint = image.fingerprint();
        if !self.outcomes.contains_key(&fingerprint) {
            let path = self.lay_out(image);
            let options = self.options.clone();
            let outcome = guarded(|| try_out(&path, &options));
            self.opened += 1;
            self.outcomes.insert(fingerprint, outcome);
        }
        permitted.check(self.outcomes[&fingerprint].clone()?)
    }

    /// Opens an image, writes to it, and cuts the power at every place of that.
    fn cut_again(&mut self, image: &Image, permitted: &Permitted) -> Vec<String> {
        let found = self.outcomes[&image.fingerprint()].clone().expect("it was accepted");
        let path = self.lay_out(image);
        let recorder = Arc::new(Recorder::default());
        let options = self.options.clone().observer(Arc::clone(&recorder) as _);
        let probed = guarded(|| {
            let db = open(&path, &options).map_err(|error| format!("does not open: {error}"))?;
            recorder.note(Event::Started(PROBE));
            probe(&db)?;
            recorder.note(Event::Acknowledged(PROBE));
            Ok(digest(&contents(&db.begin_read().unwrap()).unwrap()))
        });
        let probed = match probed {
            Ok(probed) => probed,
            Err(wrong) => return vec![wrong],
        };
        let mut permitted = permitted.clone();
        (permitted.acknowledged, permitted.started) = (found.txn, Vec::new());
        permitted.states.insert(PROBE, probed);
        let effort = Effort { all_up_to: 16, at_flush: 3, elsewhere: 0, recover_every: 0, from: 0 };
        self.examine(Disk::holding(image, FailedFlush::Keeps), &recorder.log(), permitted, effort)
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
        let whole = image.len as usize / BLOCK;
        let mut bytes = Vec::with_capacity(image.len as usize);
        for at in 0..whole {
            bytes.extend_from_slice(self.pool.bytes(image.blocks.get(at).copied().unwrap_or(0)));
        }
        std::fs::write(&path, bytes).unwrap();
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
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panics: {}", text.unwrap_or("?")))
    })
}

fn try_out(path: &Path, options: &Options) -> Result<Found, String> {
    let db = open(path, options).map_err(|error| format!("does not open: {error}"))?;
    let pages = sound(&db)?;
    let (txn, tables) = {
        let reader = db.begin_read().map_err(|error| format!("does not read: {error}"))?;
        (reader.user_version(), contents(&reader).map_err(|error| format!("does not read: {error}"))?)
    };
    let len = std::fs::metadata(path).unwrap().len();
    if len != pages * db.page_size() as u64 {
        return Err(format!("has {len} bytes after opening, but {pages} pages"));
    }
    let found = Found { txn, digest: digest(&tables) };
    probe(&db)?;
    sound(&db)?;
    Ok(found)
}

/// Commits a txn.
fn probe(db: &mapleaf::Database) -> Result<(), String> {
    let committed = db.write(|txn| {
        if txn.raw_table("probe")?.is_none() {
            txn.create_table("probe", &Schema::bytes())?;
        }
        txn.set_user_version(PROBE);
        txn.raw_put("probe", b"key", &[7; 6000])
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

/// A directory in memory where there is one, else a usual one.
pub fn memory_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
