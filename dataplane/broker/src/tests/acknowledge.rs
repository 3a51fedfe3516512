//! What is in flight, both ways: quality of service, packet identifiers, receive maximum (v5 4.3 to 4.9, v3 4.3 to 4.6).

use super::*;
use crate::Count;
use AckKind::{Puback, Pubcomp, Pubrec, Pubrel};

/// A client that subscribes to everything with that QoS, and one that publishes.
fn pair(version: Version, qos: Qos) -> (Rig, usize, usize) {
    let mut rig = rig();
    let (reader, writer) = (rig.join(&lasting(version, "r")), rig.join(&lasting(version, "w")));
    rig.subscribe(reader, "#", qos);
    (rig, reader, writer)
}

#[test]
fn qos_0_is_delivered_and_not_acknowledged() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version, Qos::ExactlyOnce);
        rig.publish(writer, "a", Q0, "x");
        assert_eq!(rig.read(reader), ["PUBLISH a q0 = x"]);
        assert_eq!(rig.read(writer), [""; 0]);
        assert_eq!(rig.brokers[0].message_count(), 0, "and not kept");
    }
}

#[test]
fn qos_1_is_acknowledged_under_its_identifier_both_ways() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version, Qos::ExactlyOnce);
        for number in [7, 9, 7] {
            rig.publish(writer, "a", q1(number), "x");
            assert_eq!(rig.read(writer), [format!("PUBACK #{number} 00")]);
        }
        assert_eq!(rig.read(reader), ["PUBLISH a q1 #1 = x", "PUBLISH a q1 #2 = x", "PUBLISH a q1 #3 = x"]);
        rig.ack(reader, Puback, 2);
        rig.ack(reader, Puback, 1);
        assert_eq!(rig.brokers[0].delivery_count(), 1);
        rig.ack(reader, Puback, 3);
        assert_eq!((rig.brokers[0].delivery_count(), rig.brokers[0].message_bytes()), (0, 0));
        assert_eq!(rig.read(reader), [""; 0]);
    }
}

#[test]
fn qos_2_goes_through_its_four_packets_both_ways() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version, Qos::ExactlyOnce);
        rig.publish(writer, "a", q2(7), "x");
        assert_eq!(rig.read(writer), ["PUBREC #7 00"]);
        assert_eq!(rig.read(reader), ["PUBLISH a q2 #1 = x"], "delivered before PUBREL");
        rig.ack(writer, Pubrel, 7);
        assert_eq!(rig.read(writer), ["PUBCOMP #7 00"]);
        rig.ack(reader, Pubrec, 1);
        assert_eq!(rig.read(reader), ["PUBREL #1 00"]);
        assert_eq!((rig.brokers[0].delivery_count(), rig.brokers[0].message_count()), (1, 0));
        rig.ack(reader, Pubcomp, 1);
        assert_eq!(rig.brokers[0].delivery_count(), 0);
        rig.publish(writer, "a", q2(7), "y");
        assert_eq!(rig.read(reader), ["PUBLISH a q2 #2 = y"], "after PUBCOMP the identifier is another message");
    }
}

#[test]
fn qos_2_is_delivered_once_until_pubrel() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version, Qos::AtMostOnce);
        rig.publish(writer, "a", q2(7), "x");
        rig.lose(writer);
        let writer = rig.join(&lasting(version, "w"));
        let again = Publish { delivery: q2(7), dup: true, ..Publish::new(topic("a"), b"x") };
        rig.publish_with(writer, again);
        rig.publish_with(writer, again);
        assert_eq!(rig.read(writer), ["PUBREC #7 00", "PUBREC #7 00"]);
        assert_eq!(rig.read(reader), ["PUBLISH a q0 = x"]);
        assert_eq!(rig.counted(Count::PublishDuplicate), 2);
        rig.ack(writer, Pubrel, 7);
        rig.ack(writer, Pubrel, 7);
        let unknown = if version == Version::V5 { "PUBCOMP #7 92" } else { "PUBCOMP #7 00" };
        assert_eq!(rig.read(writer), ["PUBCOMP #7 00", unknown]);
    }
}

