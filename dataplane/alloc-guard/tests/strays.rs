//! Its own binary, because the allocator is the process's. Every test looks at its own thread's counts only.

#![allow(unsafe_code)]

use alloc_guard::{Counts, counts, permitted, serving, strays, strays_of_all};
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;

fn counted(work: impl FnOnce()) -> Counts {
    let before = counts();
    serving(true);
    work();
    serving(false);
    let after = counts();
    Counts {
        allocations: after.allocations - before.allocations,
        frees: after.frees - before.frees,
        permitted_allocations: after.permitted_allocations - before.permitted_allocations,
        permitted_frees: after.permitted_frees - before.permitted_frees,
    }
}

#[test]
fn a_thread_that_does_not_serve_has_no_strays() {
    drop(black_box(vec![1u8; 100]));
    permitted(|| drop(black_box(vec![1u8; 100])));
    assert_eq!(counts(), Counts::default());
    assert_eq!(strays(), 0);
}

#[test]
fn counts_allocations_and_frees_apart() {
    let kept = counted(|| std::mem::forget(black_box(Box::new(1u64))));
    assert_eq!(kept, Counts { allocations: 1, ..Counts::default() });
    let zeroed = counted(|| drop(black_box(vec![0u8; 4096])));
    assert_eq!(zeroed, Counts { allocations: 1, frees: 1, ..Counts::default() });
    let mut growing: Vec<u8> = Vec::with_capacity(8);
    growing.extend_from_slice(&[1; 8]);
    let grown = counted(|| growing.reserve_exact(1 << 20));
    assert_eq!(grown, Counts { allocations: 1, ..Counts::default() });
    let freed = counted(|| drop(growing));
    assert_eq!(freed, Counts { frees: 1, ..Counts::default() });
    assert_eq!(strays(), 5);
}

#[test]
fn work_without_allocation_counts_nothing() {
    let mut buffer = [0u8; 512];
    let mut ring = std::collections::VecDeque::with_capacity(64);
    let none = counted(|| {
        for round in 0..10_000u32 {
            buffer[round as usize % 512] = round as u8;
            if ring.len() == 64 {
                ring.pop_front();
            }
            ring.push_back(black_box(round));
        }
    });
    assert_eq!(none, Counts::default());
}

#[test]
fn a_permitted_scope_is_counted_apart_and_ends_with_a_panic_too() {
    let inside = counted(|| permitted(|| permitted(|| drop(black_box(Box::new(1u64))))));
    assert_eq!(inside, Counts { permitted_allocations: 1, permitted_frees: 1, ..Counts::default() });
    let before = counts().allocations;
    serving(true);
    let caught = permitted(|| std::panic::catch_unwind(|| permitted(|| std::panic::resume_unwind(Box::new("stop")))));
    std::mem::forget(black_box(Box::new(1u64)));
    serving(false);
    assert!(caught.is_err());
    assert_eq!(counts().allocations - before, 1, "what follows the scope is a stray again");
}

#[test]
fn another_threads_strays_are_in_the_total_alone() {
    let before = strays_of_all();
    let theirs = std::thread::spawn(|| {
        let counts = counted(|| drop(black_box(vec![7u8; 64])));
        counts.allocations + counts.frees
    });
    assert_eq!(theirs.join().expect("thread ends"), 2);
    assert!(strays_of_all() >= before + 2);
    assert_eq!(strays(), 0);
}

#[cfg(feature = "c")]
mod c {
    use super::*;
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        fn malloc(bytes: usize) -> *mut c_void;
        fn calloc(count: usize, bytes: usize) -> *mut c_void;
        fn realloc(block: *mut c_void, bytes: usize) -> *mut c_void;
        fn free(block: *mut c_void);
        fn posix_memalign(target: *mut *mut c_void, align: usize, bytes: usize) -> c_int;
        fn aligned_alloc(align: usize, bytes: usize) -> *mut c_void;
        fn strdup(text: *const std::ffi::c_char) -> *mut std::ffi::c_char;
    }

    #[test]
    fn what_c_allocates_is_counted() {
        // SAFETY: each block is freed once, and used only between.
        let family = counted(|| unsafe {
            let block = realloc(black_box(malloc(10)), 1 << 20);
            free(black_box(block));
            free(black_box(calloc(3, 5)));
            let mut aligned = std::ptr::null_mut();
            assert_eq!(posix_memalign(&raw mut aligned, 256, 100), 0);
            assert!(aligned.addr().is_multiple_of(256));
            free(aligned);
            free(black_box(aligned_alloc(64, 128)));
            free(std::ptr::null_mut());
        });
        assert_eq!(family, Counts { allocations: 5, frees: 4, ..Counts::default() });
    }

    #[test]
    fn what_the_c_library_allocates_for_others_is_counted() {
        // SAFETY: a literal with its terminator; the copy is freed once.
        let copied = counted(|| unsafe { free(black_box(strdup(black_box(c"text".as_ptr()))).cast()) });
        assert_eq!(copied, Counts { allocations: 1, frees: 1, ..Counts::default() });
    }

    #[test]
    fn a_bad_alignment_is_refused() {
        let mut target = std::ptr::null_mut();
        // SAFETY: a place for the result is given.
        let result = unsafe { posix_memalign(&raw mut target, 24, 100) };
        assert_eq!(result, 22);
        assert!(target.is_null());
    }
}
