//! `mapleaf plot`: which charts there are of which reports, and what is in them.

mod common;

use common::Place;
use serde_json::{Value, json};

/// As `compare --json` writes it, as far as it is drawn.
fn report() -> Value {
    let figure = |row: &str, name: &str, engine: &str, unit: &str, median: f64, ratio: Option<f64>| {
        json!({ "row": row, "name": name, "engine": engine, "unit": unit, "median": median,
                "quartiles": [median * 0.9, median * 1.1], "ratio": ratio, "latency": null })
    };
    let mut figures = Vec::new();
    for (engine, factor) in [("mapleaf", 1.0), ("lmdb", 1.8), ("redb", 4.0)] {
        let speed = 1.8 / factor;
        figures.push(figure("get", "random get", engine, "nanos", 600.0 * factor, Some(speed)));
        figures.push(figure(
            "scan",
            "full scan, an <entry>",
            engine,
            "nanos",
            30.0 * factor,
            Some(speed * 0.6),
        ));
        figures.push(figure(
            "flushes",
            "flushes a durable commit",
            engine,
            "count",
            factor,
            Some(factor / 1.8),
        ));
        for pairs in [1_000u64, 100_000, 10_000_000] {
            let nanos = factor * (pairs as f64).ln() * 40.0;
            figures.push(figure(&format!("growth_get@{pairs}"), "get", engine, "nanos", nanos, None));
        }
        let mut single = figure("single", "durable single put", engine, "nanos", 90e3 * factor, Some(speed));
        single["latency"] = json!({ "p50": 80_000, "p99": 300_000, "p999": 900_000, "max": 12_000_000 });
        figures.push(single);
    }
    json!({ "set": "reads", "pairs": 1_000_000, "rounds": 5, "baseline": "lmdb", "figures": figures, "samples": [] })
}

#[test]
fn a_report_becomes_its_charts() {
    let place = Place::new();
    place.write("reads.json", report().to_string());
    let run = place.run(["plot", "reads.json", "-o", "charts"]).fine();
    let names = ["reads-speed", "reads-figures", "reads-latency-single", "reads-growth-get"];
    let wanted: String = names.map(|name| format!("charts/{name}.svg\n")).concat();
    assert_eq!(run.text(), wanted);
    let chart = |name: &str| String::from_utf8(place.read(&format!("charts/{name}.svg"))).unwrap();
    let speed = chart("reads-speed");
    for text in ["Speed beside lmdb, right is faster", "random get", "full scan, an &lt;entry&gt;", "× lmdb"]
    {
        assert!(speed.contains(text), "{text}: {speed}");
    }
    // Three stores in three rows, and in the legend.
    assert_eq!(speed.matches("<circle").count(), 9 + 3);
    assert!(!speed.contains("flushes") && chart("reads-figures").contains("flushes a durable commit"));
    assert_eq!(chart("reads-latency-single").matches("<circle").count(), 3 * 4 + 3);
    let growth = chart("reads-growth-get");
    assert_eq!(growth.matches("<circle").count(), 3 * 3 + 3);
    assert!(
        growth.contains(">pairs<")
            && growth.contains(">each<")
            && growth.contains(">500 ns<")
            && growth.contains(">100 k<"),
        "{growth}"
    );
}

