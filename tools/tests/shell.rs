//! The shell: through a pipe, as a script runs it, and through a terminal, as a person does.

mod common;

use common::{Place, screen::Screen};
use std::os::unix::fs::PermissionsExt;

fn shell(place: &Place, script: &str) -> common::Run {
    place.feed(["shell", "s.maple"], script.as_bytes())
}

#[test]
fn a_script_is_done_line_by_line() {
    let place = Place::new();
    let script = "\
# people and their tags
create users u64 '(str,option(u8))'
create tags str u64 --multi
use users
put 7 '[\"ann\",30]'
put 7 '[\"ann\",31]'
put -s tags x 7
put -s tags x 8

get 7
get -s tags x
scan --json
tables
rename tags labels
del -s labels x 7
scan -s labels
count
";
    let said = place.feed(["shell", "--create", "s.maple"], script.as_bytes());
    let said =
        said.fails(1, &["mapleaf: line 17: unrecognized subcommand 'count'", "\"help\" lists the commands"]);
    let wanted = "inserted\nreplaced\ninserted\ninserted\n[\"ann\",31]\n7\n8\n{\"key\":7,\"value\":[\"ann\",31]}\n\
                  \"tags\"              2 entries  1 level   str -> many u64\n\
                  \"users\"             1 entry    1 level   u64 -> (str,option(u8))\n\
                  deleted\nx\t8\n";
    assert_eq!(said.text(), wanted);
    assert!(shell(&place, "help\n").fine().text().contains("savepoint  Mark a point in the txn"));
    assert!(shell(&place, "help scan\nscan --help\n").fine().text().matches("--prefix <KEY>").count() == 2);
    assert!(shell(&place, "verify\npage 0\nstat --json\n").fine().text().starts_with("clean: txn "));
    assert_eq!(shell(&place, "drop labels\ndrop users\ntables\nquit\nnonsense\n").fine().text(), "");
    shell(&place, "drop labels\n").fails(1, &["line 1: ", "labels"]);
}

#[test]
fn a_txn_is_committed_undone_or_rolled_back() {
    let place = Place::new();
    place.run(["put", "--create", "s.maple", "a", "1"]).fine();
    let script = "\
begin
put b 2
savepoint first
put c 3
savepoint second
del a
scan
rollback second
scan --limit 1
rollback first
release first
put --create -s new x y
commit
scan -s ''
begin
del a
abort
get -s '' a
begin --read
get -s '' b
abort
snapshot kept
";
    assert_eq!(
        shell(&place, script).fine().text(),
        "inserted\ninserted\ndeleted\nb\t2\nc\t3\na\t1\ninserted\na\t1\nb\t2\ndeleted\n1\n2\n"
    );
    assert!(place.run(["snapshot", "list", "s.maple"]).fine().text().contains("kept"));
    place.run(["verify", "s.maple"]).fine();
    for (script, said) in [
        ("commit\n", "line 1: no txn is under way; \"begin\" begins one"),
        ("begin\nbegin\n", "line 2: a txn is under way"),
        ("savepoint x\n", "line 1: no txn that writes is under way"),
        ("begin\nsavepoint x\nrollback y\n", "line 3: no savepoint \"y\"; there is \"x\""),
        ("begin --read\nput -s '' k v\n", "line 2: this txn only reads"),
        ("begin\nput -s '' lost v\n", "line 1: the txn that begins here is not committed, so it is undone"),
        ("begin\nput -s '' lost v\nget -s '' nothing\ncommit\n", "line 3: no key \"nothing\""),
        ("use nothing\n", "line 1: no table \"nothing\"; there is \"\", \"new\""),
        ("put 'k\n", "line 1: "),
        ("put -s '' k -\n", "line 1: the lines come from standard input"),
        ("get\n", "line 1: the following required arguments were not provided: <KEY>"),
        ("create t u7\n", "line 1: the type \"u7\" of the keys"),
        ("page 99999999\n", "line 1: page 99999999"),
        ("stat --frobnicate\n", "line 1: unexpected argument '--frobnicate'"),
    ] {
        shell(&place, script).fails(1, &[&format!("mapleaf: {said}")]);
    }
    place.run(["get", "s.maple", "-s", "", "lost"]).fails(1, &["no key"]);
    place.feed(["shell", "--read-only", "s.maple"], b"get -s '' a\nput -s '' a b\n").fails(1, &["line 2: "]);
    place.feed(["shell", "none.maple"], b"tables\n").fails(1, &["mapleaf: none.maple: no such file"]);
}

