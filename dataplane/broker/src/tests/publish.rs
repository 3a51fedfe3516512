//! PUBLISH: who gets it, with what, and what becomes of it where something is full (3.3).

use super::*;
use crate::{Action, Count};

fn pair(limits: Limits, reader: &Connect<'_>, writer: &Connect<'_>) -> (Rig, usize, usize) {
    let mut rig = Rig::new(limits, 1);
    let peers = (rig.join(reader), rig.join(writer));
    (rig, peers.0, peers.1)
}

#[test]
fn a_message_that_nobody_subscribes_to_is_told_so() {
    let (mut rig, _, writer) = pair(limits(), &clean(Version::V5, "r"), &clean(Version::V5, "w"));
    rig.publish(writer, "a", q1(1), "x");
    rig.publish(writer, "a", q2(2), "x");
    assert_eq!(rig.read(writer), ["PUBACK #1 10", "PUBREC #2 10"]);
}

#[test]
fn the_lower_quality_of_both_is_delivered() {
    for version in BOTH {
        for subscribed in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let (mut rig, reader, writer) = pair(limits(), &clean(version, "r"), &clean(version, "w"));
            rig.subscribe(reader, "a", subscribed);
            for delivery in [Q0, q1(1), q2(2)] {
                rig.publish(writer, "a", delivery, "x");
                let qos = delivery.qos().min(subscribed) as u8;
                let said = rig.read(reader);
                assert!(said[0].starts_with(&format!("PUBLISH a q{qos}")) && said.len() == 1, "{said:?}");
            }
        }
    }
}

#[test]
fn overlapping_subscriptions_bring_one_message_with_the_highest_quality_and_all_identifiers() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(limits(), &clean(version, "r"), &clean(version, "w"));
        for (name, qos, number) in
            [("a/#", Qos::AtMostOnce, 7), ("a/b", Qos::AtLeastOnce, 8), ("+/b", Qos::AtMostOnce, 9)]
        {
            let identifier = [Property::SubscriptionIdentifier(mqtt::SubscriptionId::new(number).expect("in range"))];
            let properties = if version == Version::V5 { &identifier[..] } else { &[] };
            rig.subscribe_with(reader, Subscription::new(filter(name), qos), properties);
        }
        rig.publish(writer, "a/b", q2(1), "x");
        let said = rig.read(reader);
        match version {
            Version::V3 => assert_eq!(said, ["PUBLISH a/b q1 #1 = x"]),
            Version::V5 => {
                assert!(said[0].starts_with("PUBLISH a/b q1 #1 {id ") && said[0].ends_with("} = x"), "{said:?}");
                for number in ["id 7", "id 8", "id 9"] {
                    assert!(said[0].contains(number), "{said:?}");
                }
            }
        }
        assert_eq!(said.len(), 1);
    }
}

#[test]
fn identifiers_wait_with_their_message() {
    let (mut rig, reader, writer) = pair(limits(), &lasting(Version::V5, "r"), &clean(Version::V5, "w"));
    for (name, number) in [("#", 1), ("a", 200), ("+", 268_435_455)] {
        let identifier = [Property::SubscriptionIdentifier(mqtt::SubscriptionId::new(number).expect("in range"))];
        rig.subscribe_with(reader, Subscription::new(filter(name), Qos::AtLeastOnce), &identifier);
    }
    rig.lose(reader);
    rig.publish(writer, "a", q1(1), "x");
    let reader = rig.join(&lasting(Version::V5, "r"));
    let said = rig.read(reader);
    assert!(["id 1", "id 200", "id 268435455"].iter().all(|id| said[0].contains(id)), "{said:?}");
    rig.ack(reader, AckKind::Puback, 1);
    assert_eq!(rig.brokers[0].delivery_count(), 0);
}

