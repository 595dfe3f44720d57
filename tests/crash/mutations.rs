//! Mutations: each takes one guard out of a copy of the crate's source, and a named test must notice.
//!
//! They build the copy many times, so they are run apart. All of them, with a table `mutation × caught by × yes/no`:
//!
//! ```text
//! cargo test --test crash all_mutations -- --ignored --nocapture
//! ```
//!
//! or some, by a part of their names: `MAPLEAF_MUTATION=flush,birth` before the same command. Owns: the copy, in the target
//! directory, and the list of mutations with the tests of which one must fail: crash tests, or those of another test
//! target. A piece of source that is not found exactly once is a failure too: the list follows the source.
//!
//! Not in the list, because another line guards the same: in the log's `parse` that a record names the txn
//! before it, and that ids ascend (the chain of checksums says both); in a commit that no flush has failed
//! since the txn began (the flush of the log asks again, and only whoever has the turn recovers);
//! that opening rewrites the other meta slot too (its flush writes what was put back there anyway); that
//! recovery moves the log elsewhere after a failed flush, and goes to other pages than the commit that failed (blocks
//! that were flushed once may be written again; where a block cannot be written at all, recovery needs so few pages
//! that it goes elsewhere anyway in the tests that there are).

use std::path::{Path, PathBuf};
use std::process::Command;

/// One guard taken out.
struct Mutation {
    name: &'static str,
    /// File, what is there once, and what takes its place.
    changes: &'static [(&'static str, &'static str, &'static str)],
    /// The test target.
    target: &'static str,
    /// Parts of the names of tests, of which one must fail.
    tests: &'static [&'static str],
}

const CRASH: &str = "crash";
const DAMAGE: &str = "damage";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The place of the copy, and of what is built from it.
fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-mutations")
}

/// Copies the sources and the tests, as a workspace of their own.
fn copy_sources(to: &Path) {
    for part in ["src", "tests", "derive", "crash"] {
        let _ = std::fs::remove_dir_all(to.join(part));
    }
    for part in ["src", "tests/crash", "tests/damage", "tests/common", "derive", "crash"] {
        copy_directory(&root().join(part), &to.join(part));
    }
    for file in ["Cargo.lock", "README.md"] {
        std::fs::copy(root().join(file), to.join(file)).unwrap();
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let is_list =
        |line: &&str| !["members", "default-members", "exclude"].contains(&line.split(' ').next().unwrap());
    let manifest: Vec<&str> = manifest.lines().filter(is_list).collect();
    let manifest = manifest
        .join("\n")
        .replace("[workspace]\n", "[workspace]\nmembers = [\".\", \"derive\", \"crash\"]\n");
    std::fs::write(to.join("Cargo.toml"), manifest).unwrap();
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
        for (file, old, new) in self.changes {
            let path = directory.join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.matches(old).count(), 1, "{}: {file}: {old:?} is there once", self.name);
            std::fs::write(&path, text.replace(old, new)).unwrap();
        }
    }

    /// The test that has noticed; or what all of them said.
    fn is_caught(&self) -> Result<String, String> {
        copy_sources(&place());
        self.apply(&place());
        let (passed, text) = run(self.target, self.tests);
        let failed = text.lines().filter_map(|line| line.strip_suffix(" ... FAILED"));
        let failed: Vec<&str> = failed.map(|line| line.trim_start_matches("test ")).collect();
        match !passed && !failed.is_empty() {
            true => Ok(failed.join(", ")),
            false => Err(text),
        }
    }
}

