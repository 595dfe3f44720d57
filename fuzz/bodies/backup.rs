//! Backups: any bytes to the reader of streams, and chains whose frames, pages and headers are something else.
//!
//! Input: image and kind, which backups of its chain of three are given, then edits. Kinds: *rot* leaves the
//! checksums of the stream alone, so whatever is not what was made is refused; *craft* puts them right, and, where an
//! edit says so, those of pages too. A restore gives an error, and nothing is there; or a store that `verify` finds
//! clean and that can be written to. Where no page's bytes and no header were changed it is the state that was backed
//! up, whatever became of the frames.

use super::image::{images, page_checksum};
use super::input::Input;
use super::log::{Everything, all};
use super::reading::examine;
use mapleaf::{BackupInfo, Database, Error, Options, Restore, Table};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

const ADDED: Table<u64, [u8]> = Table::new("added by backups");
const HEADER: usize = 128;

/// The backups of a store, a full one and two since the one before, and what is in each.
pub struct Chain {
    page_size: usize,
    streams: Vec<Vec<u8>>,
    states: Vec<Everything>,
}

/// A stream in parts: its header with what stands between it and the frames, and these.
#[derive(Clone)]
struct Stream {
    header: Vec<u8>,
    frames: Vec<(u64, Vec<u8>)>,
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (flags, given) = (input.u8(), input.u8());
    if flags & 3 == 0 {
        let _ = restore(&[input.rest().to_vec()], None);
        return;
    }
    let chain = &chains()[usize::from(flags >> 2) % chains().len()];
    // In their order, mostly: how many, and perhaps one of them in another's place.
    let mut links: Vec<usize> = (0..=usize::from(given % 3)).collect();
    if given & 16 != 0 {
        let at = input.below(links.len());
        links[at] = input.below(3);
    }
    let crafted = flags & 3 > 1;
    let mut streams: Vec<Stream> =
        links.iter().map(|i| Stream::of(&chain.streams[*i], chain.page_size)).collect();
    let mut is_same = true;
    for _ in 0..input.u8() % 8 {
        let at = input.below(streams.len());
        if crafted {
            is_same &= edit(&mut streams, at, chain, &mut input);
        }
    }
    let mut streams: Vec<Vec<u8>> = streams.iter().map(|stream| stream.bytes(chain.page_size)).collect();
    if !crafted {
        overlay(&mut streams, &mut input);
    }
    let given = || links.iter().map(|i| &chain.streams[*i]);
    let is_untouched = streams.iter().eq(given());
    let in_order = links.iter().copied().eq(0..links.len());
    let expected = links.last().map(|last| &chain.states[*last]);
    let may_be = crafted || (is_untouched && in_order);
    let checked = Restore::of_streams(named(&streams)).and_then(|chain| chain.check(&mut |_| {}));
    let restored = restore(&streams, expected.filter(|_| is_same));
    assert!(restored.is_ok() || !(is_untouched && in_order), "a good chain is refused: {restored:?}");
    assert!(restored.is_err() || (may_be && checked.is_ok()), "what was damaged is restored");
}

fn named(streams: &[Vec<u8>]) -> impl Iterator<Item = (String, Box<dyn Read + '_>)> {
    streams
        .iter()
        .enumerate()
        .map(|(i, stream)| (format!("stream {i}"), Box::new(&stream[..]) as Box<dyn Read>))
}

