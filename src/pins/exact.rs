//! Reclaim, proved by brute force: before each txn of a random history every state that anyone can still ask for is
//! walked page by page, and the pages of none of them are exactly what is free.
//!
//! Who reads and writes are stores opened apart, as other processes would open them, and in the second test real
//! processes, some of which are killed. Snapshots are pinned, stored, and ended in any order, hundreds at a time;
//! commits are of every durability, waited for or not; checkpoints come when they are due and when asked for.
//!
//! **What must stay** at the beginning of a writer's turn: the tree and the space records of each state that is
//! pinned or stored, of the checkpoint, and of the states from the published one to the head (each may still be
//! published, and pinned then); and the log. **What may lag**: what a reader held who ends during a turn is free at
//! the next one; what the dead pin, when they are reaped ([`crate::Database::reap`]; a writer does it before it
//! makes the file longer).

use super::list;
use crate::catalog::{catalog_tree, list_tables};
use crate::format::{ChildRef, meta_pages};
use crate::multi::MultiTable;
use crate::named;
use crate::options::{Config, Durability};
use crate::page::{Branch, LeafView, Stored};
use crate::shared::State;
use crate::snapshot::PageSource;
use crate::space::{Run, Space, Status};
use crate::store::{Snapshot, Store, Wait};
use crate::table::Table;
use crate::tree::Tree;
use crate::tree::multi::set_tree;
use crate::txn::{ReadTxn, WriteTxn};
use crate::verify;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;

const BLOBS: Table<u64, [u8]> = Table::new("blobs");
const TAGS: MultiTable<u64, u64> = MultiTable::new("tags");
const OTHER: Table<u64, [u8]> = Table::new("other");

/// Small, so that the log ends and checkpoints are due often.
fn config() -> Config {
    Config { dirty_limit: 1 << 20, log_limit: 1, held_limit: 400 << 12, ..Config::default() }
}

// ---- what a state consists of ----

/// Every page that a state refers to, its space records among them, in order.
fn pages_of(store: &Store, state: &State) -> Vec<u64> {
    let source = Snapshot { pages: &store.pages, page_count: state.page_count };
    let page_size = store.pages.page_size;
    store.pages.disk.admit(state.page_count * page_size as u64).unwrap();
    let mut pages = Vec::new();
    let catalog = catalog_tree(state, page_size);
    let tables = list_tables(&source, &catalog).unwrap();
    let trees = tables.into_iter().map(|(_, _, tree)| tree);
    for tree in trees.chain([catalog, named::snapshots_tree(state, page_size)]) {
        if !tree.is_empty() {
            walk(&source, &tree, tree.root, tree.level, &mut pages);
        }
    }
    let space = Space::load(&source, state, page_size).unwrap();
    space.record_runs().for_each(|run| pages.extend(run.start..run.end()));
    pages.sort_unstable();
    let all = pages.len();
    pages.dedup();
    assert_eq!(pages.len(), all, "a page of txn {} has two references", state.txn);
    pages
}

fn walk(source: &Snapshot<'_>, tree: &Tree, at: ChildRef, level: u8, pages: &mut Vec<u64>) {
    pages.push(at.page);
    let bytes = source.page(at.page, at.birth).unwrap();
    if level > 0 {
        let branch = Branch::new(bytes, level).unwrap();
        let children = (0..branch.count()).map(|i| branch.child(i).unwrap());
        return children.for_each(|child| walk(source, tree, child, level - 1, pages));
    }
    let leaf = LeafView::new(bytes).unwrap();
    let slots = if tree.layout.fixed.is_none() { leaf.count() } else { 0 };
    for i in 0..slots {
        match leaf.stored(i).unwrap() {
            Stored::Inline(_) => {}
            Stored::Overflow(run) => {
                source.overflow(&run).unwrap();
                pages.extend(run.page..run.page + run.pages(source.pages.page_size));
            }
            Stored::Set(set) => {
                let tree = set_tree(tree, &set).unwrap();
                walk(source, &tree, tree.root, tree.level, pages);
            }
        }
    }
}

