//! Two real processes that write to one store in turn, and are killed in between or within a commit.
//!
//! Owns: the child, which is this test program again, running only [`turn_taker`]; it obeys commands from
//! its standard input, answers each with a line that begins with `@`, and ends when its input does. Both
//! append their operations to one file; as only one acts at a time, that is their order. The parent knows
//! what each txn leaves and what may be seen, in either process, after each turn.

use crate::judge::{Effort, Judge, Permitted, sound};
use crate::script::{Contents, Step, delete, digest, look, open, put};
use crate::{LARGE, report};
use mapleaf::{Database, Durability, Options, ReadTxn, Ticket};
use mapleaf_crash::{Disk, Event, FailedFlush, Image, Recorder, memory_directory};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

const DIRECTORY: &str = "MAPLEAF_TURNS";
/// Whether the cache reverts what a flush could not write.
const REVERTS: &str = "MAPLEAF_TURNS_REVERTS";
const STORE: &str = "test.maple";
const LOG: &str = "log";

// ---- the child ----

/// Does nothing unless a test below has started it.
#[test]
fn turn_taker() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = PathBuf::from(directory);
    let mut recorder = Recorder::streaming(&directory.join(LOG)).unwrap();
    if std::env::var(REVERTS).is_ok() {
        recorder = recorder.reverting(&directory.join(STORE), &[]);
    }
    let recorder = Arc::new(recorder);
    let options = Options::new().held_limit(256 << 10).observer(Arc::clone(&recorder) as _);
    let db = open(&directory.join(STORE), &options).unwrap();
    let mut taker = TurnTaker { db, recorder, handed: Vec::new(), pinned: None };
    answer("open");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "close" {
            break;
        }
        let said = taker.obey(&words).unwrap_or_else(|error| format!("error {error}"));
        answer(&said);
    }
    drop(taker.handed);
    taker.pinned = None;
    let closed = taker.db.close();
    answer(&format!("{closed:?}"));
}

fn answer(line: &str) {
    println!("@{line}");
    std::io::stdout().flush().unwrap();
}

struct TurnTaker {
    db: Database,
    recorder: Arc<Recorder>,
    handed: Vec<(u64, Ticket)>,
    pinned: Option<(ReadTxn, u64)>,
}

impl TurnTaker {
    fn obey(&mut self, words: &[&str]) -> mapleaf::Result<String> {
        match words {
            ["commit", way, number] => self.commit(way, number.parse().unwrap())?,
            ["wait"] => self.wait()?,
            ["checkpoint"] => self.db.checkpoint()?,
            ["die", at] => self.recorder.die_at(at.parse().unwrap()),
            ["fail", at] => self.recorder.fail_at(at.parse().unwrap()),
            ["pin"] => self.pinned = Some((self.db.begin_read()?, digest(&look(&self.db)?.1))),
            ["look"] => return self.look(),
            other => panic!("{other:?}"),
        }
        Ok("done".into())
    }

    fn commit(&mut self, way: &str, number: u64) -> mapleaf::Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_user_version(number);
        steps(way, number).iter().try_for_each(|step| step.carry_out(&mut txn))?;
        let durability = match way {
            "ordered" => Durability::Ordered,
            "eventual" => Durability::Eventual,
            _ => Durability::Durable,
        };
        txn.set_durability(durability);
        self.recorder.note(Event::Started(number));
        let done = match durability {
            Durability::Eventual => Event::Committed(number),
            _ => Event::Acknowledged(number),
        };
        let result = match txn.commit_ticket() {
            Ok(ticket) if way == "hand" && !ticket.is_done() => {
                self.handed.push((number, ticket));
                return Ok(());
            }
            Ok(ticket) => ticket.wait(),
            Err(error) => Err(error),
        };
        self.recorder.note(if result.is_ok() { done } else { Event::Failed(number) });
        result
    }

    fn wait(&mut self) -> mapleaf::Result<()> {
        let mut result = Ok(());
        for (number, ticket) in self.handed.drain(..) {
            let waited = ticket.wait();
            let good = waited.is_ok();
            self.recorder.note(if good { Event::Acknowledged(number) } else { Event::Failed(number) });
            result = result.and(waited);
        }
        result
    }

    /// What readers see; and that every page is sound, and the open reader's snapshot unchanged.
    fn look(&self) -> mapleaf::Result<String> {
        sound(&self.db).unwrap();
        if let Some((reader, seen)) = &self.pinned {
            assert_eq!(
                digest(&crate::script::contents(reader)?),
                *seen,
                "the open reader's snapshot changed"
            );
        }
        let (number, contents) = look(&self.db)?;
        Ok(format!("{number} {}", digest(&contents)))
    }
}

