//! One process sleeps until another has committed, and then looks what is new. Nothing is asked again and again.
//!
//! `cargo run --example change_listener`

use mapleaf::{Database, Table};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const MESSAGES: Table<u64, str> = Table::new("messages");
const TEXTS: [&str; 4] = ["hello", "how are you?", "fine, thanks", "bye"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This program is both: with a path it is the listener.
    if let Some(path) = std::env::args_os().nth(1) {
        return listen(Path::new(&path));
    }
    let directory = tempfile::tempdir()?; // removed at the end
    let path = directory.path().join("chat.maple");
    // SAFETY: only mapleaf changes this file while it is open.
    let db = unsafe { Database::open(&path)? };

    let mut command = Command::new(std::env::current_exe()?);
    let mut listener = command.arg(&path).stdout(Stdio::piped()).spawn()?;
    let mut heard = BufReader::new(listener.stdout.take().ok_or("no output")?).lines();
    assert_eq!(heard.next().ok_or("the listener ended")??, "listening");
    for (number, text) in TEXTS.iter().enumerate() {
        db.write(|w| w.put(MESSAGES, &(number as u64), text))?;
        // Only so that the example can tell one from the other: a listener that is slow hears of several at once.
        let line = heard.next().ok_or("the listener ended")??;
        println!("the listener says: {line}");
        assert_eq!(line, format!("message {number}: {text}"));
    }
    assert!(listener.wait()?.success(), "the listening process failed");
    println!("all {} messages were heard", TEXTS.len());
    Ok(())
}

fn listen(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: only mapleaf changes this file while it is open.
    let db = unsafe { Database::open(path)? };
    // What there is first, then what comes: `seen` is the txn that was looked at last, so none is missed between.
    let mut next = 0;
    let mut seen = db.begin_read()?.txn_id();
    println!("listening");
    loop {
        let newest = db.wait_for_commit(seen, Some(Duration::from_secs(60)))?;
        seen = newest.ok_or("nothing was committed for a minute")?;
        for entry in db.begin_read()?.range(MESSAGES, next..)? {
            let (number, text) = entry?;
            println!("message {number}: {text}");
            next = number + 1;
            if text == "bye" {
                return Ok(());
            }
        }
    }
}
