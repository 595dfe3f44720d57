//! `mapleaf shell`: a store, line by line.
//!
//! Owns: the lines and what they do, and the txn that a line may begin. Promises: outside of a txn each line that changes
//! something is a txn of its own; a txn that is not committed when the input ends is rolled back, and that is a problem; input
//! that is no terminal stops at its first error. Leaves to others: the line editor and completion ([`complete`]), and what
//! get, put, del and scan do, which are those of the command line.

mod complete;

use super::{del, get, put, scan, tables};
use crate::cli::{Cli, JsonArg, LogArg, TurnArg, order};
use crate::failure::{Failure, Outcome, Result, tell};
use crate::output::{Output, captured, print};
use crate::store::{State, open_to_read, open_to_write, shown};
use clap::{CommandFactory, Parser, Subcommand};
use complete::Editor;
use mapleaf::{Database, Error, ReadTxn, Savepoint, TableInfo, WriteTxn};
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, BufRead, BufWriter, IsTerminal, Write, stdin, stdout};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The arguments of shell.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "\"help\" lists the commands, \"help COMMAND\" tells more; Tab completes commands, tables and keys. Words are separated and quoted as in a POSIX shell; what follows # is passed over. Lines are kept in mapleaf/history below $XDG_STATE_HOME (~/.local/state), for its owner only.\n\nOutput that is longer than the screen goes through $PAGER, by default \"less -FRX\".\n\nWhere standard input is no terminal its lines are executed, up to the first that fails; exit code 1 then. With --json each line that is a command is answered by one line, {\"line\": …, \"command\": …, \"result\": …}: the result is what the command prints with --json, of scan and diff a list, null where it prints nothing; with \"timing on\" it has \"milliseconds\" too. So a program can hold a store open, and a txn, and talk with it through two pipes.\n\nExamples:\n  mapleaf shell app.maple\n  printf 'begin\\ndel -s users 7\\nput -s log 1 \"7 is gone\"\\ncommit\\n' | mapleaf shell app.maple\n  mapleaf shell --read-only app.maple < questions\n  printf 'tables\nscan --limit 2\n' | mapleaf shell --json app.maple | jq .result"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// Change nothing
    #[arg(long, conflicts_with = "create")]
    read_only: bool,
    /// Make the store if it is not there
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    turn: TurnArg,
    /// Answer each line with one line of JSON: {"line": …, "command": …, "result": …}
    #[arg(long, display_order = order::JSON)]
    json: bool,
}

/// A line.
#[derive(Debug, Parser)]
#[command(multicall = true, disable_help_subcommand = true, max_term_width = 110)]
struct Line {
    #[command(subcommand)]
    command: Step,
}

#[derive(Debug, Subcommand)]
#[command(help_template = "{subcommands}")]
enum Step {
    /// Print the value at a key
    Get(get::What),
    /// Put a value at a key
    Put(put::What),
    /// Delete a key and its value
    Del(del::What),
    /// Print the pairs of a range of keys, in order
    Scan(scan::What),
    /// List the tables
    Tables(JsonArg),
    /// Take this table where a command names none; without one, forget it
    Use {
        /// The table
        table: Option<String>,
    },
    /// Make a table
    Create {
        /// Its name
        table: String,
        /// The type of its keys, such as u64, str, '(str,u64)'
        #[arg(default_value = "bytes")]
        key_type: String,
        /// The type of its values
        #[arg(default_value = "bytes")]
        value_type: String,
        /// A key has several values
        #[arg(long)]
        multi: bool,
    },
    /// Drop a table with all that is in it
    Drop {
        /// Its name
        table: String,
    },
    /// Give a table another name
    Rename {
        /// Its name
        table: String,
        /// The new one
        to: String,
    },
    /// Begin a txn: what follows is committed together, and read as it is then
    Begin {
        /// Only hold a snapshot, which nobody waits for
        #[arg(long)]
        read: bool,
    },
    /// Commit the txn
    Commit,
    /// Undo the txn
    Abort,
    /// Mark a point in the txn
    Savepoint {
        /// Its name
        name: String,
    },
    /// Undo what was done since a savepoint, which stays
    Rollback {
        /// Its name
        name: String,
    },
    /// Forget a savepoint, and what it keeps in memory
    Release {
        /// Its name
        name: String,
    },
    /// Keep the state under a name, as mapleaf snapshot create does
    Snapshot {
        /// The name
        name: String,
    },
    /// Print how long each line takes
    Timing {
        /// on or off; by default the other one
        #[arg(value_parser = ["on", "off"])]
        to: Option<String>,
    },
    /// mapleaf stat
    #[command(disable_help_flag = true)]
    Stat(Words),
    /// mapleaf verify
    #[command(disable_help_flag = true)]
    Verify(Words),
    /// mapleaf readers
    #[command(disable_help_flag = true)]
    Readers(Words),
    /// mapleaf page
    #[command(disable_help_flag = true)]
    Page(Words),
    /// mapleaf diff
    #[command(disable_help_flag = true)]
    Diff(Words),
    /// mapleaf dump
    #[command(disable_help_flag = true)]
    Dump(Words),
    /// Print what commands there are, or what one does
    Help {
        /// The command
        command: Option<String>,
    },
    /// Leave (Ctrl-D does it too)
    #[command(alias = "exit")]
    Quit,
}

