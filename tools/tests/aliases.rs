//! Called by the names of LMDB's tools. Beside the real ones (lmdb-utils) where these are installed; else the test says so.

mod common;

use common::{Place, Run};
use std::path::Path;
use std::process::Stdio;

/// The tool under the names of LMDB's.
fn place() -> Place {
    let place = Place::new();
    for name in ["mdb_stat", "mdb_dump", "mdb_load", "mdb_copy"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mapleaf"), place.path(name)).unwrap();
    }
    place
}

fn call(place: &Place, words: &str, input: &[u8]) -> Run {
    let mut words = words.split(' ');
    let program = place.path(words.next().unwrap());
    place.feed_program(program.to_str().unwrap(), words, input)
}

const DUMP: &str = "VERSION=3\nformat=print\ndatabase=one\ntype=btree\nmapsize=1048576\nHEADER=END\n a\n 1\n b\\00\n \nDATA=END\n\
                    VERSION=3\nformat=bytevalue\ndatabase=two\ntype=btree\nmapsize=1048576\nduplicates=1\ndupsort=1\nHEADER=END\n 61\n 31\n 61\n 32\n 62\n 31\nDATA=END\n";

fn without<'t>(text: &'t str, names: &[&str]) -> Vec<&'t str> {
    text.lines().filter(|line| !names.iter().any(|name| line.starts_with(name))).collect()
}

#[test]
fn scripts_for_lmdb_go_on_working() {
    let place = place();
    assert_eq!(call(&place, "mdb_load -n s.maple", DUMP.as_bytes()).fine().text(), "");
    // A directory means the file in it.
    std::fs::create_dir(place.path("dir")).unwrap();
    call(&place, "mdb_load -f dump dir", b"").fails(1, &["mapleaf: dump: cannot read"]);
    place.write("dump", DUMP);
    call(&place, "mdb_load -f dump dir", b"").fine();
    assert!(place.path("dir/data.mdb").exists());
    let dumped = call(&place, "mdb_dump -a -n s.maple", b"").fine();
    assert_eq!(dumped.text(), call(&place, "mdb_dump -a dir", b"").fine().text());
    assert_eq!(call(&place, "mdb_dump -l dir", b"").fine().text(), "one\ntwo\n");
    assert_eq!(
        without(call(&place, "mdb_dump -p -s one dir", b"").fine().text(), &["mapsize"]),
        [
            "VERSION=3",
            "format=print",
            "database=one",
            "type=btree",
            "maxreaders=126",
            "db_pagesize=4096",
            "HEADER=END",
            " a",
            " 1",
            " b\\00",
            " ",
            "DATA=END"
        ]
    );
    call(&place, "mdb_dump -f out -s two dir", b"").fine();
    assert!(place.read("out").ends_with(b"\n 61\n 31\n 61\n 32\n 62\n 31\nDATA=END\n"));
    // Keys that are there are no problem here, though they are one for "mapleaf load -N".
    call(&place, "mdb_load -N -T -s one dir", b"a\nnew\nc\n3\n").fine();
    assert_eq!(place.run(["scan", "dir/data.mdb", "-s", "one"]).fine().text(), "a\t1\nb\\00\t\nc\t3\n");

    call(&place, "mdb_copy dir copy.maple", b"").fine();
    std::fs::create_dir(place.path("into")).unwrap();
    assert_eq!(call(&place, "mdb_copy -c dir into", b"").fine().text(), "");
    let streamed = call(&place, "mdb_copy dir", b"").fine();
    place.write("streamed.maple", streamed.out);
    let all = |store: &str| place.run(["dump", "-a", store]).fine().out;
    for copy in ["copy.maple", "into/data.mdb", "streamed.maple"] {
        place.run(["verify", copy]).fine();
        assert!(all(copy) == all("dir/data.mdb"), "{copy}");
    }
    call(&place, "mdb_copy dir copy.maple", b"").fails(1, &["copy.maple"]);
    call(&place, "mdb_copy -c dir copy.maple", b"").fails(1, &["copy.maple"]);
}

