//! Mutations: each takes one guard out of a copy of the crate's source, and a crash test must notice.
//!
//! They build the copy many times, so they are run apart: `cargo test --test crash -- --ignored`, or one
//! of them with `cargo test --test crash -- --ignored mutation_NAME`. Owns: the copy, in the target
//! directory, and the list of mutations with the tests that must fail. A piece of source that is not found
//! exactly once is a failure too: the list follows the source.
//!
//! Not in the list, because another line guards the same: in the log's `parse` that a record names the txn
//! before it, and that ids ascend (the chain of checksums says both); in a commit that no flush has failed
//! since the txn began (the flush of the log asks again, and only whoever has the turn recovers); in
//! recovery the quarantine of pages of a failed commit (blocks that were flushed once may be written again);
//! that opening rewrites the other meta slot too (its flush writes what was put back there anyway); that
//! recovery moves the log elsewhere after a failed flush (blocks that were flushed once may be written again).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// One replacement in one file.
struct Mutation {
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

/// All use one copy, so that what they build on is built once.
static COPY: Mutex<()> = Mutex::new(());

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The place of the copy, and of what is built from it.
fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-mutations")
}

/// Copies the sources and the crash tests, as a workspace of their own.
fn copy_sources(to: &Path) {
    let _ = std::fs::remove_dir_all(to.join("src"));
    let _ = std::fs::remove_dir_all(to.join("tests"));
    for part in ["src", "tests/crash"] {
        copy_directory(&root().join(part), &to.join(part));
    }
    for file in ["Cargo.lock", "README.md"] {
        std::fs::copy(root().join(file), to.join(file)).unwrap();
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let alone =
        |line: &&str| !["members", "default-members", "exclude"].contains(&line.split(' ').next().unwrap());
    let manifest: Vec<&str> = manifest.lines().filter(alone).collect();
    std::fs::write(to.join("Cargo.toml"), manifest.join("\n")).unwrap();
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match source.is_dir() {
            true => copy_directory(&source, &target),
            false => drop(std::fs::copy(source, target).unwrap()),
        }
    }
}

impl Mutation {
    fn apply(&self, directory: &Path) {
        let path = directory.join(self.file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(self.old).count(), 1, "{}: {:?} is there once", self.file, self.old);
        std::fs::write(&path, text.replace(self.old, self.new)).unwrap();
    }
}

/// Whether the crash tests pass whose names contain one of `tests`, and what they say.
fn run(mutations: &[Mutation], tests: &[&str]) -> (bool, String) {
    let directory = place();
    copy_sources(&directory);
    mutations.iter().for_each(|mutation| mutation.apply(&directory));
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(&directory).env("CARGO_TARGET_DIR", directory.join("target"));
        command.args(["test", "--offline", "--test", "crash"]).args(arguments);
        let output = command.output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let (built, text) = cargo(&["--no-run"]);
    assert!(built, "the mutated source does not compile:\n{text}");
    cargo(&[&["--"], tests].concat())
}

fn is_caught(mutations: &[Mutation], tests: &[&str]) {
    let _alone = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    let (passed, text) = run(mutations, tests);
    let failed: Vec<&str> = text.lines().filter(|line| line.ends_with("... FAILED")).collect();
    println!("{}", failed.join("\n"));
    assert!(!passed && !failed.is_empty(), "no test has noticed:\n{text}");
}

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident: $file:literal, $old:literal => $new:literal, $tests:expr;)*) => {
        $($(#[$doc])* #[test] #[ignore = "builds the crate anew; run with --ignored"]
        fn $name() {
            is_caught(&[Mutation { file: $file, old: $old, new: $new }], &$tests);
        })*
    };
}

