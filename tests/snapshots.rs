//! Stored snapshots: what has a name stays whole until the name is dropped, and no longer.

mod common;

use common::{Contents, TestDb, contents, open};
use mapleaf::{Database, Durability, Error, Options, Table};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const BLOBS: Table<u64, [u8]> = Table::new("blobs");

fn names(db: &Database) -> Vec<String> {
    db.begin_read().unwrap().snapshots().unwrap().into_iter().map(|snapshot| snapshot.name).collect()
}

fn create(db: &Database, name: &str) {
    db.write(|w| w.create_snapshot(name)).unwrap();
}

fn fill(db: &Database, keys: std::ops::Range<u64>, fill: u8) {
    db.write(|w| keys.clone().try_for_each(|key| w.put(BLOBS, &key, &[fill; 700]).map(drop))).unwrap();
}

fn assert_filled(db: &Database, name: &str, keys: std::ops::Range<u64>, fill: u8) {
    let r = db.read_snapshot(name).unwrap();
    assert_eq!(r.len(BLOBS).unwrap(), keys.end - keys.start, "{name}");
    for key in keys {
        assert_eq!(r.get(BLOBS, &key).unwrap(), Some(&[fill; 700][..]), "{name}, {key}");
    }
}

#[test]
fn a_name_stands_for_what_its_txn_commits() {
    let db = TestDb::new();
    db.write(|w| {
        w.create_snapshot("first")?;
        w.set_user_version(7);
        w.put(NUMBERS, &1, &10)
    })
    .unwrap();
    db.write(|w| {
        w.set_user_version(8);
        w.drop_table("numbers")
    })
    .unwrap();
    let r = db.read_snapshot("first").unwrap();
    assert_eq!((r.get(NUMBERS, &1).unwrap(), r.user_version()), (Some(10), 7));
    let listed = db.begin_read().unwrap().snapshots().unwrap();
    assert_eq!((listed.len(), &*listed[0].name, listed[0].txn_id), (1, "first", r.txn_id()));
    assert_eq!((listed[0].tables, listed[0].user_version), (1, 7));
    assert!(listed[0].created > 1_500_000_000);
    assert_eq!(r.snapshots().unwrap(), listed, "in a stored snapshot the newest list counts");
    assert_eq!(db.begin_read().unwrap().tables().unwrap().len(), 0);
}