/// Right is faster: the mark of a store twice as fast lies right of the other.
#[test]
fn marks_lie_where_their_numbers_are() {
    let place = Place::new();
    place.write("r.json", report().to_string());
    place.run(["plot", "r.json", "-o", "."]).fine();
    let svg = String::from_utf8(place.read("r-speed.svg")).unwrap();
    // Of the first row; the store that it is about is drawn first.
    let row = svg.lines().filter(|line| line.starts_with("<circle") && line.contains("cy=\"61\""));
    let places: Vec<f32> = row.map(|line| line.split('"').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(places.len(), 3, "{svg}");
    assert!(places[0] > places[1] && places[1] > places[2], "mapleaf, lmdb, redb: {places:?}");
}

#[test]
fn runs_of_bench_beside_each_other() {
    let place = Place::new();
    let run = |nanos: f64| {
        json!([{ "work": "random gets", "count": 10, "seconds": 1.0, "per_second": 1e9 / nanos, "nanoseconds_each": nanos },
               { "work": "scan", "count": 10, "seconds": 1.0, "per_second": 1e9, "nanoseconds_each": 3.0 }])
    };
    place.write("ext4.json", run(500.0).to_string());
    place.write("xfs.json", run(700.0).to_string());
    let written =
        place.run(["plot", "--json", "ext4.json", "xfs.json", "-o", "c", "--format", "png"]).fine().json();
    assert_eq!(written, json!({ "written": ["c/bench.png"] }));
    assert!(place.read("c/bench.png").starts_with(b"\x89PNG"));
    place.feed(["plot", "-", "-o", "d"], &place.read("xfs.json")).fine();
    assert!(place.read("d/bench.svg").windows(8).any(|text| text == b">report<"));
    place.run(["plot", "ext4.json", "xfs.json", "-o", "c"]).fine();
    let svg = String::from_utf8(place.read("c/bench.svg")).unwrap();
    assert!(
        [">ext4<", ">xfs<", ">random gets<", ">each<", ">500 ns<"].iter().all(|text| svg.contains(text)),
        "{svg}"
    );
}

/// What `mapleaf bench --json` prints, as it is.
#[test]
fn what_bench_prints_is_drawn() {
    let place = Place::new();
    let mut runs = Vec::new();
    for (name, count) in [("small", "200"), ("large", "2000")] {
        let run = place.run(["bench", ".", "--count", count, "--durable", "3", "--json"]).fine();
        place.write(&format!("{name}.json"), run.text());
        runs.push(run.json().as_array().unwrap().clone());
    }
    place.run(["plot", "small.json", "large.json", "-o", "c"]).fine();
    let svg = String::from_utf8(place.read("c/bench.svg")).unwrap();
    let names: Vec<&str> = runs[0].iter().map(|row| row["work"].as_str().unwrap()).collect();
    assert!(
        names.len() >= 7 && names.iter().all(|name| svg.contains(&format!(">{name}<"))),
        "{names:?} {svg}"
    );
    assert!(svg.contains("What each operation costs, left is faster") && svg.contains(">each<"));
    let legend = 2;
    assert_eq!(svg.matches("<circle").count(), 2 * names.len() + legend);
    // Where a mark lies says what was measured: the logarithm, along the axis.
    let number = |line: &str, part: usize| line.split('"').nth(part).unwrap().parse::<f64>().unwrap();
    let marks = svg.lines().filter(|line| line.starts_with("<circle")).take(2 * names.len());
    let places: Vec<f64> = marks.map(|line| number(line, 1)).collect();
    let costs: Vec<f64> =
        runs.iter().flatten().map(|row| row["nanoseconds_each"].as_f64().unwrap().ln()).collect();
    let least = (0..costs.len()).min_by(|a, b| costs[*a].total_cmp(&costs[*b])).unwrap();
    let most = (0..costs.len()).max_by(|a, b| costs[*a].total_cmp(&costs[*b])).unwrap();
    let scale = (places[most] - places[least]) / (costs[most] - costs[least]);
    for (place, cost) in places.iter().zip(&costs) {
        let wanted = places[least] + scale * (cost - costs[least]);
        assert!((place - wanted).abs() < 0.1, "{place} and not {wanted}");
    }
}

#[test]
fn what_is_no_report_is_an_error() {
    let place = Place::new();
    place.write("words", "not a report");
    place.write("empty.json", "[]");
    place.run(["plot", "words", "-o", "c"]).fails(1, &["words: not a report of \"compare --json\""]);
    place.run(["plot", "missing", "-o", "c"]).fails(1, &["missing: cannot read"]);
    place.run(["plot", "empty.json", "-o", "c"]).fails(1, &["no figures"]);
    place.run(["plot", "-o", "c"]).fails(2, &["REPORT"]);
    place.write("r.json", report().to_string());
    place.run(["plot", "r.json", "-o", "words"]).fails(1, &["words: cannot make the directory"]);
    assert!(!place.path("c").exists());
}

#[test]
#[ignore = "draws charts to look at, into target/pictures"]
fn charts_to_look_at() {
    let place = Place::new();
    place.write("r.json", report().to_string());
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pictures");
    place.run(["plot", "r.json", "--format", "png", "-o", directory.to_str().unwrap()]).fine();
}