/// The words of a command of the tool, without the store.
#[derive(Debug, clap::Args)]
struct Words {
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    End,
}

/// The txn that is under way.
#[expect(clippy::large_enum_variant, reason = "there is only one")]
enum Txn {
    None,
    Read(ReadTxn),
    Write(WriteTxn, Vec<(String, Savepoint)>),
}

/// What the lines work on.
struct Session {
    file: PathBuf,
    db: Database,
    txn: Txn,
    table: Option<String>,
    timing: bool,
    /// How long others are waited for.
    turn: TurnArg,
    /// Whether answers are JSON.
    json: bool,
    /// The number of the line.
    number: u64,
    /// Whether someone looks at a screen.
    is_screen: bool,
    /// Whether a command found a problem, which it has told.
    found_problem: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    if args.log.ignore_log && !args.read_only {
        return Err(Failure::Usage("--ignore-log goes with --read-only".into()));
    }
    let db = match args.read_only {
        true => open_to_read(&args.file, args.log)?,
        false => open_to_write(&args.file, args.create, None)?,
    };
    let mut session = Session {
        file: args.file.clone(),
        db,
        txn: Txn::None,
        table: None,
        timing: false,
        turn: args.turn,
        json: args.json,
        number: 0,
        is_screen: stdin().is_terminal() && stdout().is_terminal(),
        found_problem: false,
    };
    let outcome = match session.is_screen {
        true => session.talk()?,
        false => session.script()?,
    };
    session.db.close()?;
    Ok(outcome)
}

impl Session {
    /// With a person.
    fn talk(&mut self) -> Result {
        let mut editor = Editor::new()?;
        crate::output::print_line(&format!(
            "{}: {} tables. \"help\" lists the commands, Tab completes.",
            self.file.display(),
            self.db.begin_read()?.tables()?.len()
        ))?;
        while let Some(line) = editor.line(&self.prompt(), self)? {
            match self.line(&line) {
                Ok(Next::Line) => {}
                Ok(Next::End) => break,
                Err(failure) => complain(&failure, None),
            }
        }
        if let Txn::Write(..) = self.txn {
            tell("the txn was not committed, so it is undone");
        }
        Ok(Outcome::Fine)
    }

    /// With a file or a program.
    fn script(&mut self) -> Result {
        let mut begun = 0_u64;
        for line in stdin().lock().lines() {
            let number = self.number + 1;
            let line = line
                .map_err(|error| Failure::elsewhere("standard input", format!("line {number}: {error}")))?;
            let was_idle = matches!(self.txn, Txn::None);
            match self.line(&line) {
                Ok(_) if self.found_problem => return Ok(Outcome::Problem),
                Ok(Next::Line) => {}
                Ok(Next::End) => break,
                Err(Failure::OutputClosed) => return Err(Failure::OutputClosed),
                Err(failure) => {
                    complain(&failure, Some(number));
                    return Ok(Outcome::Problem);
                }
            }
            if was_idle {
                begun = number;
            }
        }
        if let Txn::Write(..) = self.txn {
            tell(&format!("line {begun}: the txn that begins here is not committed, so it is undone"));
            return Ok(Outcome::Problem);
        }
        Ok(Outcome::Fine)
    }

