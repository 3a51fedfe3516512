//! `cargo bench -p micro`: how long each kernel takes. Its answer is checked before and after.
//!
//! Run as a test, each kernel is run once, and those that take gigabytes are left out.

use base::ring::{RECORD_BYTES_MAX, ring};
use criterion::{Criterion, criterion_group, criterion_main};
use micro::{KERNELS, Work};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bytes of a ring between two shards.
const RING_BYTES: usize = 512 << 10;

/// Bytes of a heard frame's record.
const RECORD_BYTES: usize = 70;

fn kernels(criterion: &mut Criterion) {
    let measures = std::env::args().any(|argument| argument == "--bench");
    for kernel in KERNELS.iter().filter(|kernel| measures || !kernel.large) {
        // Made when it is first run, so that one that is filtered out is not made at all.
        let mut work: Option<Box<dyn Work>> = None;
        criterion.bench_function(kernel.name, |bencher| {
            bencher.iter_custom(|count| {
                let (mut rest, mut took) = (count, Duration::ZERO);
                while rest > 0 {
                    let ready = work.get_or_insert_with(kernel.prepare);
                    let step = rest.min(ready.left());
                    let start = Instant::now();
                    black_box(&mut **ready).run(step);
                    took += start.elapsed();
                    rest -= step;
                    if let Err(wrong) = ready.check() {
                        panic!("{}: {wrong}", kernel.name);
                    }
                    if ready.left() == 0 {
                        work = None;
                    }
                }
                took
            });
        });
    }
}

/// The hop with its cache lines on their way from core to core: records per time, as many as the ring takes.
fn between_threads(criterion: &mut Criterion) {
    criterion.bench_function("hop_between_threads", |bencher| {
        bencher.iter_custom(|count| {
            let (mut sender, mut receiver) = ring(RING_BYTES);
            let reader = std::thread::spawn(move || {
                let mut out = Box::new([0; RECORD_BYTES_MAX]);
                let mut sum = 0u64;
                for _ in 0..count {
                    let read = loop {
                        match receiver.pop(&mut out[..]) {
                            Some(read) => break read,
                            None => std::hint::spin_loop(),
                        }
                    };
                    assert_eq!(read, RECORD_BYTES);
                    sum = sum.wrapping_add(u64::from(out[0]));
                }
                sum
            });
            let start = Instant::now();
            let mut record = [0; RECORD_BYTES];
            for number in 0..count {
                record[0] = number as u8;
                while sender.push(&record).is_err() {
                    std::hint::spin_loop();
                }
            }
            let sum = reader.join().expect("the reader has all");
            let took = start.elapsed();
            assert_eq!(sum, (0..count).fold(0u64, |sum, number| sum.wrapping_add(number & 0xFF)));
            took
        });
    });
}

criterion_group!(all, kernels, between_threads);
criterion_main!(all);
