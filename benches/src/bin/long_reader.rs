//! `long_reader DIRECTORY`: a reader stays open while the same 1,000 keys of a store are rewritten over and over, one
//! put a commit; then the same without the reader. Says how large the files of each store become. No commit waits
//! for the disk; all is flushed once every 1,000 commits, as each store does that. At the end the reader must
//! still see what it saw; mapleaf's file must have grown by no more than what only the reader can see, and 10 %.

use clap::Parser;
use mapleaf::{Options, Stats};
use mapleaf_bench::compare::store::Store;
use mapleaf_bench::data::{Data, Shape};
use mapleaf_bench::engines::{Kind, Mode};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

const SHAPE: Shape = Shape::Bytes;
const REWRITTEN: u64 = 1000;

/// File sizes beside a reader that stays open.
#[derive(Parser)]
struct Arguments {
    /// Where stores are made, and removed again.
    directory: PathBuf,
    /// Of those that were built in.
    #[arg(long, value_delimiter = ',', default_value = "mapleaf,lmdb")]
    engines: Vec<Kind>,
    #[arg(long, default_value_t = 1_000_000)]
    commits: u64,
    #[arg(long, default_value_t = 100_000)]
    pairs: u64,
    /// A store whose files have so many bytes is stopped.
    #[arg(long, default_value_t = 15_000_000_000)]
    stop_at: u64,
}

/// What became of a store.
struct Outcome {
    commits: u64,
    /// Bytes of the files, and those that they take on the disk.
    before: (u64, u64),
    after: (u64, u64),
}

fn main() {
    let arguments = Arguments::parse();
    println!("| store | commits | before | beside the reader | on the disk | without it | on the disk |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for kind in &arguments.engines {
        let [beside, without] = [true, false].map(|has_reader| rewrite(*kind, &arguments, has_reader));
        let stopped = if beside.commits < arguments.commits { "stopped at " } else { "" };
        let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let sizes = [beside.before.0, beside.after.0, beside.after.1, without.after.0, without.after.1];
        let sizes = sizes.map(mb).join(" | ");
        println!("| {} | {stopped}{} | {sizes} |", kind.name(), beside.commits);
    }
}

fn rewrite(kind: Kind, arguments: &Arguments, has_reader: bool) -> Outcome {
    let start = Instant::now();
    let data = Data::of(SHAPE, (0..arguments.pairs).map(|i| (i, 0)));
    let mut store = Store::load(kind, &arguments.directory, SHAPE, data.pairs());
    store.reopen(Mode::NotWaiting);
    let before = store.sizes();
    let reader = store.engine().another();
    let (commits, after) = std::thread::scope(|scope| {
        let (begun, has_begun) = mpsc::channel();
        let (end, is_over) = mpsc::channel::<()>();
        // Of its own: some stores do not let a thread write while it reads.
        let pairs = data.pairs();
        let reading = scope.spawn(move || {
            let snapshot = has_reader.then(|| reader.snapshot().expect("this store can be asked for one"));
            begun.send(()).expect("it is waited for");
            let _ = is_over.recv();
            snapshot.iter().for_each(|snapshot| snapshot(pairs));
        });
        has_begun.recv().expect("it begins");
        let commits = commit(&store, arguments);
        let after = store.sizes();
        if kind == Kind::Mapleaf && has_reader {
            judge(&stats(&store), before.0, after.0);
        }
        drop(end);
        reading.join().expect("the reader's snapshot is what it was");
        (commits, after)
    });
    eprintln!("{}: {commits} commits in {:.0} s", kind.name(), start.elapsed().as_secs_f64());
    store.remove();
    Outcome { commits, before, after }
}

/// Returns how many commits there were.
fn commit(store: &Store, arguments: &Arguments) -> u64 {
    let mut data = Data::new(SHAPE);
    for commit in 0..arguments.commits {
        if commit % REWRITTEN == 0 {
            store.engine().settle();
            if store.sizes().0 >= arguments.stop_at {
                return commit;
            }
        }
        data.clear();
        data.push(SHAPE, commit % REWRITTEN, commit + 1);
        store.engine().put(data.pairs());
    }
    store.engine().settle();
    arguments.commits
}

/// Of mapleaf's store, which this process has open.
fn stats(store: &Store) -> Stats {
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().open(store.directory.join("store")) }.expect("opened once more");
    let report = db.verify(&mut |_| {}).expect("it can be judged");
    assert!(report.is_clean(), "{:?}", report.problems);
    db.stats().expect("it can be counted")
}

fn judge(stats: &Stats, before: u64, after: u64) {
    eprintln!("pending pages {}, pages of space records {}", stats.pending_pages, stats.space_pages);
    let (seen_by_reader, grown) = (stats.pending_pages * stats.page_size, after.saturating_sub(before));
    assert!(
        grown <= seen_by_reader + before / 10,
        "{grown} bytes of growth, {seen_by_reader} for the reader"
    );
}