#[test]
fn what_is_unacknowledged_is_sent_again_in_order_with_dup() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version, Qos::ExactlyOnce);
        rig.publish(writer, "a", q2(1), "0");
        rig.publish(writer, "a", q2(2), "1");
        rig.publish(writer, "b", q1(3), "2");
        rig.publish(writer, "a", q2(4), "3");
        assert_eq!(rig.read(reader).len(), 4);
        // PUBRELs go in the order of the PUBRECs.
        rig.ack(reader, Pubrec, 2);
        rig.ack(reader, Pubrec, 1);
        assert_eq!(rig.read(reader), ["PUBREL #2 00", "PUBREL #1 00"]);
        rig.lose(reader);
        rig.publish(writer, "a", q1(5), "4");
        let reader = rig.join(&lasting(version, "r"));
        assert_eq!(
            rig.read(reader),
            [
                "PUBREL #2 00",
                "PUBREL #1 00",
                "PUBLISH b q1 #3 dup = 2",
                "PUBLISH a q2 #4 dup = 3",
                "PUBLISH a q1 #5 = 4"
            ]
        );
        assert_eq!(rig.counted(Count::DeliveredAgain), 2);
        for (kind, number) in [(Pubcomp, 2), (Pubcomp, 1), (Puback, 3), (Pubrec, 4), (Pubcomp, 4), (Puback, 5)] {
            rig.ack(reader, kind, number);
        }
        assert_eq!(rig.brokers[0].delivery_count(), 0);
    }
}

#[test]
fn nothing_is_sent_again_while_a_connection_lasts() {
    for version in BOTH {
        let (mut rig, reader, writer) = pair(version, Qos::ExactlyOnce);
        rig.publish(writer, "a", q1(1), "0");
        assert_eq!(rig.read(reader).len(), 1);
        rig.pass(core::time::Duration::from_secs(3000));
        rig.publish(writer, "a", q1(2), "1");
        assert_eq!(rig.read(reader), ["PUBLISH a q1 #2 = 1"]);
    }
}

#[test]
fn unknown_identifiers_are_answered_as_such() {
    let (mut rig, reader, _) = pair(Version::V5, Qos::ExactlyOnce);
    rig.ack(reader, Puback, 4);
    rig.ack(reader, Pubrec, 4);
    rig.ack(reader, Pubrel, 4);
    rig.ack(reader, Pubcomp, 4);
    rig.ack_with(reader, Pubrec, 4, ReasonCode::UnspecifiedError);
    assert_eq!(rig.read(reader), ["PUBREL #4 92", "PUBCOMP #4 92"]);
    assert_eq!(rig.counted(Count::AckUnknown), 5);
}

#[test]
fn an_acknowledgement_of_another_quality_breaks_the_protocol() {
    for (qos, kind) in [
        (Qos::AtLeastOnce, Pubrec),
        (Qos::AtLeastOnce, Pubcomp),
        (Qos::ExactlyOnce, Puback),
        (Qos::ExactlyOnce, Pubcomp),
    ] {
        let (mut rig, reader, writer) = pair(Version::V5, qos);
        rig.publish(writer, "a", q2(1), "x");
        assert_eq!(rig.read(reader).len(), 1);
        rig.ack(reader, kind, 1);
        assert_eq!(rig.read(reader), ["DISCONNECT 82", "closed 82"], "{kind:?} for {qos:?}");
    }
}

#[test]
fn a_failure_acknowledges_as_well() {
    let (mut rig, reader, writer) = pair(Version::V5, Qos::ExactlyOnce);
    rig.publish(writer, "a", q1(1), "x");
    rig.publish(writer, "a", q2(2), "y");
    assert_eq!(rig.read(reader).len(), 2);
    rig.ack_with(reader, Puback, 1, ReasonCode::UnspecifiedError);
    rig.ack_with(reader, Pubrec, 2, ReasonCode::QuotaExceeded);
    assert_eq!(rig.read(reader), [""; 0], "no PUBREL after a failure");
    assert_eq!((rig.brokers[0].delivery_count(), rig.brokers[0].message_count()), (0, 0));
}

