//! SUBSCRIBE and UNSUBSCRIBE, and shared subscriptions (3.8 to 3.11, v5 4.8).

use super::*;
use crate::{Action, Count};
use mqtt::RetainHandling;

fn pair(version: Version) -> (Rig, usize, usize) {
    let mut rig = rig();
    let (reader, writer) = (rig.join(&lasting(version, "r")), rig.join(&clean(version, "w")));
    (rig, reader, writer)
}

#[test]
fn each_filter_has_its_code_in_order() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version);
        rig.shards[0].denied = vec![(Action::Subscribe, "secret".into())];
        let list = [
            Subscription::new(filter("a"), Qos::ExactlyOnce),
            Subscription::new(filter("secret/#"), Qos::AtMostOnce),
            Subscription::new(filter("b/+"), Qos::AtMostOnce),
            Subscription::new(filter("$share/g/secret/a"), Qos::AtMostOnce),
            Subscription::new(filter("c"), Qos::AtLeastOnce),
        ];
        rig.send(reader, &Packet::Subscribe(Subscribe::new(id(77), Subscriptions::listed(&list))));
        let code = if version == Version::V5 { "87" } else { "80" };
        assert_eq!(rig.read(reader), [format!("SUBACK #77 02 {code} 00 {code} 01")]);
        assert_eq!(rig.counted(Count::SubscribeRefused), 2);
        for name in ["a", "secret/a", "b/b", "c"] {
            rig.publish(writer, name, Q0, "x");
        }
        assert_eq!(rig.read(reader), ["PUBLISH a q0 = x", "PUBLISH b/b q0 = x", "PUBLISH c q0 = x"]);
        let list = ["a", "none", "b/+"].map(filter);
        rig.send(reader, &Packet::Unsubscribe(Unsubscribe::new(id(78), Filters::listed(&list))));
        let codes = if version == Version::V5 { " 00 11 00" } else { "" };
        assert_eq!(rig.read(reader), [format!("UNSUBACK #78{codes}")]);
    }
}

#[test]
fn the_same_filter_replaces_a_subscription() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version);
        rig.subscribe(reader, "a", Qos::AtMostOnce);
        rig.subscribe(reader, "a", Qos::AtLeastOnce);
        rig.publish(writer, "a", q2(1), "x");
        assert_eq!(rig.read(reader), ["PUBLISH a q1 #1 = x"]);
        assert_eq!(rig.brokers[0].subscription_count(), 1);
    }
}

#[test]
fn filters_are_compared_byte_by_byte() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version);
        rig.subscribe(reader, "a/+", Qos::AtMostOnce);
        for other in ["a/b", "A/+", "a/+/", "a/#"] {
            let said = rig.unsubscribe(reader, other);
            assert_eq!(said, [if version == Version::V5 { "UNSUBACK #998 11" } else { "UNSUBACK #998" }]);
        }
        rig.publish(writer, "a/b", Q0, "x");
        assert_eq!(rig.read(reader).len(), 1);
        rig.unsubscribe(reader, "a/+");
        rig.publish(writer, "a/b", Q0, "x");
        assert_eq!(rig.read(reader), [""; 0], "nothing new is delivered");
    }
}

#[test]
fn what_has_begun_is_completed_after_unsubscribing() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version);
        rig.subscribe(reader, "a", Qos::ExactlyOnce);
        rig.publish(writer, "a", q2(1), "x");
        assert_eq!(rig.read(reader).len(), 1);
        rig.unsubscribe(reader, "a");
        rig.ack(reader, AckKind::Pubrec, 1);
        assert_eq!(rig.read(reader), ["PUBREL #1 00"]);
        rig.ack(reader, AckKind::Pubcomp, 1);
        assert_eq!(rig.brokers[0].delivery_count(), 0);
    }
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    let (mut rig, reader, writer) = pair(Version::V5);
    let quiet = Subscription { no_local: true, ..Subscription::new(filter("a"), Qos::AtLeastOnce) };
    rig.subscribe_with(reader, quiet, &[]);
    rig.publish(reader, "a", q1(1), "own");
    assert_eq!(rig.read(reader), ["PUBACK #1 10"]);
    rig.publish(writer, "a", Q0, "other");
    assert_eq!(rig.read(reader), ["PUBLISH a q0 = other"]);
    rig.subscribe(reader, "a", Qos::AtMostOnce);
    rig.publish(reader, "a", Q0, "own");
    assert_eq!(rig.read(reader), ["PUBLISH a q0 = own"]);
}

