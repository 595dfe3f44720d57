//! `mapleaf stat`: as text, as JSON, and for Prometheus.

mod common;

use common::Place;

fn store() -> Place {
    let place = Place::new();
    place.run(["put", "--create", "s.maple", "color", "green"]).fine();
    place.run(["snapshot", "create", "s.maple", "be\"fore"]).fine();
    place.run(["put", "s.maple", "color", "red"]).fine();
    place
}

#[test]
fn monitoring_reads_what_json_says() {
    let place = store();
    let json = place.run(["stat", "--json", "s.maple"]).fine().json();
    let text = place.run(["stat", "--prometheus", "s.maple"]).fine();
    let value = |name: &str| {
        let line = text.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {}", text.text())).parse::<f64>().unwrap()
    };
    for (name, of_json) in [
        ("mapleaf_txn", &json["txn"]),
        ("mapleaf_file_bytes", &json["file_bytes"]),
        ("mapleaf_disk_bytes", &json["disk_bytes"]),
        ("mapleaf_page_bytes", &json["page_size"]),
        ("mapleaf_pages{kind=\"free\"}", &json["free_pages"]),
        ("mapleaf_pages{kind=\"hole\"}", &json["hole_pages"]),
        ("mapleaf_pages{kind=\"pending\"}", &json["pending_pages"]),
        ("mapleaf_pages{kind=\"catalog\"}", &json["catalog_pages"]),
        ("mapleaf_pending_for_checkpoint_pages", &json["pending_for_checkpoint"]),
        ("mapleaf_pending_for_nobody_pages", &json["pending_for_nobody"]),
        ("mapleaf_table_depth{table=\"\"}", &json["tables"][0]["depth"]),
        (
            "mapleaf_table_level_fill_ratios{table=\"\",tree=\"table\",level=\"0\"}",
            &json["tables"][0]["level_stats"][0]["fill"],
        ),
        (
            "mapleaf_table_level_entries{table=\"\",tree=\"table\",level=\"0\"}",
            &json["tables"][0]["level_stats"][0]["entries"],
        ),
        ("mapleaf_table_entries{table=\"\"}", &json["tables"][0]["entries"]),
        ("mapleaf_table_level_pages{table=\"\",tree=\"table\",level=\"0\"}", &json["tables"][0]["pages"]),
        ("mapleaf_snapshot_retained_pages{snapshot=\"be\\\"fore\"}", &json["snapshots"][0]["pages_retained"]),
    ] {
        assert_eq!(Some(value(name)), of_json.as_f64(), "{name}");
    }
    assert_eq!(value("mapleaf_readers"), 0.0);
    assert!(text.text().ends_with("# EOF\n"));
    // Each time in the same order.
    let levels = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains("_table_")).map(str::to_owned).collect()
    };
    let again = place.run(["stat", "--prometheus", "s.maple"]).fine();
    assert_eq!(levels(text.text()), levels(again.text()));
    assert!(levels(text.text()).iter().filter(|line| line.contains("_entries{table=")).is_sorted());
    // Every line is a comment, or a name, labels perhaps, and a number.
    for line in text.text().lines().filter(|line| !line.starts_with('#')) {
        let (name, number) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("mapleaf_") && number.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn all_pages_are_accounted_for() {
    let json = store().run(["stat", "--json", "s.maple"]).fine().json();
    let number = |name: &str| json[name].as_u64().unwrap();
    let kinds = ["free", "hole", "pending", "log", "space", "catalog", "snapshots"];
    let counted: u64 = kinds.iter().map(|kind| number(&format!("{kind}_pages"))).sum();
    // And those of the meta slots.
    assert_eq!(counted + json["tables"][0]["pages"].as_u64().unwrap() + 2, number("page_count"));
    if let Some(resident) = json["resident_bytes"].as_u64() {
        assert!(json["dirty_bytes"].as_u64().unwrap() <= resident);
    }
}

#[test]
fn it_is_json_or_prometheus() {
    store().run(["stat", "--json", "--prometheus", "s.maple"]).fails(2, &["cannot be used with"]);
}
