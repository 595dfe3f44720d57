//! A file that has its name when it is whole and on the disk, and not before.
//!
//! Owns: [`NewFile`]. Promises: whatever stands under the name stays there, whole, until what was written
//! anew takes its place in one step; a process that is killed leaves nothing behind where the file system has
//! files without a name (O_TMPFILE), elsewhere perhaps a file `.mapleaf-…` beside it. Leaves to others: what
//! is in it.

use crate::create::directory_of;
use crate::disk::within_limit;
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that is being written.
pub struct NewFile {
    file: File,
    /// The name that it is to have.
    path: PathBuf,
    /// The name that it has until then, if it has one.
    staged: Option<PathBuf>,
    len: u64,
}

impl NewFile {
    /// An empty file in the directory of `path`.
    ///
    /// # Errors
    /// `Io`.
    pub fn beside(path: &Path) -> Result<Self> {
        let can_be_named = Path::new("/proc/self/fd").exists();
        let unnamed = how().custom_flags(libc::O_TMPFILE).open(directory_of(path));
        match unnamed {
            Ok(file) if can_be_named => Ok(NewFile { file, path: path.to_owned(), staged: None, len: 0 }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(not_created(path, error)),
            _ => NewFile::staged(path),
        }
    }

    /// The same where there are no files without a name.
    fn staged(path: &Path) -> Result<Self> {
        let staged = staging_name(path).map_err(|error| not_created(path, error))?;
        let file = how().create_new(true).open(&staged).map_err(|error| not_created(path, error))?;
        Ok(NewFile { file, path: path.to_owned(), staged: Some(staged), len: 0 })
    }

    /// What is written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Flushes it, and gives it its name: that of a file that is there already only where it may replace it.
    ///
    /// # Errors
    /// `InvalidArgument` where it may not; `Io`. Nothing was replaced then.
    pub fn finish(mut self, replace: bool) -> Result<()> {
        let fail = |path: &Path, error| Error::io(format!("name {}", path.display()), error);
        self.file.sync_all().map_err(|error| Error::io(format!("flush {}", self.path.display()), error))?;
        let named = match (self.staged.is_some(), replace) {
            (true, true) => self.rename(RenameFlags::empty()),
            (true, false) => self.rename(RenameFlags::NOREPLACE).or_else(|error| match error {
                // A file system that cannot promise it.
                Errno::INVAL => self.rename(RenameFlags::empty()),
                other => Err(other),
            }),
            (false, false) => self.link(&self.path),
            (false, true) => self.replace(),
        };
        match named {
            Ok(()) => self.staged = None,
            Err(Errno::EXIST) => return Err(exists(&self.path)),
            Err(error) => return Err(fail(&self.path, error.into())),
        }
        let synced = File::open(directory_of(&self.path)).and_then(|directory| directory.sync_all());
        synced.map_err(|error| fail(&self.path, error))
    }

    fn link(&self, path: &Path) -> Result<(), Errno> {
        let source = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        rustix::fs::linkat(CWD, &source, CWD, path, AtFlags::SYMLINK_FOLLOW)
    }

    /// A file without a name gets one of its own first: only a rename replaces another.
    fn replace(&mut self) -> Result<(), Errno> {
        match self.link(&self.path) {
            Err(Errno::EXIST) => {}
            other => return other,
        }
        let staged = staging_name(&self.path).map_err(|_| Errno::IO)?;
        self.link(&staged)?;
        self.staged = Some(staged);
        self.rename(RenameFlags::empty())
    }

    fn rename(&self, flags: RenameFlags) -> Result<(), Errno> {
        let staged = self.staged.as_ref().expect("it has a name");
        match flags.is_empty() {
            true => rustix::fs::rename(staged, &self.path),
            false => rustix::fs::renameat_with(CWD, staged, CWD, &self.path, flags),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The system answers with a signal.
        within_limit(self.len + bytes.len() as u64)?;
        let written = self.file.write_at(bytes, self.len)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let _ = self.staged.as_ref().map(std::fs::remove_file);
    }
}

fn how() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o666);
    options
}

fn not_created(path: &Path, error: io::Error) -> Error {
    Error::io(format!("create {}", path.display()), error)
}

/// The error for a name that is taken.
pub fn exists(path: &Path) -> Error {
    Error::invalid(format!("{} exists already; remove it, or choose another name", path.display()))
}

/// A name in the same directory that nothing has.
fn staging_name(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    rustix::io::retry_on_intr(|| getrandom(&mut random, GetRandomFlags::empty()))?;
    Ok(directory_of(path).join(format!(".mapleaf-{:016x}", u64::from_ne_bytes(random))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// With and without a name until then.
    const KINDS: [fn(&Path) -> Result<NewFile>; 2] = [NewFile::beside, NewFile::staged];

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_has_its_name_when_it_is_finished_and_not_before() {
        for begin in KINDS {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("new");
            let mut new = begin(&path).unwrap();
            new.write_all(b"one").unwrap();
            assert!(!path.exists());
            new.finish(false).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one");
            let mut new = begin(&path).unwrap();
            new.write_all(b"two").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one");
            new.finish(true).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"two");
            let mut new = begin(&path).unwrap();
            new.write_all(b"three").unwrap();
            assert!(matches!(new.finish(false), Err(Error::InvalidArgument { .. })));
            drop(begin(&path).unwrap());
            assert_eq!(
                (fs::read(&path).unwrap(), names(directory.path())),
                (b"two".to_vec(), vec!["new".into()])
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_named_is_an_error_and_leaves_nothing() {
        for begin in KINDS {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("new");
            let new = begin(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert!(new.finish(true).is_err());
            assert_eq!(names(directory.path()), ["new"]);
            assert!(begin(&directory.path().join("no/where")).is_err());
        }
    }
}