#[test]
fn names_are_taken_once_and_given_back() {
    let db = TestDb::new();
    assert!(matches!(db.read_snapshot("a"), Err(Error::SnapshotNotFound { known, .. }) if known.is_empty()));
    create(&db, "b");
    create(&db, "a");
    let taken = db.write(|w| w.create_snapshot("a"));
    assert!(matches!(taken, Err(Error::SnapshotExists { name }) if name == "a"));
    let missing = db.read_snapshot("c").unwrap_err();
    assert_eq!(missing.to_string(), r#"no snapshot "c"; there are ["a", "b"]"#);
    assert!(!db.write(|w| w.drop_snapshot("c")).unwrap());
    assert!(db.write(|w| w.drop_snapshot("a")).unwrap());
    assert_eq!(names(&db), ["b"]);
    db.write(|w| {
        fill_one(w, 3)?;
        assert!(w.drop_snapshot("b")?);
        assert!(!w.drop_snapshot("b")?);
        w.create_snapshot("b")?;
        assert_eq!(w.snapshots()?[0].txn_id, w.txn_id());
        Ok(())
    })
    .unwrap();
    assert_eq!(db.read_snapshot("b").unwrap().get(NUMBERS, &1).unwrap(), Some(3));
    assert!(db.write(|w| w.create_snapshot(&"x".repeat(513))).is_err());
    create(&db, &"x".repeat(512));
    create(&db, "");
    assert_eq!(names(&db).len(), 3);
}

fn fill_one(w: &mut mapleaf::WriteTxn, value: u64) -> mapleaf::Result<()> {
    w.put(NUMBERS, &1, &value).map(drop)
}

#[test]
fn names_are_undone_with_the_txn_the_savepoint_and_the_nested_txn() {
    let db = TestDb::new();
    create(&db, "old");
    let mut w = db.begin_write().unwrap();
    w.create_snapshot("aborted").unwrap();
    w.drop_snapshot("old").unwrap();
    drop(w);
    assert_eq!(names(&db), ["old"]);
    let mut w = db.begin_write().unwrap();
    w.create_snapshot("before").unwrap();
    let savepoint = w.savepoint();
    w.create_snapshot("after").unwrap();
    w.drop_snapshot("old").unwrap();
    let nested: Result<(), Error> = w.nested(|n| {
        n.create_snapshot("nested")?;
        Err(Error::other("no"))
    });
    assert!(nested.is_err());
    w.rollback_to(savepoint).unwrap();
    w.nested(|n| n.create_snapshot("kept")).unwrap();
    w.commit().unwrap();
    assert_eq!(names(&db), ["before", "kept", "old"]);
}

#[test]
fn snapshots_survive_closing_and_the_death_of_every_process() {
    let mut db = TestDb::new();
    for round in 0..5u8 {
        fill(&db, 0..50, round);
        create(&db, &round.to_string());
    }
    for round in 5..30 {
        fill(&db, 0..50, round);
    }
    db.reopen();
    for round in 30..60 {
        fill(&db, 0..50, round);
        db.write(|w| w.put(NUMBERS, &1, &u64::from(round))).unwrap();
    }
    let dead = db.after_death();
    for round in 60..90 {
        fill(&dead, 0..50, round);
    }
    for db in [&*db, &*dead] {
        (0..5u8).for_each(|round| assert_filled(db, &round.to_string(), 0..50, round));
    }
}

#[test]
fn a_dropped_snapshot_gives_its_pages_back_and_the_file_does_not_grow() {
    let db = TestDb::new();
    fill(&db, 0..2000, 1);
    let mut lens = Vec::new();
    for round in 2..12 {
        create(&db, "kept");
        fill(&db, 0..2000, round);
        assert_filled(&db, "kept", 0..2000, round - 1);
        let pending = db.stats().unwrap().pending_pages;
        assert!(pending > 300, "{pending} pages are pending in round {round}");
        assert!(db.write(|w| w.drop_snapshot("kept")).unwrap());
        // The next txns see that nobody needs them any more.
        (0..3).for_each(|i| assert!(db.write(|w| w.put(NUMBERS, &i, &i)).is_ok()));
        db.checkpoint().unwrap();
        let stats = db.stats().unwrap();
        assert!(stats.free_pages > 300, "{} pages are free", stats.free_pages);
        assert_eq!(stats.snapshots_pages, 0);
        lens.push(db.file_len());
    }
    assert!(lens[9] <= lens[2], "{lens:?}");
}

#[test]
fn only_what_a_snapshot_sees_is_kept_for_it() {
    let db = TestDb::new();
    fill(&db, 0..1000, 1);
    create(&db, "one");
    fill(&db, 0..1000, 2);
    let before = db.stats().unwrap();
    for round in 3..40 {
        fill(&db, 0..1000, round);
    }
    let after = db.stats().unwrap();
    // One version for the snapshot, one that is current, one that is replaced, and what the log holds back.
    assert!(
        after.page_count < 3 * before.page_count,
        "{} pages, then {}",
        before.page_count,
        after.page_count
    );
    assert_filled(&db, "one", 0..1000, 1);
}

#[test]
fn who_reads_a_snapshot_keeps_it_when_the_name_is_dropped() {
    let db = TestDb::new();
    fill(&db, 0..200, 1);
    create(&db, "one");
    let r = db.read_snapshot("one").unwrap();
    db.write(|w| w.drop_snapshot("one")).unwrap();
    for round in 2..20 {
        fill(&db, 0..200, round);
    }
    assert!((0..200).all(|key| r.get(BLOBS, &key).unwrap() == Some(&[1; 700][..])));
    assert_eq!(db.readers().unwrap()[0].txn, r.txn_id());
    let parcel = r.export("for another").unwrap();
    drop(r);
    for round in 20..30 {
        fill(&db, 0..200, round);
    }
    // SAFETY: only mapleaf changes the file.
    let imported = unsafe { mapleaf::ReadTxn::import(&parcel) }.unwrap();
    assert!((0..200).all(|key| imported.get(BLOBS, &key).unwrap() == Some(&[1; 700][..])));
}

#[test]
fn a_handle_that_only_reads_has_the_snapshots_too() {
    let mut db = TestDb::new();
    fill(&db, 0..20, 1);
    create(&db, "one");
    fill(&db, 0..20, 2);
    let reader = open(&Options::new().read_only(true), &db.path());
    assert_filled(&reader, "one", 0..20, 1);
    create(&db, "two");
    assert_filled(&reader, "two", 0..20, 2);
    db.close().unwrap();
    drop(reader);
    let frozen = open(&Options::new().immutable(true), &db.path());
    assert_filled(&frozen, "one", 0..20, 1);
    assert_eq!(names(&frozen), ["one", "two"]);
}

#[test]
fn many_snapshots_with_long_names_fill_pages_of_their_own() {
    let db = TestDb::new();
    let name = |i: u64| format!("{i:0>400}");
    for i in 0..120 {
        db.write(|w| {
            w.put(NUMBERS, &0, &i)?;
            w.create_snapshot(&name(i))
        })
        .unwrap();
    }
    assert!(db.stats().unwrap().snapshots_pages > 10);
    for i in 0..120 {
        assert_eq!(db.read_snapshot(&name(i)).unwrap().get(NUMBERS, &0).unwrap(), Some(i));
    }
    db.write(|w| (0..120).filter(|i| i % 7 != 0).try_for_each(|i| w.drop_snapshot(&name(i)).map(drop)))
        .unwrap();
    assert_eq!(names(&db).len(), 18);
    assert_eq!(db.read_snapshot(&name(119)).unwrap().get(NUMBERS, &0).unwrap(), Some(119));
}

#[test]
fn snapshots_are_made_and_read_by_threads_while_others_drop_them() {
    let db = TestDb::new();
    fill(&db, 0..60, 0);
    create(&db, "current");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let Ok(r) = db.read_snapshot("current") else { continue };
                    let first = r.get(BLOBS, &0).unwrap().unwrap()[0];
                    for key in 0..60 {
                        assert_eq!(r.get(BLOBS, &key).unwrap(), Some(&[first; 700][..]));
                    }
                }
            });
        }
        scope.spawn(|| {
            for round in 1..100 {
                fill(&db, 0..60, round);
                db.write(|w| {
                    w.drop_snapshot("current")?;
                    if round % 3 > 0 { w.create_snapshot("current") } else { Ok(()) }
                })
                .unwrap();
                fill(&db, 0..60, round);
                db.write(|w| if round % 3 == 0 { w.create_snapshot("current") } else { Ok(()) }).unwrap();
            }
        });
    });
}

