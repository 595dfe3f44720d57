//! How a store is opened, and what its commits promise: plain values.

use crate::disk::Observer;
use crate::format::MIN_PAGE_SIZE;
use crate::snapshot::{Advice, Verify};
use std::sync::Arc;

/// How a store is opened.
#[derive(Clone)]
pub struct Config {
    pub page_size: usize,
    pub create: bool,
    pub read_only: bool,
    pub max_size: u64,
    pub dirty_limit: usize,
    pub verify: Verify,
    pub advice: Advice,
    pub guarded: bool,
    pub durability: Durability,
    pub log_limit: u64,
    pub held_limit: u64,
    pub auto_trim: bool,
    pub ignore_log: bool,
    pub immutable: bool,
    pub any_file_system: bool,
    /// Whether it goes on when its name is removed: who has it open keeps it.
    pub outlives_name: bool,
    pub label: Option<String>,
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            page_size: MIN_PAGE_SIZE,
            create: true,
            read_only: false,
            max_size: u64::MAX,
            dirty_limit: 256 << 20,
            verify: Verify::Once,
            advice: Advice::Normal,
            guarded: false,
            durability: Durability::Durable,
            log_limit: 16 << 20,
            held_limit: 16 << 20,
            auto_trim: true,
            ignore_log: false,
            immutable: false,
            any_file_system: false,
            outlives_name: false,
            label: None,
            observer: None,
        }
    }
}

impl Config {
    /// Whether nothing will be written through it.
    pub fn is_read_only(&self) -> bool {
        self.read_only || self.immutable
    }

    /// What others see of this process: the label, or else the name of the program.
    pub fn label(&self) -> String {
        let name = || match rustix::thread::gettid() == rustix::process::getpid() {
            // The first thread has the name of its process.
            true => rustix::thread::name().ok()?.into_string().ok(),
            false => Some(std::fs::read_to_string("/proc/self/comm").ok()?.trim_end().to_owned()),
        };
        self.label.clone().or_else(name).unwrap_or_default()
    }
}

/// When a commit counts as done, and which crashes it survives then. None can damage the store. The
/// stricter one is the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Durability {
    /// In the log, not flushed. It survives the death of every process; a power cut or a crash of the
    /// system may cost the newest commits, but never a part of one, nor an older one without the newer.
    Eventual,
    /// On the disk when the commit returns: in the redo log, with one small flush, or in place, whichever
    /// is cheaper.
    #[default]
    Durable,
    /// On the disk when the commit returns, in place: every commit is a checkpoint. Two flushes.
    Ordered,
}
