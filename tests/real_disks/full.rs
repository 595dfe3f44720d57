//! Disks that are full (F10): by the store itself, and by a file of somebody else.
//!
//! A case: a stranger's file leaves some MiB; the store commits until that is an error; the stranger takes the rest. On the
//! full disk everything acknowledged is read, deletes succeed or are ENOSPC, the store is opened anew. Then the stranger's
//! file goes, and the same process goes on. The power is cut when the disk is full, and at the end.

use super::ledger::{Ledger, Shape, assert_clean, state, try_open};
use super::mounts::{Foreign, Kind, Mounted, in_own_mounts, make_directory, power_cut, tmpfs};
use super::{seed, tried};
use mapleaf::{Database, Durability, Error, Options};
use rand::Rng;
use std::path::Path;

const LEFT: u64 = 6 << 20;

/// How a case is filled.
#[derive(Clone, Copy, Debug)]
enum Filling {
    Small(Durability),
    Mixed(Durability),
    /// Txns that are written early, because they are larger than the memory that they may take.
    Early,
}

const FILLINGS: [Filling; 7] = [
    Filling::Small(Durability::Durable),
    Filling::Mixed(Durability::Ordered),
    Filling::Early,
    // Only when `MAPLEAF_FULL` is set.
    Filling::Small(Durability::Ordered),
    Filling::Small(Durability::Eventual),
    Filling::Mixed(Durability::Durable),
    Filling::Mixed(Durability::Eventual),
];
const FEW: usize = 3;

fn fillings() -> &'static [Filling] {
    if std::env::var_os("MAPLEAF_FULL").is_some() { &FILLINGS } else { &FILLINGS[..FEW] }
}

impl Filling {
    fn shape(self) -> Shape {
        match self {
            Filling::Small(durability) => Shape { keys: 8000, puts: 200, ..Shape::small() }.only(durability),
            Filling::Mixed(durability) => {
                Shape { keys: 4000, large: 200, puts: 20, ..Shape::mixed() }.only(durability)
            }
            Filling::Early => Shape { keys: 12_000, puts: 2500, deletes: 0, ..Shape::small() },
        }
    }
}

#[test]
fn a_store_on_a_full_ext4_keeps_everything_and_goes_on() {
    on_disk(Kind::Ext4, "a_store_on_a_full_ext4_keeps_everything_and_goes_on");
}

#[test]
fn a_store_on_a_full_xfs_keeps_everything_and_goes_on() {
    on_disk(Kind::Xfs, "a_store_on_a_full_xfs_keeps_everything_and_goes_on");
}

#[test]
fn a_store_on_a_full_btrfs_keeps_everything_and_goes_on() {
    on_disk(Kind::Btrfs, "a_store_on_a_full_btrfs_keeps_everything_and_goes_on");
}

fn on_disk(kind: Kind, test: &str) {
    in_own_mounts(&format!("full::{test}"), |at| {
        let images = tmpfs(3 * kind.small(), at.join("images"))?;
        for (i, filling) in fillings().iter().copied().enumerate() {
            println!("{kind:?}, {filling:?}, seed {}", seed(1) + i as u64);
            let (image, copy) = (images.join("image"), images.join("copy"));
            let at = make_directory(at.join(i.to_string()));
            let disk = kind.fresh(&image, kind.small(), at.join("disk"))?;
            let mut case = Case::new(disk, filling, seed(1) + i as u64);
            case.fill();
            power_cut(&image, &copy);
            case.use_while_full();
            let mut at_the_end = None;
            let ledger_when_full = case.when_full.take().unwrap();
            case.go_on(|| {
                power_cut(&image, &images.join("end"));
                at_the_end = Some(());
            });
            let Case { disk, ledger, .. } = case;
            drop(disk);
            let mounted = kind.mount(&copy, at.join("copy"))?;
            open_on_full_disk(&mounted, &ledger_when_full);
            drop(mounted);
            let mounted = kind.mount(&images.join("end"), at.join("end"))?;
            ledger.assert_survived(&mounted.join("a.maple"));
        }
        tried("F10", test, fillings().len());
        Ok(())
    });
}

#[test]
fn a_store_on_a_full_tmpfs_keeps_everything_and_goes_on() {
    in_own_mounts("full::a_store_on_a_full_tmpfs_keeps_everything_and_goes_on", |at| {
        for (i, filling) in fillings().iter().copied().enumerate() {
            println!("tmpfs, {filling:?}, seed {}", seed(1) + i as u64);
            let disk = tmpfs(24 << 20, at.join(i.to_string()))?;
            let mut case = Case::new(disk, filling, seed(1) + i as u64);
            case.fill();
            case.use_while_full();
            case.go_on(|| ());
        }
        tried("F10", "a_store_on_a_full_tmpfs_keeps_everything_and_goes_on", fillings().len());
        Ok(())
    });
}

struct Case {
    db: Option<Database>,
    ledger: Ledger,
    foreign: Option<Foreign>,
    options: Options,
    shape: Shape,
    when_full: Option<Ledger>,
    disk: Mounted,
}

