//! What a forked process has of the stores that its parent had open.
//!
//! Owns: what happens before and after a fork. Promises: a child has descriptors, and so locks, of its own, so
//! it neither keeps nor loses any lock of the parent's, even if it never uses the store; the snapshots that were held
//! at the fork are pinned for the child as well, and it reads them in the inherited mapping. Leaves to
//! others: opening the store in the child ([`crate::database`]).
//!
//! The steps. Before the fork, for every open store: data file and sidecar are opened once more; the new
//! description of the data file joins the session; pinned snapshots are pinned again by a delegate
//! ([`crate::readers::Delegate`]) whose lock goes with the new description of the sidecar. In the child: these take the place
//! of the inherited descriptors. In the parent: they are closed, which leaves the child the only one that has them.
//!
//! Where a description cannot be opened anew (no `/proc`, no descriptors left, no right to the file any more)
//! the child keeps what it has inherited, its snapshots are [`Error::Forked`](crate::Error::Forked), and the
//! parent's locks last as long as the child.

use crate::descriptor;
use crate::error::{Error, Result};
use crate::fork::{self, Handlers};
use crate::readers::Delegate;
use crate::shared::Pin;
use crate::store::{Registry, Store, all_steady, registry};
use std::cell::RefCell;
use std::fs::File;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, RwLockWriteGuard};

/// What a child is to have of one store.
struct Plan {
    store: Arc<Store>,
    data: File,
    sidecar: File,
    /// The process index whose lock that holds.
    process: Option<usize>,
    /// The slots of whoever opened the store, and the child's in their place.
    pins: Vec<(Pin, Pin)>,
}

/// A fork under way; [`let_go`] ends it.
struct Fork {
    plans: Vec<Plan>,
    /// What takes the place of descriptors of stores that other threads are just opening or closing.
    nothing: Option<File>,
    /// Nobody opens, closes or lists stores meanwhile.
    registry: MutexGuard<'static, Registry>,
    steady: RwLockWriteGuard<'static, ()>,
    /// The last: dropping one may close a store.
    stores: Vec<Arc<Store>>,
}

thread_local! {
    static FORK: RefCell<Option<Fork>> = const { RefCell::new(None) };
}

/// Prepares this process for being forked.
///
/// # Errors
/// `Io` when there is no memory.
pub fn watch() -> Result<()> {
    static HANDLERS: Handlers = Handlers { before, in_parent, in_child };
    fork::prepare().map_err(|error| Error::io("get a page of memory", error))?;
    fork::at_fork(&HANDLERS);
    Ok(())
}

fn before() {
    let (steady, registry) = (all_steady(), registry());
    let stores: Vec<Arc<Store>> = registry.all.iter().filter_map(std::sync::Weak::upgrade).collect();
    let open = stores.iter().filter(|store| !store.is_finished.load(Relaxed));
    let plans = open.filter_map(|store| plan(store).ok()).collect();
    let nothing = if registry.transient.is_empty() { None } else { File::open("/dev/null").ok() };
    FORK.set(Some(Fork { plans, nothing, registry, steady, stores }));
}

fn plan(store: &Arc<Store>) -> Result<Plan> {
    let io = |error| store.pages.disk.io_error("open once more", error);
    store.expect_others();
    let data = store.data_in_session(!store.read_only)?;
    let held = held_snapshots(store);
    let store = Arc::clone(store);
    if held.is_empty() {
        let sidecar = descriptor::reopen(store.readers.file(), true).map_err(io)?;
        return Ok(Plan { store, data, sidecar, process: None, pins: Vec::new() });
    }
    let snapshots: Vec<(u64, &str)> = held.iter().map(|(_, txn)| (*txn, "forked")).collect();
    let Delegate { file: sidecar, process, pins } = store.readers.delegate(&snapshots)?;
    let pins = held.iter().map(|(pin, _)| *pin).zip(pins).collect();
    Ok(Plan { store, data, sidecar, process: Some(process), pins })
}

/// What is pinned for this process, by the slots of whoever opened the store.
fn held_snapshots(store: &Store) -> Vec<(Pin, u64)> {
    if store.is_own_process() {
        return store.readers.own_pins();
    }
    let Some(heritage) = store.heritage() else { return Vec::new() };
    let pins = heritage.pins.iter().filter(|_| heritage.generation == fork::generation());
    pins.filter_map(|(pin, own)| Some((*pin, store.readers.pinned_at(*own)?))).collect()
}

fn in_parent() {
    let_go(FORK.take());
}

fn let_go(fork: Option<Fork>) {
    let Some(Fork { plans, registry, steady, stores, .. }) = fork else { return };
    drop((registry, steady));
    drop((plans, stores));
}

fn in_child() {
    let Some(mut fork) = FORK.take() else { return };
    if let Some(nothing) = &fork.nothing {
        fork.registry.transient.iter().for_each(|fd| fork::replace_raw(*fd, nothing));
    }
    for Plan { store, data, sidecar, process, pins } in &fork.plans {
        let replaced = fork::replace(store.pages.disk.file(), data)
            .and_then(|()| fork::replace(store.readers.file(), sidecar));
        if replaced.is_err() {
            continue;
        }
        store.readers.adopt(*process);
        // A thread that is not here any more may have had it locked: then the snapshots are lost.
        if let Some(mut heritage) = store.heritage() {
            pins.iter().for_each(|(_, own)| store.readers.set_pid(*own, std::process::id()));
            heritage.generation = fork::generation();
            heritage.pins.clone_from(pins);
        }
    }
    fork.registry.transient.clear();
    let_go(Some(fork));
}