/// Restores the chain, uses what comes of it, and removes it. It is `expected` where that is known.
fn restore(streams: &[Vec<u8>], expected: Option<&Everything>) -> Result<(), Error> {
    let path = super::scratch("backup", "restored.maple");
    let lock = path.with_extension("maple-lock");
    let restored =
        Restore::of_streams(named(streams)).and_then(|chain| chain.write_to(&path, &mut |_| {}).map(drop));
    if let Err(error) = &restored {
        // Whoever claims pages far away is told that there is no room.
        let is_fair =
            matches!(error, Error::Backup { .. } | Error::InvalidArgument { .. } | Error::Io { .. });
        assert!(is_fair, "{error:?}");
        let left = fs::read_dir(path.parent().expect("it was joined")).expect("readable").count();
        assert_eq!(left, 0, "a restore that failed leaves files: {error}");
        return restored;
    }
    let options = Options::new().max_size(1 << 26).log_limit(0);
    // SAFETY: the file is this process's own.
    let db = unsafe { options.open(&path) }.expect("what was restored opens");
    let mut nothing = Input::new(&[]);
    assert!(examine(&db, &mut nothing), "what was restored is not clean: {:?}", db.verify(&mut |_| {}));
    let found = all(&db.begin_read().expect("good"));
    assert!(expected.is_none_or(|expected| found == *expected), "another state than that of the last backup");
    match db.write(|w| w.put(ADDED, &u64::MAX, b"behind the restore").map(drop)) {
        // No more tables, or writers must know more than this one; a table of that name and other types; no room.
        Err(
            Error::ReadOnly
            | Error::InvalidArgument { .. }
            | Error::SchemaMismatch { .. }
            | Error::Full { .. },
        ) => {}
        other => other.expect("it can be written to"),
    }
    assert!(examine(&db, &mut nothing), "not clean any more");
    db.close().expect("good");
    fs::remove_file(&path).expect("it was there");
    let _ = fs::remove_file(lock);
    restored
}

/// One edit of a stream in parts. Returns whether what the chain stands for must be what it was, if it is taken.
fn edit(streams: &mut [Stream], at: usize, chain: &Chain, input: &mut Input<'_>) -> bool {
    let other = input.below(chain.streams.len());
    let other = Stream::of(&chain.streams[other], chain.page_size);
    let Stream { header, frames } = &mut streams[at];
    let frame = input.below(frames.len().max(1));
    match input.u8() % 8 {
        0 if !frames.is_empty() => {
            frames.remove(frame);
        }
        1 if !frames.is_empty() => {
            let copy = frames[frame].clone();
            frames.insert(input.below(frames.len() + 1), copy);
        }
        2 if !frames.is_empty() => {
            let with = input.below(frames.len());
            frames.swap(frame, with);
        }
        3 if !frames.is_empty() => {
            let number = input.number();
            // Near, or so far that there is no room.
            frames[frame].0 = if number < 1 << 30 { number % 4096 } else { number };
        }
        // A page as it was, or as it will be.
        4 if !frames.is_empty() && !other.frames.is_empty() => {
            frames[frame] = other.frames[input.below(other.frames.len())].clone();
        }
        5 | 6 if !frames.is_empty() => {
            let (fix, len) = (input.u8(), 1 + input.below(12));
            let (_, bytes) = &mut frames[frame];
            let from = input.below(bytes.len());
            let new = input.bytes(len);
            let end = (from + new.len()).min(bytes.len());
            bytes[from..end].copy_from_slice(&new[..end - from]);
            if fix % 4 != 0 {
                let page = &mut bytes[from / chain.page_size * chain.page_size..][..chain.page_size];
                let checksum = page_checksum(page);
                page[..4].copy_from_slice(&checksum);
            }
            return false;
        }
        7 => {
            let field = 12 + input.below(header.len() - 12);
            let width = [1, 4, 8][input.below(3)].min(header.len() - field);
            header[field..field + width].copy_from_slice(&input.number().to_le_bytes()[..width]);
            return false;
        }
        _ => {}
    }
    true
}

/// Bytes over those of streams, here and there; cuts, and more behind the end.
fn overlay(streams: &mut [Vec<u8>], input: &mut Input<'_>) {
    while !input.is_empty() {
        let at = input.below(streams.len());
        let stream = &mut streams[at];
        if stream.is_empty() {
            return;
        }
        let from = input.u32() as usize % stream.len();
        match input.u8() % 4 {
            0 => stream.truncate(from),
            1 => stream.extend_from_slice(input.bytes(20)),
            2 => stream[from] = input.u8(),
            _ => {
                let end = (from + 8).min(stream.len());
                stream[from..end].copy_from_slice(&input.number().to_le_bytes()[..end - from]);
            }
        }
    }
}

