//! `mapleaf shell`: a store, line by line.
//!
//! Owns: the lines and what they do, and the txn that a line may begin. Promises: outside of a txn each line that changes
//! something is a txn of its own; a txn that is not committed when the input ends is rolled back, and that is a problem; input
//! that is no terminal stops at its first error. Leaves to others: how a line falls into words ([`words`]), the line editor and
//! completion ([`complete`]), what to type instead of what is no command ([`hints`]), and what commands do that are those of the
//! command line.

mod complete;
mod hints;
mod words;

use super::snapshot::{document, of_txn};
use super::{del, get, put, scan, snapshot, tables};
use crate::cli::{Cli, Command as Tool, JsonArg, LogArg, TurnArg, order};
use crate::failure::{Failure, Outcome, Result, tell};
use crate::output::{Output, captured, counted, print};
use crate::store::{State, open_to_read, open_to_write, shown};
use clap::{CommandFactory, Parser, Subcommand};
use complete::Editor;
use mapleaf::{Database, ReadTxn, Savepoint, TableInfo, WriteTxn};
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
    after_help = "\"help\" lists the commands, \"help COMMAND\" tells more; Tab completes commands, tables and keys. Words are separated and quoted as in a POSIX shell, but that one which begins with [ or { goes to its closing bracket: put [1,\"zz\"] 7. What follows # is passed over. In a txn, stat, readers, page, verify, diff and dump show what is committed; map, tree, watch, import, export, compact and trim are for outside of one. Lines are kept in mapleaf/history below $XDG_STATE_HOME (~/.local/state), for its owner only.\n\nOutput that is longer than the screen goes through $PAGER, by default \"less -FRX\".\n\nWhere standard input is no terminal its lines are executed, or those of -c, up to the first that fails; exit code 1 then. With --json each line that is a command is answered by one line, {\"line\": …, \"command\": …, \"result\": …}: the result is what the command prints with --json, of scan, diff and watch a list, null where it prints nothing; with \"timing on\" it has \"milliseconds\" too. So a program can hold a store open, and a txn, and talk with it through two pipes.\n\nExamples:\n  mapleaf shell app.maple\n  mapleaf shell app.maple -c 'use users' -c 'scan --limit 3'\n  printf 'begin\\ndel -s users 7\\nput -s log 1 \"7 is gone\"\\ncommit\\n' | mapleaf shell app.maple\n  mapleaf shell --read-only app.maple < questions\n  printf 'tables\\nscan --limit 2\\n' | mapleaf shell --json app.maple | jq .result"
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
    /// Execute this line, as if it came from a pipe, and end; can be given several times
    #[arg(short = 'c', long = "command", value_name = "LINE")]
    lines: Vec<String>,
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
    /// Print how long each line takes
    Timing {
        /// on or off; by default the other one
        #[arg(value_parser = ["on", "off"])]
        to: Option<String>,
    },
    /// Print what commands there are, or what one does
    Help {
        /// The command
        command: Vec<String>,
    },
    /// Leave (Ctrl-D does it too)
    #[command(alias = "exit")]
    Quit,
}

/// The commands of the tool that work on this store.
const TOOL: [&str; 15] = [
    "table", "snapshot", "stat", "readers", "map", "tree", "page", "verify", "diff", "watch", "import",
    "export", "dump", "compact", "trim",
];

/// Those of them that have no place in a txn, for they change the store, or show what is committed as if it were the txn's.
const ALONE: [&str; 7] = ["map", "tree", "watch", "import", "export", "compact", "trim"];

/// Those of them that change the store, and do not go through the shell's own handle.
const WRITING: [&str; 3] = ["import", "compact", "trim"];

/// Those whose last argument is the store, and not their first.
const STORE_LAST: [&str; 2] = ["import", "export"];

/// All commands: what they take, without the store.
fn commands() -> clap::Command {
    let tool = Cli::command();
    let shared = TOOL.iter().filter_map(|name| tool.find_subcommand(name));
    Line::command().subcommands(shared.map(without_store))
}

fn without_store(command: &clap::Command) -> clap::Command {
    let args = command.get_arguments().filter(|arg| !["file", "store"].contains(&arg.get_id().as_str()));
    let parts = command.get_subcommands().map(without_store);
    let more = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let more = more.split("Examples:").next().unwrap_or_default().trim_end().to_owned();
    clap::Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .args(args.cloned())
        .subcommands(parts)
        .subcommand_required(command.is_subcommand_required_set())
        .disable_help_subcommand(true)
        .after_help(more)
}

