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
table create users --key-type u64 --value-type '(str,option(u8))'
table create tags --key-type str --value-type u64 --multi
use users
put 7 '[\"ann\",30]'
put 7 '[\"ann\",31]'
put -s tags x 7
put -s tags x 8

get 7
get -s tags x
scan --json
tables
table rename tags labels
del -s labels x 7
scan -s labels
count
";
    let said = place.feed(["shell", "--create", "s.maple"], script.as_bytes());
    let said = said.fails(
        1,
        &[
            "mapleaf: line 17: unrecognized subcommand 'count'; \"scan --count\" counts",
            "\"help\" lists the commands",
        ],
    );
    let wanted = "created: u64 -> (str,option(u8))\ncreated: str -> many u64\n\
                  inserted\nreplaced\ninserted\ninserted\n[\"ann\",31]\n7\n8\n{\"key\":7,\"value\":[\"ann\",31]}\n\
                  \"tags\"              2 entries  1 level   str -> many u64\n\
                  \"users\"             1 entry    1 level   u64 -> (str,option(u8))\n\
                  renamed\ndeleted 1 value\nx\t8\n";
    assert_eq!(said.text(), wanted);
    assert!(shell(&place, "help\n").fine().text().contains("savepoint  Mark a point in the txn"));
    assert!(shell(&place, "verify\npage 0\nstat --json\n").fine().text().starts_with("clean: txn "));
    assert_eq!(
        shell(&place, "table drop labels\ntable drop users\ntables\nquit\nnonsense\n").fine().text(),
        "dropped 1 entry\ndropped 1 entry\n"
    );
    shell(&place, "table drop labels\n").fails(1, &["line 1: no table \"labels\"; the store has no tables"]);
}

/// However it is asked for, of whichever command; the store is not asked for.
#[test]
fn help_is_the_same_wherever_it_is_asked_for() {
    let place = Place::new();
    place.run(["put", "--create", "s.maple", "a", "1"]).fine();
    let help = shell(&place, "help\n").fine();
    let listed =
        help.text().lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let mut names: Vec<&str> = listed.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 25, "{names:?}");
    names.extend(["table create", "snapshot list", "import csv"]);
    for name in names {
        let told = shell(&place, &format!("help {name}\n")).fine();
        assert!(told.text().contains(&format!("\nUsage: {name}")), "{told:?}");
        assert!(!told.text().contains("The store\n") && !told.text().contains("<FILE>"), "{told:?}");
        for line in [format!("{name} --help\n"), format!("{name} -h\n")] {
            assert_eq!(shell(&place, &line).fine().text(), told.text(), "{line}");
        }
    }
    shell(&place, "help table nothing\n").fails(1, &["line 1: no command \"table nothing\""]);
}

#[test]
fn what_others_type_is_told_what_to_type_here() {
    let place = Place::new();
    let tables =
        "table create people --key-type u64 --value-type str\ntable create other\nput -s people 5 x\n";
    place.feed(["shell", "--create", "s.maple"], tables.as_bytes()).fine();
    let named = "found; a table is named with -s people, or before it with \"use people\"; \"help\"";
    for (line, said) in [
        ("get people 5", named),
        ("put people 5 x", named),
        ("scan people", named),
        ("scan --limit 3 nobody", "; a table is named with -s nobody, or"),
        ("scan -s people 5", "unexpected argument '5' found; \"help\" lists"),
        (".tables", "; type \"tables\";"),
        ("SCAN;", "; type \"scan\";"),
        ("show tables", "; \"tables\" lists the tables;"),
        ("select * from people", "; \"scan\" prints what a table holds, \"get KEY\" one value;"),
        ("insert 5 x", "; \"put KEY VALUE\" puts a value at a key;"),
        ("delete 5", "; \"del KEY\" deletes a key;"),
        ("create t", "; \"table\" does it: table create, table drop, table rename;"),
        ("backup", "; it is a command outside of the shell: mapleaf backup;"),
        ("snapshot kept", "snapshot: give one of list, create, drop;"),
        ("quit nothing", "unexpected argument 'nothing' found; \"help\" lists"),
        ("table drop nobody", "no table \"nobody\"; it has \"other\", \"people\""),
    ] {
        shell(&place, &format!("{line}\n")).fails(1, &[said]);
    }
    // Commands that a message names are called as here.
    let many: String = (0..20).map(|i| format!("table create t{i}\n")).collect();
    shell(&place, &many).fine();
    shell(&place, "use nobody\n").fails(1, &["there are 22 tables: ", "; \"tables\" lists them\n"]);
    // Where nothing better is known, nothing is said.
    let run = shell(&place, "nonsense\n").fails(1, &[]);
    assert_eq!(run.err, "mapleaf: line 1: unrecognized subcommand 'nonsense'; \"help\" lists the commands\n");
}