#[test]
fn what_is_wrong_is_told() {
    let place = place();
    for tool in ["mdb_stat", "mdb_dump", "mdb_copy"] {
        call(&place, &format!("{tool} -n none.mdb"), b"").fails(1, &["mapleaf: none.mdb: no such file"]);
    }
    for words in ["mdb_stat", "mdb_dump", "mdb_load", "mdb_copy", "mdb_stat -a -s x y", "mdb_dump -z x"] {
        call(&place, words, b"").fails(2, &["Usage: mdb_"]);
    }
    call(&place, "mdb_load new.maple", b"VERSION=2\n").fails(1, &["line 1", "nothing was loaded"]);
    assert!(!place.path("new.maple").exists());
    call(&place, "mdb_load new.maple", DUMP.as_bytes()).fine();
    call(&place, "mdb_stat -s three new.maple", b"")
        .fails(1, &["no table \"three\"; it has \"one\", \"two\""]);
    call(&place, "mdb_dump -s three new.maple", b"").fails(1, &["no table \"three\""]);
    let version = call(&place, "mdb_stat -V", b"").fine();
    assert_eq!(version.text(), concat!("mdb_stat ", env!("CARGO_PKG_VERSION"), "\n"));
    place.write("text", "It was a dark and stormy night. ".repeat(1000));
    call(&place, "mdb_stat text", b"").fails(1, &["mapleaf: text: not a mapleaf store"]);
}

/// The same faults for each of them.
#[test]
fn every_fault_is_told_by_each() {
    let place = place();
    call(&place, "mdb_load s.maple", DUMP.as_bytes()).fine();
    place.write("text", "It was a dark and stormy night. ".repeat(1000));
    std::fs::create_dir(place.path("directory")).unwrap();
    let mut bytes = place.read("s.maple");
    bytes.chunks_mut(4096).skip(2).for_each(|page| page[700] ^= 0x55);
    place.write("d.maple", &bytes);
    for words in ["mdb_stat -a", "mdb_dump -a", "mdb_copy", "mdb_copy -c"] {
        let tried = |file: &str| call(&place, &format!("{words} {file}"), b"");
        tried("none.maple").fails(1, &["mapleaf: none.maple: no such file"]);
        tried("directory").fails(1, &["mapleaf: directory/data.mdb: no such file"]);
        tried("text").fails(1, &["mapleaf: text: not a mapleaf store: it begins with \"It was \""]);
        tried("d.maple").fails(1, &["mapleaf: d.maple: page "]);
    }
    call(&place, "mdb_load text", DUMP.as_bytes()).fails(1, &["mapleaf: text: not a mapleaf store"]);
    call(&place, "mdb_load d.maple", DUMP.as_bytes())
        .fails(1, &["mapleaf: d.maple: page ", "nothing was loaded"]);
    call(&place, "mdb_load -f none s.maple", b"").fails(1, &["mapleaf: none: cannot read"]);
    call(&place, "mdb_copy s.maple text", b"").fails(1, &["mapleaf: text: exists already"]);
    for words in ["mdb_stat -a s.maple", "mdb_dump -a s.maple", "mdb_copy s.maple"] {
        let mut words = words.split(' ');
        let program = place.path(words.next().unwrap());
        let mut command = place.command(program);
        command.args(words).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), &ended.stderr[..]), (Some(0), &b""[..]), "{command:?}");
        let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { continue };
        let ended = command.stdout(full).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(
            ended.status.code() == Some(1) && said.starts_with("mapleaf: standard output: cannot write"),
            "{said}"
        );
    }
}