#[test]
fn properties_go_on_unaltered_and_in_order() {
    let (mut rig, reader, writer) = pair(limits(), &clean(Version::V5, "r"), &clean(Version::V5, "w"));
    let old = rig.join(&clean(Version::V3, "old"));
    for peer in [reader, old] {
        rig.subscribe(peer, "#", Qos::AtLeastOnce);
    }
    let list = [
        Property::PayloadFormatIndicator(true),
        Property::UserProperty((text("b"), text("1"))),
        Property::ContentType(text("text/plain")),
        Property::ResponseTopic(topic("answer")),
        Property::CorrelationData(mqtt::Binary::new(b"c").expect("short")),
        Property::UserProperty((text("a"), text("2"))),
        Property::UserProperty((text("b"), text("1"))),
    ];
    for delivery in [Q0, q1(1)] {
        rig.publish_with(
            writer,
            Publish { delivery, properties: Properties::listed(&list), ..Publish::new(topic("t"), b"x") },
        );
        let said = rig.read(reader);
        let expected = "{PayloadFormatIndicator(true), b: 1, ContentType(\"text/plain\"), ResponseTopic(\"answer\"), \
                        CorrelationData(Binary([99])), a: 2, b: 1} = x";
        assert!(said[0].ends_with(expected), "{said:?}");
        assert!(!rig.read(old)[0].contains('{'), "3.1.1 has none");
    }
}

#[test]
fn a_message_that_may_not_be_published_is_refused_and_reaches_nobody() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(limits(), &clean(version, "r"), &clean(version, "w"));
        rig.subscribe(reader, "#", Qos::ExactlyOnce);
        rig.shards[0].denied = vec![(Action::Publish, "secret".into())];
        rig.publish(writer, "secret/a", Q0, "x");
        rig.publish(writer, "secret/a", q1(1), "x");
        rig.publish(writer, "secret/a", q2(2), "x");
        let code = if version == Version::V5 { "87" } else { "00" };
        assert_eq!(rig.read(writer), [format!("PUBACK #1 {code}"), format!("PUBREC #2 {code}")]);
        rig.ack(writer, AckKind::Pubrel, 2);
        let unknown = if version == Version::V5 { "92" } else { "00" };
        assert_eq!(rig.read(writer), [format!("PUBCOMP #2 {unknown}")], "a failure leaves no identifier");
        assert_eq!(rig.read(reader), [""; 0]);
        assert_eq!(rig.counted(Count::PublishNotPermitted), 3);
    }
}

