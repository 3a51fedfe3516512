//! The fuzz targets' corpora, replayed on any toolchain, each file also damaged in ways that a fuzzer would try first.

use base::mix::SplitMix64;
use std::fs;
use std::path::Path;

fn replay(target: &str, law: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds a corpus", folder.display());
    let files: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a readable file")).collect();
    let mut random = SplitMix64::new(1);
    for (path, file) in paths.iter().zip(&files) {
        // The harness shows it if the law breaks.
        eprintln!("{}", path.display());
        law(file);
        for _ in 0..300 {
            law(&damaged(file, &files, &mut random));
        }
    }
}

fn damaged(file: &[u8], others: &[Vec<u8>], random: &mut SplitMix64) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(6) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.next() as u8,
            3 if at < bytes.len() => {
                bytes.remove(at);
            }
            4 => {
                let other = &others[random.below(others.len() as u64) as usize];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() as u64 + 1) as usize..]);
            }
            _ => bytes.insert(at, random.next() as u8),
        }
    }
    bytes
}

#[test]
fn json() {
    replay("wire_json", wire::fuzzing::json);
}

#[test]
fn base64() {
    replay("wire_base64", wire::fuzzing::base64);
}

#[test]
fn semtech_udp() {
    replay("wire_semtech_udp", wire::fuzzing::semtech_udp);
}

#[test]
fn http() {
    replay("wire_http", wire::fuzzing::http);
}

#[test]
fn websocket() {
    replay("wire_websocket", wire::fuzzing::websocket);
}

#[test]
fn deflate() {
    replay("wire_deflate", wire::fuzzing::deflate);
}

#[test]
fn downlink() {
    replay("wire_downlink", wire::fuzzing::downlink);
}