/// A change in a txn that fails leaves the txn as it was before.
#[test]
fn a_line_that_fails_changes_nothing() {
    let place = Place::new();
    place.run(["put", "--create", "s.maple", "a", "1"]).fine();
    let long = "k".repeat(3000);
    let screen = Screen::open(&place, &["shell", "s.maple"], &[]);
    screen.expect("mapleaf> ");
    screen.say("begin\n");
    screen.expect("mapleaf*> ");
    screen.say(&format!("put --create -s new {long} v\n"));
    screen.expect("at most 2000 fit");
    screen.expect("mapleaf*> ");
    screen.say("put b 2\n");
    screen.expect("inserted");
    screen.expect("mapleaf*> ");
    screen.say("commit\n");
    screen.expect("mapleaf> ");
    screen.say("\x04");
    assert_eq!(screen.end(), Some(0));
    assert_eq!(place.run(["scan", "s.maple"]).fine().text(), "a\t1\nb\t2\n");
}

#[test]
fn a_person_has_completion_history_and_timings() {
    let place = Place::new();
    let script = "create users\nuse users\nput anna 1\nput berta 2\nput 'two words' 3\n";
    place.feed(["shell", "--create", "s.maple"], script.as_bytes()).fine();
    let screen = Screen::open(&place, &["shell", "s.maple"], &[]);
    screen.expect("s.maple: 1 tables. \"help\" lists the commands, Tab completes.");
    screen.expect("mapleaf> ");
    // A command, a table, a key, and one that has to be quoted.
    screen.say("us\tus\t\n");
    screen.expect("users> ");
    screen.say("ge\tbe\t\n");
    screen.expect("get berta");
    screen.expect("\n2\r\n");
    // One line at a time: the line editor drops what is typed ahead of its prompt.
    for (line, answer) in [
        ("get two\t\n", "\n3\r\n"),
        ("timing on\n", "\r\n"),
        ("get anna\n", " ms)"),
        ("nonsense\n", " unrecognized subcommand 'nonsense'; \"help\" lists the commands"),
    ] {
        screen.expect("users> ");
        screen.say(line);
        screen.expect(answer);
    }
    screen.expect("users> ");
    screen.say("begin\n");
    screen.expect("users*> ");
    screen.say("del anna\n");
    screen.expect("deleted");
    screen.expect("users*> ");
    screen.say("quit\n");
    screen.expect("the txn was not committed, so it is undone");
    assert_eq!(screen.end(), Some(0));
    assert_eq!(place.run(["get", "s.maple", "anna"]).fine().text(), "1\n");
    // The lines are there again, for their owner only.
    let history = place.path("home/.local/state/mapleaf/history");
    let lines = std::fs::read_to_string(&history).unwrap();
    assert!(lines.contains("get berta") && lines.ends_with("quit\n"), "{lines}");
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o077, 0);
    let screen = Screen::open(&place, &["shell", "s.maple"], &[]);
    screen.expect("mapleaf> ");
    screen.say("\x1b[A\x1b[A\x1b[A");
    screen.expect("begin");
    screen.say("\x03");
    screen.expect("mapleaf> ");
    screen.say("\x04");
    assert_eq!(screen.end(), Some(0));
}

