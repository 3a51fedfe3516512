//! An allocator that counts strays: allocations and frees by a thread that has said it is serving.
//!
//! Owns a few counters per thread. Never refuses, never locks, never allocates itself, and costs a thread that is not
//! serving one load of a thread-local byte. Install it once, in an executable or a test binary:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;
//!
//! alloc_guard::serving(true);
//! let stray = Box::new(7);
//! alloc_guard::permitted(|| drop(stray));
//! alloc_guard::serving(false);
//! let counts = alloc_guard::counts();
//! assert_eq!((counts.allocations, counts.frees, counts.permitted_frees), (1, 0, 1));
//! ```
//!
//! With feature `c` the executable also defines `malloc` and its family over glibc's own, so that C libraries are
//! counted; Rust's allocations then pass through there, and are counted once.
//!
//! With `TRUNKLINE_ALLOC_TRACE=1` in the environment the first stray of the process prints where it came from.
//!
//! This is one of the two rooms that may say `unsafe`; each block names the invariant that makes it sound.

#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

#[cfg(feature = "c")]
mod c;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The system's allocator, watched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard;

/// What a thread has counted so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Allocations while serving: strays.
    pub allocations: u64,
    /// Frees while serving: strays too, for someone allocated them.
    pub frees: u64,
    /// Allocations inside [`permitted`].
    pub permitted_allocations: u64,
    /// Frees inside [`permitted`].
    pub permitted_frees: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    Free,
    Serving,
    Permitted,
}

#[derive(Clone, Copy)]
enum Event {
    Allocation,
    Free,
}

struct State {
    mode: Cell<Mode>,
    counts: Cell<Counts>,
}

thread_local! {
    // Constant and without a destructor: reading it never allocates, and works until the thread is gone.
    static STATE: State = const {
        State {
            mode: Cell::new(Mode::Free),
            counts: Cell::new(Counts { allocations: 0, frees: 0, permitted_allocations: 0, permitted_frees: 0 }),
        }
    };
}

/// Strays of all threads, those that ended included.
static STRAYS: AtomicU64 = AtomicU64::new(0);

/// Whether the first stray is still to be traced.
static TRACE: AtomicBool = AtomicBool::new(false);

/// Declares that the calling thread serves from now on, or that it has stopped. Its counts go on from where they were.
pub fn serving(on: bool) {
    if on && std::env::var_os("TRUNKLINE_ALLOC_TRACE").is_some_and(|value| value == "1") {
        static ARMED: AtomicBool = AtomicBool::new(false);
        if !ARMED.swap(true, Ordering::Relaxed) {
            TRACE.store(true, Ordering::Relaxed);
        }
    }
    STATE.with(|state| state.mode.set(if on { Mode::Serving } else { Mode::Free }));
}

/// Strays of the calling thread: allocations and frees while it served, outside [`permitted`].
#[must_use]
pub fn strays() -> u64 {
    let counts = counts();
    counts.allocations + counts.frees
}

/// Strays of every thread since the process started.
#[must_use]
pub fn strays_of_all() -> u64 {
    STRAYS.load(Ordering::Relaxed)
}

/// All that the calling thread has counted.
#[must_use]
pub fn counts() -> Counts {
    STATE.with(|state| state.counts.get())
}

/// Runs `work`, whose allocations are known and bounded: they are counted apart. Without effect on a thread that does not serve.
pub fn permitted<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(Mode);
    impl Drop for Restore {
        fn drop(&mut self) {
            STATE.with(|state| state.mode.set(self.0));
        }
    }
    let _restore = STATE.with(|state| {
        let before = state.mode.get();
        if before == Mode::Serving {
            state.mode.set(Mode::Permitted);
        }
        Restore(before)
    });
    work()
}

#[inline]
fn note(event: Event) {
    STATE.with(|state| {
        if state.mode.get() != Mode::Free {
            count(state, event);
        }
    });
}

#[cold]
fn count(state: &State, event: Event) {
    let mut counts = state.counts.get();
    let stray = state.mode.get() == Mode::Serving;
    match (stray, event) {
        (true, Event::Allocation) => counts.allocations += 1,
        (true, Event::Free) => counts.frees += 1,
        (false, Event::Allocation) => counts.permitted_allocations += 1,
        (false, Event::Free) => counts.permitted_frees += 1,
    }
    state.counts.set(counts);
    if stray {
        STRAYS.fetch_add(1, Ordering::Relaxed);
        if TRACE.load(Ordering::Relaxed) && TRACE.swap(false, Ordering::Relaxed) {
            trace(state, event);
        }
    }
}

/// Says where the stray came from. What this allocates itself is not counted.
fn trace(state: &State, event: Event) {
    let before = state.mode.replace(Mode::Free);
    let what = match event {
        Event::Allocation => "allocation",
        Event::Free => "free",
    };
    eprintln!("alloc-guard: first stray {what} of a serving thread\n{}", std::backtrace::Backtrace::force_capture());
    state.mode.set(before);
}

/// Counts here, unless the C functions underneath do.
#[inline]
fn note_rust(event: Event) {
    if cfg!(not(feature = "c")) {
        note(event);
    }
}

// SAFETY: every method hands its arguments unchanged to `System` and returns what it returns, so `System` upholds the
// contract; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Guard {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note_rust(Event::Allocation);
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note_rust(Event::Allocation);
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note_rust(Event::Allocation);
        // SAFETY: the caller's block and layout, unchanged; the block came from `System`.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note_rust(Event::Free);
        // SAFETY: the caller's block and layout, unchanged; the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}
