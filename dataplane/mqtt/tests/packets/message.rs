//! A PUBLISH for many receivers.

use crate::sample::Sample;
use crate::{BOTH, V3, V5, bytes, decode};
use mqtt::{
    Alias, Delivery, Message, Outgoing, Packet, PacketId, Place, Properties, Property, PropertyId, Qos, Role,
    SubscriptionId, TopicName,
};

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

#[test]
fn one_frame_serves_many() {
    let list = [Property::PayloadFormatIndicator(true), Property::MessageExpiryInterval(77)];
    let message = Message::new(TopicName::new("a/b").expect("a name"), Properties::listed(&list), b"hi");
    let outgoing = Outgoing { expiry_s: Some(60), ..Outgoing::new(Delivery::AtLeastOnce(id(1))) };
    let mut frame = [0; 64];
    let layout = message.write(V5, &outgoing, &mut frame).expect("room");
    assert_eq!(frame[..layout.bytes], bytes("32 11 0003 'a/b' 0001 07 02 0000003C 01 01 'hi'"));
    layout.set_packet_id(&mut frame, id(0xABCD));
    layout.set_expiry_s(&mut frame, 0x0102_0304);
    layout.set_flags(&mut frame, true, true);
    assert_eq!(frame[..layout.bytes], bytes("3B 11 0003 'a/b' ABCD 07 02 01020304 01 01 'hi'"));
    layout.set_flags(&mut frame, false, false);
    assert_eq!(frame[0], 0x32);

    let layout = message.write(V3, &outgoing, &mut frame).expect("room");
    assert_eq!(frame[..layout.bytes], bytes("32 09 0003 'a/b' 0001 'hi'"));
    assert_eq!((layout.packet_id_at, layout.expiry_at), (Some(7), None));

    let layout = message.write(V3, &Outgoing::new(Delivery::AtMostOnce), &mut frame).expect("room");
    layout.set_packet_id(&mut frame, id(0xABCD));
    layout.set_expiry_s(&mut frame, 1);
    layout.set_flags(&mut frame, true, true);
    assert_eq!(frame[..layout.bytes], bytes("31 07 0003 'a/b' 'hi'"), "QoS 0 has neither identifier nor DUP");
}

#[test]
fn an_alias_stands_for_the_topic() {
    let message = Message::new(TopicName::new("a/b").expect("a name"), Properties::NONE, b"hi");
    let mut frame = [0; 64];
    let outgoing = |alias| Outgoing { alias, ..Outgoing::new(Delivery::AtMostOnce) };
    let layout = message.write(V5, &outgoing(Alias::Set(id(9))), &mut frame).expect("room");
    assert_eq!(frame[..layout.bytes], bytes("30 0B 0003 'a/b' 03 23 0009 'hi'"));
    let layout = message.write(V5, &outgoing(Alias::Use(id(9))), &mut frame).expect("room");
    assert_eq!(frame[..layout.bytes], bytes("30 08 0000 03 23 0009 'hi'"));
    let layout = message.write(V3, &outgoing(Alias::Use(id(9))), &mut frame).expect("room");
    assert_eq!(frame[..layout.bytes], bytes("30 07 0003 'a/b' 'hi'"), "3.1.1 has no aliases");
}

/// Whatever is received, on to receivers of both versions with all that can differ; each reads what was meant for it, and a
/// head with a shared tail is the whole.
#[test]
fn every_receiver_reads_what_was_meant() {
    let mut sample = Sample::new(21);
    for round in 0..6_000 {
        let properties = sample.properties(V5, Place::Publish, Role::Server);
        let topic = sample.name();
        let payload = sample.data(300);
        let message = Message::new(topic, properties, payload);
        let qos = sample.qos();
        let ids: Vec<_> = (0..sample.below(4))
            .map(|_| SubscriptionId::new(1 + sample.below(268_435_455) as u32).expect("in range"))
            .collect();
        let alias = sample.alias();
        let outgoing = Outgoing {
            delivery: Delivery::with(qos, sample.id()),
            dup: sample.coin(),
            retain: sample.coin(),
            alias: [Alias::Topic, Alias::Set(alias), Alias::Use(alias)][sample.below(3)],
            expiry_s: sample.coin().then_some(round),
            subscription_ids: &ids,
        };
        for version in BOTH {
            let mut frame = vec![0; message.encoded_bytes(version, &outgoing)];
            let layout = message.write(version, &outgoing, &mut frame).expect("room");
            assert_eq!(layout.bytes, frame.len());
            let mut parts = vec![0; message.head_bytes(version, &outgoing)];
            let head = message.write_head(version, &outgoing, &mut parts).expect("room");
            assert_eq!((head.bytes, head.packet_id_at), (parts.len(), layout.packet_id_at));
            let mut tail = vec![0; message.tail_bytes(version)];
            message.write_tail(version, &mut tail).expect("room");
            assert_eq!([parts, tail].concat(), frame);
            assert!(message.write(version, &outgoing, &mut frame.clone()[1..]).is_err());

            let other = sample.id();
            layout.set_packet_id(&mut frame, other);
            let Ok(Packet::Publish(read)) = decode(Role::Client, version, &frame) else {
                panic!("a PUBLISH: {frame:x?}");
            };
            assert_eq!((read.payload, read.retain), (payload, outgoing.retain));
            assert_eq!(read.delivery, Delivery::with(qos, other));
            assert_eq!(read.dup, outgoing.dup && qos != Qos::AtMostOnce);
            let named = version == V3 || !matches!(outgoing.alias, Alias::Use(_));
            assert_eq!(read.topic, named.then_some(topic));
            if version == V3 {
                continue;
            }
            let aliased = (outgoing.alias != Alias::Topic).then_some(alias);
            assert_eq!(read.properties.topic_alias(), aliased);
            assert_eq!(read.properties.message_expiry_interval_s(), outgoing.expiry_s);
            assert_eq!(read.properties.subscription_identifiers().collect::<Vec<_>>(), ids);
            let forwarded: Vec<_> = properties
                .iter()
                .filter(|one| !matches!(one.id(), PropertyId::TopicAlias | PropertyId::MessageExpiryInterval))
                .collect();
            assert_eq!(read.properties.forwarded().iter().collect::<Vec<_>>(), forwarded);
        }
    }
}

#[test]
fn a_will_is_a_message() {
    let mut sample = Sample::new(22);
    let wills: Vec<_> = (0..100).filter_map(|_| sample.connect(V5).will).collect();
    assert!(wills.len() > 20);
    for will in wills {
        let message = Message::of_will(&will);
        assert_eq!((message.topic(), message.payload()), (will.topic, will.payload.as_bytes()));
        assert!(message.properties().will_delay_interval_s().is_none());
        assert!(message.properties().message_expiry_interval_s().is_none());
        assert_eq!(message.properties().content_type(), will.properties.content_type());
    }
}