// ---- who reads and writes ----

/// What a writer finds outside the tree at the beginning of its turn.
type View = Vec<(Run, bool)>;

fn view_of(w: &WriteTxn) -> View {
    w.space().check();
    let unused = w.space().extents().filter(|(_, status)| *status != Status::Log);
    unused.map(|(run, status)| (run, status == Status::Free)).collect()
}

/// A turn, with the changes of this number. Returns what it found.
fn turn(store: &Arc<Store>, seed: u64) -> View {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut w = WriteTxn::begin(store, Wait::Forever).unwrap().expect("it waits");
    let view = view_of(&w);
    let durabilities = [Durability::Durable, Durability::Eventual, Durability::Eventual, Durability::Ordered];
    w.set_durability(durabilities[rng.random_range(0..4)]);
    for _ in 0..rng.random_range(1..12) {
        change(&mut w, rng);
    }
    match rng.random_range(0..24) {
        0 => w.abort(),
        1 => {
            drop(w.commit_ticket().unwrap());
            let _turn = WriteTxn::begin(store, Wait::Forever).unwrap();
            store.lead().unwrap().checkpoint_head().unwrap();
        }
        2..8 => drop(w.commit_ticket().unwrap()),
        _ => w.commit().unwrap(),
    }
    view
}

fn change(w: &mut WriteTxn, rng: &mut StdRng) {
    let key = rng.random_range(0..150u64);
    let mut value = vec![rng.random::<u8>(); rng.random_range(0..900)];
    match rng.random_range(0..40) {
        0 => w.delete_range(BLOBS, key..key + 30).map(drop).unwrap(),
        1 => w.drop_table("other").map(drop).unwrap(),
        2 => w.create_snapshot(&rng.random::<u32>().to_string()).unwrap(),
        3..5 => {
            let names = w.snapshots().unwrap();
            if names.len() > rng.random_range(0..12) {
                assert!(w.drop_snapshot(&names[rng.random_range(0..names.len())].name).unwrap());
            }
        }
        5..8 => {
            value.resize(rng.random_range(4000..20_000), 7);
            w.put(BLOBS, &key, &value[..]).map(drop).unwrap();
        }
        8..12 => w.put(OTHER, &key, &value[..]).map(drop).unwrap(),
        12..20 => w.put_value(TAGS, &(key % 4), &rng.random_range(0..3000)).map(drop).unwrap(),
        20..24 => w.delete(BLOBS, &key).map(drop).unwrap(),
        _ => w.put(BLOBS, &key, &value[..]).map(drop).unwrap(),
    }
}

/// Somebody who has the store open.
trait Actor {
    /// Takes a snapshot; returns its txn.
    fn pin(&mut self) -> u64;
    /// Takes the stored snapshot of this name.
    fn pin_stored(&mut self, name: &str) -> u64;
    /// Ends the snapshot that was taken as the `i`th of those that are left.
    fn unpin(&mut self, i: usize);
    fn turn(&mut self, seed: u64) -> View;
    /// Begins a txn, writes some of it early, and dies; false where it does not.
    fn die(&mut self) -> bool {
        false
    }
}

struct Here {
    store: Arc<Store>,
    held: Vec<ReadTxn>,
}

impl Here {
    fn open(path: &Path) -> Self {
        Here { store: Store::open_apart(path, &config()).unwrap(), held: Vec::new() }
    }
}

impl Actor for Here {
    fn pin(&mut self) -> u64 {
        self.held.push(ReadTxn::begin(Arc::clone(&self.store)).unwrap());
        self.held.last().expect("just taken").txn_id()
    }

    fn pin_stored(&mut self, name: &str) -> u64 {
        self.held.push(ReadTxn::begin_stored(&self.store, name).unwrap());
        self.held.last().expect("just taken").txn_id()
    }