/// Lists and objects are typed as they are shown, without quotes around them; values that say nothing are left out.
#[test]
fn tuples_and_keys_alone_are_typed_as_they_are_shown() {
    let place = Place::new();
    let script = r#"table create cities --key-type (str,u8) --value-type unit
use cities
put ["Rome",100]
put ["New York", 7] []
put '["Bonn",1]'
put "[\"Ulm\",1]"
scan
scan --prefix ["New York"] --json
del ["Rome", 100]
scan --from ["Rome",0]
"#;
    assert_eq!(
        place.feed(["shell", "--create", "s.maple"], script.as_bytes()).fine().text(),
        "created: (str,u8) -> unit\ninserted\ninserted\ninserted\ninserted\n\
         [\"Bonn\",1]\n[\"New York\",7]\n[\"Rome\",100]\n[\"Ulm\",1]\n\
         {\"key\":[\"New York\",7],\"value\":[]}\ndeleted\n[\"Ulm\",1]\n"
    );
    shell(&place, "put -s new --create k\n")
        .fails(1, &["line 1: the value is missing: table \"new\" has values of bytes"]);
}

/// What `mapleaf snapshot` and `mapleaf table` do, in a txn as outside of one.
#[test]
fn tables_and_snapshots_are_made_in_a_txn() {
    let place = Place::new();
    place.run(["put", "--create", "s.maple", "a", "1"]).fine();
    let script = "\
snapshot create first
begin
snapshot create second
snapshot drop first
snapshot list --json
table create users --key-type u64
table rename users people
abort
snapshot list --json
begin
table create users --key-type u64
put -s users 7 x
snapshot create third
table drop users
commit
begin --read
snapshot list --json
";
    let run = shell(&place, script).fine();
    let names = |list: &serde_json::Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let answers = place.feed(
        ["shell", "--json", "s.maple"],
        b"begin\nsnapshot create fourth\nsnapshot list\nabort\nsnapshot list\n",
    );
    let answers: Vec<serde_json::Value> =
        answers.fine().text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(names(&answers[2]["result"]), ["first", "fourth", "third"]);
    assert_eq!(answers[2]["result"][0]["pages_alone"], serde_json::Value::Null);
    assert_eq!(names(&answers[4]["result"]), ["first", "third"]);
    assert!(answers[4]["result"][0]["pages_alone"].is_u64());
    let plain: Vec<&str> =
        run.text().lines().filter(|line| !line.starts_with([' ', '[', ']', '{', '}'])).collect();
    assert_eq!(
        plain,
        ["created: u64 -> bytes", "renamed", "created: u64 -> bytes", "inserted", "dropped 1 entry"]
    );
    let listed = shell(
        &place,
        "begin\nsnapshot list\nabort\nsnapshot drop first\nsnapshot drop third\nsnapshot list\n",
    );
    assert!(listed.fine().text().ends_with("  \"third\"\nno snapshots\n"));
    for (script, said) in [
        ("snapshot drop none\n", "line 1: no snapshot \"none\""),
        ("begin --read\ntable create t\n", "line 2: this txn only reads"),
        ("begin --read\nsnapshot create t\n", "line 2: this txn only reads"),
        ("table create ''\n", "line 1: "),
    ] {
        shell(&place, script).fails(1, &[&format!("mapleaf: {said}")]);
    }
}

