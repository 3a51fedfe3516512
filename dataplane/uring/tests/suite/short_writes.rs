//! A file may not grow beyond RLIMIT_FSIZE: the write that crosses it is short, and what goes on behind it fails. Its own
//! binary, because it lowers the limit of the process. One test, for the same reason.

#![allow(unsafe_code)]

use crate::common::{SMALL, run, shard_in};
use driver::{Access, Completion, Driver, FileFault};

#[test]
fn a_short_write_goes_on_and_tells_what_came_of_the_rest() {
    const LIMIT: usize = 10_000;
    let value = libc::rlimit { rlim_cur: LIMIT as u64, rlim_max: LIMIT as u64 };
    // SAFETY: `value` outlives the call; ignoring a signal runs no code of ours.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const value), 0);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("file"), b"").expect("a file");
    let directory = std::fs::File::open(home.path()).expect("the directory");
    let (mut backend, _) = shard_in(Some(directory.into()), SMALL, Vec::new(), Vec::new());
    let file = backend.open("file", Access::Write).expect("a place");
    run(&mut backend, "opened", |_, completion| matches!(completion, Completion::Opened { outcome: Ok(()), .. }));
    let lease = backend.file_buffer().expect("a buffer");
    backend.bytes(&lease)[..LIMIT].fill(7);
    backend.write(file, 4000, lease, LIMIT, true);
    run(&mut backend, "written", |_, completion| match completion {
        Completion::Written { outcome, .. } => {
            assert_eq!(outcome, Err(FileFault::Write(libc::EFBIG)));
            true
        }
        other => panic!("unexpected {other:?}"),
    });
    let content = std::fs::read(home.path().join("file")).expect("the file");
    assert_eq!(content[4000..], [7; LIMIT - 4000], "what fitted was written first");
}
