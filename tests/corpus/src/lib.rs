//! The corpora of the fuzz targets, replayed on any toolchain: every file as it is, then damaged in ways that a fuzzer
//! would try first.
//!
//! Owns the table of targets and laws, the same as `fuzz/fuzz_targets`; a test compares the two. Never keeps an input:
//! a law that breaks shows the bytes that broke it, to be put into `fuzz/corpus`.

use base::mix::SplitMix64;
use std::fs;
use std::path::{Path, PathBuf};

/// Damaged copies that are tried of each file.
const DAMAGED_COUNT: usize = 300;

/// A function that panics if its law does not hold for these bytes.
pub type Law = fn(&[u8]);

macro_rules! targets {
    ($($target:ident: $law:expr,)*) => {
        /// Every fuzz target and its law.
        pub const TARGETS: &[(&str, Law)] = &[$((stringify!($target), $law)),*];

        /// A test per target, so that they run side by side and a failure names its target.
        #[cfg(test)]
        mod corpus {
            $(
                #[test]
                fn $target() {
                    let law: super::Law = $law;
                    super::replay(stringify!($target), law);
                }
            )*
        }
    };
}

targets! {
    contract_frames: contract::fuzzing::frames,
    emit_template: |bytes| emit::fuzzing::template(bytes, &event::SCHEMA),
    journal_flights: journal::fuzzing::flights,
    journal_log: journal::fuzzing::log,
    journal_scan: journal::fuzzing::scan,
    lorawan_downlink_commands: lorawan::fuzzing::downlink_commands,
    lorawan_fcnt: lorawan::fuzzing::fcnt,
    lorawan_join_accept: lorawan::fuzzing::join_accept,
    lorawan_phy: lorawan::fuzzing::phy,
    lorawan_uplink_commands: lorawan::fuzzing::uplink_commands,
    mqtt_packet: mqtt::fuzzing::packet,
    mqtt_session: broker::fuzzing::session,
    mqtt_topic: mqtt::fuzzing::topic,
    plan_config: plan::fuzzing::config,
    session_gateways: session::fuzzing::gateways,
    session_network: session::fuzzing::network,
    topics: topics::fuzzing::topics,
    wire_base64: wire::fuzzing::base64,
    wire_deflate: wire::fuzzing::deflate,
    wire_downlink: wire::fuzzing::downlink,
    wire_http: wire::fuzzing::http,
    wire_json: wire::fuzzing::json,
    wire_semtech_udp: wire::fuzzing::semtech_udp,
    wire_websocket: wire::fuzzing::websocket,
}

/// Calls `law` with every file of the target's corpus and with damaged copies, the same ones each time.
///
/// # Panics
/// If the law breaks, or there is no corpus.
pub fn replay(target: &str, law: Law) {
    let folder = fuzz().join("corpus").join(target);
    let names = names(&folder);
    assert!(!names.is_empty(), "{} holds a corpus", folder.display());
    let files: Vec<_> = names.iter().map(|name| fs::read(folder.join(name)).expect("a readable file")).collect();
    let mut random = SplitMix64::new(1);
    for (name, file) in names.iter().zip(&files) {
        shown(law, name, file);
        for _ in 0..DAMAGED_COUNT {
            shown(law, name, &damaged(file, &files, &mut random));
        }
    }
}

/// The fuzz targets' own workspace.
fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("a name in UTF-8");
    let mut names: Vec<_> = entries.map(|entry| name(entry.expect("a readable folder"))).collect();
    names.sort();
    names
}

/// Tells of the input if the law panics over it.
fn shown(law: Law, name: &str, bytes: &[u8]) {
    struct Input<'a>(&'a str, &'a [u8]);
    impl Drop for Input<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("made of {}: b\"{}\"", self.0, self.1.escape_ascii());
            }
        }
    }
    let _input = Input(name, bytes);
    law(bytes);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fuzz_target_is_replayed() {
        let expected: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let sources = names(&fuzz().join("fuzz_targets"));
        let targets: Vec<_> = sources.iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect();
        assert_eq!(targets, expected);
        assert_eq!(names(&fuzz().join("corpus")), expected);
        let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
        let (_, bins) = manifest.split_once("[[bin]]").expect("targets");
        let bins: Vec<_> = bins.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
        assert_eq!(bins, expected);
    }
}
