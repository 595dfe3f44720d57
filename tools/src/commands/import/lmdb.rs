//! Importing LMDB files (data version 1, as every 0.9 writes it), through LMDB itself.
//!
//! A named database becomes the table of that name, the records of the main one the main table. `DUPSORT` is a multimap.
//! `INTEGERKEY` and `INTEGERDUP`, whose bytes are in the order of the machine, become u32 or u64, in order; what was in
//! reverse order is in plain order.

use super::Foreign;
use crate::failure::{Result, tell};
use crate::intake::Intake;
use crate::progress::Meter;
use crate::store::{MAIN, shown};
use heed::types::Bytes;
use heed::{Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls};
use mapleaf::Schema;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

type Table = heed::Database<Bytes, Bytes>;

/// Flags that a database has for good.
const REVERSE_KEY: u16 = 0x02;
const DUP_SORT: u16 = 0x04;
const INTEGER_KEY: u16 = 0x08;
const INTEGER_DUP: u16 = 0x20;
const REVERSE_DUP: u16 = 0x40;

/// How many named databases LMDB is told to expect.
const MOST: u32 = 10_000;

/// Runs it.
pub fn run(args: &Foreign) -> Result {
    let file = if args.source.is_dir() { args.source.join("data.mdb") } else { args.source.clone() };
    let main_flags = judged(&file).map_err(|wrong| args.wrong(wrong))?;
    let env = open(&args.source).map_err(|error| args.wrong(error.to_string()))?;
    let counts = args.target.fill(|intake| {
        let wrong = |error: heed::Error| args.wrong(error.to_string());
        let txn = env.read_txn().map_err(wrong)?;
        let Some(main) = env.open_database::<Bytes, Bytes>(&txn, None).map_err(wrong)? else { return Ok(()) };
        let named = named(&env, &txn, &main, main_flags).map_err(wrong)?;
        let is_named = |key: &[u8]| named.iter().any(|(name, ..)| name.as_bytes() == key);
        let total = main.len(&txn).map_err(wrong)? - named.len() as u64;
        let names = named.iter().map(|(name, ..)| name.as_str());
        args.expect(names.chain((total > 0).then_some(MAIN)))?;
        if total > 0 && args.wants(MAIN) {
            put(args, intake, &txn, MAIN, main, main_flags, &is_named)?;
        }
        for (name, table, flags) in &named {
            if args.wants(name) {
                put(args, intake, &txn, name, *table, *flags, &|_| false)?;
            }
        }
        Ok(())
    });
    args.target.print(&counts?)
}

/// Sees that it is a file of LMDB that can be read, and what flags its main database has.
fn judged(path: &Path) -> Result<u16, String> {
    let read = |file: &File, page: u64| -> io::Result<[u8; 152]> {
        let mut bytes = [0; 152];
        file.read_exact_at(&mut bytes, page).map(|()| bytes)
    };
    let u16_at = |meta: &[u8; 152], at: usize| u16::from_le_bytes([meta[at], meta[at + 1]]);
    let u32_at = |meta: &[u8; 152], at: usize| {
        u32::from_le_bytes([meta[at], meta[at + 1], meta[at + 2], meta[at + 3]])
    };
    let file = File::open(path).map_err(|error| format!("cannot read: {error}"))?;
    let not_lmdb =
        || "expected the file or the directory of an LMDB environment, found something else".to_owned();
    let first = read(&file, 0).map_err(|_| not_lmdb())?;
    // Behind 16 bytes of page header: magic, version, address, size of the map, the record of the free list, which has the page
    // size, that of the main database, last page, txn.
    if u32_at(&first, 16) != 0xbeef_c0de {
        return Err(not_lmdb());
    }
    let version = u32_at(&first, 20);
    if version != 1 {
        return Err(format!(
            "LMDB data version {version}; only version 1 (LMDB 0.9) is read: mdb_dump -a of its own LMDB, and mapleaf load"
        ));
    }
    let page_size = u32_at(&first, 40);
    let second = read(&file, page_size.into()).map_err(|_| not_lmdb())?;
    let txn = |meta: &[u8; 152]| u64::from(u32_at(meta, 148)) << 32 | u64::from(u32_at(meta, 144));
    let newest = if txn(&first) >= txn(&second) { &first } else { &second };
    Ok(u16_at(newest, 92))
}

