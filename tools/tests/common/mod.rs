//! Running the built tool, and other programs, in a directory of their own.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod mounts;
pub mod screen;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What a program did.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

impl Run {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// Standard output as one JSON document.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, which must have ended with exit code 0 and nothing on standard error.
    #[track_caller]
    pub fn fine(self) -> Self {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", String::from_utf8_lossy(&self.out));
        self
    }

    /// The same, which must have ended with this exit code and said something that holds all of this.
    #[track_caller]
    pub fn fails(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(said.is_empty() || self.err.starts_with("mapleaf: "), "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        for part in said {
            assert!(self.err.contains(part), "{part:?} is not in {:?}", self.err);
        }
        self
    }
}

/// A directory in which programs are run.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    /// A directory below this one.
    pub fn below(path: &Path) -> Self {
        Place { dir: tempfile::tempdir_in(path).unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// `in.redb` and `in.sqlite`, each with one record, where this build reads them.
    pub fn write_foreign(&self) {
        #[cfg(feature = "redb")]
        {
            let db = redb::Database::create(self.path("in.redb")).unwrap();
            let txn = db.begin_write().unwrap();
            let table: redb::TableDefinition<'_, u64, &str> = redb::TableDefinition::new("old");
            txn.open_table(table).unwrap().insert(1, "one").unwrap();
            txn.commit().unwrap();
        }
        #[cfg(feature = "sqlite")]
        {
            let rows =
                "create table rows (id integer primary key, name text); insert into rows values (1, 'one');";
            rusqlite::Connection::open(self.path("in.sqlite")).unwrap().execute_batch(rows).unwrap();
        }
    }

    /// The names of all files.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The subcommands of a command, as its help lists them between its use and its arguments.
    pub fn listed(&self, args: &[&str]) -> Vec<String> {
        let help = self.run([args, &["--help"]].concat()).fine();
        let lines = help.text().lines().skip_while(|line| !line.starts_with("Usage:")).skip(1);
        let lines = lines.take_while(|line| !["Arguments:", "Options:"].contains(line));
        let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
        let names = names.map(|line| line.split_whitespace().next().unwrap().to_owned());
        names.filter(|name| name != "help").collect()
    }

    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env("LC_ALL", "C");
        // What colours go by besides the terminal.
        ["CI", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "NO_COLOR"].iter().for_each(|name| {
            command.env_remove(name);
        });
        command
    }

    /// Runs the tool without input.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        self.feed(args, b"")
    }

    /// Runs the tool with this input.
    pub fn feed<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, input: &[u8]) -> Run {
        self.feed_program(env!("CARGO_BIN_EXE_mapleaf"), args, input)
    }

    /// Runs another program with this input.
    pub fn feed_program<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Run {
        let mut command = self.command(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program that stops early closes its input; that is not this thread's concern.
        let feeder = std::thread::spawn(move || stdin.write_all(&input).is_ok());
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Run {
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
