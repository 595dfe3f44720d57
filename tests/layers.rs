//! The layers: a file imports only from those that the crate root lists before it.
//!
//! Every mention of `crate::module` counts, in a `use` or within an expression; only comments and the
//! unit tests at a file's end do not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Known exceptions: what imports what, and why it may.
const EXCEPTIONS: [(&str, &str); 0] = [];

#[test]
fn each_module_imports_only_layers_before_it() {
    let order = modules_in_order();
    let rank = |module: &str| order.iter().position(|listed| listed == module).expect("a listed module");
    let mut wrong = Vec::new();
    for (module, imports) in imports() {
        for (import, place) in imports {
            let allowed = EXCEPTIONS.contains(&(module.as_str(), import.as_str()));
            if rank(&import) > rank(&module) && !allowed {
                wrong.push(format!("{place}: {module} imports {import}, which src/lib.rs lists after it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} imports go upwards:\n{}", wrong.len(), wrong.join("\n"));
}

/// The table of layers in docs/architecture.md has every module, from the bottom up as `src/lib.rs` lists them.
#[test]
fn the_architecture_page_lists_the_layers() {
    let page = include_str!("../docs/architecture.md");
    let (_, table) = page.split_once("| layer | modules").expect("a table of layers");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let shown: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert_eq!(shown, modules_in_order());
}

/// Whatever the order of the list, there is none for modules that import each other.
#[test]
fn no_modules_import_each_other_in_a_circle() {
    let mut left: BTreeMap<String, BTreeSet<String>> =
        imports().into_iter().map(|(module, imports)| (module, imports.into_keys().collect())).collect();
    let mut order = Vec::new();
    loop {
        let free: Vec<String> =
            left.iter().filter(|(_, imports)| imports.is_empty()).map(|(module, _)| module.clone()).collect();
        if free.is_empty() {
            break;
        }
        for module in free {
            left.remove(&module);
            left.values_mut().for_each(|imports| imports.retain(|import| *import != module));
            order.push(module);
        }
    }
    println!("an order that works: {}", order.join(", "));
    assert!(left.is_empty(), "in circles, or above one: {left:#?}");
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules that `lib.rs` declares, in its order.
fn modules_in_order() -> Vec<String> {
    let root = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let declared = root.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    });
    let modules: Vec<String> = declared.collect();
    assert!(modules.len() > 10, "{modules:?}");
    modules
}

/// By module: the others that it mentions, each with the first place.
fn imports() -> BTreeMap<String, BTreeMap<String, String>> {
    let modules = modules_in_order();
    let mut imports: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for file in files(&source()) {
        let relative = file.strip_prefix(source()).unwrap();
        let module = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = module.strip_suffix(".rs").unwrap_or(module).to_owned();
        if module == "lib" {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let of_module = imports.entry(module.clone()).or_default();
        for (number, line) in text.lines().enumerate().take_while(|(_, line)| *line != "#[cfg(test)]") {
            let code = line.split("//").next().unwrap();
            for mention in code.split("crate::").skip(1) {
                let name: String = mention.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if modules.contains(&name) && name != module {
                    let place = format!("src/{}:{}", relative.display(), number + 1);
                    of_module.entry(name).or_insert(place);
                }
            }
            assert!(!code.contains("use crate::{"), "{}:{}: one layer a line", file.display(), number + 1);
        }
    }
    imports
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