#[test]
fn retain_goes_on_as_published_if_that_is_asked_for() {
    let (mut rig, reader, writer) = pair(Version::V5);
    rig.subscribe(reader, "plain", Qos::AtMostOnce);
    let kept = Subscription { retain_as_published: true, ..Subscription::new(filter("kept"), Qos::AtLeastOnce) };
    rig.subscribe_with(reader, kept, &[]);
    for name in ["plain", "kept"] {
        for retain in [true, false] {
            rig.publish_with(writer, Publish { retain, ..Publish::new(topic(name), b"x") });
        }
    }
    let expected =
        ["PUBLISH plain q0 = x", "PUBLISH plain q0 = x", "PUBLISH kept q0 retain = x", "PUBLISH kept q0 = x"];
    assert_eq!(rig.read(reader), expected);
}

#[test]
fn wildcards_do_not_match_topics_that_begin_with_a_dollar() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version);
        for name in ["#", "+/b", "$SYS/b"] {
            rig.subscribe(reader, name, Qos::AtMostOnce);
        }
        rig.publish(writer, "$SYS/a", Q0, "x");
        assert_eq!(rig.read(reader), [""; 0]);
        rig.publish(writer, "$SYS/b", Q0, "x");
        assert_eq!(rig.read(reader).len(), 1);
    }
}

