//! Retained messages (3.3.1.3, v5 3.8.3.1).

use super::*;
use crate::Count;
use mqtt::RetainHandling;

fn retained(rig: &mut Rig, peer: usize, name: &str, delivery: Delivery, payload: &str) {
    rig.publish_with(peer, Publish { delivery, retain: true, ..Publish::new(topic(name), payload.as_bytes()) });
}

#[test]
fn a_new_subscription_gets_what_is_retained_with_its_flag_and_quality() {
    for version in BOTH {
        let mut rig = rig();
        let writer = rig.join(&clean(version, "w"));
        retained(&mut rig, writer, "a/1", q1(1), "old");
        retained(&mut rig, writer, "a/1", q1(1), "one");
        retained(&mut rig, writer, "a/2", Q0, "two");
        retained(&mut rig, writer, "b", q2(2), "other");
        rig.publish(writer, "a/1", Q0, "not retained");
        rig.leave(writer, ReasonCode::Success);
        let reader = rig.join(&clean(version, "r"));
        let mut said = rig.subscribe_with(reader, Subscription::new(filter("a/+"), Qos::ExactlyOnce), &[]);
        assert_eq!(said.remove(0), "SUBACK #999 02");
        said.sort();
        assert_eq!(said, ["PUBLISH a/1 q1 #1 retain = one", "PUBLISH a/2 q0 retain = two"]);
        let said = rig.subscribe_with(reader, Subscription::new(filter("b"), Qos::AtMostOnce), &[]);
        assert_eq!(said[1..], ["PUBLISH b q0 retain = other"]);
        assert_eq!(rig.counted(Count::RetainedSet), 4);
    }
}

#[test]
fn an_established_subscription_gets_it_without_the_flag() {
    for version in BOTH {
        let mut rig = rig();
        let (reader, writer) = (rig.join(&clean(version, "r")), rig.join(&clean(version, "w")));
        rig.subscribe(reader, "#", Qos::AtMostOnce);
        retained(&mut rig, writer, "a", Q0, "x");
        assert_eq!(rig.read(reader), ["PUBLISH a q0 = x"]);
    }
}

#[test]
fn an_empty_message_removes_what_is_retained_and_is_delivered() {
    for version in BOTH {
        let mut rig = rig();
        let (reader, writer) = (rig.join(&clean(version, "r")), rig.join(&clean(version, "w")));
        rig.subscribe(reader, "#", Qos::AtMostOnce);
        retained(&mut rig, writer, "a", q1(1), "x");
        retained(&mut rig, writer, "a", q1(1), "");
        assert_eq!(rig.read(reader), ["PUBLISH a q0 = x", "PUBLISH a q0 = "]);
        assert_eq!(rig.subscribe_with(reader, Subscription::new(filter("a"), Qos::AtMostOnce), &[]).len(), 1);
        assert_eq!((rig.brokers[0].retained_count(), rig.brokers[0].message_count()), (0, 0));
    }
}

#[test]
fn retain_handling_says_whether_it_is_sent() {
    for (handling, first, second) in
        [(RetainHandling::Send, 2, 2), (RetainHandling::SendIfNew, 2, 1), (RetainHandling::DoNotSend, 1, 1)]
    {
        let mut rig = rig();
        let (reader, writer) = (rig.join(&clean(Version::V5, "r")), rig.join(&clean(Version::V5, "w")));
        retained(&mut rig, writer, "a", q1(1), "x");
        let subscription =
            Subscription { retain_handling: handling, ..Subscription::new(filter("a"), Qos::AtMostOnce) };
        assert_eq!(rig.subscribe_with(reader, subscription, &[]).len(), first, "{handling:?}");
        assert_eq!(rig.subscribe_with(reader, subscription, &[]).len(), second, "{handling:?}");
        rig.unsubscribe(reader, "a");
        assert_eq!(rig.subscribe_with(reader, subscription, &[]).len(), first, "{handling:?}");
    }
}

#[test]
fn a_retained_message_expires_and_says_how_much_is_left() {
    let mut rig = rig();
    let (reader, writer) = (rig.join(&clean(Version::V5, "r")), rig.join(&clean(Version::V5, "w")));
    let list = [Property::MessageExpiryInterval(10)];
    let publish = Publish { retain: true, properties: Properties::listed(&list), ..Publish::new(topic("a"), b"x") };
    rig.publish_with(writer, publish);
    rig.pass(core::time::Duration::from_millis(3500));
    let subscription = Subscription::new(filter("a"), Qos::AtMostOnce);
    let said = rig.subscribe_with(reader, subscription, &[]);
    assert_eq!(said[1..], ["PUBLISH a q0 retain {expiry 7} = x"]);
    rig.pass(core::time::Duration::from_secs(7));
    assert_eq!(rig.subscribe_with(reader, subscription, &[]).len(), 1);
    assert_eq!(rig.counted(Count::RetainedExpired), 1);
    assert_eq!((rig.brokers[0].retained_count(), rig.brokers[0].message_bytes()), (0, 0));
}