#[test]
fn the_clients_receive_maximum_is_kept_to() {
    let mut rig = rig();
    let maximum = [Property::ReceiveMaximum(NonZeroU16::new(2).expect("not 0")), AN_HOUR[0]];
    let connect = Connect { properties: Properties::listed(&maximum), ..lasting(Version::V5, "r") };
    let (reader, writer) = (rig.join(&connect), rig.join(&clean(Version::V5, "w")));
    rig.subscribe(reader, "#", Qos::ExactlyOnce);
    for number in 1..=5 {
        rig.publish(writer, "a", q2(number), &number.to_string());
    }
    rig.publish(writer, "a", Q0, "at once");
    rig.send(reader, &Packet::Pingreq);
    let first = ["PUBLISH a q2 #1 = 1", "PUBLISH a q2 #2 = 2", "PUBLISH a q0 = at once", "PINGRESP"];
    assert_eq!(rig.read(reader), first, "nothing but messages above QoS 0 is held back");
    rig.ack(reader, Pubrec, 1);
    assert_eq!(rig.read(reader), ["PUBREL #1 00"], "PUBREC that is no failure gives no quota");
    rig.ack(reader, Pubcomp, 1);
    assert_eq!(rig.read(reader), ["PUBLISH a q2 #3 = 3"]);
    rig.ack_with(reader, Pubrec, 2, ReasonCode::UnspecifiedError);
    assert_eq!(rig.read(reader), ["PUBLISH a q2 #4 = 4"]);
    // The quota is whole again, and what was sent before counts.
    rig.lose(reader);
    let reader = rig.join(&connect);
    assert_eq!(rig.read(reader), ["PUBLISH a q2 #3 dup = 3", "PUBLISH a q2 #4 dup = 4"]);
    rig.ack_with(reader, Pubrec, 3, ReasonCode::UnspecifiedError);
    assert_eq!(rig.read(reader), ["PUBLISH a q2 #5 = 5"]);
}

#[test]
fn a_client_that_sends_more_than_the_receive_maximum_is_disconnected() {
    for version in BOTH {
        let (mut rig, _, writer) = pair(version, Qos::AtMostOnce);
        for number in 1..=10 {
            rig.publish(writer, "a", q2(number), "x");
        }
        assert_eq!(rig.read(writer).len(), 10);
        rig.publish(writer, "a", q1(11), "y");
        assert_eq!(rig.read(writer), ["PUBACK #11 00"], "what is acknowledged does not count");
        rig.publish(writer, "a", q2(12), "x");
        let closed: &[&str] = if version == Version::V5 { &["DISCONNECT 93", "closed 93"] } else { &["closed 93"] };
        assert_eq!(rig.read(writer), closed);
    }
}

#[test]
fn packet_identifiers_in_use_are_passed_over() {
    let (mut rig, reader, writer) = pair(Version::V5, Qos::ExactlyOnce);
    rig.publish(writer, "a", q1(1), "stays");
    assert_eq!(rig.read(reader), ["PUBLISH a q1 #1 = stays"]);
    assert_eq!(rig.read(writer).len(), 1);
    let mut expected = 2;
    for _ in 0..70_000u32 {
        rig.publish(writer, "a", q1(1), "x");
        assert_eq!(rig.read(writer).len(), 1);
        assert_eq!(rig.read(reader), [format!("PUBLISH a q1 #{expected} = x")]);
        rig.ack(reader, Puback, expected);
        expected = if expected == u16::MAX { 2 } else { expected + 1 };
    }
    rig.ack(reader, Puback, 1);
    assert_eq!(rig.brokers[0].delivery_count(), 0);
}

#[test]
fn an_acknowledgement_may_come_before_its_message_was_sent_again() {
    for kind in [Pubrec, Puback] {
        let (mut rig, reader, writer) = pair(Version::V5, Qos::ExactlyOnce);
        for number in 1..=2 {
            rig.publish(writer, "a", if kind == Pubrec { q2(number) } else { q1(number) }, "x");
        }
        assert_eq!(rig.read(reader).len(), 2);
        rig.lose(reader);
        let maximum = [Property::ReceiveMaximum(NonZeroU16::MIN), AN_HOUR[0]];
        let reader = rig.join(&Connect { properties: Properties::listed(&maximum), ..lasting(Version::V5, "r") });
        assert_eq!(rig.read(reader).len(), 1);
        rig.ack(reader, kind, 2);
        rig.ack(reader, kind, 1);
        let released: &[&str] = if kind == Pubrec { &["PUBREL #2 00", "PUBREL #1 00"] } else { &[] };
        assert_eq!(rig.read(reader), released);
        rig.ack(reader, Pubcomp, 2);
        rig.ack(reader, Pubcomp, 1);
        assert_eq!((rig.read(reader), rig.brokers[0].delivery_count()), (vec![], 0));
    }
}
