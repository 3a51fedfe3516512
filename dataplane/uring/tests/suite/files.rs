//! Real files in a real directory: what is written is there, what fails says so, and nothing is left behind.

#![allow(unsafe_code)]

use crate::Backend;
use crate::common::{SMALL, run, shard_in, turn_for};
use driver::{Access, Busy, Completion, Driver, File, FileFault, Lease};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use tempfile::TempDir;
use uring::Wanted;

const BUFFER_BYTES: usize = SMALL.file_buffer_bytes as usize;

fn directory(path: &Path) -> OwnedFd {
    fs::File::open(path).expect("the directory is there").into()
}

/// A shard over an empty directory.
fn over_files(wanted: Wanted) -> (Backend, TempDir) {
    let home = tempfile::tempdir().expect("a directory");
    let (backend, _) = shard_in(Some(directory(home.path())), wanted, Vec::new(), Vec::new());
    (backend, home)
}

fn opened(backend: &mut Backend, name: &str, access: Access) -> Result<File, i32> {
    let asked = backend.open(name, access).expect("a place");
    let mut told = None;
    run(backend, "opened", |_, completion| match completion {
        Completion::Opened { file, outcome } => {
            assert_eq!(file, asked);
            told = Some(outcome);
            true
        }
        other => panic!("unexpected {other:?}"),
    });
    told.expect("told").map(|()| asked)
}

fn write(backend: &mut Backend, file: File, offset: u64, bytes: &[u8], sync: bool) {
    let lease = backend.file_buffer().expect("a buffer");
    backend.bytes(&lease)[..bytes.len()].copy_from_slice(bytes);
    backend.write(file, offset, lease, bytes.len(), sync);
}

fn written(backend: &mut Backend, asked: File) -> Result<(), FileFault> {
    let mut told = None;
    run(backend, "written", |_, completion| match completion {
        Completion::Written { file, outcome } => {
            assert_eq!(file, asked);
            told = Some(outcome);
            true
        }
        other => panic!("unexpected {other:?}"),
    });
    told.expect("told")
}

fn read(backend: &mut Backend, asked: File, from: u64, count: usize) -> Result<Vec<u8>, i32> {
    backend.read(asked, from, count).expect("a buffer");
    let mut told = None;
    run(backend, "read", |backend, completion| match completion {
        Completion::Read { file, offset, outcome } => {
            assert_eq!((file, offset), (asked, from));
            told = Some(outcome.map(|lease| taken(backend, lease)));
            true
        }
        other => panic!("unexpected {other:?}"),
    });
    told.expect("told")
}

fn taken(backend: &mut Backend, lease: Lease) -> Vec<u8> {
    let bytes = backend.bytes(&lease).to_vec();
    backend.release(lease);
    bytes
}

fn closed(backend: &mut Backend, asked: File) {
    backend.close_file(asked);
    run(backend, "closed", |_, completion| match completion {
        Completion::FileClosed { file } => file == asked,
        other => panic!("unexpected {other:?}"),
    });
}

/// Every file buffer is free: all can be lent at once.
fn assert_buffers_whole(backend: &mut Backend) {
    let count = backend.limits().file_buffer_count;
    let leases: Vec<Lease> = (0..count).map(|_| backend.file_buffer().expect("every file buffer came back")).collect();
    assert_eq!(backend.file_buffer(), Err(Busy), "and no more than there are");
    for lease in leases {
        backend.release(lease);
    }
}

/// Bytes that say where they are.
fn pattern(salt: u8, count: usize) -> Vec<u8> {
    (0..count).map(|index| (index as u8).wrapping_mul(31) ^ (index >> 8) as u8 ^ salt).collect()
}