/// A change of the model test.
#[derive(Clone, Debug)]
enum Step {
    Put(u64, u8, usize),
    Delete(u64),
    DropTable,
    Version(u64),
    Create(u8),
    Drop(u8),
    Savepoint,
    RollBack,
}

#[derive(Clone, Debug)]
enum Action {
    Write(Vec<Step>, bool, u8),
    Load(u64, u8),
    Hold(u8),
    LetGo,
    Compare,
    Reopen,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..400u64, any::<u8>(), prop_oneof![Just(0usize), 10..900usize, 3000..20000usize])
            .prop_map(|(key, fill, len)| Step::Put(key, fill, len)),
        3 => (0..400u64).prop_map(Step::Delete),
        1 => Just(Step::DropTable),
        1 => any::<u64>().prop_map(Step::Version),
        2 => (0..5u8).prop_map(Step::Create),
        2 => (0..5u8).prop_map(Step::Drop),
        1 => Just(Step::Savepoint),
        1 => Just(Step::RollBack),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (proptest::collection::vec(step(), 0..12), prop::bool::weighted(0.85), 0..3u8)
            .prop_map(|(steps, commits, durability)| Action::Write(steps, commits, durability)),
        2 => (0..900u64, any::<u8>()).prop_map(|(keys, fill)| Action::Load(keys, fill)),
        2 => (0..5u8).prop_map(Action::Hold),
        1 => Just(Action::LetGo),
        2 => Just(Action::Compare),
        1 => Just(Action::Reopen),
        1 => Just(Action::Die),
    ]
}

/// The contents now, and those of every name.
#[derive(Clone, Default)]
struct Model {
    now: Contents,
    named: BTreeMap<String, Contents>,
    /// Names that were made in the txn under way: they stand for what it will commit.
    fresh: Vec<String>,
}

