//! With TRUNKLINE_ALLOC_TRACE=1 the first stray of a process says where it came from, and only the first.

use std::hint::black_box;
use std::process::Command;

#[global_allocator]
static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;

const ROLE: &str = "TRUNKLINE_TEST_STRAY";

fn main() {
    if std::env::var_os(ROLE).is_some() {
        stray();
    } else {
        assert_eq!(traced("1"), 1, "the first stray and no other");
        assert_eq!(traced("0"), 0);
    }
}

/// Three strays, of which the trace itself is none.
fn stray() {
    alloc_guard::serving(true);
    let block = black_box(Box::new(1u64));
    drop(black_box(vec![1u8; 10]));
    alloc_guard::serving(false);
    drop(block);
    assert_eq!(alloc_guard::strays(), 3);
}

/// How often such a process speaks of a stray.
fn traced(value: &str) -> usize {
    let mut child = Command::new(std::env::current_exe().expect("this binary"));
    let output = child.env(ROLE, "1").env("TRUNKLINE_ALLOC_TRACE", value).output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.is_empty() || said.contains("tests/trace.rs:"), "the place is named: {said}");
    said.matches("first stray allocation").count()
}