#[test]
fn commands_of_the_tool_work_on_this_store_outside_of_a_txn() {
    let place = Place::new();
    place.write("in.csv", "id,name\n7,ann\n8,bob\n");
    let script = "\
import csv in.csv -s users --key-type u64
use users
scan
export csv -s users -o out.csv
export jsonl -s users --no-header
compact
trim
map
tree
begin --read
stat -s users --json
abort
watch --count 1 --timeout 1ms
";
    let run = place.feed(["shell", "--create", "s.maple"], script.as_bytes());
    let text = run.fails(1, &[]).text().to_owned();
    assert!(text.starts_with("loaded 2 records"), "{text}");
    for said in [
        "\n7\tann\n8\tbob\n{\"table\":\"users\",\"key\":7,",
        " pages moved in ",
        " bytes given back, ",
        "\nL leaf ",
        "table \"users\", txn ",
        "\"txn\": ",
    ] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
    assert_eq!(place.read("out.csv"), b"key,value\n7,ann\n8,bob\n");
    for name in ["map", "tree", "watch", "compact", "trim", "export csv", "import csv in.csv"] {
        for begin in ["begin", "begin --read"] {
            let run = shell(&place, &format!("{begin}\n{name}\n"));
            let word = name.split(' ').next().unwrap();
            run.fails(
                1,
                &[&format!("mapleaf: line 2: {word} is not done in a txn; \"commit\" or \"abort\" ends")],
            );
        }
    }
    for name in ["compact", "trim", "import csv in.csv"] {
        let run = place.feed(["shell", "--read-only", "s.maple"], format!("{name}\n").as_bytes());
        run.fails(1, &["mapleaf: line 1: ", " changes the store, and --read-only was asked for"]);
    }
    shell(&place, "import csv -\n").fails(1, &["line 1: the lines come from standard input; name a file"]);
    let screen = Screen::open(&place, &["shell", "s.maple"], &[]);
    screen.expect("s.maple: 1 table. ");
    screen.expect("mapleaf> ");
    screen.say("watch\n");
    screen.expect("give --count or --timeout");
    screen.expect("mapleaf> ");
    screen.say("\x04");
    assert_eq!(screen.end(), Some(0));
}

