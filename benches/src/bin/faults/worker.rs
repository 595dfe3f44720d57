//! The process in which damages are judged: it may die of one.
//!
//! `faults worker STORE SEED FROM TO STEP DIRECTORY KEEP` judges every STEP-th case from FROM to TO. It says `b CASE`
//! when it begins with one, and `e CASE OUTCOME DETAIL` when it ends.

use crate::engine::damages::{Class, Good, damage, fix_checksums};
use crate::engine::judge::message;
use crate::engine::shapes::{self, Contents, Shape};
use crate::engine::{Mode, Outcome};
use crate::heap;
use crate::mutations::case_directory;
use crate::stores::Subject;
use rand::prelude::*;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

/// Bytes that judging one damage may allocate.
const HEAP: usize = 64 << 20;
/// Bytes of private memory, and of any file.
const LIMIT: u64 = 1 << 30;

/// A shape as some store has it.
struct Loaded {
    good: Good,
    states: Vec<Contents>,
}

/// What is judged, by the number of the case.
pub struct Campaign {
    subject: Subject,
    seed: u64,
    directory: PathBuf,
    shapes: Vec<Shape>,
    loaded: Vec<Option<Loaded>>,
}

impl Campaign {
    /// Of the files in this directory.
    pub fn new(subject: Subject, seed: u64, directory: &Path) -> Self {
        let shapes: Vec<Shape> =
            shapes::all().into_iter().filter(|shape| shape.suits_peers || subject.is_mapleaf()).collect();
        let loaded = shapes.iter().map(|_| None).collect();
        Campaign { subject, seed, directory: directory.to_owned(), shapes, loaded }
    }

    /// Makes the good files.
    pub fn prepare(&self) {
        for shape in &self.shapes {
            let directory = self.files_of(shape);
            std::fs::create_dir_all(&directory).expect("a directory");
            let work = directory.join("work");
            std::fs::create_dir_all(&work).expect("a directory");
            for (i, stage) in self.subject.make(shape, &work).iter().enumerate() {
                std::fs::write(directory.join(format!("stage-{i:03}")), stage).expect("there is room");
            }
            std::fs::remove_dir_all(&work).expect("removed");
        }
    }

    fn files_of(&self, shape: &Shape) -> PathBuf {
        self.directory.join(shape.name)
    }

    fn classes(&self) -> Vec<Class> {
        Class::ALL.into_iter().filter(|class| self.subject.is_mapleaf() || *class != Class::Log).collect()
    }

    /// The class of damage and the shape.
    pub fn kind(&self, case: u64) -> (Class, usize) {
        let classes = self.classes();
        let class = classes[(case % classes.len() as u64) as usize];
        let suitable: Vec<usize> =
            (0..self.shapes.len()).filter(|i| class != Class::Log || self.shapes[*i].is_left_open).collect();
        (class, suitable[(case / classes.len() as u64) as usize % suitable.len()])
    }

    /// The name of a shape.
    pub fn shape(&self, index: usize) -> &'static str {
        self.shapes[index].name
    }

    /// Judges one damage. `keep`: where to leave the damaged file.
    pub fn judge(&mut self, case: u64, keep: Option<&Path>) -> Outcome {
        let (class, index) = self.kind(case);
        let files = self.files_of(&self.shapes[index]);
        let shape = &self.shapes[index];
        let subject = self.subject;
        let loaded = self.loaded[index].get_or_insert_with(|| load(subject, shape, &files));
        let mut random = StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ case);
        let mut damaged = damage(class, &loaded.good, &mut random);
        if subject == Subject::Mapleaf(Mode::Crafted) {
            fix_checksums(&loaded.good, &mut damaged);
        }
        if let Some(keep) = keep {
            std::fs::write(keep, &damaged).expect("there is room to keep it");
        }
        let work = case_directory(&self.directory, std::process::id(), case);
        std::fs::create_dir_all(&work).expect("a directory");
        let judged = std::panic::catch_unwind(AssertUnwindSafe(|| {
            subject.judge(&loaded.good, &damaged, &loaded.states, case, &work)
        }));
        let _ = std::fs::remove_dir_all(&work);
        judged.unwrap_or_else(|panic| Outcome::Failed(format!("panic: {}", message(&*panic))))
    }
}

fn load(subject: Subject, shape: &Shape, files: &Path) -> Loaded {
    let stage = |i: usize| std::fs::read(files.join(format!("stage-{i:03}"))).ok();
    let stages: Vec<Vec<u8>> = (0..).map_while(stage).collect();
    Loaded { good: subject.good(shape, stages), states: shape.states() }
}

/// Judges what the arguments say.
pub fn work(arguments: &[&str]) {
    let [store, seed, from, to, step, directory] = arguments else {
        panic!("usage: worker STORE SEED FROM TO STEP DIRECTORY");
    };
    let number = |text: &str| text.parse::<u64>().expect("a number");
    limit_memory();
    // What is wrong is said by the outcome.
    std::panic::set_hook(Box::new(|_| {}));
    let mut campaign = Campaign::new(Subject::named(store), number(seed), Path::new(directory));
    let mut out = std::io::stdout().lock();
    for case in (number(from)..number(to)).step_by(number(step) as usize) {
        writeln!(out, "b {case}").expect("someone listens");
        out.flush().expect("someone listens");
        heap::allow(HEAP + campaign.subject.extra_heap());
        let outcome = campaign.judge(case, None);
        heap::allow(usize::MAX);
        let detail = match &outcome {
            Outcome::Failed(detail) => detail.replace('\n', " "),
            _ => String::new(),
        };
        writeln!(out, "e {case} {} {detail}", outcome.name()).expect("someone listens");
    }
}

fn limit_memory() {
    let limit = Some(LIMIT);
    for resource in [Resource::Data, Resource::Fsize] {
        setrlimit(resource, Rlimit { current: limit, maximum: limit }).expect("a limit");
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).expect("no core dumps");
}
