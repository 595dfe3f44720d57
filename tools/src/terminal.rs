//! What the terminal can show: how wide and high it is, and which colours.

use clap::ValueEnum;
use std::env;
use std::io::{IsTerminal, stdout};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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

/// How many columns the text takes: East Asian letters take two, marks upon letters none.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, and blanks behind it up to so many columns.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{:1$}", "", columns.saturating_sub(width(text)))
}

/// The beginning of the text that takes at most so many columns.
pub fn beginning(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, letter)| {
        taken += letter.width().unwrap_or(0);
        taken > columns
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// The end of the text that takes at most so many columns.
pub fn end(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let begin = text.char_indices().rev().find(|(_, letter)| {
        taken += letter.width().unwrap_or(0);
        taken > columns
    });
    &text[begin.map_or(0, |(at, letter)| at + letter.len_utf8())..]
}

/// Columns and lines of the terminal; 100 × 40 where standard output is none.
pub fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(stdout());
    size.map_or((100, 40), |(columns, lines)| (usize::from(columns.0), usize::from(lines.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_take_two_columns() {
        assert_eq!(["abc", "日本", "e\u{301}", ""].map(width), [3, 4, 1, 0]);
        assert_eq!((padded("日本", 6), padded("日本", 3)), ("日本  ".into(), "日本".into()));
        assert_eq!(
            (beginning("a日本", 3), beginning("a日本", 4), beginning("a日本", 9)),
            ("a日", "a日", "a日本")
        );
        assert_eq!((end("a日本", 4), end("a日本", 3), end("e\u{301}", 1)), ("日本", "本", "e\u{301}"));
    }
}
