//! The stores that are damaged: which there are, how each makes a file, and who judges it.

use crate::engine::damages::Good;
use crate::engine::judge::{Suspect, judge};
use crate::engine::shapes::{Contents, Shape};
use crate::engine::{Mode, Outcome};
use std::path::Path;

/// A store, and for mapleaf how it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    Mapleaf(Mode),
}

impl Subject {
    /// All that this program was built with.
    pub fn all() -> Vec<Subject> {
        Mode::ALL.map(Subject::Mapleaf).to_vec()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Mapleaf(mode) => mode.name(),
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Subject {
        Subject::all().into_iter().find(|subject| subject.name() == name).expect("rot, unverified, …")
    }

    /// Whether it is mapleaf.
    pub fn is_mapleaf(self) -> bool {
        matches!(self, Subject::Mapleaf(_))
    }

    /// Name of the directory of its files.
    pub fn files(self) -> &'static str {
        match self {
            Subject::Mapleaf(_) => "mapleaf",
        }
    }

    /// Bytes of heap that it takes for itself.
    pub fn extra_heap(self) -> usize {
        match self {
            Subject::Mapleaf(_) => 0,
        }
    }

    /// Makes a file; its bytes at several moments, the last when it is done.
    pub fn make(self, shape: &Shape, directory: &Path) -> Vec<Vec<u8>> {
        match self {
            Subject::Mapleaf(_) => shape.make(&directory.join("good.maple")),
        }
    }

    /// What is known of a good file.
    pub fn good(self, shape: &Shape, stages: Vec<Vec<u8>>) -> Good {
        match self {
            Subject::Mapleaf(_) => Good::mapleaf(shape.page_size, stages),
        }
    }

    /// Judges a damaged file.
    pub fn judge(self, good: &Good, damaged: &[u8], states: &[Contents], seed: u64, work: &Path) -> Outcome {
        match self {
            Subject::Mapleaf(mode) => {
                judge(&Suspect { good, damaged, states, mode, seed }, &work.join("store.maple"))
            }
        }
    }
}
