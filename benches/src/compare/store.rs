//! A store on the disk while it is measured: loading, resting, closing, its size, and forgetting its pages.

use crate::data::{Data, Pairs, Shape};
use crate::engines::{Engine, Kind, Mode};
use rustix::fs::Advice;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// As many pairs as one txn loads where the load is not what is measured.
const TOGETHER: usize = 1_000_000;

pub struct Store {
    pub kind: Kind,
    pub shape: Shape,
    pub directory: PathBuf,
    engine: Option<Box<dyn Engine>>,
}

impl Store {
    /// A new, empty store that is open; an older one of this name goes.
    pub fn create(kind: Kind, place: &Path, shape: Shape) -> Self {
        let directory = place.join(format!("{}-{}", kind.name(), shape.name()));
        if directory.exists() {
            std::fs::remove_dir_all(&directory).expect("removed");
        }
        std::fs::create_dir_all(&directory).expect("a new directory");
        let engine = Some(kind.open(&directory, shape, Mode::Durable));
        Store { kind, shape, directory, engine }
    }

    /// One with these pairs in it, at rest.
    pub fn load(kind: Kind, place: &Path, shape: Shape, pairs: Pairs) -> Self {
        let start = Instant::now();
        let store = Store::create(kind, place, shape);
        pairs.chunks(TOGETHER).for_each(|some| store.engine().put(some));
        store.rest();
        eprintln!("{}: {} pairs loaded in {:.1} s", kind.name(), pairs.len(), start.elapsed().as_secs_f64());
        store
    }

    /// One of each kind that takes such data.
    pub fn load_each(kinds: &[Kind], place: &Path, shape: Shape, data: &Data) -> Vec<Self> {
        let kinds = kinds.iter().filter(|kind| kind.takes(shape));
        kinds.map(|kind| Store::load(*kind, place, shape, data.pairs())).collect()
    }

    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_deref().expect("it is open")
    }

    pub fn engine_mut(&mut self) -> &mut Box<dyn Engine> {
        self.engine.as_mut().expect("it is open")
    }

    /// Nothing is left to be written afterwards.
    pub fn rest(&self) {
        if let Some(engine) = &self.engine {
            engine.settle();
        }
        self.sync();
    }

    pub fn sync(&self) {
        File::open(&self.directory).and_then(|file| Ok(rustix::fs::syncfs(file)?)).expect("synced");
    }

    pub fn close(&mut self) {
        self.engine = None;
    }

    pub fn open(&mut self, mode: Mode) {
        self.engine = Some(self.kind.open(&self.directory, self.shape, mode));
    }

    pub fn reopen(&mut self, mode: Mode) {
        self.rest();
        self.close();
        self.open(mode);
    }

    /// What the files occupy.
    pub fn bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let blocks = |file: PathBuf| file.metadata().map_or(0, |metadata| metadata.blocks() * 512);
        files(&self.directory).into_iter().map(blocks).sum()
    }

    /// Bytes of the files, and what they occupy.
    pub fn sizes(&self) -> (u64, u64) {
        let len = |file: PathBuf| file.metadata().map_or(0, |metadata| metadata.len());
        (files(&self.directory).into_iter().map(len).sum(), self.bytes())
    }

    /// Drops the page cache's pages of the files of a store that is closed.
    pub fn forget_pages(&self) {
        assert!(self.engine.is_none(), "pages that are mapped stay");
        self.sync();
        for file in files(&self.directory) {
            let file = File::open(file).expect("readable");
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("dropped");
        }
    }

    pub fn remove(mut self) {
        self.close();
        std::fs::remove_dir_all(&self.directory).expect("removed");
    }
}

/// Another one begins the next round.
pub fn next_first(stores: &mut [Store]) {
    if !stores.is_empty() {
        stores.rotate_left(1);
    }
}

/// All files below a directory. One that goes while we look is none.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
