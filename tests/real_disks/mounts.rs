//! Mounted file systems, and images of what a power cut would leave of them.
//!
//! Everything is mounted in a mount namespace of one process: when it ends, however it ends, the kernel unmounts
//! all of it and gives the loop devices back.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const INSIDE: &str = "MAPLEAF_OWN_MOUNTS";
/// So long a test may take before it counts as hanging, for each round that is asked for.
const PATIENCE: Duration = Duration::from_secs(240);
pub const BLOCK: usize = 4096;

/// Why something cannot be tried here.
pub type Skip<T> = Result<T, String>;

/// Runs the test of this name again in a process with mounts of its own, and `work` there, in an empty directory.
pub fn in_own_mounts(test: &str, work: impl FnOnce(&Path) -> Skip<()>) {
    if let Some(directory) = std::env::var_os(INSIDE) {
        if let Err(reason) = work(Path::new(&directory)) {
            println!("skipped: {reason}");
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let work = make_directory(directory.path().join("work"));
    let output_path = directory.path().join("output");
    let output = File::create(&output_path).unwrap();
    let child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, &work)
        .stdin(Stdio::null())
        .stderr(output.try_clone().unwrap())
        .stdout(output)
        .spawn();
    let Ok(mut child) = child else {
        return println!("skipped: there is no program unshare");
    };
    let (start, patience) = (Instant::now(), PATIENCE * (1 + super::rounds(0) as u32 / 4));
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if start.elapsed() > patience => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let text = String::from_utf8_lossy(&std::fs::read(&output_path).unwrap()).into_owned();
    match status {
        None => panic!("it hangs:\n{text}"),
        Some(status) if status.success() => {
            assert!(text.contains("1 passed"), "there is no test {test}:\n{text}");
            for line in text.lines().filter(|line| said(line)) {
                println!("{line}");
            }
        }
        Some(_) if text.contains("unshare failed") => println!("skipped: {text}"),
        Some(status) => panic!("{status}:\n{text}"),
    }
}

/// What the harness does not say by itself.
fn said(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("test ") && !line.starts_with("running 1 test")
}

/// Runs a program; says why it cannot be.
pub fn run(program: &str, arguments: &[&str]) -> Skip<()> {
    let ended = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    match ended {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn make_directory(path: PathBuf) -> PathBuf {
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A file system that lives on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    /// Bytes of a small disk for it.
    pub fn small(self) -> u64 {
        match self {
            Kind::Ext4 => 64 << 20,
            Kind::Xfs => 304 << 20,
            Kind::Btrfs => 256 << 20,
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }

    /// Makes the file system in a file, which keeps the blocks that it has.
    pub fn make(self, image: &Path) -> Skip<()> {
        match self {
            Kind::Ext4 => {
                let lazy = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
                run("mkfs.ext4", &["-q", "-F", "-m", "0", "-b", "4096", "-E", lazy, text(image)])
            }
            Kind::Xfs => run("mkfs.xfs", &["-q", "-f", "-K", text(image)]),
            Kind::Btrfs => {
                run("mkfs.btrfs", &["-q", "-f", "-K", "-m", "single", "-d", "single", text(image)])
            }
        }
    }

    /// Mounts the image, also where it is a copy of one that was mounted.
    pub fn mount(self, image: &Path, at: PathBuf) -> Skip<Mounted> {
        self.mount_with(image, "rw", at)
    }

    pub fn mount_with(self, image: &Path, more: &str, at: PathBuf) -> Skip<Mounted> {
        let usual = match self {
            Kind::Ext4 => "loop",
            Kind::Xfs => "loop,nouuid",
            Kind::Btrfs => "loop,nodiscard",
        };
        let options = &format!("{usual},{more}");
        make_directory(at.clone());
        run("mount", &["-t", self.type_name(), "-o", options, text(image), text(&at)])?;
        Ok(Mounted { at })
    }

    /// A new file system on a sparse file of so many bytes.
    pub fn fresh(self, image: &Path, len: u64, at: PathBuf) -> Skip<Mounted> {
        File::create(image).unwrap().set_len(len).unwrap();
        self.make(image)?;
        self.mount(image, at)
    }
}

/// A file system in memory of so many bytes.
pub fn tmpfs(len: u64, at: PathBuf) -> Skip<Mounted> {
    make_directory(at.clone());
    run("mount", &["-t", "tmpfs", "-o", &format!("size={len}"), "none", text(&at)])?;
    Ok(Mounted { at })
}

/// What is mounted, until this is dropped.
#[derive(Debug)]
pub struct Mounted {
    pub at: PathBuf,
}

impl Mounted {
    pub fn join(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// Bytes that can still be written to files.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.at).unwrap();
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if run("umount", &[text(&self.at)]).is_err() {
            let _ = run("umount", &["-l", text(&self.at)]);
        }
    }
}

/// Copies an image as it is now, at one moment: what is only in the caches of the file system on it is not there. This is
/// what a power cut leaves of a disk without a cache of its own.
pub fn power_cut(image: &Path, copy: &Path) {
    for _ in 0..50 {
        copy_once(image, copy);
        // What was the same before and behind the copy of all of it was so at one moment in between.
        if is_same(image, copy) {
            return;
        }
    }
    panic!("{} does not come to rest", image.display());
}

fn copy_once(from: &Path, to: &Path) {
    let (from, to) = (File::open(from).unwrap(), File::create(to).unwrap());
    to.set_len(from.metadata().unwrap().len()).unwrap();
    for_data(&from, |offset, bytes| to.write_all_at(bytes, offset).unwrap());
}

fn is_same(one: &Path, other: &Path) -> bool {
    let (one, other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let (mut buffer, mut is_same) = (Vec::new(), true);
    for_data(&one, |offset, bytes| {
        buffer.resize(bytes.len(), 0);
        other.read_exact_at(&mut buffer, offset).unwrap();
        is_same &= buffer == bytes;
    });
    // Blocks do not become holes.
    is_same
}

/// Goes over all of a file that is not a hole.
pub fn for_data(file: &File, mut each: impl FnMut(u64, &[u8])) {
    let len = file.metadata().unwrap().len();
    let (mut buffer, mut offset) = (vec![0; 1 << 20], 0);
    while let Ok(start) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start)).unwrap_or(len);
        offset = start;
        while offset < end {
            let part = &mut buffer[..(end - offset).min(1 << 20) as usize];
            file.read_exact_at(part, offset).unwrap();
            each(offset, part);
            offset += part.len() as u64;
        }
    }
}

/// A file of a stranger, which takes up space.
#[derive(Debug)]
pub struct Foreign {
    path: PathBuf,
    file: File,
}

impl Foreign {
    pub fn create(path: PathBuf) -> Self {
        let file = File::create(&path).unwrap();
        Foreign { path, file }
    }

    /// Writes until there is no more space, in smaller and smaller pieces.
    pub fn fill(&mut self) {
        self.file.seek(std::io::SeekFrom::End(0)).unwrap();
        for piece in [1 << 20, 64 << 10, BLOCK, 512] {
            let bytes = vec![0x5f; piece];
            while self.file.write_all(&bytes).is_ok() {}
        }
        let _ = self.file.sync_all();
    }

    /// Writes until only so many bytes are left.
    pub fn fill_but(&mut self, on: &Mounted, left: u64) {
        self.file.seek(std::io::SeekFrom::End(0)).unwrap();
        let bytes = vec![0x5f; 1 << 20];
        loop {
            let _ = self.file.sync_all();
            let more = on.free().saturating_sub(left).min(32 << 20);
            if more < 1 << 20 {
                return;
            }
            for _ in 0..more >> 20 {
                if self.file.write_all(&bytes).is_err() {
                    return;
                }
            }
        }
    }

    /// Gives all of it back.
    pub fn remove(self) {
        std::fs::remove_file(&self.path).unwrap();
        drop(self.file);
    }
}