    fn prompt(&self) -> String {
        let sign = match self.txn {
            Txn::None => ">",
            Txn::Read(_) => "=>",
            Txn::Write(..) => "*>",
        };
        format!("{}{sign} ", self.table.as_deref().unwrap_or("mapleaf"))
    }

    /// Does what a line says.
    fn line(&mut self, line: &str) -> Result<Next> {
        self.number += 1;
        let mut words = shell_words::split(line).map_err(|wrong| Failure::Usage(wrong.to_string()))?;
        if words.is_empty() {
            return Ok(Next::Line);
        }
        if !self.json {
            return self.execute(&words);
        }
        if takes_json(&words[0]) {
            words.insert(1, "--json".into());
        }
        let begin = Instant::now();
        let (next, said) = captured(|| self.execute(&words));
        let next = next?;
        if next == Next::Line {
            let milliseconds = self.timing.then(|| begin.elapsed().as_secs_f64() * 1e3);
            let result = result_of(&words[0], &said);
            let answer = Answer { line: self.number, command: &words[0], result, milliseconds };
            print(|output| {
                serde_json::to_writer(&mut *output, &answer)?;
                Ok(writeln!(output)?)
            })?;
        }
        Ok(next)
    }

    fn execute(&mut self, words: &[String]) -> Result<Next> {
        let step = match Line::try_parse_from(words) {
            Ok(line) => line.command,
            Err(told) if !told.use_stderr() => {
                self.show(|output| Ok(write!(output, "{}", told.render())?))?;
                return Ok(Next::Line);
            }
            Err(wrong) => return Err(Failure::Usage(spoken(&wrong))),
        };
        let begin = Instant::now();
        let next = self.step(step, words)?;
        if self.timing && !self.json && next == Next::Line {
            print(|output| Ok(writeln!(output, "({:.3} ms)", begin.elapsed().as_secs_f64() * 1e3)?))?;
        }
        Ok(next)
    }

    fn step(&mut self, step: Step, words: &[String]) -> Result<Next> {
        let usual = self.table.clone();
        let usual = usual.as_deref();
        match step {
            Step::Get(what) => self.read(|state, output| what.print(state, usual, output))?,
            Step::Scan(what) => self.read(|state, output| what.print(state, usual, output))?,
            Step::Tables(json) => {
                self.read(|state, output| tables::print_tables(&state.tables()?, json.json, output))?
            }
            Step::Put(what) => {
                if what.is_from_stdin() {
                    return Err(Failure::Usage("the lines come from standard input; name a file".into()));
                }
                let from_file = what.bytes_from_a_file()?;
                let put = self.write(|txn| what.put(txn, usual, from_file.as_deref()))?;
                print(|output| what.print(&put, output))?;
            }
            Step::Del(what) => {
                let table = self.write(|txn| what.delete(txn, usual))?;
                print(|output| what.print(&table, output))?;
            }
            Step::Use { table } => self.choose(table)?,
            Step::Create { table, key_type, value_type, multi } => {
                let schema = super::import::schema_of(&key_type, &value_type, multi)?;
                self.write(|txn| Ok(txn.create_table(&table, &schema)?))?;
            }
            Step::Drop { table } => {
                let there = self.write(|txn| Ok(txn.drop_table(&table)?))?;
                if !there {
                    return Err(Error::TableNotFound { table }.into());
                }
            }
            Step::Rename { table, to } => self.write(|txn| Ok(txn.rename_table(&table, &to)?))?,
            Step::Begin { read } => self.begin(read)?,
            Step::Commit => self.end(true)?,
            Step::Abort => self.end(false)?,
            Step::Savepoint { name } => {
                let (txn, savepoints) = self.in_write()?;
                let savepoint = txn.savepoint();
                savepoints.push((name, savepoint));
            }
            Step::Rollback { name } => {
                let (txn, savepoints) = self.in_write()?;
                let place = find(savepoints, &name)?;
                txn.rollback_to(savepoints[place].1)?;
                savepoints.truncate(place + 1);
            }
            Step::Release { name } => {
                let (txn, savepoints) = self.in_write()?;
                let (_, savepoint) = savepoints.remove(find(savepoints, &name)?);
                txn.release(savepoint)?;
            }
            Step::Snapshot { name } => self.write(|txn| Ok(txn.create_snapshot(&name)?))?,
            Step::Timing { to } => self.timing = to.map_or(!self.timing, |to| to == "on"),
            Step::Help { command } => self.help(command.as_deref())?,
            Step::Stat(Words { words: more })
            | Step::Verify(Words { words: more })
            | Step::Readers(Words { words: more })
            | Step::Page(Words { words: more })
            | Step::Diff(Words { words: more })
            | Step::Dump(Words { words: more }) => self.command(&words[0], more)?,
            Step::Quit => return Ok(Next::End),
        }
        Ok(Next::Line)
    }

