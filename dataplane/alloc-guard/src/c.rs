//! `malloc` and its family, defined in the executable over glibc's own names for them, and counted.
//!
//! The linker prefers these to those of the C library for all code linked into the executable, and the dynamic linker
//! does for shared libraries. Never allocates or frees by any other way, so blocks may cross between the two freely.

use crate::{Event, note};
use std::ffi::{c_int, c_void};

const ENOMEM: c_int = 12;
const EINVAL: c_int = 22;

unsafe extern "C" {
    fn __libc_malloc(bytes: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, bytes: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, bytes: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
    fn __libc_memalign(align: usize, bytes: usize) -> *mut c_void;
}

// SAFETY of all below: each definition has the signature and the contract of the C function it is named after, because
// it hands its arguments unchanged to glibc's implementation of that function; counting touches a constant thread-local
// without a destructor, which neither allocates nor unwinds.

// SAFETY: see above.
#[unsafe(no_mangle)]
extern "C" fn malloc(bytes: usize) -> *mut c_void {
    note(Event::Allocation);
    // SAFETY: any size is allowed.
    unsafe { __libc_malloc(bytes) }
}

// SAFETY: see above.
#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, bytes: usize) -> *mut c_void {
    note(Event::Allocation);
    // SAFETY: any sizes are allowed.
    unsafe { __libc_calloc(count, bytes) }
}

// SAFETY: see above.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, bytes: usize) -> *mut c_void {
    note(Event::Allocation);
    // SAFETY: the caller owns `block`, which is null or came from this family.
    unsafe { __libc_realloc(block, bytes) }
}

// SAFETY: see above.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    note(Event::Free);
    // SAFETY: the caller owns `block`, which came from this family.
    unsafe { __libc_free(block) }
}

// SAFETY: see above.
#[unsafe(no_mangle)]
extern "C" fn memalign(align: usize, bytes: usize) -> *mut c_void {
    note(Event::Allocation);
    // SAFETY: glibc checks the alignment itself.
    unsafe { __libc_memalign(align, bytes) }
}

// SAFETY: see above.
#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, bytes: usize) -> *mut c_void {
    memalign(align, bytes)
}

// SAFETY: see above; glibc keeps no second name for this one, so its contract (POSIX) is upheld here.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(target: *mut *mut c_void, align: usize, bytes: usize) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return EINVAL;
    }
    let block = memalign(align, bytes);
    if block.is_null() {
        return ENOMEM;
    }
    // SAFETY: POSIX obliges the caller to pass a place for the result.
    unsafe { target.write(block) };
    0
}
