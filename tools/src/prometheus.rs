//! What a store consists of, as text that Prometheus reads (the OpenMetrics format).
//!
//! Sizes are in bytes, times in seconds, as that system asks.

use mapleaf::{FileUsage, LevelStats, Reader, Stats, StoredSnapshot};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What is told of a store.
pub struct Told<'t> {
    /// Counted page by page.
    pub stats: &'t Stats,
    /// Of the file.
    pub usage: FileUsage,
    /// Snapshots that are held.
    pub readers: &'t [Reader],
    /// Snapshots that are stored.
    pub snapshots: &'t [StoredSnapshot],
}

type Number = Gauge<i64>;
type Fraction = Gauge<f64, std::sync::atomic::AtomicU64>;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfTable {
    table: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfLevel {
    table: String,
    tree: &'static str,
    level: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfReader {
    label: String,
    pid: u32,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfSnapshot {
    snapshot: String,
}

/// The text, which ends with the mark that it is whole.
pub fn text(told: &Told<'_>) -> String {
    let mut registry = Registry::with_prefix("mapleaf");
    store(told, &mut registry);
    tables(told.stats, &mut registry);
    snapshots(told, &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).expect("text takes everything");
    in_order(&text)
}

/// The lines of each family sorted, which come in any order.
fn in_order(text: &str) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.chunk_by_mut(|one, next| one.starts_with('#') == next.starts_with('#')).for_each(|lines| {
        if !lines[0].starts_with('#') {
            lines.sort_unstable();
        }
    });
    lines.concat()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>, number: u64) {
    let gauge = Number::default();
    gauge.set(signed(number));
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, gauge),
        None => registry.register(name, help, gauge),
    }
}

fn store(told: &Told<'_>, registry: &mut Registry) {
    let Told { stats, usage, .. } = told;
    gauge(registry, "txn", "The newest txn", None, stats.txn);
    gauge(
        registry,
        "checkpoint_txn",
        "The txn of the last checkpoint; later ones are in the log",
        None,
        stats.checkpoint,
    );
    gauge(registry, "user_version", "The application's own number", None, stats.user_version);
    gauge(registry, "page", "Size of a page", Some(Unit::Bytes), stats.page_size);
    gauge(registry, "file", "Length of the file", Some(Unit::Bytes), usage.len);
    gauge(registry, "disk", "What the file takes on the disk", Some(Unit::Bytes), usage.disk_bytes);
    if let Some(cached) = usage.cached {
        gauge(registry, "resident", "What of the file is in memory", Some(Unit::Bytes), cached.resident);
        gauge(registry, "dirty", "What of it is to be written yet", Some(Unit::Bytes), cached.dirty);
        gauge(registry, "write_back", "What of it is being written", Some(Unit::Bytes), cached.in_write_back);
    }
    let pages = Family::<Kind, Number>::default();
    for (kind, count) in [
        ("free", stats.free_pages),
        ("hole", stats.hole_pages),
        ("pending", stats.pending_pages),
        ("log", stats.log_pages),
        ("space", stats.space_pages),
        ("catalog", stats.catalog_pages),
        ("snapshots", stats.snapshots_pages),
        (
            "table",
            stats.tables.iter().map(|table| pages_of(&table.levels) + pages_of(&table.set_levels)).sum(),
        ),
        ("large_value", stats.tables.iter().map(|table| table.info.overflow_pages).sum()),
    ] {
        pages.get_or_create(&Kind { kind }).set(signed(count));
    }
    registry.register("pages", "Pages of the file, by what they are", pages);
    let by_checkpoint = "Pending pages that the last checkpoint needs";
    gauge(registry, "pending_for_checkpoint_pages", by_checkpoint, None, stats.pending_for_checkpoint);
    let by_nobody = "Pending pages that the next writer takes for free";
    gauge(registry, "pending_for_nobody_pages", by_nobody, None, stats.pending_for_nobody);
    gauge(
        registry,
        "meta_problems",
        "Meta slots with something wrong",
        None,
        stats.meta_problems.len() as u64,
    );
}

