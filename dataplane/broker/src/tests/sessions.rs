//! Sessions: what waits in them, and when they end (4.1, 4.5).

use super::*;
use crate::Count;
use core::time::Duration;

fn expiry(seconds: u32) -> [Property<'static>; 1] {
    [Property::SessionExpiryInterval(seconds)]
}

#[test]
fn what_is_above_qos_0_waits_while_a_client_is_away() {
    for version in BOTH {
        let mut rig = rig();
        let (reader, writer) = (rig.join(&lasting(version, "r")), rig.join(&clean(version, "w")));
        rig.subscribe(reader, "a", Qos::ExactlyOnce);
        rig.leave(reader, ReasonCode::Success);
        rig.publish(writer, "a", Q0, "0");
        rig.publish(writer, "a", q1(1), "1");
        rig.publish(writer, "a", q2(2), "2");
        let reader = rig.join(&lasting(version, "r"));
        assert_eq!(rig.read(reader), ["PUBLISH a q1 #1 = 1", "PUBLISH a q2 #2 = 2"]);
        assert_eq!(rig.counted(Count::OfflineDropped), 1);
    }
}

#[test]
fn a_session_ends_when_its_expiry_is_over() {
    let mut rig = rig();
    let list = expiry(10);
    let connect = Connect { properties: Properties::listed(&list), ..lasting(Version::V5, "r") };
    let (reader, writer) = (rig.join(&connect), rig.join(&clean(Version::V5, "w")));
    rig.subscribe(reader, "a", Qos::AtLeastOnce);
    rig.pass(Duration::from_secs(100));
    rig.lose(reader);
    rig.publish(writer, "a", q1(1), "1");
    rig.pass(Duration::from_secs(9));
    let reader = rig.join(&connect);
    assert_eq!(rig.read(reader).len(), 1, "it counts from the end of the connection");
    rig.lose(reader);
    rig.pass(Duration::from_secs(11));
    assert_eq!(rig.counted(Count::SessionExpired), 1);
    let broker = &rig.brokers[0];
    let left = (broker.session_count(), broker.subscription_count(), broker.delivery_count(), broker.message_bytes());
    assert_eq!(left, (1, 0, 0, 0), "nothing is left but the writer");
}

#[test]
fn an_expiry_of_zero_ends_a_session_with_its_connection_and_the_highest_never() {
    let mut rig = rig();
    let zero = rig.join(&Connect { clean_start: false, ..clean(Version::V5, "zero") });
    let list = expiry(u32::MAX);
    let ever = rig.join(&Connect { properties: Properties::listed(&list), ..clean(Version::V5, "ever") });
    rig.lose(zero);
    rig.lose(ever);
    assert_eq!(rig.brokers[0].session_count(), 1);
    rig.pass(Duration::from_secs(1 << 33));
    assert_eq!(rig.brokers[0].session_count(), 1);
}

#[test]
fn the_server_may_grant_a_shorter_expiry() {
    let mut rig = Rig::new(Limits { session_expiry_s_max: 60, ..limits() }, 1);
    let peer = rig.connect(0, &lasting(Version::V5, "a"));
    assert!(rig.read(peer)[0].contains("SessionExpiryInterval(60)"));
    let old = rig.join(&lasting(Version::V3, "b"));
    rig.lose(peer);
    rig.lose(old);
    rig.pass(Duration::from_secs(61));
    assert_eq!(rig.brokers[0].session_count(), 0);
}

#[test]
fn disconnect_changes_the_expiry_unless_it_was_zero() {
    let mut rig = rig();
    let peer = rig.join(&lasting(Version::V5, "a"));
    let list = expiry(0);
    let leave = mqtt::Disconnect { properties: Properties::listed(&list), ..Disconnect::new(ReasonCode::Success) };
    rig.send(peer, &Packet::Disconnect(leave));
    assert_eq!((rig.read(peer), rig.brokers[0].session_count()), (vec!["closed 00".to_owned()], 0));
    let peer = rig.join(&clean(Version::V5, "a"));
    let list = expiry(5);
    let leave = mqtt::Disconnect { properties: Properties::listed(&list), ..Disconnect::new(ReasonCode::Success) };
    rig.send(peer, &Packet::Disconnect(leave));
    assert_eq!(rig.read(peer), ["DISCONNECT 82", "closed 82"]);
}

#[test]
fn nothing_is_answered_after_disconnect() {
    for version in BOTH {
        let mut rig = rig();
        let (reader, writer) = (rig.join(&lasting(version, "r")), rig.join(&clean(version, "w")));
        rig.subscribe(reader, "a", Qos::AtMostOnce);
        rig.leave(reader, ReasonCode::Success);
        rig.send(reader, &Packet::Pingreq);
        rig.publish(writer, "a", Q0, "x");
        assert_eq!(rig.read(reader), ["closed 00"]);
    }
}

#[test]
fn presence_is_told_with_its_reason() {
    let mut rig = rig();
    let a = rig.join(&lasting(Version::V5, "a"));
    rig.lose(a);
    let a = rig.join(&clean(Version::V5, "a"));
    rig.leave(a, ReasonCode::DisconnectWithWill);
    let b = rig.join(&lasting(Version::V5, "b"));
    rig.dismiss(b, ReasonCode::ServerShuttingDown);
    assert_eq!(rig.read(b), ["DISCONNECT 8B", "closed 8B"]);
    assert_eq!(
        rig.shards[0].happened,
        [
            "a connected",
            "a disconnected: Lost(Broken)",
            "a forgotten",
            "a connected",
            "a disconnected: Client(DisconnectWithWill)",
            "a forgotten",
            "b connected",
            "b disconnected: Broker(ServerShuttingDown)"
        ]
    );
}

#[test]
fn a_message_is_in_every_session_that_matches_and_kept_once() {
    for version in BOTH {
        let mut rig = rig();
        let writer = rig.join(&clean(version, "w"));
        let names: Vec<String> = (0..50).map(|number| format!("r{number}")).collect();
        for name in &names {
            let reader = rig.join(&lasting(version, name));
            rig.subscribe(reader, "a/+", Qos::AtLeastOnce);
            rig.lose(reader);
        }
        rig.publish(writer, "a/b", q1(1), &"x".repeat(3000));
        assert_eq!(rig.brokers[0].message_bytes(), 4096);
        assert_eq!((rig.brokers[0].message_count(), rig.brokers[0].delivery_count()), (1, 50));
        for name in &names {
            let reader = rig.join(&lasting(version, name));
            assert_eq!(rig.read(reader).len(), 1);
            rig.ack(reader, AckKind::Puback, 1);
        }
        assert_eq!((rig.brokers[0].message_count(), rig.brokers[0].message_bytes()), (0, 0));
    }
}

#[test]
fn identifiers_of_qos_2_are_remembered_with_the_session() {
    for version in BOTH {
        let mut rig = rig();
        let (reader, writer) = (rig.join(&clean(version, "r")), rig.join(&lasting(version, "w")));
        rig.subscribe(reader, "a", Qos::AtMostOnce);
        rig.publish(writer, "a", q2(3), "x");
        rig.leave(writer, ReasonCode::Success);
        let writer = rig.join(&lasting(version, "w"));
        rig.publish(writer, "a", q2(3), "x");
        assert_eq!(rig.read(reader).len(), 1);
        rig.leave(writer, ReasonCode::Success);
        let writer = rig.join(&clean(version, "w"));
        rig.publish(writer, "a", q2(3), "x");
        assert_eq!(rig.read(reader).len(), 1, "a clean start forgets them");
        assert!(rig.is_connected(writer));
    }
}
