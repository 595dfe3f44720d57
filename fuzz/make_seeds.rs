//! Makes what the fuzz targets start from: `cargo run --manifest-path fuzz/Cargo.toml --bin make_seeds`.
//!
//! Writes `seeds/TARGET/*`, inputs that reach far. With `images` as argument it writes `images/NAME.packed` first: whole
//! files as mapleaf leaves them, which are in every target, so it is to be run once more afterwards. Inputs and finds
//! speak of places in the images; they mean something else with others.

use bodies::image::{images, pack, page_checksum, unlike, unpack};
use bodies::input::Dice;
use bodies::plan::plans;
use mapleaf::Options;
use std::path::{Path, PathBuf};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("images") {
        return make_images();
    }
    let mut count = 0;
    for (target, seeds) in [
        ("file", file_seeds()),
        ("ops", ops_seeds()),
        ("sidecar", sidecar_seeds()),
        ("log", log_seeds()),
        ("backup", backup_seeds()),
        ("page", page_seeds()),
        ("codec", dice_seeds(24, 90)),
        ("dump_text", dump_seeds()),
    ] {
        let directory = home().join("seeds").join(target);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("it can be made");
        for (i, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("{i:02}")), seed).expect("it can be written");
            count += seed.len();
        }
        println!("{target}: {} seeds", seeds.len());
    }
    println!("{count} bytes");
    bodies::clean_up("images");
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn make_images() {
    let home = home().join("images");
    std::fs::create_dir_all(&home).expect("it can be made");
    for plan in plans() {
        let first = std::cell::OnceCell::new();
        let keep = |name: &str, path: &Path| {
            let file = std::fs::read(path).expect("it is there");
            let is_first = first.get().is_none();
            let against = first.get_or_init(|| file.clone());
            let file = if is_first { file } else { unlike(&file, against) };
            let packed = pack(&file);
            assert!(unpack(&packed) == file);
            println!("{name}: {} bytes, packed {}", file.len(), packed.len());
            std::fs::write(home.join(format!("{name}.packed")), packed).expect("it can be written");
        };
        let path = bodies::scratch("images", "image.maple");
        let _ = std::fs::remove_file(&path);
        let options = Options::new().page_size(plan.page_size).log_limit(0);
        // SAFETY: the file is this process's own.
        let db = unsafe { options.open(&path) }.expect("a new store");
        plan.carry_out(&db, |name| keep(name, &path)).expect("the plan is possible");
        println!("{:?}", db.counters());
        db.close().expect("good");
        keep(plan.name, &path);
    }
    bodies::clean_up("images");
}

type Seeds = Vec<Vec<u8>>;

fn dice_seeds(count: u64, len: usize) -> Seeds {
    (0..count)
        .map(|seed| {
            let mut dice = Dice(seed);
            let mut bytes: Vec<u8> = (0..len).map(|_| dice.roll() as u8).collect();
            bytes[0] = seed as u8;
            bytes
        })
        .collect()
}

/// Each image as it is, and with a few edits of either kind, and salvaged.
fn file_seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for image in 0..images().len() as u8 {
        for (flags, edits) in [(8u8, 0u8), (20, 1), (1 | 20, 3), (3 | 12, 6), (64 | 20, 4)] {
            let mut dice = Dice(u64::from(image) * 10 + u64::from(edits));
            let mut seed = vec![image, flags, edits];
            seed.extend((0..60 + 8 * edits).map(|_| dice.roll() as u8));
            seeds.push(seed);
        }
    }
    seeds.extend(lost_writes());
    seeds
}

/// A page as an older file has it, in the place of the newer one.
fn lost_writes() -> Seeds {
    let mut seeds = Seeds::new();
    for (i, image) in images().iter().enumerate().filter(|(_, image)| image.page_size == 4096) {
        for (donor, other) in image.relatives.iter().enumerate().filter(|(_, other)| **other != i) {
            let pages =
                image.bytes.chunks_exact(4096).zip(images()[*other].bytes.chunks_exact(4096)).enumerate();
            let stale = pages.skip(2).filter(|(number, (new, old))| {
                let is_page = |page: &[u8]| page[..4] == page_checksum(page) && page[8] == *number as u8;
                new != old && is_page(new) && is_page(old) && (1..4).contains(&new[4])
            });
            for (number, _) in stale.take(4) {
                let edit = [8, donor as u8, number as u8, (number >> 8) as u8, 0, 1];
                seeds.push([&[i as u8, 20, 1][..], &edit, &[7; 40]].concat());
            }
        }
    }
    seeds
}

fn ops_seeds() -> Seeds {
    let mut seeds = dice_seeds(8, 260);
    // Tables, puts and commits of every level, each followed by a crash, a reader, a new opening.
    let begin = |flags: u8| vec![0, flags, 0, 9, 0, 0, 9, 1, 1, 9, 2, 2];
    let put = |name: u8, first: u8, count: u8| vec![4, count, 0, name, first, 0, 5];
    for (i, end) in
        [&[29][..], &[30, 7, 0, 0], &[30, 9, 1, 1], &[28], &[34], &[26], &[21, 24, 0]].iter().enumerate()
    {
        let mut seed = begin(i as u8 % 4 * 2);
        for round in 0..6u8 {
            seed.extend(put(round % 3, round * 20, 40));
            seed.extend([14, round % 4]);
            seed.extend_from_slice(end);
            seed.extend([21, 18, 2, 27, 0, 1]);
        }
        seeds.push(seed);
    }
    // Faults of every kind.
    for fault in 0..8u8 {
        let mut seed = begin(fault & 2);
        for round in 0..6u8 {
            seed.extend(put(0, round * 10, 20));
            seed.extend([33, fault, fault % 4, round, 0, 14, 1 + fault % 3, 21, 29, 30, round, 0, 0]);
        }
        seeds.push(seed);
    }
    seeds.extend(changes_seeds());
    seeds
}