    /// Prints of the txn, or of the newest state.
    fn read(&self, show: impl FnOnce(State<'_>, &mut Output) -> Result<()>) -> Result<()> {
        match &self.txn {
            Txn::Write(txn, _) => self.show(|output| show(State::Write(txn), output)),
            Txn::Read(txn) => self.show(|output| show(State::Read(txn), output)),
            Txn::None => {
                let txn = self.db.begin_read()?;
                self.show(|output| show(State::Read(&txn), output))
            }
        }
    }

    /// Changes in the txn, or in one of its own. What fails changes nothing.
    fn write<T>(&mut self, change: impl FnOnce(&mut WriteTxn) -> Result<T>) -> Result<T> {
        match &mut self.txn {
            Txn::Write(txn, _) => {
                let before = txn.savepoint();
                let changed = change(txn);
                if changed.is_err() {
                    txn.rollback_to(before)?;
                }
                txn.release(before)?;
                changed
            }
            Txn::Read(_) => Err(Failure::problem(
                "this txn only reads; \"commit\" or \"abort\" ends it, \"begin\" begins one that writes",
            )),
            Txn::None => {
                let mut txn = self.turn()?;
                let changed = change(&mut txn)?;
                txn.commit()?;
                Ok(changed)
            }
        }
    }

    /// The turn to write, which others may have.
    fn turn(&self) -> Result<WriteTxn> {
        if let Some(txn) = self.db.try_begin_write()? {
            return Ok(txn);
        }
        if self.is_screen && !self.turn.is_limited() {
            tell("another process writes; waiting for it to end …");
        }
        self.turn.begin(&self.db)
    }

    fn begin(&mut self, read: bool) -> Result<()> {
        if !matches!(self.txn, Txn::None) {
            return Err(Failure::problem(
                "a txn is under way; \"commit\" or \"abort\" ends it, \"savepoint\" marks a point in it",
            ));
        }
        self.txn = match read {
            true => Txn::Read(self.db.begin_read()?),
            false => Txn::Write(self.turn()?, Vec::new()),
        };
        Ok(())
    }

    fn end(&mut self, commit: bool) -> Result<()> {
        match std::mem::replace(&mut self.txn, Txn::None) {
            Txn::None => Err(Failure::problem("no txn is under way; \"begin\" begins one")),
            Txn::Write(txn, _) if commit => Ok(txn.commit()?),
            Txn::Write(..) | Txn::Read(_) => Ok(()),
        }
    }

    fn in_write(&mut self) -> Result<(&mut WriteTxn, &mut Vec<(String, Savepoint)>)> {
        match &mut self.txn {
            Txn::Write(txn, savepoints) => Ok((txn, savepoints)),
            _ => Err(Failure::problem("no txn that writes is under way; \"begin\" begins one")),
        }
    }

    fn choose(&mut self, table: Option<String>) -> Result<()> {
        if let Some(name) = &table {
            crate::store::choose(&self.known_tables()?, Some(name))?;
        }
        self.table = table;
        Ok(())
    }

    fn known_tables(&self) -> Result<Vec<TableInfo>> {
        Ok(match &self.txn {
            Txn::Write(txn, _) => txn.tables()?,
            Txn::Read(txn) => txn.tables()?,
            Txn::None => self.db.begin_read()?.tables()?,
        })
    }

    fn help(&self, command: Option<&str>) -> Result<()> {
        let mut line = Line::command();
        line.build();
        match command {
            None => self.show(|output| Ok(write!(output, "{}", line.render_help())?)),
            Some(name) => {
                let Some(found) = line.find_subcommand_mut(name) else {
                    return Err(Failure::Usage(format!("no command {name:?}; \"help\" lists them")));
                };
                let help = found.render_long_help();
                self.show(|output| Ok(write!(output, "{help}")?))
            }
        }
    }

    /// A command of the tool on this store. None of those writes.
    fn command(&mut self, name: &str, more: Vec<OsString>) -> Result<()> {
        let words = [vec!["mapleaf".into(), name.into(), self.file.clone().into_os_string()], more].concat();
        match Cli::try_parse_from(words) {
            Ok(cli) => {
                self.found_problem |= cli.command.run()? == Outcome::Problem;
                Ok(())
            }
            Err(told) if !told.use_stderr() => self.show(|output| Ok(write!(output, "{}", told.render())?)),
            Err(wrong) => Err(Failure::Usage(spoken(&wrong))),
        }
    }

    /// Prints, on a screen through a pager.
    fn show(&self, show: impl FnOnce(&mut Output) -> Result<()>) -> Result<()> {
        let Some(mut pager) = (self.is_screen && !self.json).then(pager).flatten() else {
            return print(show).map(|_| ());
        };
        let input = pager.stdin.take().map(|input| Box::new(input) as Box<dyn Write>);
        let mut output: Output = BufWriter::new(input.unwrap_or_else(|| Box::new(io::sink())));
        let shown = show(&mut output).and_then(|()| Ok(output.flush()?));
        drop(output);
        let _ = pager.wait();
        match shown {
            // Who leaves the pager has seen enough.
            Err(Failure::OutputClosed) => Ok(()),
            other => other,
        }
    }
}

/// An answer in JSON.
#[derive(Serialize)]
struct Answer<'a> {
    line: u64,
    command: &'a str,
    result: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
}