fn tables(stats: &Stats, registry: &mut Registry) {
    let (entries, overflow) = (Family::<OfTable, Number>::default(), Family::<OfTable, Number>::default());
    let pages = Family::<OfLevel, Number>::default();
    let used = Family::<OfLevel, Number>::default();
    let level_entries = Family::<OfLevel, Number>::default();
    let fill = Family::<OfLevel, Fraction>::default();
    let depth = Family::<OfTable, Number>::default();
    for table in &stats.tables {
        let of_table = OfTable { table: table.info.name.clone() };
        entries.get_or_create(&of_table).set(signed(table.info.len));
        depth.get_or_create(&of_table).set(signed(table.depth() as u64));
        overflow.get_or_create(&of_table).set(signed(table.info.overflow_pages));
        for (tree, levels) in [("table", &table.levels), ("sets", &table.set_levels)] {
            for (level, found) in levels.iter().enumerate() {
                let of_level = OfLevel { table: table.info.name.clone(), tree, level: level as u64 };
                pages.get_or_create(&of_level).set(signed(found.pages));
                used.get_or_create(&of_level).set(signed(found.used_bytes));
                level_entries.get_or_create(&of_level).set(signed(found.entries));
                fill.get_or_create(&of_level).set(found.fill(stats.page_size));
            }
        }
    }
    registry.register("table_entries", "Entries of a table; of a multimap, its pairs", entries);
    registry.register("table_large_value_pages", "Pages of a table's large values", overflow);
    registry.register("table_depth", "Levels of a table, the leaves included", depth);
    registry.register("table_level_entries", "Entries, or children, of a level", level_entries);
    registry.register_with_unit("table_level_fill", "How full its pages are", Unit::Ratios, fill);
    registry.register("table_level_pages", "Pages of a level; leaves are level 0", pages);
    registry.register_with_unit("table_level_used", "What is in use of them", Unit::Bytes, used);
}

fn snapshots(told: &Told<'_>, registry: &mut Registry) {
    let oldest = told.readers.iter().map(|reader| reader.age.as_secs_f64()).fold(0.0, f64::max);
    gauge(registry, "readers", "Snapshots that are held, in all processes", None, told.readers.len() as u64);
    let age = Fraction::default();
    age.set(oldest);
    registry.register_with_unit("oldest_reader_age", "Since when the oldest is held", Unit::Seconds, age);
    let held = Family::<OfReader, Number>::default();
    let held_alone = Family::<OfReader, Number>::default();
    for reader in told.readers {
        let of_reader = OfReader { label: reader.label.clone(), pid: reader.pid };
        held.get_or_create(&of_reader).inc();
        held_alone.get_or_create(&of_reader).inc_by(signed(reader.pages_alone));
    }
    registry.register("process_readers", "Snapshots that a process holds, by label", held);
    registry.register("process_alone_pages", "Pages that only one of these keeps, in all", held_alone);
    let most = told.readers.iter().map(|reader| reader.pages_retained).max().unwrap_or(0);
    gauge(registry, "reader_retained_pages", "The most pages that one of them retains", None, most);
    let (retained, alone) =
        (Family::<OfSnapshot, Number>::default(), Family::<OfSnapshot, Number>::default());
    for snapshot in told.snapshots {
        let name = OfSnapshot { snapshot: snapshot.info.name.clone() };
        retained.get_or_create(&name).set(signed(snapshot.pages_retained));
        alone.get_or_create(&name).set(signed(snapshot.pages_alone));
    }
    registry.register("snapshot_retained_pages", "Pages that a stored snapshot keeps", retained);
    registry.register("snapshot_alone_pages", "Pages that only it keeps", alone);
}

fn pages_of(levels: &[LevelStats]) -> u64 {
    levels.iter().map(|level| level.pages).sum()
}
