//! What the terminal can show: how wide and high it is, and which colours.

use clap::ValueEnum;
use std::env;
use std::io::{IsTerminal, stdout};

/// `--color WHEN`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// As if on a terminal that has all colours
    Always,
    /// Letters alone
    Never,
}

/// Which colours there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colors {
    /// None.
    No,
    /// The 256 that most terminals have.
    Few,
    /// All of them.
    All,
}

impl Colors {
    /// Those of standard output.
    pub fn of_output(when: When) -> Self {
        let is = |name: &str, wanted: fn(&str) -> bool| env::var(name).is_ok_and(|value| wanted(&value));
        match when {
            When::Always => Colors::All,
            When::Never => Colors::No,
            // As https://no-color.org asks.
            When::Auto if is("NO_COLOR", |value| !value.is_empty()) => Colors::No,
            When::Auto if !stdout().is_terminal() || is("TERM", |value| value == "dumb") => Colors::No,
            When::Auto if is("COLORTERM", |value| value == "truecolor" || value == "24bit") => Colors::All,
            When::Auto => Colors::Few,
        }
    }
}

/// Columns and lines of the terminal; 100 × 40 where standard output is none.
pub fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(stdout());
    size.map_or((100, 40), |(columns, lines)| (usize::from(columns.0), usize::from(lines.0)))
}