#[test]
fn limits_are_answered_with_quota_exceeded() {
    let mut rig = Rig::new(Limits { filter_count_max: 2, depth_max: 3, ..limits() }, 1);
    let reader = rig.join(&clean(Version::V5, "r"));
    rig.subscribe(reader, "a", Qos::AtMostOnce);
    rig.subscribe(reader, "b", Qos::AtMostOnce);
    let again = |name| Subscription::new(filter(name), Qos::AtMostOnce);
    assert_eq!(rig.subscribe_with(reader, again("c"), &[]), ["SUBACK #999 97"]);
    rig.unsubscribe(reader, "a");
    assert_eq!(rig.subscribe_with(reader, again("a/b/c/d"), &[]), ["SUBACK #999 8F"], "too deep");
    rig.subscribe(reader, "c", Qos::AtMostOnce);
    let old = rig.join(&clean(Version::V3, "old"));
    assert_eq!(rig.subscribe_with(old, again("a/b/c/d"), &[]), ["SUBACK #999 80"]);
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_of_its_members() {
    for version in BOTH {
        let mut rig = rig();
        let members: Vec<usize> = ["a", "b", "c"].map(|name| rig.join(&lasting(version, name))).into_iter().collect();
        let (alone, writer) = (rig.join(&clean(version, "alone")), rig.join(&clean(version, "w")));
        for (member, qos) in members.iter().zip([Qos::AtLeastOnce, Qos::AtMostOnce, Qos::ExactlyOnce]) {
            rig.subscribe(*member, "$share/g/t/#", qos);
        }
        rig.subscribe(alone, "$share/h/t/#", Qos::AtMostOnce);
        for number in 1..=6 {
            rig.publish(writer, "t/1", q2(number), &number.to_string());
        }
        for (member, qos) in members.iter().zip(["q1", "q0", "q2"]) {
            let said = rig.read(*member);
            assert_eq!(said.len(), 2, "in turn: {said:?}");
            assert!(said.iter().all(|said| said.contains(qos)), "with the QoS that it was granted: {said:?}");
        }
        assert_eq!(rig.read(alone).len(), 6, "another name is another group");
        // Who is away gets it only if all are.
        rig.lose(members[0]);
        rig.lose(members[1]);
        rig.ack(writer, AckKind::Pubrel, 1);
        for number in 7..=10 {
            rig.publish(writer, "t/1", q1(number), "x");
        }
        assert_eq!(rig.read(members[2]).len(), 4);
        rig.lose(members[2]);
        for number in 7..=12 {
            rig.publish(writer, "t/1", q1(number), "x");
        }
        let again = rig.join(&lasting(version, "a"));
        assert!(
            rig.read(again).iter().filter(|said| said.contains("PUBLISH t/1 q1") && !said.contains("dup")).count() >= 2
        );
    }
}

#[test]
fn a_message_of_qos_2_that_was_begun_is_completed_with_its_member_or_given_to_nobody() {
    let mut rig = rig();
    let (a, b) = (rig.join(&lasting(Version::V5, "a")), rig.join(&lasting(Version::V5, "b")));
    let writer = rig.join(&clean(Version::V5, "w"));
    rig.subscribe(a, "$share/g/t", Qos::ExactlyOnce);
    rig.subscribe(b, "$share/g/t", Qos::ExactlyOnce);
    rig.publish(writer, "t", q2(1), "1");
    rig.publish(writer, "t", q2(2), "2");
    let (first, second) = (rig.read(a), rig.read(b));
    assert_eq!((first.len(), second.len()), (1, 1));
    rig.lose(a);
    let a = rig.join(&lasting(Version::V5, "a"));
    assert!(rig.read(a)[0].contains("dup"), "it is sent again to the same one");
    rig.lose(a);
    rig.join(&clean(Version::V5, "a"));
    assert_eq!(rig.read(b), [""; 0], "and to nobody else");
    rig.ack_with(b, AckKind::Pubrec, 1, ReasonCode::UnspecifiedError);
    assert_eq!((rig.read(b).len(), rig.brokers[0].message_count()), (0, 0), "a failure discards it");
}

#[test]
fn retained_messages_are_not_sent_to_shared_subscriptions() {
    let (mut rig, reader, writer) = pair(Version::V5);
    rig.publish_with(writer, Publish { retain: true, ..Publish::new(topic("t"), b"x") });
    rig.subscribe(reader, "$share/g/t", Qos::AtMostOnce);
    let handling =
        Subscription { retain_handling: RetainHandling::Send, ..Subscription::new(filter("t"), Qos::AtMostOnce) };
    assert_eq!(rig.subscribe_with(reader, handling, &[]).len(), 2);
}

#[test]
fn a_malformed_shared_subscription_is_refused_with_3_1_1_as_well() {
    let (mut rig, reader, _) = pair(Version::V3);
    let list = [Subscription::new(filter("$share/a"), Qos::AtMostOnce)];
    rig.send(reader, &Packet::Subscribe(Subscribe::new(id(1), Subscriptions::listed(&list))));
    assert_eq!(rig.read(reader), ["SUBACK #1 80"]);
}

#[test]
fn a_member_of_a_group_gets_its_share_beside_its_own_each_with_its_identifier() {
    let (mut rig, reader, writer) = pair(Version::V5);
    for (name, number) in [("t", 1), ("$share/g/t", 2)] {
        let identifier = [Property::SubscriptionIdentifier(mqtt::SubscriptionId::new(number).expect("in range"))];
        rig.subscribe_with(reader, Subscription::new(filter(name), Qos::AtMostOnce), &identifier);
    }
    rig.publish(writer, "t", Q0, "x");
    let mut said = rig.read(reader);
    said.sort();
    assert_eq!(said, ["PUBLISH t q0 {id 1} = x", "PUBLISH t q0 {id 2} = x"]);
}