#[test]
fn stat_prints_what_scripts_look_for() {
    let place = place();
    call(&place, "mdb_load s.maple", DUMP.as_bytes()).fine();
    let stat = call(&place, "mdb_stat -e -r -f -a s.maple", b"").fine();
    let json = place.run(["stat", "--json", "s.maple"]).fine().json();
    let lines: Vec<&str> = stat.text().lines().collect();
    assert_eq!(lines[3], "  Page size: 4096");
    assert!(lines.contains(&&*format!("  Last transaction ID: {}", json["txn"])), "{lines:?}");
    assert!(lines.contains(&&*format!("  Free pages: {}", json["free_pages"])), "{lines:?}");
    let tail = [
        "Status of one",
        "  Tree depth: 1",
        "  Branch pages: 0",
        "  Leaf pages: 1",
        "  Overflow pages: 0",
        "  Entries: 2",
    ];
    let at = lines.iter().position(|line| *line == "Status of one").unwrap();
    assert_eq!(lines[at..at + 6], tail);
    assert_eq!(lines.last(), Some(&"  Entries: 3"));
    assert!(
        call(&place, "mdb_stat -rr s.maple", b"")
            .fine()
            .text()
            .contains("  0 stale readers cleared.\n(no active readers)\n")
    );
}

/// The same dump goes into both, and what both print is compared, but for the sizes of their files.
#[test]
fn the_real_tools_print_the_same() {
    if !Path::new("/usr/bin/mdb_dump").exists() || !Path::new("/usr/bin/mdb_load").exists() {
        eprintln!("skipped: mdb_load and mdb_dump not installed (package lmdb-utils)");
        return;
    }
    let place = place();
    let words: String = (0..3000).map(|i| format!(" key {i:05}\n value \\5c{i}\\00\n")).collect();
    let dump = format!(
        "{DUMP}VERSION=3\nformat=print\ndatabase=words\ntype=btree\nmapsize=1048576\nHEADER=END\n{words}DATA=END\n"
    );
    call(&place, "mdb_load -n s.maple", dump.as_bytes()).fine();
    let real = |words: &str, input: &[u8]| {
        let mut words = words.split(' ');
        place.feed_program(&format!("/usr/bin/{}", words.next().unwrap()), words, input)
    };
    // One by one: LMDB reads a bytevalue section behind one of print as if it were print too.
    for section in dump.split_inclusive("DATA=END\n") {
        assert_eq!(real("mdb_load -n l.mdb", section.as_bytes()).code, Some(0));
    }
    for flags in ["-a", "-a -p", "-s one", "-p -s two", "-s words", "-l"] {
        let ours = call(&place, &format!("mdb_dump {flags} -n s.maple"), b"").fine();
        let theirs = real(&format!("mdb_dump {flags} -n l.mdb"), b"").fine();
        // LMDB before 0.9.25 wrote backslashes bare in print format, we write them as libmdbx does, which every version reads.
        let backslash = |line: &str| line.replace("\\5c", "\\").replace("\\\\", "\\");
        let lines = |run: &Run| {
            without(run.text(), &["mapsize", "database="]).into_iter().map(backslash).collect::<Vec<_>>()
        };
        let (ours, theirs) = (lines(&ours), lines(&theirs));
        let differ = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
        assert_eq!((differ, ours.len()), (None, theirs.len()), "{flags}");
    }
    let labels = |run: Run| -> Vec<String> {
        let label = |line: &str| line.split_once(": ").map_or(line, |(label, _)| label).to_owned();
        run.text().lines().map(label).collect()
    };
    for flags in ["-a", "-e", "-f", "-r", "-rr", "-e -r -f", "-s words"] {
        let ours = call(&place, &format!("mdb_stat {flags} -n s.maple"), b"").fine();
        // With -r LMDB's ends with how many readers it printed lines for.
        let theirs = real(&format!("mdb_stat {flags} -n l.mdb"), b"");
        let entries =
            |run: &Run| run.text().lines().rfind(|line| line.starts_with("  Entries")).map(str::to_owned);
        if flags.contains("-a") || flags.contains("-s") {
            assert_eq!(entries(&ours), entries(&theirs), "{flags}");
        }
        assert_eq!(labels(ours), labels(theirs), "{flags}");
    }
}