    fn unpin(&mut self, i: usize) {
        self.held.remove(i);
    }

    fn turn(&mut self, seed: u64) -> View {
        turn(&self.store, seed)
    }
}

// ---- what must be free ----

struct Proof {
    seed: u64,
    /// Looks on, and reads what others have committed.
    store: Arc<Store>,
    /// The states that were the head when a turn ended, by their txns, with their pages.
    states: BTreeMap<u64, (State, Rc<[u64]>)>,
    /// Of each actor the txns that it pins.
    held: Vec<Vec<u64>>,
    /// The most that were pinned, different txns; pages found free and found pending.
    most: usize,
    found: (u64, u64),
}

impl Proof {
    fn new(seed: u64, store: Arc<Store>, actors: usize) -> Self {
        let (states, held) = (BTreeMap::new(), vec![Vec::new(); actors]);
        let mut proof = Proof { seed, store, states, held, most: 0, found: (0, 0) };
        proof.remember();
        proof
    }

    /// The head is a state that may be asked for.
    fn remember(&mut self) {
        let head = self.store.readers.head();
        if !self.states.contains_key(&head.txn) {
            let pages = pages_of(&self.store, &head).into();
            self.states.insert(head.txn, (head, pages));
        }
    }

    /// The txns whose pages must stay, ascending.
    fn needed(&self) -> Vec<u64> {
        let readers = &self.store.readers;
        let (head, published) = (readers.head(), readers.published().txn);
        let source = Snapshot { pages: &self.store.pages, page_count: head.page_count };
        let stored = named::list(&source, &head, self.store.pages.page_size).unwrap();
        let mut needed: Vec<u64> = self.held.iter().flatten().copied().collect();
        needed.extend(stored.iter().map(|(_, record)| record.txn.get()));
        needed.extend(readers.checkpoint().map(|(txn, _)| txn));
        needed.extend(self.states.range(published..=head.txn).map(|(txn, _)| *txn));
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// For each page what it must be for the next writer: free, not free, or neither, in use or part of the log.
    fn expected(&mut self) -> Vec<Option<bool>> {
        let (head, needed) = (self.store.readers.head(), self.needed());
        self.most = self.most.max(needed.len());
        let mut expected = vec![Some(true); head.page_count as usize];
        for txn in &needed {
            self.states[txn].1.iter().for_each(|page| expected[*page as usize] = Some(false));
        }
        let log = self.store.log().unwrap();
        let log = log.extents().iter().flat_map(|(start, len)| *start..start + len);
        let used = self.states[&head.txn].1.iter().copied();
        for page in log.chain(used).chain(0..meta_pages(self.store.pages.page_size)) {
            expected[page as usize] = None;
        }
        expected
    }

    fn judge(&mut self, expected: &[Option<bool>], view: &View, step: usize) {
        let mut found = vec![None; expected.len()];
        for (run, is_free) in view {
            (run.start..run.end()).for_each(|page| found[page as usize] = Some(*is_free));
        }
        for (page, (expected, found)) in expected.iter().zip(&found).enumerate() {
            assert_eq!(
                found, expected,
                "seed {}, step {step}, page {page}: found, then expected, of free, pending, in use",
                self.seed
            );
        }
        let count = |what| found.iter().filter(|found| **found == Some(what)).count() as u64;
        self.found = (self.found.0 + count(true), self.found.1 + count(false));
    }

    /// The statistics of the published state are what is counted page by page: who needs how many of the pages that its
    /// records call pending.
    fn count_again(&self) {
        let (store, published) = (&self.store, self.store.readers.published());
        let source = Snapshot { pages: &store.pages, page_count: published.page_count };
        store.pages.disk.admit(published.page_count * store.pages.page_size as u64).unwrap();
        let space = Space::load(&source, &published, store.pages.page_size).unwrap();
        let pending = |(run, status)| matches!(status, Status::Pending { .. }).then_some(run);
        let pending: Vec<u64> =
            space.extents().filter_map(pending).flat_map(|run| run.start..run.end()).collect();
        let stored = named::list(&source, &published, store.pages.page_size).unwrap();
        let stored: Vec<u64> = stored.iter().map(|(_, record)| record.txn.get()).collect();
        let checkpoint = store.readers.checkpoint().expect("it is open").0;
        // Each as often as it is held.
        let mut keepers: Vec<u64> = self.held.iter().flatten().chain(&stored).copied().collect();
        keepers.push(checkpoint);
        let sees = |txn: &u64, page: &u64| self.states[txn].1.binary_search(page).is_ok();
        let seen_by =
            |page: &u64| keepers.iter().filter(|txn| sees(txn, page)).copied().collect::<Vec<u64>>();
        let seen: Vec<Vec<u64>> = pending.iter().map(seen_by).collect();
        let count = |is: &dyn Fn(&Vec<u64>) -> bool| seen.iter().filter(|seen| is(seen)).count() as u64;

        let stats = verify::stats(store, &published).unwrap();
        assert_eq!(stats.pending_pages, pending.len() as u64);
        assert_eq!(stats.pending_for_checkpoint, count(&|seen| seen.contains(&checkpoint)));
        assert_eq!(stats.pending_for_nobody, count(&|seen| seen.is_empty()));
        let found = store.readers.list().unwrap();
        let readers = list(store, &published, found).unwrap();
        assert_eq!(readers.len(), self.held.iter().map(Vec::len).sum::<usize>());
        for reader in readers {
            assert_eq!(reader.pages_retained, count(&|seen| seen.contains(&reader.txn)), "{reader:?}");
            assert_eq!(reader.pages_alone, count(&|seen| seen[..] == [reader.txn]), "{reader:?}");
        }
    }

    /// What anybody holds is read once more, page by page.
    fn look_again(&self) {
        for txn in self.needed() {
            let (state, pages) = &self.states[&txn];
            assert_eq!(pages_of(&self.store, state)[..], pages[..], "seed {}, txn {txn}", self.seed);
        }
    }
}

/// A random history of so many steps, most of which are turns or take snapshots, and some end one.
fn prove(seed: u64, path: &Path, actors: &mut [Box<dyn Actor>], steps: usize) -> Proof {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut proof = Proof::new(seed, Store::open_apart(path, &config()).unwrap(), actors.len());
    for step in 0..steps {
        let who = rng.random_range(0..actors.len());
        // They become more for long, then fewer.
        let ends = if step % 1000 < 700 { 1 } else { 18 };
        match rng.random_range(0..36) {
            at if at < ends && !proof.held[who].is_empty() => {
                let i = rng.random_range(0..proof.held[who].len());
                actors[who].unpin(i);
                proof.held[who].remove(i);
            }
            0..20 => {
                let names = ReadTxn::begin(Arc::clone(&proof.store)).unwrap().snapshots().unwrap();
                let txn = match names.get(rng.random_range(0..40)) {
                    Some(stored) => actors[who].pin_stored(&stored.name),
                    None => actors[who].pin(),
                };
                proof.held[who].push(txn);
            }
            20 if rng.random_range(0..4) == 0 && actors[who].die() => {
                proof.store.readers.reap().unwrap();
                proof.held[who].clear();
            }
            _ => {
                let expected = proof.expected();
                let view = actors[who].turn(rng.random());
                proof.judge(&expected, &view, step);
                proof.remember();
            }
        }
        if step % 200 == 199 {
            proof.look_again();
            proof.count_again();
        }
    }
    proof
}

#[test]
fn exactly_the_pages_that_nobody_can_ask_for_are_free() {
    for seed in 0..2 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proof.maple");
        let mut actors: Vec<Box<dyn Actor>> =
            (0..4).map(|_| Box::new(Here::open(&path)) as Box<dyn Actor>).collect();
        let proof = prove(seed, &path, &mut actors, 1300);
        let (free, pending) = proof.found;
        println!("seed {seed}: {} txns, {free} free, {pending} pending", proof.most);
        assert!(proof.most > 150, "seed {seed}: at most {} txns were needed", proof.most);
        assert!(free > 10_000 && pending > 100_000, "seed {seed}: {free} free, {pending} pending");
    }
}