impl Stream {
    fn of(bytes: &[u8], page_size: usize) -> Self {
        let checkpoints = u16::from_le_bytes(*bytes[HEADER - 2..].first_chunk().expect("a header"));
        let header = &bytes[..HEADER + usize::from(checkpoints) * 16];
        let (mut at, mut frames) = (header.len(), Vec::new());
        loop {
            let page = u64::from_le_bytes(*bytes[at..].first_chunk().expect("a head"));
            let count = u32::from_le_bytes(*bytes[at + 8..].first_chunk().expect("a head")) as usize;
            if count == 0 {
                return Stream { header: header.to_vec(), frames };
            }
            frames.push((page, bytes[at + 16..][..count * page_size].to_vec()));
            at += 16 + count * page_size;
        }
    }

    /// With the right checksums.
    fn bytes(&self, page_size: usize) -> Vec<u8> {
        let mut stream = self.header.clone();
        let checksum = crc32fast::hash(&stream[12..HEADER]).to_le_bytes();
        stream[8..12].copy_from_slice(&checksum);
        let mut sum = crc32fast::Hasher::new();
        sum.update(&stream);
        let pages = self.frames.iter().map(|(_, bytes)| (bytes.len() / page_size) as u64).sum();
        for (page, bytes) in self.frames.iter().chain([&(pages, Vec::new())]) {
            let mut head = page.to_le_bytes().to_vec();
            head.extend_from_slice(&((bytes.len() / page_size) as u32).to_le_bytes());
            sum.update(&head);
            sum.update(bytes);
            stream.extend_from_slice(&head);
            stream.extend_from_slice(&sum.clone().finalize().to_le_bytes());
            stream.extend_from_slice(bytes);
        }
        stream
    }
}

/// One chain for each store that the images are of.
pub fn chains() -> &'static [Chain] {
    static CHAINS: OnceLock<Vec<Chain>> = OnceLock::new();
    CHAINS.get_or_init(|| {
        ["closed", "sets-closed", "widths", "wide-closed", "holes-closed", "empty"].map(chain).into()
    })
}

fn chain(name: &str) -> Chain {
    let image = images().iter().find(|image| image.name == name).expect("one of the images");
    let path = super::scratch("backup", "original.maple");
    fs::write(&path, &image.bytes).expect("room in shared memory");
    let options = Options::new().max_size(1 << 26);
    // SAFETY: the file is this process's own.
    let db = unsafe { options.open(&path) }.expect("a good image");
    let mut chain = Chain { page_size: image.page_size, streams: Vec::new(), states: Vec::new() };
    for round in 0..3 {
        if round > 0 {
            change(&db, round);
        }
        let mut stream = Vec::new();
        let mut backup = db.backup().expect("a checkpoint");
        if let Some(base) = chain.streams.last() {
            let base = BackupInfo::read_from("the one before", &base[..]).expect("made above");
            backup = backup.since(&base).expect("it follows");
        }
        backup.stream_to(&mut stream, &mut |_| {}).expect("good");
        let parts = Stream::of(&stream, chain.page_size);
        assert_eq!(parts.bytes(chain.page_size), stream, "the form is another: change this target too");
        chain.streams.push(stream);
        chain.states.push(all(&db.begin_read().expect("good")));
    }
    db.close().expect("good");
    remove(&path);
    chain
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("it was there");
    let _ = fs::remove_file(path.with_extension("maple-lock"));
}

fn change(db: &Database, round: u64) {
    db.write(|w| {
        (0..40).try_for_each(|i| {
            w.put(ADDED, &(i * round), &vec![round as u8; 30 + i as usize][..]).map(drop)
        })?;
        w.put(ADDED, &1000, &vec![round as u8; 20_000][..])?;
        w.put(ADDED, &(1000 + round), &vec![7; 9_000][..])?;
        w.set_user_version(100 + round);
        w.delete(ADDED, &(round * 39)).map(drop)
    })
    .expect("there is room");
}

/// For `make_seeds`: streams as they are, the first bytes of each chain.
pub fn whole() -> Vec<u8> {
    chains()[5].streams[0].clone()
}
