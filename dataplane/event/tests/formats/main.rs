//! The shipped formats from outside: golden bytes, validity for hostile values, and no allocation.

mod golden;
mod hostile;
mod samples;

#[global_allocator]
static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;
