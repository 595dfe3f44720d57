//! `compare DIRECTORY --set NAME`: the same work on mapleaf and on its peers, interleaved in rounds; prints
//! what was asked and reached, every store beside the baseline, and all medians with quartiles and latencies.
//! Every value that is read is compared; a wrong one stops the run.

use clap::{Parser, ValueEnum};
use mapleaf_bench::compare::report::Report;
use mapleaf_bench::compare::{Run, Set};
use mapleaf_bench::data::Shape;
use mapleaf_bench::engines::Kind;
use mapleaf_bench::set_cache_bytes;
use std::path::PathBuf;

const SIZES: [u64; 5] = [10_000, 100_000, 1_000_000, 10_000_000, 50_000_000];

/// The same work on mapleaf and on its peers.
#[derive(Parser)]
struct Arguments {
    /// Where stores are made, and removed again.
    directory: PathBuf,
    #[arg(long)]
    set: Set,
    /// All that were built in, if left out.
    #[arg(long, value_delimiter = ',')]
    engines: Vec<Kind>,
    #[arg(long)]
    pairs: Option<u64>,
    #[arg(long)]
    rounds: Option<u64>,
    /// How long the sustained mix goes on for each store.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Of the growth set.
    #[arg(long, value_delimiter = ',', default_values_t = SIZES)]
    sizes: Vec<u64>,
    /// The store that the others are compared to.
    #[arg(long, default_value = "lmdb")]
    baseline: Kind,
    /// Divides the counts of operations, to try things out.
    #[arg(long)]
    less: Option<usize>,
    /// Writes everything that was measured.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [child, work @ ..] = &words[..]
        && child == "child"
    {
        return mapleaf_bench::compare::child::run(work);
    }
    let arguments = Arguments::parse();
    let set = arguments.set;
    let (pairs, rounds, less) = if set == Set::Quick { (20_000, 1, 10) } else { (1_000_000, 5, 1) };
    let (pairs, rounds) = (arguments.pairs.unwrap_or(pairs), arguments.rounds.unwrap_or(rounds));
    std::fs::create_dir_all(&arguments.directory).expect("a directory");
    let (key, value) = Shape::Kib.lens();
    set_cache_bytes((pairs as usize * (key + value) * 3 / 2).clamp(1 << 30, 8 << 30));
    let kinds = match &arguments.engines[..] {
        [] => Kind::value_variants().to_vec(),
        some => some.to_vec(),
    };
    let mut run = Run {
        place: arguments.directory,
        kinds,
        pairs,
        rounds,
        seconds: arguments.seconds,
        sizes: arguments.sizes,
        less: arguments.less.unwrap_or(less),
        samples: Vec::new(),
    };
    run.run(set);
    let name = set.to_possible_value().expect("none is skipped").get_name().to_owned();
    let report = Report::new(&name, pairs, rounds, &arguments.baseline.name(), run.samples);
    print!("{}", report.markdown());
    if let Some(path) = arguments.json {
        std::fs::write(path, serde_json::to_vec(&report).expect("it is plain")).expect("written");
    }
}
