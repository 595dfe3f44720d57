//! The rows of the table of faults: what each is, what is owed, which tests prove it, and what in the code they would
//! miss. `docs/reliability.md` shows it, with the counts of a run.

/// One class of faults.
pub struct Row {
    pub ids: &'static [&'static str],
    pub fault: &'static str,
    pub owed: &'static str,
    /// `TARGET::NAME`; with a star at its end all that begin so. Tests that say that they tried this class come on top.
    pub tests: &'static [&'static str],
    pub guard: &'static str,
}

const fn row(
    ids: &'static [&'static str],
    fault: &'static str,
    owed: &'static str,
    tests: &'static [&'static str],
    guard: &'static str,
) -> Row {
    Row { ids, fault, owed, tests, guard }
}

/// All of them.
pub const ROWS: &[Row] = &[
    row(
        &["F1"],
        "power cut; any subset of the unsynced pages, in any version",
        "opens at a whole txn, acknowledged ≤ k ≤ started; sound; goes on",
        &["crash::cuts::*", "crash::turns::*", "crash::controls::*"],
        "the flushes of `commit` and `group`, in their order (`crash::controls` leaves one out each)",
    ),
    row(
        &["F2"],
        "torn pages, sector by sector",
        "as F1; a meta fits in one sector",
        &["crash::cuts::a_cut_in_small*", "crash::cuts::a_cut_in_any_round_of_the_log_is_survived"],
        "checksums of meta slots (`Meta::parse`) and records (`log::parse`)",
    ),
    row(
        &["F3"],
        "length of the file not yet, partly, or with zeros extended",
        "as F1",
        &[
            "crash::cuts::a_cut_while_the_file_grows_is_survived",
            "crash::cuts::a_cut_while_logged_commits_grow*",
        ],
        "zeros written and flushed before a record speaks of growth (`Disk`), `recover`'s cut",
    ),
    row(
        &["F4"],
        "power cut during creation",
        "an empty store, or none",
        &["crash::cuts::a_cut_during_creation*", "crash::faults::a_failing_operation_during_creation*"],
        "`create::write_new_store`: meta last; the link behind the flush; `is_blank`",
    ),
    row(
        &["F5"],
        "a second cut while opening or recovering",
        "as F1",
        &["crash::cuts::a_second*", "crash::cuts::what_a_cut_left_of_the_log*"],
        "`recover`: only pages that the checkpoint does not use; slot last",
    ),
    row(
        &["F6"],
        "sidecar stale, missing, truncated, garbage",
        "rebuilt when alone, never trusted",
        &["processes::a_sidecar_*", "sharing::an_old_lock_file*", "sharing::without_the_lock_file*"],
        "`session::approach`: the lock on the data file says which sidecar is in use",
    ),
    row(
        &["F7", "F8"],
        "flush fails (EIO, ENOSPC), once or for ever, cache kept or reverted",
        "the commit is an error and seen by nobody; reading goes on; nothing acknowledged is lost",
        &[
            "crash::faults::*",
            "durability::a_failed_flush*",
            "durability::while_flushes_fail*",
            "real_disks::*",
        ],
        "`group`'s mark of a failed store, `recover`'s quarantine of what was written since",
    ),
    row(
        &["F9"],
        "short or failing write, ftruncate, fallocate, at every call",
        "error; the txn is undone; no page leaks",
        &["crash::faults::every_*", "crash::faults::a_failing_operation*", "failing_calls::*"],
        "`Failure::Clean` in `commit`, `Dirty::undo`, the loop over short writes in `Disk::write`",
    ),
    row(
        &["F10"],
        "disk full, quota of the file system",
        "the real errno, no SIGBUS; deleting, and going on in the same process once space is freed",
        &["real_disks::*"],
        "growth by `fallocate` before anything is written there",
    ),
    row(
        &["F11"],
        "the store's own quota",
        "`Full`; the txn can be aborted, the store goes on",
        &["basics::a_quota_is_an_error*", "durability::a_quota_holds*", "batch::updates_that_fill*"],
        "`max_size` where pages are allocated (`dirty`)",
    ),
    row(
        &["F12"],
        "unreadable sector",
        "verify, dump and salvage name the page; mapped reads only with `guarded_reads`",
        &["guarded::*"],
        "system calls in `copies`, `guarded_reads`",
    ),
    row(
        &["F13"],
        "bit flips; zeroed, random, swapped, stale pages; garbage at the end; truncation",
        "the right answer or `Corrupt`",
        &["damage::rot*", "damage::a_damaged_log*"],
        "checksum, number and birth in `Pages::read`, checksum of large values, the log's chain",
    ),
    row(
        &["F14"],
        "newest meta slot rotten",
        "the older one; `stats` and `verify` say so",
        &["damage::a_meta_slot_that_was_lost*"],
        "`create::problems_of`, `create::read_meta`",
    ),
    row(
        &["F15"],
        "kill -9 of the writer",
        "the next one starts at once; nothing lost or leaked",
        &["processes::a_writer_*", "processes::*killed*", "crash::cuts::a_writer_killed*"],
        "locks of the kernel for the turn; the next writer cuts off growth",
    ),
    row(
        &["F16"],
        "kill -9 of readers with snapshots",
        "slots come free unasked; the file stops growing",
        &[
            "processes::snapshots_of_killed_readers*",
            "sharing::what_the_dead_held*",
            "processes::two_hundred_rounds*",
        ],
        "`Readers::reap` before the file would grow",
    ),
    row(
        &["F17"],
        "a reader open or stopped for hours",
        "its snapshot stays; growth bounded by what it sees",
        &["space::a_reader_left_open*", "sharing::a_writer_stopped*", "space::pages_of_many_snapshots*"],
        "births in `space`: pages between pins come free",
    ),
    row(
        &["F18"],
        "same pid in two containers, pid reuse",
        "no live reader dropped, no dead one kept",
        &["sharing::processes_with_the_same_pid*"],
        "liveness is a lock, not a pid (`lock`)",
    ),
    row(
        &["F19"],
        "fork with the store open",
        "the child has its own slots; the parent's txn is an error there",
        &[
            "sharing::a_forked_child*",
            "sharing::a_write_txn_is_nobodys*",
            "sharing::a_child_*",
            "sharing::fifty_children*",
        ],
        "`fork::generation`, compared at every call",
    ),
    row(
        &["F20"],
        "same file twice, by links or mounts",
        "shared or separate, both right",
        &[
            "sharing::all_names_of_a_file*",
            "sharing::a_second_process_finds*",
            "basics::a_file_opened_twice*",
        ],
        "the registry by device and inode; OFD locks",
    ),
    row(
        &["F21"],
        "file replaced, renamed, unlinked or truncated while open",
        "commit notices and refuses; truncation under a mapping is a boundary",
        &["removed::*", "sharing::a_store_that_takes_the_name*"],
        "`fstat` in `commit`",
    ),
    row(
        &["F22"],
        "network or exotic file system",
        "refused, with an override",
        &["media::fuse_is_refused*", "media::local_file_systems*", "media::an_overlay*"],
        "`create::refuse_network`",
    ),
    row(
        &["F23"],
        "mappings, memory, descriptors or slots exhausted",
        "error; usable afterwards; the reservation is halved until it fits",
        &["limits::*", "sharing::a_child_without_descriptors*", "sharing::a_thousand_processes*"],
        "the halving in `map`, errors of every system call",
    ),
    row(
        &["F24"],
        "panic in user code in a txn; a forgotten txn",
        "rolled back; nothing leaks beyond the process",
        &[
            "durability::a_panic_within*",
            "durability::updates_that_fail_or_panic*",
            "batch::an_update_that_fails*",
        ],
        "`Drop` of `WriteTxn`; the batch's savepoint",
    ),
    row(
        &["F25"],
        "EINTR; SIGXFSZ at a file-size limit",
        "retried; EFBIG as an error",
        &["limits::a_file_size_limit*"],
        "retrying loops in `disk` and `lock`; `within_limit`",
    ),
    row(
        &["F26"],
        "another page size, byte order, kernel",
        "opens, or says why not",
        &["media::*"],
        "page size in the meta slot; `Meta::check`",
    ),
    row(
        &["F27"],
        "cp while it is written",
        "documented as wrong; `mapleaf copy`, a backup and a dump are of one commit, and whole or not there",
        &["backup::*", "compact::a_copy_has*"],
        "each reads one snapshot; the new file has its name when it is flushed (`unfinished`)",
    ),
    row(
        &["F28"],
        "crafted file with right checksums",
        "limits on depth, offsets, allocation; no panic",
        &["damage::crafted*"],
        "the checks of every offset in `page`, of every number in `format`, `space`, `log`, `redo`",
    ),
    row(
        &["F29"],
        "a disk that lies about flushes",
        "noticed as corrupt afterwards, never answered wrongly",
        &[],
        "number, birth and checksum in `Pages::read`",
    ),
];
