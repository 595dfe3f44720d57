//! The campaign of damages: workers that judge them, a watch over the workers, and the counts.

use crate::Settings;
use crate::engine::Outcome;
use crate::engine::damages::Class;
use crate::stores::Subject;
use crate::worker::Campaign;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A damage that takes longer to judge is one of which something hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const WORKERS: u64 = 2;
/// Cases between two signs of life of a worker.
const PROGRESS: u64 = 10_000;
/// So many failures of a kind are shown.
const SHOWN: usize = 5;

/// What became of all damages of one subject.
pub struct Tally {
    pub subject: Subject,
    pub counts: BTreeMap<(Class, String), u64>,
    /// What went wrong.
    pub failures: Vec<String>,
}

impl Tally {
    fn new(subject: Subject) -> Self {
        Tally { subject, counts: BTreeMap::new(), failures: Vec::new() }
    }

    fn add(&mut self, class: Class, outcome: &str) {
        *self.counts.entry((class, outcome.to_owned())).or_default() += 1;
    }

    /// How many had this outcome; of one class, or of all.
    pub fn count(&self, class: Option<Class>, outcome: Option<&str>) -> u64 {
        let is_meant = |(of, name): &(Class, String)| {
            class.is_none_or(|class| class == *of) && outcome.is_none_or(|outcome| outcome == name)
        };
        self.counts.iter().filter(|(key, _)| is_meant(key)).map(|(_, count)| count).sum()
    }

    fn merge(mut self, other: Tally) -> Tally {
        other.counts.into_iter().for_each(|(key, count)| *self.counts.entry(key).or_default() += count);
        self.failures.extend(other.failures);
        self
    }
}

/// The counts of all subjects.
pub struct Tallies(pub Vec<Tally>);

/// Judges `count` damages of mapleaf's files in each mode, and `peers` of those of the others.
pub fn run(settings: &Settings, count: u64, peers: u64) -> Tallies {
    if let Some(only) = &settings.only {
        return Tallies(vec![one(settings, only)]);
    }
    println!("seed {}", settings.seed);
    let mut tallies = Vec::new();
    for subject in Subject::all() {
        let count = if subject.is_mapleaf() { count } else { peers };
        if count > 0 && settings.names(subject.name()) {
            tallies.push(campaign(settings, subject, count));
        }
    }
    Tallies(tallies)
}

/// One case again, in this process.
fn one(settings: &Settings, only: &str) -> Tally {
    let (name, case) = only.split_once(':').expect("SUBJECT:CASE");
    let (subject, case) = (Subject::named(name), case.parse().expect("a number"));
    let directory = settings.scratch("only");
    let mut campaign = Campaign::new(subject, settings.seed, &directory);
    campaign.prepare();
    let keep = settings.keep.as_ref().map(|keep| keep.join(format!("{name}-{case}")));
    let outcome = campaign.judge(case, keep.as_deref());
    let (class, shape) = campaign.kind(case);
    println!("{only}: {} of {}: {outcome:?}", class.name(), campaign.shape(shape));
    let mut tally = Tally::new(subject);
    tally.add(class, outcome.name());
    if let Outcome::Failed(detail) = outcome {
        tally.failures.push(detail);
    }
    let _ = std::fs::remove_dir_all(&directory);
    tally
}

fn campaign(settings: &Settings, subject: Subject, count: u64) -> Tally {
    let directory = settings.scratch(subject.name());
    Campaign::new(subject, settings.seed, &directory).prepare();
    let halves = std::thread::scope(|threads| {
        let start = |first| {
            let directory = &directory;
            threads.spawn(move || watch(settings, subject, first, count, directory))
        };
        let threads: Vec<_> = (0..WORKERS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let _ = std::fs::remove_dir_all(&directory);
    let tally = halves.into_iter().fold(Tally::new(subject), Tally::merge);
    assert_eq!(tally.count(None, None), count, "every case is counted once");
    println!("{}: {count} damages, {} failures", subject.name(), tally.failures.len());
    tally
}

/// Runs one worker through its share of the cases, and another one where it died of one.
fn watch(settings: &Settings, subject: Subject, first: u64, count: u64, directory: &Path) -> Tally {
    let campaign = Campaign::new(subject, settings.seed, directory);
    let mut tally = Tally::new(subject);
    let mut next = first;
    while next < count {
        let errors = directory.join(format!("errors-{first}"));
        let mut child = start(settings, subject, next, count, directory, &errors);
        let lines = listen(&mut child);
        let mut current = None;
        let death = loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let mut words = line.splitn(4, ' ');
                    let (sign, case) = (words.next(), words.next().and_then(|word| word.parse::<u64>().ok()));
                    let case = case.expect("the number of a case");
                    if sign == Some("b") {
                        current = Some(case);
                        continue;
                    }
                    let outcome = words.next().expect("an outcome");
                    note(settings, &campaign, &mut tally, case, outcome, words.next().unwrap_or(""));
                    (current, next) = (None, case + WORKERS);
                }
                Err(RecvTimeoutError::Timeout) => {
                    child.kill().expect("it is there");
                    break Some("hang".to_owned());
                }
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        let status = child.wait().expect("it is there");
        let Some(case) = current else {
            assert!(
                status.success() && next >= count,
                "a worker ended with {status}: {}",
                last_line(&errors)
            );
            break;
        };
        let death = death.unwrap_or_else(|| match status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => format!("exit {status}"),
        });
        let _ = std::fs::remove_dir_all(case_directory(directory, child.id(), case));
        note(settings, &campaign, &mut tally, case, "failed", &format!("{death} {}", last_line(&errors)));
        next = case + WORKERS;
    }
    tally
}

/// Where the worker `id` judges a case.
pub fn case_directory(directory: &Path, id: u32, case: u64) -> PathBuf {
    directory.join(format!("case-{id}-{case}"))
}

fn start(
    settings: &Settings,
    subject: Subject,
    from: u64,
    to: u64,
    directory: &Path,
    errors: &Path,
) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["worker", subject.name()])
        .args([settings.seed, from, to, WORKERS].map(|number| number.to_string()))
        .arg(directory)
        .stdout(Stdio::piped())
        .stderr(File::create(errors).expect("a file"))
        .spawn()
        .expect("another process")
}