// ---- the same between processes ----

const FILE: &str = "MAPLEAF_PROOF_FILE";

/// Another process, which does what it is told line by line.
struct There {
    path: std::path::PathBuf,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl There {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["pins::exact::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(FILE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        There { path: path.to_owned(), child, input, output }
    }

    /// The words of the answer.
    fn ask(&mut self, order: &str) -> Vec<String> {
        writeln!(self.input, "{order}").unwrap();
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some(answer) = line.strip_prefix('@') {
                return answer.split_whitespace().map(str::to_owned).collect();
            }
            line.clear();
        }
        panic!("the process ended at {order:?}");
    }
}

impl Actor for There {
    fn pin(&mut self) -> u64 {
        self.ask("pin")[0].parse().unwrap()
    }

    fn pin_stored(&mut self, name: &str) -> u64 {
        self.ask(&format!("stored {name}"))[0].parse().unwrap()
    }

    fn unpin(&mut self, i: usize) {
        self.ask(&format!("unpin {i}"));
    }

    fn turn(&mut self, seed: u64) -> View {
        let words: Vec<u64> =
            self.ask(&format!("turn {seed}")).iter().map(|word| word.parse().unwrap()).collect();
        let extents = words.chunks_exact(3);
        extents.map(|words| (Run { start: words[0], len: words[1] }, words[2] == 1)).collect()
    }