/// The command that these words begin with, and how many they are: `snapshot list` is one of two.
fn named<'c>(mut command: &'c clap::Command, words: &[String]) -> (&'c clap::Command, usize) {
    for (depth, word) in words.iter().enumerate() {
        match command.find_subcommand(word) {
            Some(found) => command = found,
            None => return (command, depth),
        }
    }
    (command, words.len())
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
    /// Whether the txn was told to change something.
    has_changed: bool,
    /// How long others are waited for.
    turn: TurnArg,
    /// Whether answers are JSON.
    json: bool,
    /// The number of the line.
    number: u64,
    /// Whether someone looks at a screen.
    is_screen: bool,
    /// Whether lines come from standard input.
    is_fed: bool,
    /// Whether nothing may be changed.
    is_read_only: bool,
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
        has_changed: false,
        turn: args.turn,
        json: args.json,
        number: 0,
        is_screen: args.lines.is_empty() && stdin().is_terminal() && stdout().is_terminal(),
        is_fed: args.lines.is_empty(),
        is_read_only: args.read_only,
        found_problem: false,
    };
    let outcome = match (session.is_screen, session.is_fed) {
        (true, _) => session.talk()?,
        (false, true) => session.script(stdin().lock().lines())?,
        (false, false) => {
            session.script(args.lines.iter().flat_map(|text| text.lines()).map(|line| Ok(line.to_owned())))?
        }
    };
    session.db.close()?;
    Ok(outcome)
}

impl Session {
    /// With a person.
    fn talk(&mut self) -> Result {
        let mut editor = Editor::new()?;
        crate::output::print_line(&format!(
            "{}: {}. \"help\" lists the commands, Tab completes.",
            self.file.display(),
            counted(self.db.begin_read()?.tables()?.len() as u64, "table", "tables")
        ))?;
        let mut was_warned = false;
        loop {
            let next = match editor.line(&self.prompt(), self)? {
                Some(line) => self.line(&line),
                None => Ok(Next::End),
            };
            match next {
                Ok(Next::Line) => was_warned = false,
                Err(failure) => complain(&failure, None),
                Ok(Next::End) if was_warned || !self.has_uncommitted() => break,
                Ok(Next::End) => {
                    was_warned = true;
                    tell(
                        "the txn is not committed; \"commit\" keeps what it changed, \"quit\" once more undoes it",
                    );
                }
            }
        }
        if let Txn::Write(..) = self.txn {
            tell("the txn was not committed, so it is undone");
        }
        Ok(Outcome::Fine)
    }