#[test]
fn what_is_written_and_synced_is_in_the_file() {
    let (mut backend, home) = over_files(SMALL);
    fs::create_dir(home.path().join("journal")).expect("a folder");
    let path = home.path().join("journal/one.seg");
    fs::write(&path, vec![0; 65_536]).expect("a segment made ahead");
    let file = opened(&mut backend, "journal/one.seg", Access::Write).expect("it is there");
    let mut expected = vec![0; 65_536];
    for (round, (offset, count, sync)) in
        [(0, 4096, true), (4096, BUFFER_BYTES, true), (20_001, 777, false), (65_000, 536, true), (30_000, 1, true)]
            .into_iter()
            .enumerate()
    {
        let bytes = pattern(round as u8, count);
        expected[offset..offset + count].copy_from_slice(&bytes);
        write(&mut backend, file, offset as u64, &bytes, sync);
        assert_eq!(written(&mut backend, file), Ok(()));
    }
    // A sync alone.
    write(&mut backend, file, 0, &[], true);
    assert_eq!(written(&mut backend, file), Ok(()));
    assert_eq!(fs::read(&path).expect("the file"), expected);
    assert_eq!(read(&mut backend, file, 4096, BUFFER_BYTES), Ok(expected[4096..4096 + BUFFER_BYTES].to_vec()));
    // Beyond its end it grows.
    write(&mut backend, file, 65_536, b"more", true);
    assert_eq!(written(&mut backend, file), Ok(()));
    assert_eq!(fs::metadata(&path).expect("the file").len(), 65_540);
    closed(&mut backend, file);
    assert_buffers_whole(&mut backend);
}

#[test]
fn reads_are_short_at_the_end_and_empty_behind_it() {
    let (mut backend, home) = over_files(SMALL);
    fs::write(home.path().join("file"), pattern(0, 5000)).expect("a file");
    let file = opened(&mut backend, "file", Access::Read).expect("it is there");
    assert_eq!(read(&mut backend, file, 0, BUFFER_BYTES), Ok(pattern(0, 5000)));
    assert_eq!(read(&mut backend, file, 4990, 100), Ok(pattern(0, 5000)[4990..].to_vec()));
    assert_eq!(read(&mut backend, file, 5000, 1), Ok(Vec::new()));
    assert_eq!(read(&mut backend, file, 1 << 40, 100), Ok(Vec::new()));
    closed(&mut backend, file);
    assert_buffers_whole(&mut backend);
}

#[test]
fn what_cannot_be_opened_says_why_and_leaves_its_place() {
    let (mut backend, home) = over_files(SMALL);
    fs::create_dir(home.path().join("folder")).expect("a folder");
    fs::write(home.path().join("file"), b"here").expect("a file");
    // More rounds than there are places.
    for _ in 0..2 * SMALL.file_count {
        assert_eq!(opened(&mut backend, "nowhere", Access::Read), Err(libc::ENOENT));
        assert_eq!(opened(&mut backend, "file/below", Access::Write), Err(libc::ENOTDIR));
        assert_eq!(opened(&mut backend, "folder", Access::Write), Err(libc::EISDIR));
    }
    let long = "n".repeat(driver::FILE_NAME_BYTES_MAX);
    assert_eq!(opened(&mut backend, &long, Access::Read), Err(libc::ENOENT));
    let folder = opened(&mut backend, "folder", Access::Read).expect("a folder opens to be read");
    assert_eq!(read(&mut backend, folder, 0, 100), Err(libc::EISDIR));
    closed(&mut backend, folder);
    assert_buffers_whole(&mut backend);
}

#[test]
fn what_is_not_permitted_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let path = home.path().join("secret");
    fs::write(&path, b"secret").expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("ours");
    let fd = directory(home.path());
    // Root may read everything, so a thread that is root becomes nobody: the raw call changes this thread alone.
    // SAFETY: neither call takes a pointer.
    let is_nobody = unsafe { libc::geteuid() != 0 || libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) == 0 };
    assert!(is_nobody, "a thread of root may become another user");
    let (mut backend, _) = shard_in(Some(fd), SMALL, Vec::new(), Vec::new());
    assert_eq!(opened(&mut backend, "secret", Access::Read), Err(libc::EACCES));
    assert_eq!(opened(&mut backend, "secret", Access::Write), Err(libc::EACCES));
}