/// Whether the tests of the copy pass whose names contain one of `tests`, and what they say.
fn run(target: &str, tests: &[&str]) -> (bool, String) {
    let directory = place();
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(&directory).env("CARGO_TARGET_DIR", directory.join("target"));
        command.env("CARGO_PROFILE_DEV_DEBUG", "0");
        command.args(["test", "--offline", "-p", "mapleaf", "--test", target]).args(arguments);
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

#[rustfmt::skip]
const MUTATIONS: &[Mutation] = &[
    // Records have checksums, but these do not continue each other: what a cut left behind a record of the
    // same length counts as its continuation.
    Mutation {
        name: "chain_left_out",
        changes: &[
            ("src/log.rs", " && head.chain == tail.chain;", ";"),
        ],
        target: CRASH,
        tests: &["what_a_cut_left_of_the_log"],
    },
    // A commit is acknowledged whose record is only in the cache.
    Mutation {
        name: "log_flush_left_out",
        changes: &[
            ("src/group.rs", "self.risk(|| log.flush(&store.pages.disk, flushed..head.log.offset))", "Ok::<(), Error>(())"),
        ],
        target: CRASH,
        tests: &["in_small_logged_commits"],
    },
    // The log begins again while the meta slot with its new seed is only in the cache.
    Mutation {
        name: "log_restarted_before_the_meta_is_flushed",
        changes: &[
            ("src/store.rs", "        disk.sync(META_OFFSETS[slot], META_LEN as u64)\n", "        Ok(())\n"),
        ],
        target: CRASH,
        tests: &["in_checkpoints_that_were_asked_for"],
    },
    // Pages that only the checkpoint needs are written over.
    Mutation {
        name: "checkpoint_not_needed",
        changes: &[
            ("src/store.rs", "self.readers.checkpoint().iter().map(|(txn, _)| txn).chain(stored) {", "stored {"),
        ],
        target: CRASH,
        tests: &["in_small_logged_commits", "in_any_round_of_the_log"],
    },
    // Pages that only a stored snapshot needs are written over.
    Mutation {
        name: "stored_not_needed",
        changes: &[
            ("src/store.rs", "map(|(txn, _)| txn).chain(stored) {", "map(|(txn, _)| txn).chain(&stored[..0]) {"),
        ],
        target: CRASH,
        tests: &["while_snapshots_are_stored"],
    },
    // What was in flight when a flush failed comes back, where taking it back has failed too.
    Mutation {
        name: "replay_beyond_the_published",
        changes: &[
            ("src/recover.rs", "let wanted = if fresh { u64::MAX }", "let wanted = if true { u64::MAX }"),
        ],
        target: CRASH,
        tests: &["several_failing", "before_the_store_is_closed"],
    },
    // The other meta slot may hold a commit that was never acknowledged, whose growth is cut off.
    Mutation {
        name: "neutralising_left_out",
        changes: &[
            ("src/recover.rs", "    store.write_slot(&meta, 1 - slot)?;\n    store.cut", "    let _ = slot;\n    store.cut"),
        ],
        target: CRASH,
        tests: &["every_single_failing_operation", "while_logged_commits_grow_the_file", "every_failing_operation"],
    },
    // A logged txn lies in blocks that were never flushed, and the next flush of them fails.
    Mutation {
        name: "growth_not_flushed",
        changes: &[
            ("src/commit.rs", "    let fresh = dirty.space.filled().iter().chain(growth(dirty, state));\n", "    let fresh = dirty.space.filled().iter().chain(growth(dirty, state).filter(|_| false));\n"),
        ],
        target: CRASH,
        tests: &["while_logged_commits_grow_the_file", "every_failing_operation"],
    },
    // A logged txn lies in what was a hole, whose new blocks were never flushed.
    Mutation {
        name: "filled_holes_not_flushed",
        changes: &[
            ("src/commit.rs", "    let fresh = dirty.space.filled().iter().chain(growth(dirty, state));\n", "    let fresh = growth(dirty, state).into_iter();\n"),
        ],
        target: CRASH,
        tests: &["were_or_were_not_given_back"],
    },
    // A hole is filled once more although its blocks may be those whose first flush has failed.
    Mutation {
        name: "filled_holes_not_punched_first",
        changes: &[
            ("src/disk.rs", "        self.punch(offset, len)?;\n        let op", "        let op"),
        ],
        target: CRASH,
        tests: &["a_failing_operation_while_free_space"],
    },
    // Free pages lose their blocks before it is on the disk that they are holes: where that fails they are free again.
    Mutation {
        name: "punched_before_the_checkpoint",
        changes: &[
            ("src/commit.rs", "                let written = unflushed(dirty, &state);\n                lead", "                let written = unflushed(dirty, &state);\n                let _ = punch(dirty, dirty.space.given_back());\n                lead"),
        ],
        target: CRASH,
        tests: &["were_or_were_not_given_back"],
    },
    // Recovery fills holes of the checkpoint that later txns have filled, and that readers see.
    Mutation {
        name: "filled_holes_not_set_aside",
        changes: &[
            ("src/space/mod.rs", "        for run in self.free_from(0).into_iter().chain(self.holes.iter()) {\n", "        for run in self.free_from(0) {\n"),
        ],
        target: CRASH,
        tests: &["a_failing_operation_while_free_space"],
    },
    // What a txn has filled of holes is not in its record: other views take it for holes still.
    Mutation {
        name: "filled_holes_not_recorded",
        changes: &[
            ("src/space/mod.rs", "            put_runs(bytes, &self.filled);\n", "            put_runs(bytes, &RunSet::default());\n"),
        ],
        target: CRASH,
        tests: &["a_cut_while_free_space"],
    },
    // New extents of the log are blocks that were never written: where their first flush fails, they are
    // lost for whoever uses them next.
    Mutation {
        name: "log_not_zeroed",
        changes: &[
            ("src/commit.rs", "unwritten.chain(detail.new_log.iter().copied()) {", "unwritten {"),
        ],
        target: CRASH,
        tests: &["of_a_new_log"],
    },
    // Pages that readers see, or that a failed flush left in doubt, are taken for free by recovery.
    Mutation {
        name: "nothing_set_aside",
        changes: &[
            ("src/recover.rs", "        given.extend(set_aside(store, &mut space, &base)?);\n", "        let _ = set_aside;\n"),
        ],
        target: CRASH,
        tests: &["while_readers_stay", "every_failing_operation", "several_failing", "in_one_process"],
    },
    // Who opens a store does not know that its checkpoint is on the disk.
    Mutation {
        name: "slots_not_settled",
        changes: &[
            ("src/recover.rs", "            store.rewrite_slots()?;\n", ""),
        ],
        target: CRASH,
        tests: &["killed_anywhere", "then_death", "killed_in_the_middle"],
    },
    // The mark that both slots are on the disk is there while one of them is written.
    Mutation {
        name: "mark_not_taken_away",
        changes: &[
            ("src/store.rs", "            settled::take_away(self.pages.disk.file())\n                .map_err(|error| self.pages.disk.io_error(\"change the attributes of\", error))?;\n", ""),
        ],
        target: CRASH,
        tests: &["settled::"],
    },
    // The mark counts whatever it says.
    Mutation {
        name: "mark_not_compared",
        changes: &[
            ("src/settled.rs", "mark_of(data).is_ok_and(|mark| mark == found)", "mark_of(data).is_ok()"),
        ],
        target: CRASH,
        tests: &["settled::"],
    },
    // The mark is left although a flush has failed.
    Mutation {
        name: "mark_left_in_doubt",
        changes: &[
            ("src/store.rs", "        let is_settled = self.readers.flush_state() == FlushState::Settled;\n", "        let is_settled = true;\n"),
            ("src/group.rs", "        if self.is_unsettled()? {\n            return Ok(());\n        }\n", "        if self.is_unsettled()? {\n            self.leave_mark();\n            return Ok(());\n        }\n"),
        ],
        target: CRASH,
        tests: &["settled::"],
    },
    // The records whose flush failed stay in the cache.
    Mutation {
        name: "records_not_taken_back",
        changes: &[
            ("src/group.rs", "            log.write(disk, from, &[0; RECORD_HEAD][..len as usize])?;\n            log.flush(disk, from..from + len)\n", "            let _ = (disk, len, RECORD_HEAD);\n            Ok(())\n"),
        ],
        target: CRASH,
        tests: &["then_death", "before_the_store_is_closed", "every_failing_operation"],
    },
    // The meta slot whose flush failed stays in the cache.
    Mutation {
        name: "meta_not_taken_back",
        changes: &[
            ("src/store.rs", "            self.pages.disk.write(META_OFFSETS[slot], &[IoSlice::new(meta.as_bytes())])\n", "            let _ = (meta, slot);\n            Ok(())\n"),
        ],
        target: CRASH,
        tests: &["then_death", "before_the_store_is_closed", "every_failing_operation"],
    },
    // Growth that no state refers to stays, though its flush has failed.
    Mutation {
        name: "growth_not_cut",
        changes: &[
            ("src/store.rs", "        if has > len { self.set_len(len) } else { Ok(()) }\n", "        let _ = len;\n        Ok(())\n"),
        ],
        target: CRASH,
        tests: &["every_failing_operation", "grow_the_file", "every_single_failing"],
    },
    // The file is cut although one of the meta slots is of a state with more pages.
    Mutation {
        name: "cut_behind_one_checkpoint",
        changes: &[
            ("src/group.rs", "        lead.level_slots(page_count)?;\n", "        let _ = lead;\n"),
            ("src/store.rs", "self.checkpoint()?.0.page_count.get().max(in_slots);", "self.checkpoint()?.0.page_count.get().max(in_slots.min(0));"),
        ],
        target: CRASH,
        tests: &["behind_a_cut_of_the_file"],
    },
    // The pages of a commit in place are not flushed before its meta slot is written.
    Mutation {
        name: "data_flush_left_out",
        changes: &[
            ("src/group.rs", ".try_for_each(|range| store.pages.disk.sync(range.start, range.end - range.start))?;", ".for_each(drop);"),
        ],
        target: CRASH,
        tests: &["in_any_round_of_the_log"],
    },
    // The death of whoever flushed passes for a success.
    Mutation {
        name: "death_of_a_leader_ignored",
        changes: &[
            ("src/group.rs", "            lead.take_over()?;\n", "            self.readers.set_flush_state(FlushState::Settled);\n"),
        ],
        target: CRASH,
        tests: &["killed_in_the_middle"],
    },
    // A page of another txn than the reference says is taken for it: an old version that is valid in
    // itself.
    Mutation {
        name: "birth_check_left_out",
        changes: &[
            ("src/snapshot.rs", "    head.page.get() == page && head.birth.get() == birth\n}", "    let _ = birth;\n    head.page.get() == page\n}"),
        ],
        target: CRASH,
        tests: &["a_lying_disk"],
    },
    // A page that says it is another is taken for it.
    Mutation {
        name: "page_number_check_left_out",
        changes: &[
            ("src/snapshot.rs", "    head.page.get() == page && head.birth.get() == birth\n}", "    let _ = page;\n    head.birth.get() == birth\n}"),
        ],
        target: DAMAGE,
        tests: &["rot_gives_the_right_answer"],
    },
    // Checksums of pages are not compared.
    Mutation {
        name: "page_checksum_left_out",
        changes: &[
            ("src/snapshot.rs", "    if stored == found {\n", "    if stored == found || page > 0 {\n"),
        ],
        target: DAMAGE,
        tests: &["rot_gives_the_right_answer"],
    },
    // Checksums of values in pages of their own are not compared.
    Mutation {
        name: "value_checksum_left_out",
        changes: &[
            ("src/snapshot.rs", "    if found == expected {\n", "    if found == expected || run.len > 0 {\n"),
        ],
        target: DAMAGE,
        tests: &["rot_gives_the_right_answer"],
    },
    // Checksums of log records are not compared.
    Mutation {
        name: "record_checksum_left_out",
        changes: &[
            ("src/log.rs", "    if !follows || head.checksum != checksum(seed, &bytes[4..head.len]) {", "    if !follows || checksum(seed, &bytes[4..head.len]) == 0 {"),
        ],
        target: DAMAGE,
        tests: &["a_damaged_log"],
    },
    // The checksum of a meta slot is not compared.
    Mutation {
        name: "meta_checksum_left_out",
        changes: &[
            ("src/format.rs", "if self.checksum.get() != self.expected_checksum() {", "if self.checksum.get() != self.expected_checksum() && self.txn.get() == 0 {"),
        ],
        target: CRASH,
        tests: &["a_rotten_byte_in_a_meta_slot"],
    },
    // What is wrong with one meta slot is an error, though the other one can be read.
    Mutation {
        name: "fallback_left_out",
        changes: &[
            ("src/create.rs", "            Err(Some(reason)) => reasons.push(format!(\"slot {slot}: {reason}\")),\n", "            Err(Some(detail)) => return Err(Error::NotAStore { detail }),\n"),
        ],
        target: CRASH,
        tests: &["a_rotten_byte_in_a_meta_slot"],
    },
    // The first meta slot is the checkpoint, whichever is newer.
    Mutation {
        name: "newer_slot_not_looked_for",
        changes: &[
            ("src/create.rs", "found.is_none_or(|(best, _)| meta.txn.get() > best.txn.get())", "found.is_none()"),
        ],
        target: CRASH,
        tests: &["in_small_logged_commits"],
    },
    // Pages that readers have pinned are reused.
    Mutation {
        name: "reader_slots_not_looked_at",
        changes: &[
            ("src/store.rs", "let mut needed = self.readers.pinned()?;", "let mut needed: Vec<u64> = self.readers.pinned().map(|_| Vec::new())?;"),
        ],
        target: CRASH,
        tests: &["while_a_reader_is_open", "while_readers_stay"],
    },
    // A range that was deleted is back after a cut: it is not in the log.
    Mutation {
        name: "range_not_logged",
        changes: &[
            ("src/txn/delete_range.rs", "        if removed > 0 {", "        if removed > u64::MAX / 2 {"),
        ],
        target: CRASH,
        tests: &["in_logged_ranges"],
    },
    // So is the value of a multimap's key.
    Mutation {
        name: "deleted_value_not_logged",
        changes: &[
            ("src/txn/multi.rs", "        if was_there {", "        if was_there && key.is_empty() {"),
        ],
        target: CRASH,
        tests: &["in_logged_ranges"],
    },
    // What was edited in its place is not in the log.
    Mutation {
        name: "edit_not_logged",
        changes: &[
            ("src/txn/entry.rs", "        if result.is_some() {", "        if result.is_some() && key.is_empty() {"),
        ],
        target: CRASH,
        tests: &["in_logged_ranges"],
    },
    // What was put before a range was deleted is replayed behind that.
    Mutation {
        name: "range_replayed_too_early",
        changes: &[
            ("src/recover.rs", "let filed = entries.remove(&table).unwrap_or_default();", "let filed = Vec::new();"),
        ],
        target: CRASH,
        tests: &["in_logged_ranges"],
    },
    // Of all that was done to a key of a multimap only the last is replayed.
    Mutation {
        name: "sets_replayed_as_values",
        changes: &[
            ("src/recover.rs", "schema.multi || entries", "entries"),
        ],
        target: CRASH,
        tests: &["in_logged_ranges"],
    },
    // The pages of a set stay behind when its key is deleted.
    Mutation {
        name: "set_not_given_up",
        changes: &[
            ("src/tree/remove.rs", "drop_below(dirty, &mut set, root, level, left)?;", "let _ = (&mut set, root, level, &left);"),
        ],
        target: CRASH,
        tests: &["in_large_ranges", "in_logged_ranges"],
    },
    // A large value's pages are given up twice.
    Mutation {
        name: "value_given_up_twice",
        changes: &[
            ("src/tree/remove.rs", "                dirty.drop_value(&run)?;\n", "                dirty.drop_value(&run)?;\n                dirty.drop_value(&run)?;\n"),
        ],
        target: CRASH,
        tests: &["in_large_ranges"],
    },
    // The second chunk of a large value has no checksum.
    Mutation {
        name: "chunk_without_a_checksum",
        changes: &[
            ("src/chunks.rs", "        self.table.extend_from_slice(&sum.to_le_bytes());\n", "        let sum = if self.table.len() == 4 { 0 } else { sum };\n        self.table.extend_from_slice(&sum.to_le_bytes());\n"),
        ],
        target: CRASH,
        tests: &["in_large_ranges"],
    },
    // A load does not count the pages of its large values.
    Mutation {
        name: "loaded_pages_not_counted",
        changes: &[
            ("src/tree/build.rs", "            tree.overflow_pages += run.pages(tree.layout.page_size);\n", "            let _ = run;\n"),
        ],
        target: CRASH,
        tests: &["in_large_ranges"],
    },
    // A value that was streamed to its pages is not in the log, and the commit is logged nevertheless.
    Mutation {
        name: "streamed_value_logged",
        changes: &[
            ("src/commit.rs", ".filter(|_| !dirty.has_allocated())", ""),
            ("src/dirty.rs", "        self.has_allocated || (self", "        (self"),
        ],
        target: CRASH,
        tests: &["go_to_the_file"],
    },
    // The pages of a value whose source has failed are free, and allocated since the savepoint all the same.
    Mutation {
        name: "half_value_stays_taken",
        changes: &[
            ("src/txn/large.rs", "self.dirty.drop_own(self.run)", "self.dirty.release(self.run)"),
            ("src/dirty.rs", "    fn release(&mut self, run: Run)", "    pub fn release(&mut self, run: Run)"),
        ],
        target: CRASH,
        tests: &["go_to_the_file"],
    },
    // What a dropped nested txn has done is in the log.
    Mutation {
        name: "nested_leaves_its_record",
        changes: &[
            ("src/txn/nested.rs", "        self.redo.roll_back(redo);\n", "        let _ = redo;\n"),
        ],
        target: CRASH,
        tests: &["in_logged_ranges"],
    },
    // What a dropped nested txn has given up stays so, though it is used.
    Mutation {
        name: "nested_gives_up_for_good",
        changes: &[
            ("src/dirty.rs", "        self.given_up.truncate(given_up);\n", "        let _ = given_up;\n"),
        ],
        target: CRASH,
        tests: &["in_large_ranges", "in_logged_ranges"],
    },
    // The pages of a snapshot are reused by the txn that drops it, before its name is gone from the disk.
    Mutation {
        name: "snapshot_freed_too_early",
        changes: &[
            ("src/txn/stored.rs", "            Some(_) => self.snapshots.insert(name.to_owned(), None),\n", "            Some(_) => {\n                let needed = self.dirty.store.needed(&[])?;\n                self.dirty.space.reclaim(&needed, self.dirty.base.txn);\n                self.snapshots.insert(name.to_owned(), None)\n            }\n"),
        ],
        target: CRASH,
        tests: &["while_snapshots_keep", "while_snapshots_are_stored"],
    },
];

/// The copy itself is sound: without a mutation the tests pass. Then each mutation, and the table.
#[test]
fn what_the_mutations_change_stands_in_the_source_once() {
    for (name, (file, before, _)) in
        MUTATIONS.iter().flat_map(|mutation| mutation.changes.iter().map(|change| (mutation.name, change)))
    {
        let source = std::fs::read_to_string(root().join(file)).unwrap();
        assert_eq!(source.matches(before).count(), 1, "{name}: in {file}: {before}");
    }
}

#[test]
#[ignore = "builds the crate anew for each; run with --ignored"]
fn all_mutations_are_caught() {
    let only = std::env::var("MAPLEAF_MUTATION").unwrap_or_default();
    let is_wanted = |name: &str| only.split(',').any(|part| name.contains(part));
    copy_sources(&place());
    for (target, tests) in [(CRASH, &["in_small_logged_commits", "rotten"][..]), (DAMAGE, &["rot_gives"])] {
        let (passed, text) = run(target, tests);
        assert!(passed, "without a mutation:\n{text}");
    }
    let (mut missed, mut table) = (Vec::new(), String::from("mutation | caught by | caught\n"));
    for mutation in MUTATIONS.iter().filter(|mutation| is_wanted(mutation.name)) {
        let outcome = mutation.is_caught();
        let line = match &outcome {
            Ok(by) => format!("{} | {by} | yes", mutation.name),
            Err(_) => format!("{} | {} | NO", mutation.name, mutation.tests.join(", ")),
        };
        println!("mutation: {line}");
        table += &format!("{line}\n");
        missed.extend(outcome.err().map(|text| format!("{}:\n{text}", mutation.name)));
    }
    println!("{table}");
    assert!(missed.is_empty(), "{} mutations were not noticed:\n{}", missed.len(), missed.join("\n"));
}