/// What txn `number` does, so that parent and child know it.
fn steps(way: &str, number: u64) -> Vec<Step> {
    let seed = number as u32;
    match way {
        "grow" => (0..15).map(|i| put("more", seed * 15 + i, 900, seed as u8)).collect(),
        "large" => vec![put("words", seed % 60, 20_000, seed as u8)],
        _ => {
            let puts = (0..6 + seed % 3).map(|i| put("words", (seed * 7 + i) % 60, 900, seed as u8));
            puts.chain([delete("words", seed * 11 % 60)]).collect()
        }
    }
}

// ---- the parent ----

struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(directory: &std::path::Path, reverts: bool) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .envs(reverts.then_some((REVERTS, "1")))
            .args(["--exact", "turns::turn_taker", "--nocapture", "--test-threads", "1"])
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut process = Process { child, input, output };
        assert_eq!(process.answer().as_deref(), Some("open"));
        process
    }

    /// `None` when the process ends.
    fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            // The test harness writes on the same line.
            if let Some((_, said)) = line.split_once('@') {
                return Some(said.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }

    fn ask(&mut self, command: &str) -> Option<String> {
        writeln!(self.input.as_mut().unwrap(), "{command}").ok()?;
        self.answer()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

/// Two processes, one store, and what it must hold.
struct Turns {
    directory: tempfile::TempDir,
    processes: [Option<Process>; 2],
    models: BTreeMap<u64, Contents>,
    /// The txn that the next one is built on, last, and others that it may be, after a death.
    heads: Vec<u64>,
    /// Txns that readers may see.
    visible: Vec<u64>,
    next: u64,
    /// The last txn that is on the disk for certain.
    durable: u64,
    reverts: bool,
    /// All that was asked for, for the message.
    history: String,
}

impl Turns {
    fn new() -> Self {
        Turns {
            directory: memory_directory(),
            processes: [None, None],
            models: BTreeMap::from([(0, Contents::new())]),
            heads: vec![0],
            visible: vec![0],
            next: 1,
            durable: 0,
            reverts: false,
            history: String::new(),
        }
    }

    fn open(&mut self, who: usize) {
        let _ = write!(self.history, "{who} opens; ");
        self.processes[who] = Some(Process::start(self.directory.path(), self.reverts));
        self.look();
    }

    /// Nothing that readers see is lost by closing, and what was handed over is flushed.
    fn close(&mut self, who: usize) {
        let mut process = self.processes[who].take().expect("it is open");
        let _ = write!(self.history, "{who} closes; ");
        assert_eq!(process.ask("close").as_deref(), Some("Ok(())"), "{}", self.history);
    }

    fn ask(&mut self, who: usize, command: &str) -> Option<String> {
        let _ = write!(self.history, "{who} {command}; ");
        let said = self.processes[who].as_mut().expect("it is open").ask(command);
        assert!(said.as_ref().is_none_or(|said| !said.starts_with("error")), "{said:?}\n{}", self.history);
        said
    }

    /// A turn that must succeed.
    fn commit(&mut self, who: usize, way: &str) {
        let number = self.begin(way);
        assert!(self.ask(who, &format!("commit {way} {number}")).is_some(), "it died: {}", self.history);
        self.heads = vec![number];
        match way {
            "hand" => self.visible.push(number),
            _ => self.visible = vec![number],
        }
        if !["hand", "eventual"].contains(&way) {
            self.durable = number;
        }
        self.look();
    }

    fn do_one(&mut self, who: usize, command: &str) {
        assert!(self.ask(who, command).is_some(), "it died: {}", self.history);
        if ["wait", "checkpoint"].contains(&command) {
            self.visible = self.heads.clone();
        }
        self.look();
    }

    /// A turn in which the process dies before operation `at` of it. Whether it got so far.
    fn commit_and_die(&mut self, who: usize, command: &str, at: usize) -> bool {
        self.ask(who, &format!("die {at}"));
        let died = match command {
            "checkpoint" | "wait" => self.ask(who, command).is_none(),
            way => {
                let number = self.begin(way);
                let died = self.ask(who, &format!("commit {way} {number}")).is_none();
                // Nobody knows how far it got.
                self.heads.push(number);
                self.visible.push(number);
                died
            }
        };
        if died {
            self.processes[who] = None;
            self.nobody_knows();
        }
        died
    }

    /// After a death the next one builds on the head, or, behind recovery, on what readers may see.
    fn nobody_knows(&mut self) {
        self.heads.extend(&self.visible);
        self.heads.sort_unstable();
        self.heads.dedup();
    }

    /// A turn in which operation `at` fails. Whether it got so far; then it is an error, and nobody sees
    /// anything of it, nor of what was in flight.
    fn commit_and_fail(&mut self, who: usize, command: &str, at: usize) -> bool {
        self.ask(who, &format!("fail {at}"));
        let command = match command {
            "checkpoint" | "wait" => command.to_owned(),
            way => format!("commit {way} {}", self.begin(way)),
        };
        let _ = write!(self.history, "{who} {command}; ");
        let said = self.processes[who].as_mut().expect("it is open").ask(&command).expect("it lives");
        if said.starts_with("error") {
            self.visible.truncate(1);
            self.heads = self.visible.clone();
            match self.reverts {
                // What was eventual may be gone, and pages until the next turn.
                true => self.visible.insert(0, self.durable),
                false => self.look(),
            }
            self.nobody_knows();
        }
        said.starts_with("error")
    }

    fn kill(&mut self, who: usize) {
        let _ = write!(self.history, "{who} is killed; ");
        self.processes[who].take().expect("it is open").kill();
        self.nobody_knows();
    }

    /// Takes a number, and adds to the models what the txn leaves.
    fn begin(&mut self, way: &str) -> u64 {
        let number = self.next;
        self.next += 1;
        let head = *self.heads.last().expect("there is a head");
        self.models.insert(number, self.after(head, way, number));
        number
    }

    /// All processes see the same, and it is something that they may see.
    fn look(&mut self) {
        let alive = (0..2).filter(|who| self.processes[*who].is_some()).collect::<Vec<_>>();
        let said: Vec<String> = alive.iter().filter_map(|who| self.ask(*who, "look")).collect();
        assert!(said.len() == alive.len() && said.iter().all(|one| *one == said[0]), "{said:?}");
        let expected = |number: &u64| format!("{number} {}", digest(&self.models[number]));
        let found = self.visible.iter().position(|number| expected(number) == said[0]);
        let found = found.unwrap_or_else(|| panic!("{said:?}, may be {:?}: {}", self.visible, self.history));
        // What was seen is never taken back.
        self.visible.drain(..found);
    }

    /// A death left several possibilities: the next one finds which is the head.
    fn commit_after_death(&mut self, who: usize, way: &str) {
        let bases = std::mem::take(&mut self.heads);
        let number = self.next;
        let models: Vec<Contents> = bases.iter().map(|base| self.after(*base, way, number)).collect();
        self.next += 1;
        assert!(self.ask(who, &format!("commit {way} {number}")).is_some(), "it died: {}", self.history);
        let said = self.ask(who, "look").unwrap();
        let found = models.into_iter().find(|model| format!("{number} {}", digest(model)) == said);
        let found = found.unwrap_or_else(|| panic!("{said} fits none of {bases:?}: {}", self.history));
        self.models.insert(number, found);
        (self.heads, self.visible) = (vec![number], vec![number]);
        self.look();
    }

    fn after(&self, base: u64, way: &str, number: u64) -> Contents {
        let mut model = self.models[&base].clone();
        steps(way, number).iter().for_each(|step| step.model(&mut model));
        model
    }

    fn events(&self) -> Vec<Event> {
        Event::decode_all(&std::fs::read(self.directory.path().join(LOG)).unwrap())
    }

    /// Cuts the power at every place from event `from` on.
    fn judge(&self, judge: &mut Judge, from: usize, effort: Effort) {
        self.judge_with(FailedFlush::Keeps, judge, from, effort);
    }

    fn judge_with(&self, rule: FailedFlush, judge: &mut Judge, from: usize, effort: Effort) {
        let disk = Disk::holding(&Image::default(), rule);
        let states = self.models.iter().map(|(number, model)| (*number, digest(model))).collect();
        let effort = Effort { from, ..effort };
        let violations = judge.examine(disk, &self.events(), Permitted::new(&states), effort);
        assert!(violations.is_empty(), "{}: {}", self.history, violations[0]);
    }
}

const THOROUGH: Effort = Effort { recover_every: 40, ..LARGE };
const QUICK: Effort = Effort { at_flush: 4, ..LARGE };

#[test]
fn two_processes_write_in_turn_and_a_cut_anywhere_is_survived() {
    let (begun, mut turns) = (Instant::now(), Turns::new());
    turns.open(0);
    turns.commit(0, "durable");
    turns.open(1);
    for round in 0..4 {
        for (i, way) in ["durable", "eventual", "durable", "grow", "hand", "hand"].iter().enumerate() {
            turns.commit(i % 2, way);
        }
        turns.do_one(round % 2, "wait");
        turns.do_one(1 - round % 2, "wait");
        turns.commit(0, "hand");
        turns.commit(1, ["durable", "ordered", "large", "eventual"][round]);
        turns.do_one(0, "wait");
        if round % 2 == 1 {
            turns.do_one(round / 2, "checkpoint");
            turns.do_one(1 - round / 2, "pin");
        }
        turns.commit(1, "durable");
    }
    turns.close(0);
    turns.commit(1, "durable");
    turns.open(0);
    turns.commit(0, "durable");
    turns.close(1);
    turns.close(0);
    turns.open(1);
    turns.commit(1, "durable");
    let mut judge = Judge::new(&Options::new());
    turns.judge(&mut judge, 0, THOROUGH);
    report("F1", "two processes", &judge, begun);
}

/// Some turns of two processes, so that the store has a log with something in it.
fn begun() -> Turns {
    begun_with(false)
}

fn begun_with(reverts: bool) -> Turns {
    let mut turns = Turns { reverts, ..Turns::new() };
    turns.open(0);
    turns.commit(0, "durable");
    turns.open(1);
    for who in [1, 0, 1, 0] {
        turns.commit(who, "durable");
    }
    turns
}

#[test]
fn a_process_killed_between_turns_leaves_a_log_in_the_middle_of_which_the_other_goes_on() {
    let begun_at = Instant::now();
    let mut judge = Judge::new(&Options::new());
    for flight in [&[][..], &["eventual"], &["hand"], &["eventual", "hand", "hand"], &["hand", "eventual"]] {
        for other_lives in [true, false] {
            let mut turns = begun();
            flight.iter().for_each(|way| turns.commit(0, way));
            if !other_lives {
                turns.kill(1);
            }
            turns.kill(0);
            let from = turns.events().len();
            if !other_lives {
                turns.open(1);
            }
            turns.commit_after_death(1, "durable");
            turns.commit(1, "durable");
            turns.open(0);
            turns.commit(0, "durable");
            turns.commit(1, "eventual");
            turns.judge(&mut judge, from, QUICK);
        }
    }
    report("F15", "killed between turns", &judge, begun_at);
}

#[test]
fn a_process_killed_in_the_middle_of_a_commit_leaves_a_store_in_which_the_other_goes_on() {
    let begun_at = Instant::now();
    let mut judge = Judge::new(&Options::new());
    for command in ["durable", "grow", "ordered", "eventual", "checkpoint", "wait"] {
        for at in 0.. {
            let mut turns = begun();
            turns.commit(0, "eventual");
            if command == "wait" {
                turns.commit(0, "hand");
            }
            let other_lives = at % 3 != 1;
            if !other_lives {
                turns.kill(1);
            }
            if !turns.commit_and_die(0, command, at) {
                break;
            }
            let from = turns.events().len();
            if !other_lives {
                turns.open(1);
            }
            turns.commit_after_death(1, "durable");
            turns.commit(1, "durable");
            turns.open(0);
            turns.commit(0, "hand");
            turns.commit(1, "durable");
            turns.judge(&mut judge, from, QUICK);
        }
    }
    report("F15", "killed in a commit", &judge, begun_at);
}

#[test]
fn after_a_failed_operation_in_one_process_the_other_goes_on() {
    let begun_at = Instant::now();
    let mut judge = Judge::new(&Options::new());
    let commands = ["durable", "grow", "ordered", "checkpoint", "wait"];
    for (command, reverts) in commands.into_iter().flat_map(|command| [(command, false), (command, true)]) {
        for at in 0.. {
            let mut turns = begun_with(reverts);
            turns.commit(0, "eventual");
            if command == "wait" {
                turns.commit(1, "hand");
                turns.commit(0, "hand");
            }
            let from = turns.events().len();
            if !turns.commit_and_fail(0, command, at) {
                break;
            }
            // Who goes on is the other, or the same, or the other after the death of the first.
            let next = [1, 0, 1][at % 3];
            if at % 3 == 2 {
                turns.kill(0);
            }
            turns.commit_after_death(next, "durable");
            turns.commit(1, "grow");
            if at % 3 == 2 {
                turns.open(0);
            }
            turns.commit(0, "durable");
            turns.commit(1, "ordered");
            let rules = [FailedFlush::Keeps, FailedFlush::LosesFresh];
            for rule in &rules[..if reverts { 1 } else { 2 }] {
                turns.judge_with(*rule, &mut judge, from, QUICK);
            }
        }
    }
    report("F7", "failed in one process", &judge, begun_at);
}
