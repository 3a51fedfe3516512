//! Laws that hold for any packet, over thousands drawn at random.

use crate::sample::Sample;
use crate::{BOTH, decoder};
use mqtt::{Connect, Decoded, Decoder, NoRoom, Packet, Role, Version};

const ROUNDS: u64 = 4_000;

/// Every packet that either side gets, written, in each version.
fn each(mut check: impl FnMut(Decoder, &Packet<'_>, &[u8], &mut Sample)) {
    for version in BOTH {
        for receiver in [Role::Server, Role::Client] {
            let mut sample = Sample::new(version as u64 * 2 + receiver as u64);
            for _ in 0..ROUNDS {
                let packet = sample.packet(version, receiver);
                let mut out = vec![0; packet.encoded_bytes(version)];
                assert_eq!(packet.write(version, &mut out), Ok(out.len()), "{packet:?}");
                check(decoder(receiver, version), &packet, &out, &mut sample);
            }
        }
    }
}

fn each_connect(mut check: impl FnMut(&Connect<'_>, &[u8], &mut Sample)) {
    for version in BOTH {
        let mut sample = Sample::new(version as u64);
        for _ in 0..ROUNDS {
            let connect = sample.connect(version);
            let mut out = vec![0; connect.encoded_bytes()];
            assert_eq!(connect.write(&mut out), Ok(out.len()), "{connect:?}");
            check(&connect, &out, &mut sample);
        }
    }
}

#[test]
fn what_is_written_reads_the_same() {
    let mut kinds = [0; 16];
    each(|decoder, packet, bytes, _| {
        kinds[usize::from(bytes[0] >> 4)] += 1;
        assert_eq!(decoder.decode(bytes), Ok(Decoded::Packet(*packet, bytes.len())), "{bytes:x?}");
    });
    assert!(kinds[2..].iter().all(|count| *count > 100), "each kind was tried: {kinds:?}");
    each_connect(|connect, bytes, _| {
        assert_eq!(mqtt::first(bytes, 1 << 20), Ok(Decoded::Packet(*connect, bytes.len())), "{bytes:x?}");
    });
}

/// Every prefix is incomplete, asks for more than there is and for no more than there will be; once the length is there, for
/// exactly that.
#[test]
fn every_prefix_is_incomplete() {
    fn check<P: std::fmt::Debug, E: std::fmt::Debug>(
        bytes: &[u8],
        sample: &mut Sample,
        decode: impl Fn(&[u8]) -> Result<Decoded<P>, E>,
    ) {
        let head_bytes = 1 + bytes[1..].iter().position(|byte| *byte < 0x80).expect("a length") + 1;
        // Of a long payload, some of the places where it may be cut.
        let step = 1 + bytes.len() / 500;
        for end in (0..bytes.len()).filter(|end| *end < 100 || end % step == 0) {
            match decode(&bytes[..end]) {
                Ok(Decoded::Incomplete { needed }) if end < head_bytes => {
                    assert!(end < needed && needed <= head_bytes, "{end} of {bytes:x?}: {needed}");
                }
                Ok(Decoded::Incomplete { needed }) => assert_eq!(needed, bytes.len(), "{end} of {bytes:x?}"),
                other => panic!("{end} of {bytes:x?}: {other:?}"),
            }
        }
        let mut more = bytes.to_vec();
        more.extend_from_slice(sample.data(20));
        assert!(matches!(decode(&more), Ok(Decoded::Packet(_, count)) if count == bytes.len()), "{more:x?}");
    }
    each(|decoder, _, bytes, sample| {
        check(bytes, sample, |input| decoder.decode(input).map(|decoded| forget(&decoded)));
    });
    each_connect(|_, bytes, sample| {
        check(bytes, sample, |input| mqtt::first(input, 1 << 20).map(|decoded| forget(&decoded)));
    });
}

/// Leaves how much was taken.
fn forget<P>(decoded: &Decoded<P>) -> Decoded<()> {
    match decoded {
        Decoded::Incomplete { needed } => Decoded::Incomplete { needed: *needed },
        Decoded::Packet(_, count) => Decoded::Packet((), *count),
    }
}

/// What a byte that is flipped, put in or left out makes of a packet is another packet or a failure, never a panic; and if it
/// is a packet, the laws of the fuzz target hold for it.
#[test]
fn damage_is_no_panic() {
    fn damaged(bytes: &[u8], sample: &mut Sample) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=sample.below(3) {
            let at = sample.below(bytes.len().min(60) as u64);
            match sample.below(5) {
                0 => bytes[at] ^= 1 << sample.below(8),
                1 => bytes[at] = sample.below(256) as u8,
                2 => bytes.insert(at, sample.below(256) as u8),
                3 if bytes.len() > 2 => drop(bytes.remove(at)),
                // A length that is off by one, within the fixed header.
                _ => bytes[1] = bytes[1].wrapping_add(1),
            }
        }
        bytes
    }
    let mut verdicts = [0; 2];
    each(|decoder, _, bytes, sample| {
        let version_bit = if decoder.version == Version::V5 { 2 } else { 0 };
        let mut input = vec![u8::from(decoder.receiver == Role::Client) | version_bit];
        input.extend(damaged(&bytes[..bytes.len().min(400)], sample));
        verdicts[usize::from(decoder.decode(&input[1..]).is_err())] += 1;
        mqtt::fuzzing::packet(&input);
    });
    each_connect(|_, bytes, sample| {
        let input = [vec![4], damaged(bytes, sample)].concat();
        verdicts[usize::from(mqtt::first(&input[1..], 1 << 20).is_err())] += 1;
        mqtt::fuzzing::packet(&input);
    });
    assert!(verdicts.iter().all(|count| *count > 1_000), "some survive and some do not: {verdicts:?}");
}

/// Bytes of no meaning at all.
#[test]
fn noise_is_no_panic() {
    let mut sample = Sample::new(99);
    for _ in 0..100_000 {
        let mut input = sample.data(40).to_vec();
        if let [choice, first, length, ..] = input.as_mut_slice() {
            *choice &= 7;
            *first = if *choice & 4 == 0 { *first } else { 0x10 };
            *length %= 40;
        }
        mqtt::fuzzing::packet(&input);
    }
}

#[test]
fn a_writer_says_how_long_it_gets_and_never_writes_beyond() {
    each(|decoder, packet, bytes, _| {
        let mut out = vec![0xAA; bytes.len() + 3];
        assert_eq!(packet.write(decoder.version, &mut out), Ok(bytes.len()));
        assert_eq!((&out[..bytes.len()], &out[bytes.len()..]), (bytes, &[0xAA; 3][..]));
        for room in [0, bytes.len() / 2, bytes.len() - 1] {
            assert_eq!(packet.write(decoder.version, &mut out[..room]), Err(NoRoom));
        }
    });
    each_connect(|connect, bytes, _| {
        let mut out = vec![0; bytes.len()];
        for room in [0, bytes.len() / 2, bytes.len() - 1] {
            assert_eq!(connect.write(&mut out[..room]), Err(NoRoom));
        }
    });
}

/// What one side sends, the other takes and its own side does not, but for what both send.
#[test]
fn packets_have_a_direction() {
    each(|decoder, packet, bytes, _| {
        let other = if decoder.receiver == Role::Server { Role::Client } else { Role::Server };
        let back = Decoder { receiver: other, ..decoder }.decode(bytes);
        match packet {
            Packet::Publish(_) | Packet::Ack(_) | Packet::Auth(_) | Packet::Disconnect(_) => {}
            _ => assert_eq!(back, Err(mqtt::Failure::Direction), "{packet:?}"),
        }
    });
}

/// The seeds of the fuzz target are packets, but for two that are refused with an answer.
#[test]
fn seeds_are_packets() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/mqtt_packet");
    let mut kinds = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a corpus") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let seed = std::fs::read(&path).expect("a seed");
        let (choice, bytes) = (seed[0], &seed[1..]);
        kinds.insert(bytes[0] >> 4);
        if choice & 4 != 0 {
            let taken = mqtt::first(bytes, 1 << 20).map(|decoded| forget(&decoded));
            match name.as_str() {
                "v31_connect" | "bridge_connect" => assert!(taken.expect_err("refused").answer().is_some(), "{name}"),
                _ => assert_eq!(taken, Ok(Decoded::Packet((), bytes.len())), "{name}"),
            }
            continue;
        }
        let receiver = if choice & 1 == 0 { Role::Server } else { Role::Client };
        let version = if choice & 2 == 0 { Version::V3 } else { Version::V5 };
        let taken = decoder(receiver, version).decode(bytes).map(|decoded| forget(&decoded));
        assert_eq!(taken, Ok(Decoded::Packet((), bytes.len())), "{name}");
    }
    assert_eq!(kinds.len(), 15, "every kind of packet");
}
