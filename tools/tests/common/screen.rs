//! A terminal for tests.

use super::Place;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A terminal, with a program on it.
pub struct Screen {
    keyboard: File,
    shown: Receiver<Vec<u8>>,
    seen: std::cell::RefCell<Vec<u8>>,
    program: Child,
}

impl Screen {
    /// Runs the tool on it, with these words in its environment.
    pub fn open(place: &Place, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = rustix::fs::open(&*name, flags, rustix::fs::Mode::empty()).unwrap();
        tcsetwinsize(&line, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let side = || Stdio::from(line.try_clone().unwrap());
        let mut command = place.command(env!("CARGO_BIN_EXE_mapleaf"));
        command.args(args).stdin(side()).stdout(side()).stderr(side());
        command
            .env("TERM", "xterm")
            .env("PAGER", "cat")
            .env("HOME", place.path("home"))
            .env_remove("XDG_STATE_HOME");
        command.envs(environment.iter().copied());
        let program = command.spawn().unwrap();
        // The program alone holds the line, so that its end is seen.
        drop(command);
        drop(line);
        let keyboard = File::from(terminal);
        let mut screen = keyboard.try_clone().unwrap();
        let (send, shown) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // At the end of the program reading fails.
            while let Ok(len @ 1..) = screen.read(&mut bytes) {
                if send.send(bytes[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Screen { keyboard, shown, seen: Vec::new().into(), program }
    }

    /// Types this.
    pub fn say(&self, text: &str) {
        (&self.keyboard).write_all(text.as_bytes()).unwrap();
    }

    /// Waits until this is shown, and passes over it.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let mut seen = self.seen.borrow_mut();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(at) = seen.windows(text.len()).position(|window| window == text.as_bytes()) {
                seen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => seen.extend(bytes),
                Err(_) => panic!("{text:?} is not in {:?}", String::from_utf8_lossy(&seen)),
            }
        }
    }

    /// All that is shown to the end.
    pub fn rest(&self) -> String {
        let mut seen = self.seen.borrow_mut().split_off(0);
        while let Ok(bytes) = self.shown.recv_timeout(Duration::from_secs(60)) {
            seen.extend(bytes);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Waits for the program to end.
    pub fn end(mut self) -> Option<i32> {
        self.program.wait().unwrap().code()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