#[test]
fn a_write_that_fails_says_so_and_the_next_may_come() {
    let (mut backend, home) = over_files(SMALL);
    fs::write(home.path().join("file"), b"here").expect("a file");
    let file = opened(&mut backend, "file", Access::Read).expect("it is there");
    for sync in [true, false] {
        write(&mut backend, file, 0, b"no", sync);
        assert_eq!(written(&mut backend, file), Err(FileFault::Write(libc::EBADF)));
    }
    assert_eq!(read(&mut backend, file, 0, 100), Ok(b"here".to_vec()));
    // The disk is full.
    symlink("/dev/full", home.path().join("full")).expect("a link");
    let full = opened(&mut backend, "full", Access::Write).expect("every Linux has it");
    for _ in 0..3 {
        write(&mut backend, full, 0, &pattern(1, 5000), true);
        assert_eq!(written(&mut backend, full), Err(FileFault::Write(libc::ENOSPC)));
    }
    // What takes every byte and stores none refuses only the sync.
    symlink("/dev/null", home.path().join("null")).expect("a link");
    let null = opened(&mut backend, "null", Access::Write).expect("every Linux has it");
    write(&mut backend, null, 0, b"gone", true);
    assert_eq!(written(&mut backend, null), Err(FileFault::Sync(libc::EINVAL)));
    write(&mut backend, null, 0, b"gone", false);
    assert_eq!(written(&mut backend, null), Ok(()));
    for file in [file, full, null] {
        closed(&mut backend, file);
    }
    assert_buffers_whole(&mut backend);
}

#[test]
fn several_reads_fly_beside_a_write() {
    let (mut backend, home) = over_files(SMALL);
    let content = pattern(9, 64 * 1024);
    fs::write(home.path().join("file"), &content).expect("a file");
    let file = opened(&mut backend, "file", Access::Write).expect("it is there");
    for round in 0..100u8 {
        let offsets = [0u64, 4096, 5000, 32_768, 60_000, 65_000, 70_000];
        for offset in offsets {
            backend.read(file, offset, BUFFER_BYTES).expect("a buffer each");
        }
        write(&mut backend, file, 1 << 20, &pattern(round, 100), true);
        assert_eq!(backend.read(file, 0, 1), Err(Busy), "eight buffers, eight in flight");
        let (mut seen, mut is_written) = (Vec::new(), false);
        run(&mut backend, "eight completions", |backend, completion| {
            match completion {
                Completion::Read { offset, outcome, .. } => {
                    let bytes = taken(backend, outcome.expect("readable"));
                    let start = (offset as usize).min(content.len());
                    let end = (start + BUFFER_BYTES).min(content.len());
                    // Behind the content the file has a hole, once the first write is done.
                    assert!(bytes.starts_with(&content[start..end]), "read at {offset}");
                    seen.push(offset);
                }
                Completion::Written { outcome, .. } => {
                    assert_eq!(outcome, Ok(()));
                    is_written = true;
                }
                other => panic!("unexpected {other:?}"),
            }
            seen.len() == offsets.len() && is_written
        });
        seen.sort_unstable();
        assert_eq!(seen, offsets);
    }
    closed(&mut backend, file);
    assert_buffers_whole(&mut backend);
}

#[test]
fn closing_waits_for_what_is_in_flight_and_tells_it() {
    let (mut backend, home) = over_files(SMALL);
    fs::write(home.path().join("file"), pattern(3, 30_000)).expect("a file");
    let mut before: Option<File> = None;
    for round in 0..50u8 {
        let file = opened(&mut backend, "file", Access::Write).expect("it is there");
        assert!(before.is_none_or(|before| before.index == file.index && before.generation != file.generation));
        before = Some(file);
        backend.read(file, 0, 100).expect("a buffer");
        backend.read(file, 29_990, 100).expect("a buffer");
        write(&mut backend, file, 100, &[round; 5000], true);
        backend.close_file(file);
        let mut told = Vec::new();
        run(&mut backend, "the end", |backend, completion| {
            told.push(match completion {
                Completion::Read { outcome, .. } => taken(backend, outcome.expect("readable")).len(),
                Completion::Written { outcome, .. } => {
                    assert_eq!(outcome, Ok(()));
                    0
                }
                Completion::FileClosed { file: which } => {
                    assert_eq!(which, file);
                    usize::MAX
                }
                other => panic!("unexpected {other:?}"),
            });
            told.last() == Some(&usize::MAX)
        });
        told.sort_unstable();
        assert_eq!(told, [0, 10, 100, usize::MAX], "everything was told, the end last");
        assert_eq!(fs::read(home.path().join("file")).expect("the file")[100..5100], [round; 5000]);
    }
    assert_buffers_whole(&mut backend);
}