fn listen(child: &mut Child) -> Receiver<String> {
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn last_line(errors: &Path) -> String {
    let text = std::fs::read_to_string(errors).unwrap_or_default();
    text.lines().last().unwrap_or("").to_owned()
}

fn note(settings: &Settings, campaign: &Campaign, tally: &mut Tally, case: u64, outcome: &str, detail: &str) {
    let (class, shape) = campaign.kind(case);
    let name = match (outcome, tally.subject.is_mapleaf()) {
        ("failed", false) => kind_of(detail),
        _ => outcome,
    };
    tally.add(class, name);
    if tally.count(None, None).is_multiple_of(PROGRESS) {
        println!("  {}: a worker has judged {}", tally.subject.name(), tally.count(None, None));
    }
    if outcome != "failed" {
        return;
    }
    let shape = campaign.shape(shape);
    let alike = tally.failures.iter().filter(|other| without_numbers(other) == without_numbers(detail));
    if tally.subject.is_mapleaf() && alike.count() < SHOWN {
        println!("  --only {}:{case}: {} of {shape}: {detail}", tally.subject.name(), class.name());
        keep(settings, tally.subject, case);
    }
    tally.failures.push(detail.to_owned());
}

fn without_numbers(detail: &str) -> String {
    detail.chars().filter(|letter| !letter.is_ascii_digit()).take(80).collect()
}

/// Makes the damaged file again, to be looked at.
fn keep(settings: &Settings, subject: Subject, case: u64) {
    if let Some(keep) = &settings.keep {
        let _ = Command::new(std::env::current_exe().expect("this program"))
            .args(["--seed", &settings.seed.to_string(), "--in"])
            .arg(&settings.root)
            .arg("--keep")
            .arg(keep)
            .args(["--only", &format!("{}:{case}", subject.name()), "mutations"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// What kind of failure this is.
pub fn kind_of(detail: &str) -> &'static str {
    match detail {
        _ if detail.starts_with("signal") || detail.starts_with("exit") => "died",
        _ if detail.starts_with("panic") => "panic",
        _ if detail.starts_with("hang") || detail.contains("no end") => "hang",
        _ => "wrong",
    }
}

impl Tallies {
    /// Prints all counts; whether mapleaf did nothing wrong.
    pub fn print(&self) -> bool {
        for tally in &self.0 {
            let mut outcomes: Vec<&str> = tally.counts.keys().map(|(_, outcome)| &outcome[..]).collect();
            outcomes.sort_unstable();
            outcomes.dedup();
            println!("\n{}\n\n| damage | cases | {} |", tally.subject.name(), outcomes.join(" | "));
            println!("|---|{}", "---:|".repeat(outcomes.len() + 1));
            let row = |name: &str, class: Option<Class>| {
                let counts = outcomes.iter().map(|outcome| tally.count(class, Some(outcome)).to_string());
                println!(
                    "| {name} | {} | {} |",
                    tally.count(class, None),
                    counts.collect::<Vec<_>>().join(" | ")
                );
            };
            Class::ALL.iter().filter(|class| tally.count(Some(**class), None) > 0).for_each(|class| {
                row(class.name(), Some(*class));
            });
            row("all", None);
        }
        self.is_sound()
    }

    /// Whether mapleaf did nothing wrong.
    pub fn is_sound(&self) -> bool {
        self.0.iter().all(|tally| !tally.subject.is_mapleaf() || tally.failures.is_empty())
    }
}