mutations! {
    /// Records have checksums, but these do not continue each other: what a cut left behind a record of
    /// the same length counts as its continuation.
    mutation_chain_left_out: "src/log.rs",
        " && head.chain == tail.chain;" => ";",
        ["what_a_cut_left_of_the_log"];
    /// A commit is acknowledged whose record is only in the cache.
    mutation_log_flush_left_out: "src/group.rs",
        "self.risk(|| log.flush(&store.pages.disk, flushed..head.log.offset))"
        => "Ok::<(), Error>(())",
        ["in_small_logged_commits"];
    /// The log begins again while the meta slot with its new seed is only in the cache.
    mutation_log_restarted_before_the_meta_is_flushed: "src/store.rs",
        "        disk.sync(META_OFFSETS[slot], META_LEN as u64)\n" => "        Ok(())\n",
        ["in_checkpoints_that_were_asked_for"];
    /// Pages that only the checkpoint needs are written over.
    mutation_checkpoint_not_needed: "src/store.rs",
        "            needed.insert(place, txn);\n" => "            let _ = place;\n",
        ["in_small_logged_commits", "in_any_round_of_the_log"];
    /// What was in flight when a flush failed comes back, where taking it back has failed too.
    mutation_replay_beyond_the_published: "src/recover.rs",
        "let wanted = if fresh { u64::MAX }" => "let wanted = if true { u64::MAX }",
        ["several_failing", "before_the_store_is_closed"];
    /// The other meta slot may hold a commit that was never acknowledged, whose growth is cut off.
    mutation_neutralising_left_out: "src/recover.rs",
        "    store.write_slot(&meta, 1 - slot)?;\n    store.cut" => "    let _ = slot;\n    store.cut",
        ["every_single_failing_operation", "while_logged_commits_grow_the_file", "every_failing_operation"];
    /// A logged txn lies in blocks that were never flushed, and the next flush of them fails.
    mutation_growth_not_flushed: "src/commit.rs",
        "    lead.flush_growth(run.start * page_size, run.len * page_size).map_err(Failure::Unknown)\n"
        => "    let _ = (run, page_size);\n    Ok(())\n",
        ["while_logged_commits_grow_the_file", "every_failing_operation"];
    /// New extents of the log are blocks that were never written: where their first flush fails, they are
    /// lost for whoever uses them next.
    mutation_log_not_zeroed: "src/commit.rs",
        ".iter().chain(detail.new_log) {" => ".iter() {",
        ["of_a_new_log"];
    /// Pages that readers see, or that a failed flush left in doubt, are taken for free by recovery.
    mutation_nothing_set_aside: "src/recover.rs",
        "        given.extend(set_aside(store, &mut space, &base)?);\n" => "        let _ = set_aside;\n",
        ["while_readers_stay", "every_failing_operation", "several_failing", "in_one_process"];
    /// Who opens a store does not know that its checkpoint is on the disk.
    mutation_slots_not_settled: "src/recover.rs",
        "        store.rewrite_slots()?;\n" => "",
        ["killed_anywhere", "then_death", "killed_in_the_middle"];
    /// The records whose flush failed stay in the cache.
    mutation_records_not_taken_back: "src/group.rs",
        "            log.write(disk, from, &[0; RECORD_HEAD][..len as usize])?;\n            log.flush(disk, from..from + len)\n"
        => "            let _ = (disk, len, RECORD_HEAD);\n            Ok(())\n",
        ["then_death", "before_the_store_is_closed", "every_failing_operation"];
    /// The meta slot whose flush failed stays in the cache.
    mutation_meta_not_taken_back: "src/store.rs",
        "            self.pages.disk.write(META_OFFSETS[slot], &[IoSlice::new(meta.as_bytes())])\n"
        => "            let _ = (meta, slot);\n            Ok(())\n",
        ["then_death", "before_the_store_is_closed", "every_failing_operation"];
    /// Growth that no state refers to stays, though its flush has failed.
    mutation_growth_not_cut: "src/store.rs",
        "        if self.pages.disk.len()? > len { self.pages.disk.set_len(len) } else { Ok(()) }\n"
        => "        let _ = len;\n        Ok(())\n",
        ["every_failing_operation", "grow_the_file", "every_single_failing"];
    /// The pages of a commit in place are not flushed before its meta slot is written.
    mutation_data_flush_left_out: "src/group.rs",
        ".try_for_each(|range| store.pages.disk.sync(range.start, range.end - range.start))?;" => ".for_each(drop);",
        ["in_any_round_of_the_log"];
    /// The death of whoever flushed passes for a success.
    mutation_death_of_a_leader_ignored: "src/group.rs",
        "            lead.take_over()?;\n"
        => "            self.readers.set_flush_state(FlushState::Settled);\n",
        ["killed_in_the_middle"];
}

/// The copy itself is sound: without a mutation the tests pass.
#[test]
#[ignore = "builds the crate anew; run with --ignored"]
fn no_mutation_is_accepted() {
    let _alone = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    let (passed, text) = run(&[], &["in_small_logged_commits", "what_a_cut_left_of_the_log"]);
    assert!(passed, "{text}");
}