/// As from a pipe; standard input is free for what is put.
#[test]
fn lines_of_the_command_line_are_executed() {
    let place = Place::new();
    let words = [
        "shell",
        "--create",
        "s.maple",
        "-c",
        "put --create k -",
        "-c",
        "get k",
        "--command",
        "scan --count",
    ];
    assert_eq!(place.feed(words, b"the value").fine().text(), "inserted\nthe value\n1\n");
    place.feed(["shell", "s.maple", "-c", "import csv - --no-header"], b"a,b\n").fine();
    place
        .run(["shell", "s.maple", "-c", "begin", "-c", "put lost v"])
        .fails(1, &["mapleaf: line 1: the txn that begins here is not committed, so it is undone"]);
    place
        .run(["shell", "s.maple", "-c", "begin\nput m 1\ncommit\n", "-c", "del m\n\nget m"])
        .fails(1, &["mapleaf: line 6: no key \"m\""]);
    let run = place.run(["shell", "s.maple", "-c", "get k", "-c", "get none", "-c", "get a"]);
    assert_eq!(run.fails(1, &["mapleaf: line 2: no key \"none\""]).text(), "the value\n");
    place.run(["shell", "s.maple", "-c", "quit", "-c", "nonsense"]).fine();
    let run = place.run(["shell", "--json", "s.maple", "-c", "get a"]).fine();
    assert_eq!(run.json()["result"]["value"], "b");
    // On a terminal too, without a prompt.
    let screen = Screen::open(&place, &["shell", "s.maple", "-c", "get a"], &[]);
    assert_eq!(screen.rest(), "b\r\n");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn multimaps_say_what_was_there_and_how_much_went() {
    let place = Place::new();
    let put = |value: &str| {
        place
            .run([
                "put",
                "--create",
                "s.maple",
                "-s",
                "tags",
                "--key-type",
                "str",
                "--value-type",
                "u64",
                "--multi",
                "a",
                value,
            ])
            .fine()
            .text()
            .to_owned()
    };
    assert_eq!(
        [put("1"), put("1"), put("2"), put("3")].concat(),
        "inserted\nthere already\ninserted\ninserted\n"
    );
    assert_eq!(place.run(["del", "s.maple", "a", "3"]).fine().text(), "deleted 1 value\n");
    assert_eq!(place.run(["del", "s.maple", "a"]).fine().text(), "deleted 2 values\n");
    place.run(["del", "s.maple", "a"]).fails(1, &["no key \"a\""]);
    put("4");
    let json = place.run(["del", "s.maple", "a", "--json"]).fine().json();
    assert_eq!(json.to_string(), r#"{"deleted":true,"table":"tags","values":1}"#);
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
snapshot create kept
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
        ("begin\nsavepoint x\nrollback y\n", "line 3: no savepoint \"y\"; the txn has \"x\""),
        ("begin --read\nput -s '' k v\n", "line 2: this txn only reads"),
        ("begin\nput -s '' lost v\n", "line 1: the txn that begins here is not committed, so it is undone"),
        ("begin\nput -s '' lost v\nget -s '' nothing\ncommit\n", "line 3: no key \"nothing\""),
        ("use nothing\n", "line 1: no table \"nothing\"; it has \"\", \"new\""),
        ("put 'k\n", "line 1: "),
        ("put -s '' k -\n", "line 1: the lines come from standard input"),
        ("put -s new k\n", "line 1: the value is missing: table \"new\" has values of bytes"),
        ("get\n", "line 1: the following required arguments were not provided: <KEY>"),
        ("table create t --key-type u7\n", "line 1: the type \"u7\" of the keys"),
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
    let script = "table create users\nuse users\nput anna 1\nput berta 2\nput 'two words' 3\n";
    place.feed(["shell", "--create", "s.maple"], script.as_bytes()).fine();
    let screen = Screen::open(&place, &["shell", "s.maple"], &[]);
    screen.expect("s.maple: 1 table. \"help\" lists the commands, Tab completes.");
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
        ("timing on\n", "timing is on"),
        ("get anna\n", " ms)"),
        ("nonsense\n", " unrecognized subcommand 'nonsense'; \"help\" lists the commands"),
    ] {
        screen.expect("users> ");
        screen.say(line);
        screen.expect(answer);
    }
    // The words of a command, and the names that it takes.
    for (line, answer) in [
        ("table cr\tother\n", "created: bytes -> bytes"),
        ("snapshot create monday\n", "\n"),
        ("snapshot dr\tmon\t\n", "snapshot drop monday"),
        ("table drop ot\t\n", "dropped 0 entries"),
        ("import c\tnone.csv\n", "none.csv: cannot read"),
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
    screen.expect("the txn is not committed; \"commit\" keeps what it changed, \"quit\" once more undoes it");
    screen.expect("users*> ");
    screen.say("get berta\n");
    screen.expect("\n2\r\n");
    screen.expect("users*> ");
    screen.say("\x04");
    screen.expect("\"quit\" once more undoes it");
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
    screen.say("\x1b[A\x1b[A\x1b[A\x1b[A");
    screen.expect("del anna");
    screen.say("\x03");
    screen.expect("mapleaf> ");
    screen.say("\x04");
    assert_eq!(screen.end(), Some(0));
}

/// What a txn has put is completed in it, what it has deleted is not, and a snapshot keeps what it sees.
#[test]
fn keys_are_completed_as_the_txn_sees_them() {
    let place = Place::new();
    let script = "table create users\nput anna 1\nput berta 2\n";
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
table create users --key-type u64 --value-type (str,u8)
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
        r#"2 table {"created":true,"table":"users","txn":2}"#,
        "3 use null",
        "5 begin null",
        r#"6 put {"existed":false,"table":"users"}"#,
        r#"7 scan [{"key":7,"value":["ann",30]}]"#,
        r#"8 scan [{"count":1}]"#,
        r#"9 get {"key":7,"table":"users","value":["ann",30],"value_len":6}"#,
        r#"10 del {"deleted":true,"table":"users","values":1}"#,
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
