//! The line editor of the shell: history, and completion of commands, flags, tables and keys.

use super::{Session, Txn, commands, named, words};
use crate::commands::scan::prefix_end;
use crate::failure::{Failure, Result};
use crate::formats::{Codec, Format};
use crate::store::{State, choose};
use crate::types::{Kind, Type};
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use mapleaf::{Database, TableInfo};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::history::{FileHistory, History};
use rustyline::{ColorMode, CompletionType, Config, Context, Helper, Hinter, Validator};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs;
use std::io::stdout;
use std::mem;
use std::ops::Bound;
use std::path::PathBuf;

/// Most keys that completion offers.
const MOST: usize = 50;

/// Most keys that it looks at, where it cannot search.
const LOOK: usize = 1000;

/// Reads lines from a terminal.
pub struct Editor {
    editor: rustyline::Editor<Words, FileHistory>,
    history: Option<PathBuf>,
}

impl Editor {
    /// With the history of earlier times.
    pub fn new() -> Result<Self> {
        let colors = match AutoStream::choice(&stdout()) {
            ColorChoice::Never => ColorMode::Disabled,
            _ => ColorMode::Enabled,
        };
        let config = Config::builder()
            .max_history_size(10_000)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(unread)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .color_mode(colors)
            .build();
        let mut editor = rustyline::Editor::with_config(config).map_err(unread)?;
        let history = history_file();
        if let Some(path) = &history {
            let _ = editor.load_history(path);
        }
        Ok(Editor { editor, history })
    }

    /// The next line; `None` at the end of the input.
    pub fn line(&mut self, prompt: &str, session: &mut Session) -> Result<Option<String>> {
        // What is completed is looked up in the txn, which is lent meanwhile.
        self.editor.set_helper(Some(Words::of(session)));
        let line = self.read(prompt);
        if let Some(words) = self.editor.helper_mut() {
            session.txn = mem::replace(&mut words.txn, Txn::None);
        }
        line
    }

    fn read(&mut self, prompt: &str) -> Result<Option<String>> {
        loop {
            return match self.editor.readline(prompt) {
                Ok(line) => {
                    let _ = self.editor.add_history_entry(&line);
                    Ok(Some(line))
                }
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => Ok(None),
                Err(error) => Err(unread(error)),
            };
        }
    }
}

impl Drop for Editor {
    /// A history that cannot be kept is no reason to complain.
    fn drop(&mut self) {
        let Some(path) = &self.history else { return };
        if self.editor.history().is_empty() {
            return;
        }
        let _ = path.parent().map(fs::create_dir_all);
        let _ = self.editor.append_history(path);
    }
}

fn unread(error: ReadlineError) -> Failure {
    Failure::elsewhere("the terminal", error.to_string())
}

fn history_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("mapleaf/history"))
}

/// What words can stand where, as far as it can be known before the line is typed; keys are looked up when asked for.
#[derive(Helper, Hinter, Validator)]
pub struct Words {
    commands: clap::Command,
    tables: Vec<TableInfo>,
    current: Option<String>,
    savepoints: Vec<String>,
    snapshots: Vec<String>,
    db: Database,
    txn: Txn,
}

