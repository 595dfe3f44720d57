//! A store is passed to another process as a descriptor, over a Unix socket: that process never sees a path.
//!
//! `cargo run --example pass_descriptor`
//!
//! So a worker that may open no files can still read and write one store, the one that it was given.

use mapleaf::{Database, Table};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const SUMS: Table<str, u64> = Table::new("sums");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This program is both: the worker is started with an argument, and with the socket as its standard input.
    if std::env::args().nth(1).is_some() {
        return work(std::io::stdin().as_fd());
    }
    let directory = tempfile::tempdir()?; // removed at the end
    // SAFETY: only mapleaf changes this file while it is open.
    let db = unsafe { Database::open(directory.path().join("numbers.maple"))? };
    db.write(|w| (1..=1000).try_for_each(|i| w.put(NUMBERS, &i, &i).map(drop)))?;

    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    let mut worker =
        command.arg("work").current_dir("/").stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
    drop(command); // its copy of the worker's end
    // A descriptor opens the store once: make one for each process that is to have it.
    send(&ours, db.share()?.as_fd())?;
    assert!(worker.wait()?.success(), "the worker failed");

    let sum = db.begin_read()?.get(SUMS, "by the worker")?;
    assert_eq!(sum, Some(500_500));
    println!("the worker was given a descriptor, and wrote the sum {sum:?}");
    Ok(())
}

fn work(socket: BorrowedFd<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let descriptor = receive(socket)?.ok_or("no descriptor came")?;
    // SAFETY: it is one of `Database::share`, and only mapleaf changes the file.
    let db = unsafe { Database::from_fd(descriptor)? };
    db.write(|w| {
        let sum: u64 = w.iter(NUMBERS)?.map(|entry| Ok(entry?.1)).sum::<mapleaf::Result<u64>>()?;
        w.put(SUMS, "by the worker", &sum)
    })?;
    Ok(db.close()?)
}

/// Sends a descriptor, and a byte, since it cannot go alone (`man 7 unix`, SCM_RIGHTS).
fn send(socket: &UnixStream, descriptor: BorrowedFd<'_>) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "there is room for one");
    sendmsg(socket, &[IoSlice::new(b"s")], &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> std::io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}