/// What a write txn can do, at random; in every fourth with little room.
fn changes_seeds() -> Seeds {
    (0..12u64)
        .map(|i| {
            let mut dice = Dice(1000 + i);
            let flags = 128 | [0, 2, 1, 4][i as usize % 4];
            let rest = (0..700 + 100 * (i % 4)).map(|_| dice.roll() as u8);
            [0, flags, 0].into_iter().chain(rest).collect()
        })
        .collect()
}

fn sidecar_seeds() -> Seeds {
    let mut seeds = dice_seeds(16, 120);
    for flags in 0..16 {
        let mut dice = Dice(flags);
        let mut seed = vec![flags as u8];
        for word in 0..18u8 {
            // One change of each of the words that matter, then use.
            seed.extend([0, 0, word, 3, dice.roll() as u8, dice.roll() as u8, 8 + word % 4, word]);
        }
        seeds.push(seed);
    }
    seeds
}

fn log_seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for flags in [0u8, 1, 2, 3, 3 + 8, 1 + 8, 2 + 8, 3 + 16, 3 + 24, 1 + 16, 1 + 24, 2 + 24] {
        let mut dice = Dice(u64::from(flags));
        let mut seed = vec![flags];
        seed.extend((0..150).map(|_| dice.roll() as u8));
        seeds.push(seed);
    }
    for image in ["log", "wide", "holes", "sets"] {
        let records = bodies::log::known_changes(image);
        let changes: Vec<u8> =
            records.iter().flat_map(|record| record[24..].iter().copied()).take(3000).collect();
        seeds.push([&[7, 0][..], &changes].concat());
        let first = &records[0][24..records[0].len().min(24 + 255)];
        seeds.push([&[7, 2, first.len() as u8][..], first, &[3, 1, 2, 3]].concat());
        seeds.push([&[7, 1][..], &records.concat()[..600.min(records.concat().len())]].concat());
    }
    // A txn that makes a table, renames it, and drops another.
    seeds.push(vec![3, 1, 60, 3, 6, 5, 0, 2, 0, 0, 0, 5, 6, 2, 4, 5, 6, 1]);
    seeds
}

/// A stream as it is; good chains of each store; edits of each kind.
fn backup_seeds() -> Seeds {
    let mut seeds = vec![[&[0, 0][..], &bodies::backup::whole()].concat(), vec![0, 0, b'm']];
    for store in 0..6u8 {
        seeds.push(vec![1 | store << 2, 2, 0]);
        for (kind, edits) in [(1u8, 0u8), (2, 1), (2, 3), (3, 7)] {
            let mut dice = Dice(u64::from(store) * 10 + u64::from(edits));
            let mut seed = vec![kind | store << 2, [2, 1, 2, 18][usize::from(edits) % 4], edits];
            seed.extend((0..20 + 20 * edits).map(|_| dice.roll() as u8));
            seeds.push(seed);
        }
    }
    // Each edit of each of the first frames, by itself.
    for edit in 0..8u8 {
        for frame in 0..3 {
            seeds.push(vec![2 | (edit % 5) << 2, 2, 1, edit % 3, 1, frame, edit, 3, 1, 7, frame, 5]);
        }
    }
    seeds
}

/// One page of each kind and level that the images have.
fn page_seeds() -> Seeds {
    let mut seen = std::collections::BTreeSet::new();
    let mut seeds = Seeds::new();
    for image in images().iter().filter(|image| image.page_size == 4096) {
        for (number, page) in image.bytes.chunks_exact(4096).enumerate().skip(2) {
            let table = page[24];
            let is_page = page[..4] == page_checksum(page) && page[8..16] == (number as u64).to_le_bytes();
            if is_page && seen.insert((page[4], page[5], table)) && seeds.len() < 28 {
                seeds.push([&[0, number as u8][..], page].concat());
            }
        }
    }
    seeds
}

fn dump_seeds() -> Seeds {
    let texts: [&str; 8] = [
        "VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n 6162\n 00ff\n 6163\n \nDATA=END\n",
        "VERSION=3\nformat=print\ndatabase=t\\41\ntype=btree\nmapsize=1048576\nmaxreaders=126\ndb_pagesize=4096\nHEADER=END\n a\\00b\n x\\\\y\nDATA=END\n",
        "VERSION=3\nformat=print\ndatabase=a\ntype=btree\nmapleaf_key_type=u64\nmapleaf_value_type=str\nmapleaf_key_width=8\nmapleaf_value_align=1\nmapleaf_section=1/2\nHEADER=END\n \\00\\00\\00\\00\\00\\00\\00\\01\n one\nDATA=END\nVERSION=3\nformat=bytevalue\nmapleaf_database=b\\0ac\ntype=btree\nmapleaf_section=2/2\nHEADER=END\nDATA=END\n",
        "VERSION=3\nformat=bytevalue\nduplicates=1\ntype=hash\nh_nelem=7\nchksum=1\nintegerkey=1\nHEADER=END\n 0A\n fF\nDATA=END\n",
        "VERSION=3\nformat=bytevalue\ntype=btree\nmapleaf_key_type=bytes\nmapleaf_value_type=bytes\nmapleaf_key_width=2\nmapleaf_value_width=4\nmapleaf_value_align=4\nHEADER=END\n 6162\n 00000000\n 6163\n 11111111\nDATA=END\n",
        "key one\nvalue one\n\\41\\0a\n\\\\\n\n\n",
        "VERSION=3\nformat=print\r\nHEADER=END\n",
        "VERSION=2\n",
    ];
    texts.iter().enumerate().map(|(i, text)| [&[i as u8][..], text.as_bytes()].concat()).collect()
}