#[test]
fn a_clients_aliases_stand_for_their_topics_as_long_as_its_connection() {
    let (mut rig, reader, writer) = pair(limits(), &clean(Version::V5, "r"), &lasting(Version::V5, "w"));
    rig.subscribe(reader, "#", Qos::AtMostOnce);
    let with = |name: Option<&'static str>, list: &'static [Property<'static>]| Publish {
        topic: name.map(topic),
        properties: Properties::listed(list),
        ..Publish::new(topic("-"), b"x")
    };
    const fn alias(number: u16) -> [Property<'static>; 1] {
        match mqtt::TopicAlias::new(number) {
            Some(alias) => [Property::TopicAlias(alias)],
            None => panic!("not 0"),
        }
    }
    static ONE: [Property<'static>; 1] = alias(1);
    static THREE: [Property<'static>; 1] = alias(3);
    static FOUR: [Property<'static>; 1] = alias(4);
    for (name, list, heard) in [
        (Some("a"), &ONE, "a"),
        (None, &ONE, "a"),
        (Some("b"), &THREE, "b"),
        (None, &ONE, "a"),
        (Some("c"), &ONE, "c"),
        (None, &ONE, "c"),
        (None, &THREE, "b"),
    ] {
        rig.publish_with(writer, with(name, list));
        assert_eq!(rig.read(reader), [format!("PUBLISH {heard} q0 = x")]);
    }
    assert!(rig.brokers[0].message_bytes() > 0);
    rig.lose(writer);
    assert_eq!(rig.brokers[0].message_bytes(), 0, "aliases end with their connection");
    for (name, list) in [(None, &ONE), (Some("a"), &FOUR), (None, &FOUR)] {
        let writer = rig.join(&lasting(Version::V5, "w"));
        rig.publish_with(writer, with(name, list));
        assert_eq!(rig.read(writer), ["DISCONNECT 94", "closed 94"]);
    }
    assert_eq!(rig.read(reader), [""; 0]);
}

#[test]
fn the_brokers_aliases_keep_to_the_clients_maximum() {
    for (maximum, expected) in [(None, 0), (Some(0), 0), (Some(1), 1), (Some(9), 2)] {
        let list = [Property::TopicAliasMaximum(maximum.unwrap_or(0))];
        let properties = if maximum.is_some() { Properties::listed(&list) } else { Properties::NONE };
        let connect = Connect { properties, ..clean(Version::V5, "r") };
        let (mut rig, reader, writer) = pair(limits(), &connect, &clean(Version::V5, "w"));
        rig.subscribe(reader, "#", Qos::AtLeastOnce);
        for round in 0..2 {
            for (index, name) in ["topic/0", "topic/1", "topic/2"].into_iter().enumerate() {
                rig.publish(writer, name, q1(1), "x");
                let said = rig.read(reader);
                let has_alias = said[0].contains(&format!("alias {}", index + 1));
                assert_eq!(has_alias, index < expected, "{said:?}");
                assert_eq!(said[0].starts_with("PUBLISH -"), has_alias && round == 1, "{said:?}");
            }
        }
    }
}

#[test]
fn what_expires_before_it_is_sent_is_not_sent() {
    let (mut rig, reader, writer) = pair(limits(), &lasting(Version::V5, "r"), &clean(Version::V5, "w"));
    rig.subscribe(reader, "#", Qos::ExactlyOnce);
    let lasting_for = |rig: &mut Rig, name, delivery, seconds| {
        let list = [Property::MessageExpiryInterval(seconds)];
        rig.publish_with(
            writer,
            Publish { delivery, properties: Properties::listed(&list), ..Publish::new(topic(name), b"x") },
        );
    };
    lasting_for(&mut rig, "begun", q2(1), 5);
    assert_eq!(rig.read(reader), ["PUBLISH begun q2 #1 {expiry 5} = x"]);
    rig.lose(reader);
    lasting_for(&mut rig, "short", q1(2), 5);
    lasting_for(&mut rig, "long", q1(3), 100);
    rig.publish(writer, "for ever", q1(4), "x");
    rig.pass(core::time::Duration::from_secs(30));
    let reader = rig.join(&lasting(Version::V5, "r"));
    let expected =
        ["PUBLISH begun q2 #1 dup {expiry 0} = x", "PUBLISH long q1 #2 {expiry 70} = x", "PUBLISH for ever q1 #3 = x"];
    assert_eq!(rig.read(reader), expected, "what was begun is completed");
    assert_eq!(rig.counted(Count::Expired), 1);
}

#[test]
fn a_message_larger_than_its_subscriber_takes_is_as_good_as_sent() {
    let list = [Property::MaximumPacketSize(core::num::NonZeroU32::new(40).expect("not 0")), AN_HOUR[0]];
    let connect = Connect { properties: Properties::listed(&list), ..lasting(Version::V5, "r") };
    let (mut rig, reader, writer) = pair(limits(), &clean(Version::V5, "other"), &clean(Version::V5, "w"));
    rig.subscribe(reader, "#", Qos::AtLeastOnce);
    let small = rig.connect(0, &connect);
    rig.skip_first(small);
    rig.subscribe(small, "#", Qos::AtLeastOnce);
    for payload in ["x", &"y".repeat(50), "z"] {
        rig.publish(writer, "a", q1(1), payload);
        rig.publish(writer, "a", Q0, payload);
    }
    let said = rig.read(small);
    assert_eq!(said, ["PUBLISH a q1 #1 = x", "PUBLISH a q0 = x", "PUBLISH a q1 #2 = z", "PUBLISH a q0 = z"]);
    assert_eq!(rig.read(reader).len(), 6, "others get it");
    assert_eq!(rig.counted(Count::PacketTooLarge), 2);
    // The same if it waited.
    rig.lose(small);
    rig.publish(writer, "b", q1(1), &"y".repeat(50));
    rig.publish(writer, "b", q1(1), "x");
    let small = rig.join(&connect);
    assert_eq!(rig.read(small), ["PUBLISH a q1 #1 dup = x", "PUBLISH a q1 #2 dup = z", "PUBLISH b q1 #3 = x"]);
}

#[test]
fn a_slow_subscriber_loses_qos_0_and_keeps_what_is_above() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(limits(), &clean(version, "r"), &clean(version, "w"));
        rig.subscribe(reader, "#", Qos::AtLeastOnce);
        let payload = "x".repeat(1000);
        for _ in 0..15 {
            rig.publish(writer, "a", Q0, &payload);
        }
        for number in 1..=15 {
            rig.publish(writer, "b", q1(number), &number.to_string());
        }
        assert!(rig.waiting(reader) <= limits().output_bytes_max);
        assert!(rig.counted(Count::OutputFull) >= 5);
        let said = rig.read(reader);
        let kept: Vec<&String> = said.iter().filter(|said| said.starts_with("PUBLISH b")).collect();
        let expected: Vec<String> = (1..=15).map(|number| format!("PUBLISH b q1 #{number} = {number}")).collect();
        assert!(kept.into_iter().eq(&expected), "{said:?}");
    }
}

#[test]
fn a_full_queue_drops_what_its_policy_says() {
    for (overflow, expected) in
        [(Overflow::DropNewest, "1 2 3"), (Overflow::DropOldest, "3 4 5"), (Overflow::Disconnect, "1 2 3")]
    {
        let limits = Limits { queue_count_max: 3, overflow, ..limits() };
        let (mut rig, reader, writer) = pair(limits, &lasting(Version::V5, "r"), &clean(Version::V5, "w"));
        rig.subscribe(reader, "#", Qos::AtLeastOnce);
        rig.lose(reader);
        for number in 1..=5 {
            rig.publish(writer, "a", q1(number), &number.to_string());
        }
        assert_eq!(rig.counted(Count::QueueFull), 2);
        let reader = rig.join(&lasting(Version::V5, "r"));
        let said: Vec<String> =
            rig.read(reader).iter().map(|said| said.rsplit(' ').next().unwrap_or_default().into()).collect();
        assert_eq!(said.join(" "), expected, "{overflow:?}");
    }
}

#[test]
fn a_client_whose_queue_is_full_may_be_disconnected() {
    let limits =
        Limits { queue_count_max: 3, inflight_max: NonZeroU16::MIN, overflow: Overflow::Disconnect, ..limits() };
    let (mut rig, reader, writer) = pair(limits, &lasting(Version::V5, "r"), &clean(Version::V5, "w"));
    rig.subscribe(reader, "#", Qos::AtLeastOnce);
    for number in 1..=5 {
        rig.publish(writer, "a", q1(number), &number.to_string());
    }
    assert_eq!(rig.read(reader), ["PUBLISH a q1 #1 = 1", "DISCONNECT 97", "closed 97"]);
    assert_eq!(rig.counted(Count::QueueDisconnected), 1);
    assert_eq!(rig.read(writer).len(), 5, "its publisher is not concerned");
}

#[test]
fn messages_without_room_are_refused_or_wait_and_nothing_grows() {
    for version in BOTH {
        let limits =
            Limits { message_bytes_max: 1 << 14, queue_bytes_max: 1 << 20, packet_bytes_max: 1 << 13, ..limits() };
        let (mut rig, reader, writer) = pair(limits, &lasting(version, "r"), &clean(version, "w"));
        rig.subscribe(reader, "#", Qos::AtLeastOnce);
        rig.lose(reader);
        let payload = "x".repeat(1900);
        for number in 1..=9 {
            rig.publish(writer, "a", q1(number), &payload);
        }
        assert!(rig.brokers[0].message_bytes() <= 1 << 14);
        let answers = rig.read(writer);
        match version {
            Version::V5 => assert_eq!(answers[7..], ["PUBACK #8 00", "PUBACK #9 97"]),
            Version::V3 => {
                assert_eq!(answers.len(), 8, "the ninth is not acknowledged, and its client not read");
                assert!(rig.is_paused(writer));
            }
        }
        let reader = rig.join(&lasting(version, "r"));
        for number in 1..=8 {
            rig.read(reader);
            rig.ack(reader, AckKind::Puback, number);
        }
        rig.rest();
        if version == Version::V3 {
            assert_eq!(rig.read(writer), ["PUBACK #9 00"], "there is room again");
            assert_eq!(rig.read(reader).len(), 1);
        }
        rig.ack(reader, AckKind::Puback, 9);
        assert_eq!(rig.brokers[0].message_bytes(), 0, "{version:?} {:?}", rig.read(reader));
    }
}

#[test]
fn a_client_that_does_not_read_is_not_read_and_at_last_closed() {
    let limits = Limits { output_bytes_max: 100, ..limits() };
    let mut rig = Rig::new(limits, 1);
    let peer = rig.join(&clean(Version::V5, "a"));
    for _ in 0..1000 {
        rig.send(peer, &Packet::Pingreq);
    }
    assert!(rig.is_paused(peer) && rig.waiting(peer) <= 102);
    assert_eq!(rig.read(peer).len(), 1000, "it goes on when it reads");
    rig.set_output_room(peer, 10);
    for _ in 0..10 {
        rig.send(peer, &Packet::Pingreq);
    }
    assert!(!rig.is_connected(peer));
    assert_eq!(rig.counted(Count::Stalled), 2, "once more for the DISCONNECT");
}

#[test]
fn messages_of_a_publisher_keep_their_order_in_each_quality() {
    for version in BOTH {
        let limits = Limits { inflight_max: NonZeroU16::new(3).expect("not 0"), ..limits() };
        let (mut rig, reader, writer) = pair(limits, &lasting(version, "r"), &clean(version, "w"));
        rig.subscribe(reader, "#", Qos::AtLeastOnce);
        let mut seen = Vec::new();
        for number in 1..=40 {
            rig.publish(writer, "a", q1(number), &number.to_string());
            if number % 7 == 0 {
                let mut acks = Vec::new();
                rig.read_each(reader, |packet| {
                    if let Packet::Publish(publish) = packet {
                        seen.push(String::from_utf8_lossy(publish.payload).into_owned());
                        acks.extend(publish.delivery.packet_id());
                    }
                });
                for id in acks {
                    rig.ack(reader, AckKind::Puback, id.get());
                }
            }
        }
        for _ in 0..40 {
            let mut acks = Vec::new();
            rig.read_each(reader, |packet| {
                if let Packet::Publish(publish) = packet {
                    seen.push(String::from_utf8_lossy(publish.payload).into_owned());
                    acks.extend(publish.delivery.packet_id());
                }
            });
            for id in acks {
                rig.ack(reader, AckKind::Puback, id.get());
            }
        }
        let expected: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn dup_says_whether_this_sending_is_a_second_one() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(limits(), &clean(version, "r"), &clean(version, "w"));
        rig.subscribe(reader, "#", Qos::ExactlyOnce);
        for delivery in [q1(1), q2(2)] {
            rig.publish_with(writer, Publish { delivery, dup: true, ..Publish::new(topic("a"), b"x") });
        }
        assert_eq!(rig.read(reader), ["PUBLISH a q1 #1 = x", "PUBLISH a q2 #2 = x"]);
    }
}

#[test]
fn bytes_that_wait_have_a_bound_and_come_back() {
    let limits = Limits { queue_bytes_max: 1000, ..limits() };
    let (mut rig, reader, writer) = pair(limits, &lasting(Version::V5, "r"), &clean(Version::V5, "w"));
    rig.subscribe(reader, "#", Qos::ExactlyOnce);
    rig.lose(reader);
    for round in 0..50 {
        for number in 1..=5 {
            rig.publish(writer, "a", q1(number), &"x".repeat(300));
        }
        assert_eq!(rig.counted(Count::QueueFull), 2 * (round + 1), "three fit");
        let reader = rig.join(&lasting(Version::V5, "r"));
        let mut ids = Vec::new();
        rig.read_each(reader, |packet| {
            if let Packet::Publish(publish) = packet {
                ids.extend(publish.delivery.packet_id());
            }
        });
        assert_eq!(ids.len(), 3);
        for id in ids {
            rig.ack(reader, AckKind::Puback, id.get());
        }
        rig.lose(reader);
        rig.read(writer);
    }
}

#[test]
fn no_answer_is_larger_than_its_client_takes() {
    let list = [Property::MaximumPacketSize(core::num::NonZeroU32::new(4).expect("not 0"))];
    let mut rig = rig();
    let peer = rig.connect(0, &Connect { properties: Properties::listed(&list), ..clean(Version::V5, "a") });
    rig.publish(peer, "a", q2(1), "x");
    rig.ack(peer, AckKind::Pubrel, 1);
    rig.send(peer, &Packet::Pingreq);
    assert_eq!(rig.read(peer), ["PUBCOMP #1 00", "PINGRESP"], "neither CONNACK nor a PUBREC with its code");
}

#[test]
fn when_memory_is_short_nobody_holds_much_of_it() {
    let limits = Limits { message_bytes_max: 1 << 14, queue_bytes_max: 1 << 15, packet_bytes_max: 1 << 13, ..limits() };
    let (mut rig, away, writer) = pair(limits, &lasting(Version::V5, "away"), &clean(Version::V5, "w"));
    let reader = rig.join(&clean(Version::V5, "r"));
    for peer in [away, reader] {
        rig.subscribe(peer, "#", Qos::AtLeastOnce);
    }
    rig.lose(away);
    for number in 1..=20 {
        rig.publish(writer, "a", q1(number), &"x".repeat(1900));
        assert_eq!(rig.read(writer), [format!("PUBACK #{number} 00")]);
        assert_eq!(rig.read(reader).len(), 1, "who is there gets everything");
        rig.ack(reader, AckKind::Puback, number);
    }
    assert_eq!(rig.counted(Count::QueueFull), 14);
}