/// Whether a command prints JSON when it is asked to.
fn takes_json(command: &str) -> bool {
    let takes = |line: clap::Command| {
        let found = line.find_subcommand(command);
        found.is_some_and(|found| found.get_arguments().any(|arg| arg.get_id() == "json"))
    };
    takes(Line::command()) || takes(Cli::command())
}

/// What a command has printed: a list of its lines for those that print a line for each that they find, nothing as null, and
/// what is no JSON as a text.
fn result_of(command: &str, said: &[u8]) -> Value {
    let values = serde_json::Deserializer::from_slice(said).into_iter();
    match values.collect::<serde_json::Result<Vec<Value>>>() {
        Err(_) => Value::String(String::from_utf8_lossy(said).into_owned()),
        Ok(values) if ["scan", "diff"].contains(&command) => Value::Array(values),
        Ok(mut values) => values.pop().unwrap_or(Value::Null),
    }
}

fn pager() -> Option<Child> {
    let pager = std::env::var("PAGER").ok().filter(|pager| !pager.trim().is_empty());
    let pager = pager.unwrap_or_else(|| "less -FRX".into());
    let words = shell_words::split(&pager).ok()?;
    let (program, args) = words.split_first()?;
    Command::new(program).args(args).stdin(Stdio::piped()).spawn().ok()
}

fn find(savepoints: &[(String, Savepoint)], name: &str) -> Result<usize> {
    let place = savepoints.iter().rposition(|(of, _)| of == name);
    place.ok_or_else(|| {
        let names: Vec<String> = savepoints.iter().map(|(name, _)| shown(name)).collect();
        Failure::problem(match names.is_empty() {
            true => format!("no savepoint {}; the txn has none", shown(name)),
            false => format!("no savepoint {}; there is {}", shown(name), names.join(", ")),
        })
    })
}

/// What clap says, in one line.
fn spoken(wrong: &clap::Error) -> String {
    let text = wrong.render().to_string();
    let said = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = said.strip_prefix("error: ").unwrap_or(said).split_whitespace().collect();
    words.join(" ")
}

/// Tells what is wrong with a line, and with which one.
fn complain(failure: &Failure, line: Option<u64>) {
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    match failure {
        Failure::OutputClosed => {}
        Failure::Usage(message) => tell(&format!("{line}{message}; \"help\" lists the commands")),
        Failure::Problem { place: Some(place), message } => tell(&format!("{line}{place}: {message}")),
        Failure::Problem { place: None, message } => tell(&format!("{line}{message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_consistent() {
        Line::command().debug_assert();
    }
}