    /// With a file or a program.
    fn script(&mut self, lines: impl Iterator<Item = io::Result<String>>) -> Result {
        let mut begun = 0_u64;
        for line in lines {
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

    fn has_uncommitted(&self) -> bool {
        self.has_changed && matches!(self.txn, Txn::Write(..))
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
        let mut words = words::split(line).map_err(|wrong| Failure::Usage(wrong.to_string()))?;
        if words.is_empty() {
            return Ok(Next::Line);
        }
        if !self.json {
            return self.execute(&words);
        }
        let commands = commands();
        let (command, depth) = named(&commands, &words);
        if command.get_arguments().any(|arg| arg.get_id() == "json") {
            words.insert(depth, "--json".into());
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
        let begin = Instant::now();
        let next = match TOOL.contains(&&*words[0]) {
            true => self.tool(words).map(|()| Next::Line),
            false => match Line::try_parse_from(words) {
                Ok(line) => self.step(line.command),
                Err(told) => self.told(&told, words).map(|()| Next::Line),
            },
        }?;
        if self.timing && !self.json && next == Next::Line {
            print(|output| Ok(writeln!(output, "({:.3} ms)", begin.elapsed().as_secs_f64() * 1e3)?))?;
        }
        Ok(next)
    }

    /// What was no command: the help that was asked for, or what is wrong and what to type instead.
    fn told(&self, told: &clap::Error, words: &[String]) -> Result<()> {
        if !told.use_stderr() {
            return self.help(&words[..named(&commands(), words).1]);
        }
        let mut said = spoken(told);
        if let Some(hint) = hints::of(told, words, &self.known_tables()?) {
            said = format!("{said}; {hint}");
        }
        Err(Failure::Usage(said))
    }

    fn step(&mut self, step: Step) -> Result<Next> {
        let usual = self.table.clone();
        let usual = usual.as_deref();
        match step {
            Step::Get(what) => self.read(|state, output| what.print(state, usual, output))?,
            Step::Scan(what) => self.read(|state, output| what.print(state, usual, output))?,
            Step::Tables(json) => {
                self.read(|state, output| tables::print_tables(&state.tables()?, json.json, output))?
            }
            Step::Put(what) => {
                if what.is_from_stdin() && self.is_fed {
                    return Err(Failure::Usage("the lines come from standard input; name a file".into()));
                }
                let from_file = what.bytes_from_a_file()?;
                let put = self.write(|txn| what.put(txn, usual, from_file.as_deref()))?;
                print(|output| what.print(&put, output))?;
            }
            Step::Del(what) => {
                let deleted = self.write(|txn| what.delete(txn, usual))?;
                print(|output| what.print(&deleted, output))?;
            }
            Step::Use { table } => self.choose(table)?,
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
            Step::Timing { to } => {
                self.timing = to.map_or(!self.timing, |to| to == "on");
                if !self.json {
                    crate::output::print_line(if self.timing { "timing is on" } else { "timing is off" })?;
                }
            }
            Step::Help { command } => self.help(&command)?,
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
        self.write_in(TurnArg::default(), change)
    }

    /// The same; the turn may be waited for as long as a line says.
    fn write_in<T>(&mut self, turn: TurnArg, change: impl FnOnce(&mut WriteTxn) -> Result<T>) -> Result<T> {
        match &mut self.txn {
            Txn::Write(txn, _) => {
                let before = txn.savepoint();
                let changed = change(txn);
                if changed.is_err() {
                    txn.rollback_to(before)?;
                }
                self.has_changed |= changed.is_ok();
                txn.release(before)?;
                changed
            }
            Txn::Read(_) => Err(Failure::problem(
                "this txn only reads; \"commit\" or \"abort\" ends it, \"begin\" begins one that writes",
            )),
            Txn::None => {
                let mut txn = self.turn(turn.or(self.turn))?;
                let changed = change(&mut txn)?;
                txn.commit()?;
                Ok(changed)
            }
        }
    }

    /// The turn to write, which others may have.
    fn turn(&self, turn: TurnArg) -> Result<WriteTxn> {
        if let Some(txn) = self.db.try_begin_write()? {
            return Ok(txn);
        }
        if self.is_screen && !turn.is_limited() {
            tell("another process writes; waiting for it to end …");
        }
        turn.begin(&self.db)
    }

    fn begin(&mut self, read: bool) -> Result<()> {
        if !matches!(self.txn, Txn::None) {
            return Err(Failure::problem(
                "a txn is under way; \"commit\" or \"abort\" ends it, \"savepoint\" marks a point in it",
            ));
        }
        self.has_changed = false;
        self.txn = match read {
            true => Txn::Read(self.db.begin_read()?),
            false => Txn::Write(self.turn(self.turn)?, Vec::new()),
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

    fn known_snapshots(&self) -> Result<Vec<String>> {
        let snapshots = match &self.txn {
            Txn::Write(txn, _) => txn.snapshots()?,
            Txn::Read(txn) => txn.snapshots()?,
            Txn::None => self.db.begin_read()?.snapshots()?,
        };
        Ok(snapshots.into_iter().map(|snapshot| snapshot.name).collect())
    }

    /// What commands there are, or what one does.
    fn help(&self, words: &[String]) -> Result<()> {
        let mut commands = commands();
        let help = match named(&commands, words) {
            _ if words.is_empty() => commands.render_help(),
            (command, depth) if depth == words.len() => {
                command.clone().bin_name(words.join(" ")).max_term_width(110).render_long_help()
            }
            (_, depth) => {
                let name = words[..=depth].join(" ");
                return Err(Failure::Usage(format!("no command {name:?}")));
            }
        };
        self.show(|output| Ok(write!(output, "{help}")?))
    }

    /// A command of the tool on this store.
    fn tool(&mut self, words: &[String]) -> Result<()> {
        let commands = commands();
        let (command, depth) = named(&commands, words);
        if command.has_subcommands() {
            if words[depth..].iter().any(|word| ["-h", "--help"].contains(&&**word)) {
                return self.help(&words[..depth]);
            }
            let parts: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            let name = words[..depth].join(" ");
            return Err(Failure::Usage(format!("{name}: give one of {}", parts.join(", "))));
        }
        let mut whole: Vec<OsString> = words.iter().map(OsString::from).collect();
        let place = if STORE_LAST.contains(&&*words[0]) { words.len() } else { depth };
        whole.insert(place, self.file.clone().into_os_string());
        whole.insert(0, "mapleaf".into());
        match Cli::try_parse_from(whole) {
            Ok(cli) => self.run(cli.command, words),
            Err(told) => self.told(&told, words),
        }
    }

    fn run(&mut self, command: Tool, words: &[String]) -> Result<()> {
        match command {
            Tool::Table(args) => {
                let done = self.write_in(args.turn(), |txn| args.change(txn))?;
                print(|output| args.print(&done, output))?;
            }
            Tool::Snapshot(args) if args.is_list() => self.list_snapshots(&args)?,
            Tool::Snapshot(args) => {
                let document = self.write_in(args.turn(), |txn| args.change(txn))?;
                print(|output| args.print(&document, output))?;
            }
            command => {
                self.expect_free(&command, words)?;
                self.found_problem |= command.run()? == Outcome::Problem;
            }
        }
        Ok(())
    }

    /// In a txn, what they cost is not known.
    fn list_snapshots(&self, args: &snapshot::Args) -> Result<()> {
        if let Txn::None = self.txn {
            let snapshots = self.db.snapshots()?;
            let documents: Vec<_> = snapshots.iter().map(document).collect();
            return self.show(|output| args.print_list(&documents, output));
        }
        self.read(|state, output| {
            let snapshots = state.snapshots()?;
            args.print_list(&snapshots.iter().map(of_txn).collect::<Vec<_>>(), output)
        })
    }

    /// Fails where a command cannot be executed now.
    fn expect_free(&self, command: &Tool, words: &[String]) -> Result<()> {
        let name = words[0].as_str();
        if ALONE.contains(&name) && !matches!(self.txn, Txn::None) {
            return Err(Failure::problem(format!(
                "{name} is not done in a txn; \"commit\" or \"abort\" ends the one under way"
            )));
        }
        if WRITING.contains(&name) && self.is_read_only {
            return Err(Failure::problem(format!("{name} changes the store, and --read-only was asked for")));
        }
        if name == "import" && self.is_fed && words.iter().any(|word| word == "-") {
            return Err(Failure::Usage("the lines come from standard input; name a file".into()));
        }
        match command {
            // Ctrl-C would end the shell too.
            Tool::Watch(args) if self.is_screen && !args.ends() => {
                Err(Failure::Usage("watch does not end here by itself; give --count or --timeout".into()))
            }
            _ => Ok(()),
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

/// What a command has printed: a list of its lines for those that print a line for each that they find, nothing as null, and
/// what is no JSON as a text.
fn result_of(command: &str, said: &[u8]) -> Value {
    let values = serde_json::Deserializer::from_slice(said).into_iter();
    match values.collect::<serde_json::Result<Vec<Value>>>() {
        Err(_) => Value::String(String::from_utf8_lossy(said).into_owned()),
        Ok(values) if ["scan", "diff", "watch"].contains(&command) => Value::Array(values),
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
            false => format!("no savepoint {}; the txn has {}", shown(name), names.join(", ")),
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

/// Tells what is wrong with a line, and with which one. Commands that the message names are typed here without the tool's name.
fn complain(failure: &Failure, line: Option<u64>) {
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let here = |message: &str| {
        ["tables", "snapshot list"].iter().fold(message.to_owned(), |message, name| {
            message.replace(&format!("\"mapleaf {name}\""), &format!("\"{name}\""))
        })
    };
    match failure {
        Failure::OutputClosed => {}
        Failure::Usage(message) => tell(&format!("{line}{}; \"help\" lists the commands", here(message))),
        Failure::Mistyped(message) => tell(&format!("{line}{message}")),
        Failure::Problem { place: Some(place), message } => {
            tell(&format!("{line}{place}: {}", here(message)))
        }
        Failure::Problem { place: None, message } => tell(&format!("{line}{}", here(message))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_consistent() {
        commands().debug_assert();
    }

    /// Each is there, has what the shell has for it, and is one of those that take the place of the store.
    #[test]
    fn the_commands_of_the_tool_are_there() {
        let commands = commands();
        for name in TOOL {
            assert!(commands.find_subcommand(name).is_some(), "{name}");
        }
        assert!(ALONE.iter().chain(&WRITING).chain(&STORE_LAST).all(|name| TOOL.contains(name)));
    }
}