#[test]
fn retained_messages_outlive_sessions_and_have_limits() {
    let mut rig = Rig::new(Limits { retained_count_max: 2, ..limits() }, 1);
    let writer = rig.join(&clean(Version::V3, "w"));
    for name in ["a", "b", "c"] {
        retained(&mut rig, writer, name, q1(1), "x");
    }
    assert_eq!(rig.read(writer).len(), 3, "it is a message like others");
    assert_eq!((rig.brokers[0].retained_count(), rig.counted(Count::RetainedRefused)), (2, 1));
    rig.leave(writer, ReasonCode::Success);
    assert_eq!(rig.brokers[0].retained_count(), 2);
    assert_eq!(rig.brokers[0].session_count(), 0);
}

#[test]
fn many_retained_messages_come_as_fast_as_the_client_reads() {
    for qos in [Qos::AtMostOnce, Qos::ExactlyOnce] {
        let limits = Limits { retained_count_max: 600, output_bytes_max: 2000, ..limits() };
        let mut rig = Rig::new(limits, 1);
        let writer = rig.join(&clean(Version::V5, "w"));
        for number in 0..500 {
            retained(&mut rig, writer, &format!("t/{number}"), q1(1), &"x".repeat(100));
            assert_eq!(rig.read(writer).len(), 1);
        }
        let reader = rig.join(&clean(Version::V5, "r"));
        let list = [Subscription::new(filter("t/#"), qos)];
        rig.send(reader, &Packet::Subscribe(Subscribe::new(id(1), Subscriptions::listed(&list))));
        assert!(rig.waiting(reader) <= 2000);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2000 {
            let mut acks = Vec::new();
            rig.read_each(reader, |packet| {
                if let Packet::Publish(publish) = packet {
                    seen.insert(publish.topic.expect("a topic").as_str().to_owned());
                    acks.extend(publish.delivery.packet_id());
                }
            });
            for id in acks {
                rig.ack(reader, AckKind::Puback, id.get());
            }
            rig.rest();
        }
        assert_eq!(seen.len(), 500, "none is dropped: {qos:?}");
        assert_eq!(rig.counted(Count::OutputFull) + rig.counted(Count::QueueFull), 0);
        rig.leave(reader, ReasonCode::Success);
    }
}

#[test]
fn a_client_that_leaves_while_it_gets_retained_messages_leaves_nothing_behind() {
    let mut rig = Rig::new(Limits { output_bytes_max: 500, ..limits() }, 1);
    let (reader, writer) = (rig.join(&clean(Version::V5, "r")), rig.join(&clean(Version::V5, "w")));
    for number in 0..50 {
        retained(&mut rig, writer, &format!("t/{number}"), Q0, &"x".repeat(100));
    }
    let list = [Subscription::new(filter("#"), Qos::AtMostOnce)];
    rig.send(reader, &Packet::Subscribe(Subscribe::new(id(1), Subscriptions::listed(&list))));
    rig.lose(reader);
    for number in 0..50 {
        retained(&mut rig, writer, &format!("t/{number}"), Q0, "");
    }
    rig.rest();
    assert_eq!((rig.brokers[0].retained_count(), rig.brokers[0].message_bytes()), (0, 0));
    assert_eq!(rig.brokers[0].retained.level_count(), 0, "no walk keeps its place");
}

#[test]
fn a_retained_message_of_qos_0_replaces_the_one_before() {
    for version in BOTH {
        let mut rig = rig();
        let (reader, writer) = (rig.join(&clean(version, "r")), rig.join(&clean(version, "w")));
        retained(&mut rig, writer, "a", q2(1), "one");
        retained(&mut rig, writer, "a", Q0, "two");
        let said = rig.subscribe_with(reader, Subscription::new(filter("a"), Qos::ExactlyOnce), &[]);
        assert_eq!(said[1..], ["PUBLISH a q0 retain = two"]);
        assert_eq!(rig.brokers[0].message_count(), 1);
    }
}