impl Model {
    fn blobs(&mut self) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
        self.now.0.entry("blobs".into()).or_default()
    }

    fn carry_out(&mut self, w: &mut mapleaf::WriteTxn, step: &Step) {
        match step {
            Step::Put(key, fill, len) => {
                w.put(BLOBS, key, &vec![*fill; *len][..]).unwrap();
                self.blobs().insert(encoded(*key), vec![*fill; *len]);
            }
            Step::Delete(key) => {
                let there = self.now.0.get_mut("blobs").and_then(|blobs| blobs.remove(&encoded(*key)));
                assert_eq!(w.delete(BLOBS, key).unwrap(), there.is_some());
            }
            Step::DropTable => {
                assert_eq!(w.drop_table("blobs").unwrap(), self.now.0.remove("blobs").is_some());
            }
            Step::Version(version) => {
                w.set_user_version(*version);
                self.now.1 = *version;
            }
            Step::Create(name) => {
                let name = format!("snapshot {name}");
                let is_new = !self.named.contains_key(&name);
                assert_eq!(w.create_snapshot(&name).is_ok(), is_new);
                if is_new {
                    self.named.insert(name.clone(), Contents::default());
                    self.fresh.push(name);
                }
            }
            Step::Drop(name) => {
                let name = format!("snapshot {name}");
                assert_eq!(w.drop_snapshot(&name).unwrap(), self.named.remove(&name).is_some());
                self.fresh.retain(|fresh| *fresh != name);
            }
            Step::Savepoint | Step::RollBack => unreachable!("the caller's"),
        }
        let listed: Vec<String> = w.snapshots().unwrap().into_iter().map(|snapshot| snapshot.name).collect();
        assert!(listed.iter().eq(self.named.keys()));
    }

    fn commit(&mut self) {
        for name in std::mem::take(&mut self.fresh) {
            self.named.insert(name, self.now.clone());
        }
    }

    fn compare(&self, db: &Database) {
        assert!(contents(&db.begin_read().unwrap()) == self.now, "the current state");
        assert!(names(db).iter().eq(self.named.keys()));
        for (name, expected) in &self.named {
            assert!(contents(&db.read_snapshot(name).unwrap()) == *expected, "{name}");
        }
    }
}

fn encoded(key: u64) -> Vec<u8> {
    use mapleaf::codec::Encode;
    let bytes = Encode::<u64>::encode(&key);
    let bytes: &[u8] = bytes.as_ref();
    bytes.to_vec()
}

fn write(db: &Database, model: &mut Model, steps: &[Step], commits: bool, durability: u8) {
    let mut w = db.begin_write().unwrap();
    w.set_durability(
        [Durability::Durable, Durability::Eventual, Durability::Ordered][usize::from(durability)],
    );
    let (mut changed, mut saved) = (model.clone(), Vec::new());
    for step in steps {
        match step {
            Step::Savepoint => saved.push((w.savepoint(), changed.clone())),
            Step::RollBack => {
                if let Some((savepoint, before)) = saved.last() {
                    w.rollback_to(*savepoint).unwrap();
                    changed = before.clone();
                }
            }
            step => changed.carry_out(&mut w, step),
        }
    }
    if commits {
        w.commit().unwrap();
        changed.commit();
        *model = changed;
    }
}

fn load(db: &Database, model: &mut Model, keys: u64, fill: u8) {
    fill_all(db, keys, fill);
    (0..keys).for_each(|key| drop(model.blobs().insert(encoded(key), vec![fill; 2500])));
    if keys == 0 && model.now.0.get("blobs").is_some_and(BTreeMap::is_empty) && !has_blobs(db) {
        model.now.0.remove("blobs");
    }
}

fn has_blobs(db: &Database) -> bool {
    db.begin_read().unwrap().raw_table("blobs").unwrap().is_some()
}

/// Beyond what a txn keeps in memory, so that it writes early.
fn fill_all(db: &Database, keys: u64, fill: u8) {
    db.write(|w| (0..keys).try_for_each(|key| w.put(BLOBS, &key, &[fill; 2500]).map(drop))).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_name_reads_as_what_was_committed_under_it(actions in proptest::collection::vec(action(), 1..40)) {
        let options = Options::new().dirty_limit(1 << 20).log_limit(256 << 10);
        let mut db = TestDb::with(options);
        let mut model = Model::default();
        let mut held: Vec<(mapleaf::ReadTxn, Contents)> = Vec::new();
        for action in &actions {
            match action {
                Action::Write(steps, commits, durability) => {
                    write(&db, &mut model, steps, *commits, *durability);
                }
                Action::Load(keys, fill) => load(&db, &mut model, *keys, *fill),
                Action::Hold(name) => {
                    let name = format!("snapshot {name}");
                    if let Some(expected) = model.named.get(&name) {
                        held.push((db.read_snapshot(&name).unwrap(), expected.clone()));
                    }
                }
                Action::LetGo => held.clear(),
                Action::Compare => {
                    model.compare(&db);
                    assert!(held.iter().all(|(txn, expected)| contents(txn) == *expected));
                }
                Action::Reopen => {
                    held.clear();
                    db.reopen();
                }
                Action::Die => {
                    let dead = db.after_death();
                    model.compare(&dead);
                    fill_all(&dead, 300, 99);
                    let named = Model { now: contents(&dead.begin_read().unwrap()), ..model.clone() };
                    named.compare(&dead);
                }
            }
        }
        model.compare(&db);
    }
}
