//! A new store that has its name when it is whole, closed and on the disk, and not before.
//!
//! Owns: [`Unfinished`]. Promises: nothing is left of what is not finished, unless the process is killed: then a file
//! `….unfinished`. Leaves to others: what is put into it.

use crate::create::directory_of;
use crate::database::{Database, Options};
use crate::error::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The new store under its first name; nothing is left of it unless it is finished.
pub struct Unfinished {
    db: Option<Database>,
    path: PathBuf,
    output: PathBuf,
}

impl Unfinished {
    /// An empty store, for a path where there is nothing.
    ///
    /// # Errors
    /// `InvalidArgument` where there is something; `Io`.
    pub fn new(output: &Path, page_size: usize) -> Result<Self> {
        let path = with_suffix(output, ".unfinished");
        for path in [output, &path] {
            if path.symlink_metadata().is_ok() {
                let what = format!("{} exists already; remove it, or choose another name", path.display());
                return Err(Error::invalid(what));
            }
        }
        // Before it is there, so that nothing is left where creating it fails half-way.
        let mut new = Unfinished { db: None, path, output: output.to_owned() };
        new.db = Some(Options::new().page_size(page_size).create_at(&new.path)?);
        Ok(new)
    }

    /// The store.
    pub fn db(&self) -> &Database {
        self.db.as_ref().expect("until it is finished")
    }

    /// Closes it, and gives it its name.
    ///
    /// # Errors
    /// `Io`; nothing is left then.
    pub fn finish(mut self) -> Result<()> {
        self.db.take().expect("finished once").close()?;
        let directory = directory_of(&self.output);
        let cwd = rustix::fs::CWD;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let renamed = rustix::fs::renameat_with(cwd, &self.path, cwd, &self.output, flags).or_else(|error| {
            // A file system that cannot promise it.
            match error {
                rustix::io::Errno::INVAL => rustix::fs::rename(&self.path, &self.output),
                other => Err(other),
            }
        });
        let synced = renamed.map_err(std::io::Error::from).and_then(|()| File::open(directory)?.sync_all());
        synced.map_err(|error| Error::io(format!("name {}", self.output.display()), error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.db = None;
        // Where it was finished only the lock file is left.
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(with_suffix(&self.path, "-lock"));
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
