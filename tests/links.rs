//! The pages lead somewhere: every link of README.md, CHANGELOG.md and docs/ to a file, a heading or a picture of this project, and every
//! path in code letters, exists; and every page can be reached from README.md. (Links in doc comments are rustdoc's to check.)

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// What a code span begins with that names a file or directory.
const PLACES: [&str; 10] =
    [".ci/", "benches/", "crash/", "derive/", "docs/", "examples/", "fuzz/", "src/", "tests/", "tools/"];

/// What a page has and asks for.
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
    paths: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages, by their path from the root.
fn pages() -> BTreeMap<PathBuf, Page> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let all = docs.chain(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    let pages = all.map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root()).unwrap().to_owned(), Page::of(&text))
    });
    pages.collect()
}

impl Page {
    fn of(text: &str) -> Self {
        let mut page = Page { anchors: BTreeSet::new(), links: Vec::new(), paths: Vec::new() };
        let mut heading = None::<String>;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap());
                    page.anchors.insert(slug);
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Code(code) => {
                    if PLACES.iter().any(|place| code.starts_with(place)) {
                        page.paths.push(code.split([' ', ':']).next().unwrap().to_owned());
                    }
                    heading.iter_mut().for_each(|heading| heading.push_str(&code));
                }
                Event::InlineHtml(html) => {
                    let id = html.strip_prefix("<a id=\"").and_then(|rest| rest.split('"').next());
                    page.anchors.extend(id.map(str::to_owned));
                }
                Event::Text(text) => heading.iter_mut().for_each(|heading| heading.push_str(&text)),
                _ => {}
            }
        }
        page
    }
}

/// The anchor that a heading gets where these pages are shown: lower case, punctuation left out, a dash for each space.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

#[test]
fn every_link_and_path_leads_somewhere() {
    let pages = pages();
    let mut wrong = Vec::new();
    let mut judged = 0;
    for (name, page) in &pages {
        for link in page.links.iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => name.clone(),
                path => plain(&name.parent().unwrap().join(path)),
            };
            let is_there = root().join(&target).exists();
            let has_anchor =
                anchor.is_empty() || pages.get(&target).is_some_and(|page| page.anchors.contains(anchor));
            if !is_there || !has_anchor {
                wrong.push(format!("{}: link to {link}", name.display()));
            }
            judged += 1;
        }
        for path in &page.paths {
            // `tests/crash` is a test program of its name, with a directory.
            let alone = root().join(path);
            if !alone.exists() && !alone.with_extension("rs").exists() && !path.contains(['*', '<', '…']) {
                wrong.push(format!("{}: path {path}", name.display()));
            }
            judged += 1;
        }
    }
    assert!(judged > 100, "{judged}");
    assert!(wrong.is_empty(), "{} of {judged} lead nowhere:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_page_and_picture_can_be_reached_from_the_readme() {
    let pages = pages();
    let mut reached = BTreeSet::from([PathBuf::from("README.md")]);
    let mut left = vec![PathBuf::from("README.md")];
    while let Some(name) = left.pop() {
        let Some(page) = pages.get(&name) else { continue };
        for link in &page.links {
            let path = plain(&name.parent().unwrap().join(link.split('#').next().unwrap()));
            if reached.insert(path.clone()) {
                left.push(path);
            }
        }
    }
    let pictures = ["docs/pictures", "docs/charts"].into_iter().flat_map(|directory| {
        std::fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap().path())
    });
    let pictures = pictures
        .filter(|path| path.extension().is_some_and(|extension| extension == "svg" || extension == "png"));
    let all = pictures.map(|path| path.strip_prefix(root()).unwrap().to_owned()).chain(pages.keys().cloned());
    let lonely: Vec<PathBuf> = all.filter(|path| !reached.contains(path)).collect();
    assert!(lonely.is_empty(), "nothing leads to {lonely:?}");
}