/// From some key to another.
type Stretch = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl Words {
    /// Takes the txn out of the session.
    fn of(session: &mut Session) -> Self {
        let savepoints = match &session.txn {
            Txn::Write(_, savepoints) => savepoints.iter().map(|(name, _)| name.clone()).collect(),
            _ => Vec::new(),
        };
        Words {
            commands: commands(),
            tables: session.known_tables().unwrap_or_default(),
            current: session.table.clone(),
            savepoints,
            snapshots: session.known_snapshots().unwrap_or_default(),
            db: session.db.clone(),
            txn: mem::replace(&mut session.txn, Txn::None),
        }
    }

    /// What can stand in the place of the word `typed`, behind these.
    fn fitting(&self, before: &[String], typed: &str) -> Vec<String> {
        let starting = |words: &mut dyn Iterator<Item = String>| -> Vec<String> {
            words.filter(|word| word.starts_with(typed)).collect()
        };
        let (command, depth) = named(&self.commands, before);
        let (name, args) = before.split_at(depth);
        let name: Vec<&str> = name.iter().map(String::as_str).collect();
        let tables = || starting(&mut self.tables.iter().map(|table| table.name.clone()));
        let parts = |command: &clap::Command| {
            starting(&mut command.get_subcommands().map(|part| part.get_name().into()))
        };
        match (&name[..], args) {
            (_, [.., flag]) if flag == "-s" || flag == "--table" => tables(),
            (["diff" | "watch"], [.., flag]) if flag == "--from" || flag == "--to" => self.snapshots(typed),
            (_, [.., flag]) if flag == "--snapshot" => self.snapshots(typed),
            (["use"] | ["table", "drop" | "rename"], []) => tables(),
            (["snapshot", "drop"], []) if !typed.starts_with('-') => self.snapshots(typed),
            (["rollback" | "release"], []) => starting(&mut self.savepoints.iter().cloned()),
            (["help"], words) => {
                let (command, depth) = named(&self.commands, words);
                if depth == words.len() { parts(command) } else { Vec::new() }
            }
            (["timing"], []) => starting(&mut ["on", "off"].map(String::from).into_iter()),
            (["export"], []) => starting(&mut ["csv", "tsv", "jsonl"].map(String::from).into_iter()),
            (_, []) if command.has_subcommands() => parts(command),
            (_, _) if typed.starts_with('-') => {
                let long = command.get_arguments().filter_map(clap::Arg::get_long);
                starting(&mut long.map(|long| format!("--{long}")))
            }
            (["get" | "put" | "del"], args) if plain(args).is_empty() => self.keys_of(args, typed),
            (["scan"], [.., flag]) if ["--from", "--to", "--prefix"].contains(&flag.as_str()) => {
                self.keys_of(args, typed)
            }
            _ => Vec::new(),
        }
    }

    fn snapshots(&self, typed: &str) -> Vec<String> {
        self.snapshots.iter().filter(|name| name.starts_with(typed)).cloned().collect()
    }

    fn keys_of(&self, args: &[String], typed: &str) -> Vec<String> {
        let asked = args.windows(2).find(|pair| pair[0] == "-s" || pair[0] == "--table");
        let asked = asked.map(|pair| pair[1].as_str()).or(self.current.as_deref());
        let Ok(table) = choose(&self.tables, asked) else { return Vec::new() };
        let found = match &self.txn {
            Txn::Write(txn, _) => keys(State::Write(txn), table, typed),
            Txn::Read(txn) => keys(State::Read(txn), table, typed),
            // No snapshot is held while a person thinks.
            Txn::None => self.db.read(|txn| keys(State::Read(txn), table, typed)),
        };
        found.unwrap_or_default()
    }
}

/// The words that are no flags, nor the table of one.
fn plain(args: &[String]) -> Vec<&String> {
    let is_table = |index: usize| index > 0 && ["-s", "--table"].contains(&args[index - 1].as_str());
    let plain = |(index, word): &(usize, &String)| !word.starts_with('-') && !is_table(*index);
    args.iter().enumerate().filter(plain).map(|(_, word)| word).collect()
}

/// Where keys are whose text begins with what is typed, and how many to look at there.
///
/// Of text the bytes begin with it too; 29 begins 29, 290 to 299, 2900 to 2999 and so on. Of other types the first keys of
/// all are looked through.
fn stretches(codec: &Codec, typed: &str) -> Vec<(Stretch, usize)> {
    let digits = typed.strip_prefix('-').unwrap_or(typed);
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    match codec {
        Codec::Plain | Codec::Typed(Type::Str, _) => {
            let to = prefix_end(typed.as_bytes()).map_or(Bound::Unbounded, Bound::Excluded);
            vec![((Bound::Included(typed.as_bytes().to_vec()), to), MOST)]
        }
        Codec::Typed(Type::Number(Kind::Unsigned | Kind::Signed, _), _) if is_number => {
            let parse = |digit: &str, more: usize| {
                codec.parse(OsStr::new(&format!("{typed}{}", digit.repeat(more)))).ok()
            };
            let (low, high) = if digits == typed { ("0", "9") } else { ("9", "0") };
            let most = if digits.starts_with('0') { 1 } else { 40 };
            let stretch = |more| {
                let (from, to) = (parse(low, more), parse(high, more));
                from.as_ref().or(to.as_ref())?;
                let bound = |key: Option<Vec<u8>>| key.map_or(Bound::Unbounded, Bound::Included);
                Some(((bound(from), bound(to)), MOST))
            };
            (0..most).map_while(stretch).collect()
        }
        _ => vec![((Bound::Unbounded, Bound::Unbounded), LOOK)],
    }
}

