//! What to type instead of what is no command, for those who know other tools.

use super::TOOL;
use crate::cli::Cli;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use mapleaf::TableInfo;

/// The words of others, and what does it here.
const OTHERS: [(&[&str], &str); 9] = [
    (&["show", "schema", "databases", "stores", "buckets", "list", "ls"], "\"tables\" lists the tables"),
    (
        &["select", "keys", "cursor", "find", "range"],
        "\"scan\" prints what a table holds, \"get KEY\" one value",
    ),
    (&["count", "len", "size"], "\"scan --count\" counts what a table holds"),
    (&["insert", "update", "set", "replace", "add"], "\"put KEY VALUE\" puts a value at a key"),
    (&["delete", "remove", "rm", "unset"], "\"del KEY\" deletes a key"),
    (&["create", "drop", "rename", "alter"], "\"table\" does it: table create, table drop, table rename"),
    (&["snapshots", "tag"], "\"snapshot list\" lists the snapshots"),
    (&["timer"], "\"timing on\" prints how long each line takes"),
    (&["?", "man"], "\"help\" lists the commands"),
];

/// Something better to type, where that can be guessed.
pub fn of(wrong: &clap::Error, words: &[String], tables: &[TableInfo]) -> Option<String> {
    match wrong.kind() {
        ErrorKind::InvalidSubcommand => of_command(&words[0]),
        ErrorKind::UnknownArgument => of_table(wrong, words, tables),
        _ => None,
    }
}

fn of_command(word: &str) -> Option<String> {
    let plain = word.trim_start_matches('.').trim_end_matches(';').to_ascii_lowercase();
    if let Some((_, hint)) = OTHERS.iter().find(|(words, _)| words.contains(&&*plain)) {
        return Some((*hint).to_owned());
    }
    let is_here = super::commands().find_subcommand(&plain).is_some();
    let is_of_tool = || Cli::command().find_subcommand(&plain).is_some() && !TOOL.contains(&&*plain);
    match is_here {
        true => Some(format!("type {plain:?}")),
        false => is_of_tool().then(|| format!("it is a command outside of the shell: mapleaf {plain}")),
    }
}

/// A table that stands where a key does, or where nothing does.
fn of_table(wrong: &clap::Error, words: &[String], tables: &[TableInfo]) -> Option<String> {
    let takes_table = ["get", "put", "del", "scan", "export", "tree"].contains(&&*words[0]);
    if !takes_table || words.iter().any(|word| word == "-s" || word == "--table") {
        return None;
    }
    let known = words[1..].iter().find(|word| tables.iter().any(|table| table.name == **word));
    let unknown = match wrong.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if words[0] == "scan" && !word.starts_with('-') => Some(word),
        _ => None,
    };
    let word = shell_words::quote(known.or(unknown)?);
    Some(format!("a table is named with -s {word}, or before it with \"use {word}\""))
}