/// Beside those who use it; without its lock file where that cannot be written.
#[allow(unsafe_code)]
fn open(path: &Path) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(MOST);
    let mut flags = EnvFlags::READ_ONLY;
    if !path.is_dir() {
        flags |= EnvFlags::NO_SUB_DIR;
    }
    // SAFETY: READ_ONLY and NO_SUB_DIR break none of LMDB's rules.
    unsafe { options.flags(flags) };
    // SAFETY: whoever runs this says, as the help asks, that only LMDB changes the file meanwhile.
    let opened = unsafe { options.open(path) };
    match opened {
        Err(heed::Error::Io(error))
            if [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem]
                .contains(&error.kind()) =>
        {
            // SAFETY: where no lock file can be made here, nobody who writes is kept from reusing pages: of a file that
            // others write to, the help asks not to.
            unsafe { options.flags(flags | EnvFlags::NO_LOCK) };
            // SAFETY: as above.
            unsafe { options.open(path) }
        }
        opened => opened,
    }
}

/// The named databases: records of the main one that LMDB opens. Their flags stand in the record.
fn named(
    env: &Env<WithoutTls>,
    txn: &RoTxn<'_, WithoutTls>,
    main: &Table,
    main_flags: u16,
) -> heed::Result<Vec<(String, Table, u16)>> {
    const RECORD: usize = 48;
    let mut named = Vec::new();
    if main_flags & DUP_SORT != 0 {
        return Ok(named);
    }
    for pair in main.iter(txn)? {
        let (key, record) = pair?;
        let name = std::str::from_utf8(key).ok().filter(|name| !name.is_empty() && !name.contains('\0'));
        let (Some(name), RECORD) = (name, record.len()) else { continue };
        match env.open_database::<Bytes, Bytes>(txn, Some(name)) {
            Ok(Some(table)) => {
                named.push((name.to_owned(), table, u16::from_le_bytes([record[4], record[5]])));
            }
            // A record like any other.
            Ok(None) | Err(heed::Error::Mdb(heed::MdbError::Incompatible)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(named)
}

fn put(
    args: &Foreign,
    intake: &mut Intake<'_>,
    txn: &RoTxn<'_, WithoutTls>,
    name: &str,
    table: Table,
    flags: u16,
    is_left_out: &dyn Fn(&[u8]) -> bool,
) -> Result<()> {
    let wrong = |error: heed::Error| args.wrong(error.to_string());
    let has = |flag: u16| flags & flag != 0;
    for (flag, what) in [(REVERSE_KEY, "keys"), (REVERSE_DUP, "values")] {
        if has(flag) {
            tell(&format!(
                "{}: table {}: {what} that were in reverse order are kept as they are, their order becomes bytewise",
                args.source.display(),
                shown(name)
            ));
        }
    }
    let first = table.first(txn).map_err(wrong)?;
    let key_width = has(INTEGER_KEY).then(|| first.map_or(8, |(key, _)| key.len()));
    let value_width = has(INTEGER_DUP).then(|| first.map_or(8, |(_, value)| value.len()));
    let number = |width: Option<usize>| match width {
        None => Ok("bytes"),
        Some(4) => Ok("u32"),
        Some(8) => Ok("u64"),
        Some(len) => {
            Err(args.wrong(format!("table {}: integers of {len} bytes, where LMDB has 4 or 8", shown(name))))
        }
    };
    let schema = Schema {
        key_type: number(key_width)?.into(),
        value_type: number(value_width)?.into(),
        key_width,
        value_width,
        multi: has(DUP_SORT),
        ..Schema::bytes()
    };
    args.table(intake, name, &schema)?;
    let meter = Meter::new("importing", "records", Some(table.len(txn).map_err(wrong)?));
    for (done, pair) in table.iter(txn).map_err(wrong)?.enumerate() {
        let (key, value) = pair.map_err(wrong)?;
        if is_left_out(key) {
            continue;
        }
        let number = |bytes: &[u8], width: Option<usize>| {
            ordered(bytes, width)
                .map_err(|what| args.wrong(format!("record {} of table {}: {what}", done + 1, shown(name))))
        };
        let (key, value) = (number(key, key_width)?, number(value, value_width)?);
        intake.put(name, schema.multi, &key, &value, || {
            format!("record {} of table {} of {}", done + 1, shown(name), args.source.display())
        })?;
        meter.set(done as u64 + 1);
    }
    Ok(())
}

/// Of an integer in the order of the machine the bytes whose order is its own.
fn ordered(bytes: &[u8], width: Option<usize>) -> Result<Vec<u8>, String> {
    let mut bytes = bytes.to_vec();
    match width {
        Some(width) if bytes.len() != width => {
            return Err(format!("expected an integer of {width} bytes, found {}", bytes.len()));
        }
        Some(_) if cfg!(target_endian = "little") => bytes.reverse(),
        _ => {}
    }
    Ok(bytes)
}