    fn die(&mut self) -> bool {
        self.ask("begin");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        *self = There::start(&self.path);
        true
    }
}

impl Drop for There {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other process; among the tests it has nothing to do.
#[test]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let mut own = Here::open(Path::new(&path));
    let mut begun = None;
    // The harness has begun a line.
    println!();
    for order in std::io::stdin().lines() {
        let order = order.unwrap();
        let (word, rest) = order.split_once(' ').unwrap_or((&order, ""));
        let answer = match word {
            "pin" => own.pin().to_string(),
            "stored" => own.pin_stored(rest).to_string(),
            "unpin" => {
                own.unpin(rest.parse().unwrap());
                String::new()
            }
            "turn" => {
                let view = own.turn(rest.parse().unwrap());
                let words =
                    |(run, is_free): &(Run, bool)| format!("{} {} {}", run.start, run.len, *is_free as u8);
                view.iter().map(words).collect::<Vec<_>>().join(" ")
            }
            "begin" => {
                let mut w = WriteTxn::begin(&own.store, Wait::Forever).unwrap().expect("it waits");
                // More than its memory holds, and more than the file.
                (0..400).for_each(|key| w.put(BLOBS, &key, &[9; 3900]).map(drop).unwrap());
                begun = Some(w);
                String::new()
            }
            other => panic!("{other}"),
        };
        println!("@{answer}");
    }
    assert!(begun.is_none(), "it is killed");
}

#[test]
fn exactly_the_pages_that_nobody_can_ask_for_are_free_between_processes_that_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proof.maple");
    let mut actors: Vec<Box<dyn Actor>> =
        (0..3).map(|_| Box::new(There::start(&path)) as Box<dyn Actor>).collect();
    actors.push(Box::new(Here::open(&path)));
    let proof = prove(7, &path, &mut actors, 1000);
    let (free, pending) = proof.found;
    println!("{} txns, {free} free, {pending} pending", proof.most);
    assert!(free > 10_000 && pending > 30_000, "{free} free, {pending} pending");
}