#[test]
fn places_and_buffers_are_bounded() {
    let (mut backend, home) = over_files(SMALL);
    fs::write(home.path().join("file"), b"here").expect("a file");
    let files: Vec<File> = (0..SMALL.file_count)
        .map(|_| opened(&mut backend, "file", Access::Read).expect("as many as there are places"))
        .collect();
    assert_eq!(backend.open("file", Access::Read), Err(Busy));
    closed(&mut backend, files[3]);
    let again = opened(&mut backend, "file", Access::Read).expect("the place came back");
    assert_eq!((again.index, again.generation), (files[3].index, files[3].generation + 1));
    assert_buffers_whole(&mut backend);
    // Without a directory there are none.
    let (mut none, _) = shard_in(None, SMALL, Vec::new(), Vec::new());
    assert_eq!((none.limits().file_count, none.limits().file_buffer_count), (0, 0));
    assert_eq!(none.open("file", Access::Read), Err(Busy));
    assert_eq!(none.file_buffer(), Err(Busy));
}

/// The queue holds 64 entries; whatever is in it before a write and its sync, both are done and nothing is lost.
#[test]
fn a_queue_that_is_nearly_full_loses_nothing() {
    let wanted = Wanted { submission_entries: 64, file_buffer_count: 80, file_count: 8, ..SMALL };
    let (mut backend, home) = over_files(wanted);
    fs::write(home.path().join("read"), pattern(1, 9000)).expect("a file");
    let source = opened(&mut backend, "read", Access::Read).expect("it is there");
    let targets: Vec<File> = (0..4)
        .map(|index| {
            let name = format!("write{index}");
            fs::write(home.path().join(&name), b"").expect("a file");
            opened(&mut backend, &name, Access::Write).expect("it is there")
        })
        .collect();
    for count in 0..70u64 {
        for (salt, target) in targets.iter().enumerate() {
            write(&mut backend, *target, count * 100, &pattern(salt as u8, 100), true);
        }
        for offset in 0..count {
            backend.read(source, offset * 100, 100).expect("a buffer, and room once the queue was flushed");
        }
        let (mut reads, mut writes) = (0, 0);
        run(&mut backend, "everything that was asked", |backend, completion| {
            match completion {
                Completion::Read { outcome, offset, .. } => {
                    assert_eq!(taken(backend, outcome.expect("readable")), pattern(1, 9000)[offset as usize..][..100]);
                    reads += 1;
                }
                Completion::Written { outcome, .. } => {
                    assert_eq!(outcome, Ok(()));
                    writes += 1;
                }
                other => panic!("unexpected {other:?}"),
            }
            (reads, writes) == (count, targets.len())
        });
    }
    for salt in 0..targets.len() {
        let content = fs::read(home.path().join(format!("write{salt}"))).expect("the file");
        assert_eq!(content, pattern(salt as u8, 100).repeat(70));
    }
    assert_buffers_whole(&mut backend);
}

#[test]
fn a_shard_that_ends_leaves_no_descriptor_and_no_write_half_told() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("file-of-the-ending-shard");
    fs::write(&path, b"").expect("a file");
    let holders = || {
        let entries = fs::read_dir("/proc/self/fd").expect("Linux");
        entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).filter(|target| *target == path).count()
    };
    for round in 0..20u64 {
        let (mut backend, _) = shard_in(Some(directory(home.path())), SMALL, Vec::new(), Vec::new());
        let file = opened(&mut backend, "file-of-the-ending-shard", Access::Write).expect("it is there");
        write(&mut backend, file, round * 100, &pattern(0, 100), true);
        backend.open("file-of-the-ending-shard", Access::Read).expect("a place");
        turn_for(&mut backend, std::time::Duration::ZERO);
        assert!(holders() > 0);
        drop(backend);
        assert_eq!(holders(), 0, "round {round}");
    }
}