impl Case {
    fn new(disk: Mounted, filling: Filling, seed: u64) -> Self {
        let options = Options::new().dirty_limit(1 << 20);
        let db = Some(try_open(&options, &disk.join("a.maple")).unwrap());
        let mut foreign = Foreign::create(disk.join("foreign"));
        foreign.fill_but(&disk, LEFT);
        let (ledger, shape) = (Ledger::new(seed), filling.shape());
        Case { db, ledger, foreign: Some(foreign), options, shape, when_full: None, disk }
    }

    fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }

    /// Commits until the disk is full; then somebody else takes what is left.
    fn fill(&mut self) {
        let mut failures = 0;
        for i in 0..100_000 {
            if let Some(error) = self.commit(self.shape) {
                assert_no_space(&error);
                failures += 1;
                if failures == 1 {
                    self.ledger.assert_seen(self.db());
                }
            }
            // Smaller ones may still fit.
            if failures == 3 {
                break;
            }
            assert!(i < 99_999, "the disk does not run full");
        }
        self.foreign.as_mut().unwrap().fill();
        self.ledger.assert_seen(self.db());
        self.when_full = Some(self.ledger.clone());
    }

    fn commit(&mut self, shape: Shape) -> Option<Error> {
        let Case { db, ledger, .. } = self;
        ledger.commit(db.as_ref().unwrap(), &shape).error()
    }

    /// On the full disk: readers, deletes, small puts of each level, another opening.
    fn use_while_full(&mut self) {
        let readers: Vec<_> =
            (0..300).map(|_| self.db().begin_read().map_err(|error| assert_no_space(&error))).collect();
        println!("  {} of 300 snapshots at once", readers.iter().filter(|reader| reader.is_ok()).count());
        drop(readers);
        let mut succeeded = [0; 2];
        for round in 0..12u64 {
            let level = [Durability::Durable, Durability::Ordered, Durability::Eventual][round as usize % 3];
            let from = self.ledger.rng.random_range(0..4000);
            let Case { db, ledger, .. } = self;
            let db = db.as_ref().unwrap();
            let deleted = ledger.delete(db, level, from, from + 400);
            let put = ledger.commit(db, &Shape { puts: 3, ..Shape::small() }.only(level));
            for (i, ended) in [deleted, put].into_iter().enumerate() {
                succeeded[i] += usize::from(ended.is_ok());
                ended.error().iter().for_each(assert_no_space);
            }
        }
        println!("  {} of 12 deletes and {} of 12 puts while the disk is full", succeeded[0], succeeded[1]);
        self.ledger.assert_seen(self.db());
        // Opened anew: at least for reading, and then nothing is lost.
        let closed = self.db.take().unwrap().close();
        closed.iter().for_each(|()| self.ledger.all_is_durable());
        closed.err().iter().for_each(assert_no_space);
        let path = self.disk.join("a.maple");
        match try_open(&self.options, &path) {
            Ok(db) => {
                println!("  opened on the full disk");
                self.ledger.assert_reopened(&db);
                self.db = Some(db);
            }
            Err(error) => {
                println!("  not opened on the full disk: {error}");
                assert_no_space(&error);
                assert_clean(&open_to_read(&path));
            }
        }
    }

    /// The stranger's file goes; the same process goes on.
    fn go_on(&mut self, power_cut: impl FnOnce()) {
        self.foreign.take().unwrap().remove();
        // Some file systems give the space back a little later.
        rustix::fs::syncfs(std::fs::File::open(&self.disk.at).unwrap()).unwrap();
        if self.db.is_none() {
            let db = try_open(&self.options, &self.disk.join("a.maple")).unwrap();
            self.ledger.assert_reopened(&db);
            self.db = Some(db);
        }
        for _ in 0..30 {
            let shape = self.shape;
            let failed = self.commit(Shape { puts: 5, ..shape });
            assert!(failed.is_none(), "there is space again: {failed:?}");
        }
        self.ledger.assert_seen(self.db());
        power_cut();
        self.db.take().unwrap().close().unwrap();
    }
}

/// What a power cut has left of a full disk: it opens, or says what it needs, and opens when that is there.
fn open_on_full_disk(mounted: &Mounted, ledger: &Ledger) {
    let path = mounted.join("a.maple");
    match try_open(&Options::new(), &path) {
        Ok(db) => {
            println!("  recovered on the full disk");
            ledger.assert_possible(&db);
        }
        Err(error) => {
            println!("  not recovered on the full disk: {error}");
            assert_no_space(&error);
            let db = open_to_read(&path);
            assert_clean(&db);
            state(&db);
        }
    }
    std::fs::remove_file(mounted.join("foreign")).unwrap();
    rustix::fs::syncfs(std::fs::File::open(&mounted.at).unwrap()).unwrap();
    ledger.assert_survived(&path);
}

/// Who only reads can always; without a lock file where there is none and no room for one.
fn open_to_read(path: &Path) -> Database {
    let reading = Options::new().ignore_log(true);
    try_open(&reading.clone().read_only(true), path).unwrap_or_else(|error| {
        println!("  not opened read-only: {error}");
        assert_no_space(&error);
        try_open(&reading.immutable(true), path).unwrap()
    })
}

fn assert_no_space(error: &Error) {
    let is_it = |errno: i32| [libc::ENOSPC, libc::EDQUOT].contains(&errno);
    assert!(
        matches!(error, Error::Io { source, .. } if source.raw_os_error().is_some_and(is_it)),
        "not ENOSPC: {error:?}"
    );
}