/// What a txn has put is completed in it, what it has deleted is not, and a snapshot keeps what it sees.
#[test]
fn keys_are_completed_as_the_txn_sees_them() {
    let place = Place::new();
    let script = "create users\nput anna 1\nput berta 2\n";
    place.feed(["shell", "--create", "s.maple"], script.as_bytes()).fine();
    let screen = Screen::open(&place, &["shell", "s.maple"], &[]);
    let say = |prompt: &str, line: &str, answer: &str| {
        screen.expect(prompt);
        screen.say(line);
        screen.expect(answer);
    };
    say("mapleaf> ", "begin\n", "\n");
    say("mapleaf*> ", "put annette 3\n", "inserted");
    say("mapleaf*> ", "del anna\n", "deleted");
    say("mapleaf*> ", "get an\t\n", "\n3\r\n");
    say("mapleaf*> ", "commit\n", "\n");
    say("mapleaf> ", "begin --read\n", "\n");
    screen.expect("mapleaf=> ");
    place.run(["del", "s.maple", "annette"]).fine();
    screen.say("get an\t\n");
    screen.expect("\n3\r\n");
    say("mapleaf=> ", "abort\n", "\n");
    say("mapleaf> ", "get b\t\n", "\n2\r\n");
    screen.expect("mapleaf> ");
    screen.say("\x04");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn with_json_each_command_is_answered_by_a_line() {
    let place = Place::new();
    let script = "\
# nothing is answered to this
create users u64 '(str,u8)'
use users

begin
put 7 '[\"ann\",30]'
scan
scan --count
get 7 --json
del 7
scan
commit
tables
verify
dump -l
help quit
";
    let run = place.feed(["shell", "--create", "--json", "s.maple"], script.as_bytes()).fine();
    let answers: Vec<serde_json::Value> =
        run.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = answers
        .iter()
        .map(|answer| {
            format!("{} {} {}", answer["line"], answer["command"].as_str().unwrap(), answer["result"])
        })
        .collect();
    let wanted = [
        "2 create null",
        "3 use null",
        "5 begin null",
        r#"6 put {"existed":false,"table":"users"}"#,
        r#"7 scan [{"key":7,"value":["ann",30]}]"#,
        r#"8 scan [{"count":1}]"#,
        r#"9 get {"key":7,"table":"users","value":["ann",30],"value_len":6}"#,
        r#"10 del {"deleted":true,"table":"users"}"#,
        "11 scan []",
        "12 commit null",
    ];
    assert_eq!(told[..10], wanted);
    assert_eq!(answers[10]["result"][0]["name"], "users");
    assert_eq!(answers[11]["result"]["clean"], true);
    assert_eq!(told[12], r#"15 dump ["users"]"#);
    assert!(told[13].starts_with("16 help \"Leave (Ctrl-D does it too)"), "{}", told[13]);
    // What fails is told as without it, behind what was answered before.
    let run = place.feed(["shell", "--json", "s.maple"], b"timing on\nuse users\nget 8\ntables\n");
    let run = run.fails(1, &["mapleaf: line 3: no key \"8\" in table \"users\"\n"]);
    let timed: Vec<&str> = run.text().lines().collect();
    assert!(timed.len() == 2 && timed[1].contains(",\"milliseconds\":"), "{timed:?}");
}

/// A program and the shell take turns: each answer is there before the next line is asked for.
#[test]
fn a_program_talks_with_the_shell_through_pipes() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    let place = Place::new();
    let mut command = place.command(env!("CARGO_BIN_EXE_mapleaf"));
    command.args(["shell", "--create", "--json", "s.maple"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = command.spawn().unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let mut input = shell.stdin.take().unwrap();
    let mut ask = |line: &str| -> serde_json::Value {
        writeln!(input, "{line}").unwrap();
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    assert_eq!(ask("begin")["result"], serde_json::Value::Null);
    assert_eq!(ask("put --create k v")["result"]["existed"], false);
    assert_eq!(ask("get k")["result"]["value"], "v");
    assert_eq!(ask("commit")["line"], 4);
    drop(input);
    assert!(shell.wait().unwrap().success());
    assert_eq!(place.run(["get", "s.maple", "k"]).fine().text(), "v\n");
}
