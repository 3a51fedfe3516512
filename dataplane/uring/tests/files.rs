//! Files, over io_uring: the suite that every backend passes.

#[path = "suite/common.rs"]
mod common;
#[path = "suite/files.rs"]
mod files;

type Backend = uring::Uring;

#[test]
fn what_is_carried_is_in_the_file_at_once_and_nothing_beyond_it() {
    use driver::Driver;
    let home = tempfile::tempdir_in("/dev/shm").expect("memory");
    let path = home.path().join("carry");
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
    let (mut shard, _) = common::shard(common::SMALL, Vec::new(), Vec::new());
    assert!(!shard.carry(0, b"nowhere"), "there is no place yet");
    shard.carry_in(uring::Carry::reserve(&file, 4096).expect("room"));
    assert!(shard.carry(4090, b"end...") && shard.carry(0, b"begin"));
    assert!(!shard.carry(4091, b"beyond") && !shard.carry(u64::MAX, b"x"));
    let bytes = std::fs::read(&path).expect("readable");
    assert_eq!((bytes.len(), &bytes[..5], &bytes[4090..]), (4096, &b"begin"[..], &b"end..."[..]));
    let too_much = uring::Carry::reserve(&file, usize::MAX / 2).expect_err("no memory is as large");
    assert!(matches!(too_much.raw_os_error(), Some(libc::ENOSPC | libc::EFBIG)), "{too_much}");
}
