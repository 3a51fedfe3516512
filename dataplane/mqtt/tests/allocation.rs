//! What serves does not allocate: every packet read and written, a message sent on, topics matched, under the watched
//! allocator.

use mqtt::topic::matches;
use mqtt::{
    Alias, Decoded, Decoder, Delivery, Message, Outgoing, Packet, PacketId, Role, SubscriptionId, TopicFilter,
    TopicName, Version,
};

#[global_allocator]
static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;

fn served<R>(work: impl FnOnce() -> R) -> R {
    let before = alloc_guard::strays();
    alloc_guard::serving(true);
    let outcome = work();
    alloc_guard::serving(false);
    assert_eq!(alloc_guard::strays() - before, 0, "allocations and frees while serving");
    outcome
}

/// The seeds of the fuzz target: who receives, in which version, whether it is the first packet; then the packet.
fn seeds() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/mqtt_packet");
    let entries = std::fs::read_dir(folder).expect("a corpus");
    entries.map(|entry| std::fs::read(entry.expect("a readable folder").path()).expect("a seed")).collect()
}

#[test]
fn the_guard_counts_here() {
    alloc_guard::serving(true);
    drop(core::hint::black_box(vec![1]));
    alloc_guard::serving(false);
    assert_eq!(alloc_guard::strays(), 2);
}

#[test]
fn every_packet_read_and_written() {
    let seeds = seeds();
    let mut out = [0; 512];
    let (mut packets, mut refusals) = (0, 0);
    served(|| {
        for seed in &seeds {
            let (choice, bytes) = (seed[0], &seed[1..]);
            if choice & 4 != 0 {
                match mqtt::first(bytes, 1000) {
                    Ok(Decoded::Packet(connect, count)) => {
                        assert_eq!(connect.write(&mut out), Ok(count));
                        packets += 1;
                    }
                    Ok(Decoded::Incomplete { .. }) => {}
                    Err(refusal) => {
                        let (version, connack) = refusal.answer().expect("an answer");
                        connack.write(version, &mut out).expect("room");
                        refusals += 1;
                    }
                }
                continue;
            }
            let decoder = Decoder {
                receiver: if choice & 1 == 0 { Role::Server } else { Role::Client },
                version: if choice & 2 == 0 { Version::V3 } else { Version::V5 },
                packet_bytes_max: 1000,
            };
            if let Ok(Decoded::Packet(packet, count)) = decoder.decode(bytes) {
                let packet = packet.fitted(decoder.version, 1000).expect("it fits");
                assert_eq!(packet.write(decoder.version, &mut out), Ok(count));
                assert!(packet.fitted(decoder.version, 3).is_none() || packet.encoded_bytes(decoder.version) < 20);
                packets += 1;
            }
            assert!(decoder.decode(&bytes[1..]).is_err() || bytes.len() < 10);
        }
    });
    assert_eq!((packets, refusals), (seeds.len() - 2, 2));
}

#[test]
fn a_message_sent_on() {
    let wire = b"\x32\x1A\x00\x07a/b/c/d\x00\x0A\x09\x01\x01\x26\x00\x01n\x00\x01vhello";
    let wire = &[&wire[..1], &[wire.len() as u8 - 2], &wire[2..]].concat()[..];
    let ids = [SubscriptionId::new(7).expect("in range"), SubscriptionId::new(700).expect("in range")];
    let mut out = [0; 256];
    let sent = served(|| {
        let decoder = Decoder { receiver: Role::Server, version: Version::V5, packet_bytes_max: 1000 };
        let Ok(Decoded::Packet(Packet::Publish(publish), _)) = decoder.decode(wire) else {
            return 0;
        };
        let topic = publish.topic.expect("a topic");
        let filter = TopicFilter::new("a/+/#").expect("a filter");
        assert!(matches(filter, topic) && !matches(filter, TopicName::new("b").expect("a name")));
        let message = Message::of(&publish, topic);
        let mut sent = 0;
        for version in [Version::V3, Version::V5] {
            let outgoing = Outgoing {
                alias: Alias::Set(PacketId::MIN),
                expiry_s: Some(5),
                subscription_ids: &ids,
                ..Outgoing::new(Delivery::AtLeastOnce(PacketId::MIN))
            };
            let layout = message.write(version, &outgoing, &mut out).expect("room");
            layout.set_packet_id(&mut out, PacketId::MAX);
            layout.set_expiry_s(&mut out, 4);
            sent += layout.bytes;
        }
        sent
    });
    assert_eq!(sent, 18 + 41);
}
