//! How a command ends, and what it says when it cannot go on.
//!
//! Owns: the exit codes. 0: done. 1: a problem was found: no such key, table or file, damage, bad input, no room. 2: wrong use: the
//! command line is wrong whatever the file holds (clap ends with the same code for what it finds itself). Promises: a closed
//! output, as of `mapleaf scan … | head`, is no problem and says nothing.

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use std::io;
use std::ops::Add;
use std::path::Path;
use std::process::ExitCode;

/// How a command ended that could do its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nothing to complain about.
    Fine,
    /// It did what it was asked, and found a problem that it has told already.
    Problem,
}

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// Nobody reads the output any more.
    OutputClosed,
    /// The command line is wrong.
    Usage(String),
    /// A key or value on it is none of its table's type, which the message names.
    Mistyped(String),
    /// Something is wrong with the store, with its input, or with the system.
    Problem {
        /// What it happened to, where it is not the store.
        place: Option<String>,
        /// What, and what to do next.
        message: String,
    },
}

/// The result of everything here.
pub type Result<T = Outcome, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A problem with the store.
    pub fn problem(message: impl Into<String>) -> Self {
        Failure::Problem { place: None, message: message.into() }
    }

    /// A problem with something else.
    pub fn elsewhere(place: impl Into<String>, message: impl Into<String>) -> Self {
        Failure::Problem { place: Some(place.into()), message: message.into() }
    }

    /// Something else cannot be read.
    pub fn unread(what: impl Into<String>, error: &io::Error) -> Self {
        Failure::elsewhere(what, format!("cannot read: {error}"))
    }

    /// The same, of this where it names no place.
    pub fn of(self, what: &str) -> Self {
        match self {
            Failure::Problem { place: None, message } => Failure::elsewhere(what, message),
            other => other,
        }
    }

    /// The same with something added at its end.
    pub fn and(self, more: &str) -> Self {
        match self {
            Failure::Problem { place, message } => {
                Failure::Problem { place, message: format!("{message}; {more}") }
            }
            other => other,
        }
    }

    /// What is wrong, in words.
    pub fn message(&self) -> String {
        match self {
            Failure::OutputClosed => "nobody reads the output any more".into(),
            Failure::Usage(message) | Failure::Mistyped(message) | Failure::Problem { message, .. } => {
                message.clone()
            }
        }
    }

    /// Tells the user and gives the exit code.
    pub fn report(&self, store: Option<&Path>) -> ExitCode {
        match self {
            Failure::OutputClosed => ExitCode::SUCCESS,
            Failure::Usage(message) => {
                tell(&format!("{message}; \"mapleaf --help\" shows the use"));
                ExitCode::from(2)
            }
            Failure::Mistyped(message) => {
                tell(message);
                ExitCode::from(2)
            }
            Failure::Problem { place, message } => {
                let place = place.clone().or_else(|| store.map(|store| store.display().to_string()));
                tell(&place.map(|place| format!("{place}: ")).unwrap_or_default().add(message));
                ExitCode::from(1)
            }
        }
    }
}

/// What clap found: the help that was asked for, or wrong use, which is told with how it is used.
pub fn misused(wrong: &clap::Error) -> ExitCode {
    if !wrong.use_stderr() {
        // Nobody may read it any more.
        let _ = wrong.print();
        return ExitCode::SUCCESS;
    }
    let said = wrong.render().ansi().to_string().replacen("error:", "mapleaf:", 1);
    let _ = io::Write::write_all(&mut anstream::stderr(), said.as_bytes());
    ExitCode::from(2)
}

/// A line on standard error, where that takes colours with a red name in front. That it cannot be written is nothing to fail for.
pub fn tell(message: &str) {
    let takes_colors = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let style = if takes_colors { AnsiColor::Red.on_default().bold() } else { Style::new() };
    let _ =
        io::Write::write_all(&mut io::stderr(), format!("{style}mapleaf:{style:#} {message}\n").as_bytes());
}

/// An error with a file of its own says so.
impl From<mapleaf::Error> for Failure {
    fn from(error: mapleaf::Error) -> Self {
        match error {
            mapleaf::Error::Io { context, source } => Failure::problem(format!("cannot {context}: {source}")),
            mapleaf::Error::Backup { name, detail } => Failure::elsewhere(name, detail),
            other => Failure::problem(other.to_string()),
        }
    }
}

/// Errors of writing to standard output; all other input and output names its place.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::elsewhere("standard output", format!("cannot write: {error}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Failure::from(io::Error::from(error))
    }
}