/// Keys whose text begins with what is typed.
fn keys(state: State<'_>, table: &TableInfo, typed: &str) -> mapleaf::Result<Vec<String>> {
    let codec = Format::Auto.codec(&table.schema.key_type);
    let mut found: Vec<String> = Vec::new();
    let mut add = |pair: mapleaf::Result<(&[u8], &[u8])>| -> mapleaf::Result<()> {
        let shown =
            codec.text(pair?.0).ok().filter(|shown| shown.starts_with(typed) && found.last() != Some(shown));
        found.extend(shown);
        Ok(())
    };
    for (range, look) in stretches(&codec, typed) {
        match table.schema.multi {
            true => {
                let mut pairs =
                    state.multi(&table.name)?.into_iter().flat_map(|view| view.range(range.clone()));
                pairs.by_ref().take(look).try_for_each(&mut add)?;
            }
            false => {
                let mut pairs =
                    state.table(&table.name)?.into_iter().flat_map(|view| view.range(range.clone()));
                pairs.by_ref().take(look).try_for_each(&mut add)?;
            }
        }
    }
    found.truncate(MOST);
    Ok(found)
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, before, typed) = words::last(line.get(..at).unwrap_or_default());
        let fitting = self.fitting(&before, &typed);
        let only = fitting.len() == 1;
        let pair = |word: String| {
            let quoted = shell_words::quote(&word).into_owned();
            // So that the next word can begin.
            Pair { replacement: if only { format!("{quoted} ") } else { quoted }, display: word }
        };
        Ok((start, fitting.into_iter().map(pair).collect()))
    }
}

impl Highlighter for Words {
    /// Bold, and while a txn that writes is under way in a colour that can be read on any ground.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        let style = match prompt.trim_end() {
            writes if writes.ends_with("*>") => AnsiColor::Magenta.on_default().bold(),
            _ => Style::new().bold(),
        };
        format!("{style}{prompt}{style:#}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapleaf::{Database, Table};

    #[test]
    fn numbers_are_found_by_their_first_digits_wherever_they_are() {
        let db = Database::in_memory().unwrap();
        db.write(|w| {
            (0..30_000u64)
                .step_by(10)
                .try_for_each(|i| w.put(Table::<u64, u8>::new("u"), &i, &1).map(drop))?;
            (-3000..3000i16).try_for_each(|i| w.put(Table::<i16, u8>::new("i"), &i, &1).map(drop))
        })
        .unwrap();
        let r = db.begin_read().unwrap();
        let tables = r.tables().unwrap();
        let found = |name: &str, typed: &str| {
            let table = tables.iter().find(|table| table.name == name).unwrap();
            keys(State::Read(&r), table, typed).unwrap().join(" ")
        };
        assert_eq!(found("u", "2999"), "29990");
        assert_eq!(found("u", "299"), "2990 29900 29910 29920 29930 29940 29950 29960 29970 29980 29990");
        assert_eq!((found("u", "0"), found("u", "7777")), ("0".into(), String::new()));
        assert_eq!(found("i", "299"), "299 2990 2991 2992 2993 2994 2995 2996 2997 2998 2999");
        assert_eq!(found("i", "-299"), "-299 -2999 -2998 -2997 -2996 -2995 -2994 -2993 -2992 -2991 -2990");
    }
}
