//! A heap that refuses to grow beyond a cap, so that unbounded allocation shows as the death of the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Capped;

#[global_allocator]
static HEAP: Capped = Capped;
static USED: AtomicUsize = AtomicUsize::new(0);
static CAP: AtomicUsize = AtomicUsize::new(usize::MAX);

/// From now on this process may allocate so many bytes more.
pub fn allow(more: usize) {
    CAP.store(USED.load(Relaxed).saturating_add(more), Relaxed);
}

impl Capped {
    fn admit(&self, len: usize) -> bool {
        let is_admitted = USED.fetch_add(len, Relaxed).saturating_add(len) <= CAP.load(Relaxed);
        if !is_admitted {
            USED.fetch_sub(len, Relaxed);
        }
        is_admitted
    }
}

// SAFETY: every call goes to the system's allocator with the same arguments, or, beyond the cap, returns null,
// which an allocator may at any time.
unsafe impl GlobalAlloc for Capped {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.admit(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.admit(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        if !self.admit(len) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is passed on.
        let moved = unsafe { System.realloc(pointer, layout, len) };
        USED.fetch_sub(if moved.is_null() { len } else { layout.size() }, Relaxed);
        moved
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
