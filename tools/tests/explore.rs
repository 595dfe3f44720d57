//! `mapleaf explore` in a pseudo terminal: what is on the screen, on a live store, and what is left of it.

mod common;

use common::Place;
use mapleaf::{Database, Table};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const STOCK: Table<str, u64> = Table::new("stock");
const LINES: u16 = 30;
const COLUMNS: u16 = 110;

#[allow(unsafe_code)]
fn open(path: &Path) -> Database {
    // SAFETY: the file is the test's own.
    unsafe { Database::open(path).unwrap() }
}

/// A program in a terminal.
struct Screen {
    child: Child,
    keys: File,
    terminal: OwnedFd,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
}

impl Screen {
    fn of(command: &mut Command) -> Screen {
        let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&control).unwrap();
        unlockpt(&control).unwrap();
        let name = ptsname(&control, Vec::new()).unwrap();
        let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let size = Winsize { ws_row: LINES, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&control, size).unwrap();
        let side = || terminal.try_clone().unwrap();
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        let mut reader = File::from(control.as_fd().try_clone_to_owned().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        let parser = vt100::Parser::new(LINES, COLUMNS, 0);
        Screen { child, keys: File::from(control), terminal: terminal.into(), output, parser }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen has this on it.
    #[track_caller]
    fn wait_for(&mut self, wanted: &str) -> String {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            let screen = self.parser.screen().contents();
            if screen.contains(wanted) {
                return screen;
            }
            assert!(Instant::now() < patience, "no {wanted:?} on\n{screen}");
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(200)) {
                self.parser.process(&bytes);
            }
        }
    }
}

#[test]
fn a_live_store_in_a_terminal() {
    let place = Place::new();
    let db = open(&place.path("s.maple"));
    db.write(|w| (0..5000).try_for_each(|i| w.put(STOCK, &format!("item {i:05}"), &i).map(drop))).unwrap();
    // A session with this terminal, so that its size counts, and no other's.
    let mut command = place.command("setsid");
    command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_mapleaf"), "explore", "s.maple"]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("COLORTERM");
    let mut screen = Screen::of(&mut command);
    let tables = screen.wait_for("\"stock\"");
    assert!(tables.contains("5,000") && tables.contains("space now"), "{tables}");
    screen.wait_for("1 reader now");
    screen.press("\r");
    screen.wait_for("branch of level 1");
    // End, and in.
    screen.press("\x1b[F\r");
    screen.wait_for("leaf, written by txn 2");
    screen.press("G\r");
    let value = screen.wait_for("value of 8 bytes");
    assert!(value.contains("item 04999") && value.contains("4999"), "{value}");
    // Another process commits: this one, by its own handle.
    let _reader = db.begin_read().unwrap();
    db.write(|w| w.put(STOCK, "item 05000", &0)).unwrap();
    screen.wait_for("the newest is 3: r shows it");
    screen.wait_for("2 readers now");
    screen.press("r");
    screen.wait_for("5,001");
    screen.press("q");
    assert!(screen.child.wait().unwrap().success());
    // The terminal is as it was: letters are shown as they are typed.
    let modes = tcgetattr(&screen.terminal).unwrap().local_modes;
    assert!(modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON));
}

#[test]
fn it_needs_a_terminal_and_a_store() {
    let place = Place::new();
    place.run(["put", "--create", "s.maple", "color", "green"]).fine();
    place.run(["explore", "s.maple"]).fails(2, &["explore needs a terminal", "mapleaf tree"]);
    place.run(["explore", "missing.maple"]).fails(1, &["missing.maple: no such file"]);
    place.write("text", "not a store".repeat(999));
    place.run(["explore", "text"]).fails(1, &["text: not a mapleaf store"]);
}
