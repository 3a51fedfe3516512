//! CONNECT and CONNACK, takeover, keep alive, authentication (3.1, 3.2, 3.12, v5 4.12).

use super::*;
use crate::{Count, Identity};

fn connack(connect: &Connect<'_>) -> Vec<String> {
    let mut rig = rig();
    let peer = rig.connect(0, connect);
    rig.read(peer)
}

#[test]
fn connack_is_the_first_packet_and_tells_the_terms() {
    let terms = "{ReceiveMaximum(10), MaximumPacketSize(65536), TopicAliasMaximum(3)}";
    assert_eq!(connack(&clean(Version::V5, "a")), [format!("CONNACK 00 {terms}")]);
    assert_eq!(connack(&clean(Version::V3, "a")), ["CONNACK 00"]);
}

#[test]
fn a_session_is_present_if_it_was_kept() {
    for version in BOTH {
        let mut rig = rig();
        let peer = rig.connect(0, &lasting(version, "a"));
        assert!(rig.read(peer)[0].starts_with("CONNACK 00") && !rig.shards[0].happened[0].contains("resumed"));
        rig.leave(peer, ReasonCode::Success);
        let peer = rig.connect(0, &lasting(version, "a"));
        assert!(rig.read(peer)[0].starts_with("CONNACK 00 present"), "{version:?}");
        rig.leave(peer, ReasonCode::Success);
        let peer = rig.connect(0, &clean(version, "a"));
        assert!(!rig.read(peer)[0].contains("present"), "a clean start ends it");
        rig.leave(peer, ReasonCode::Success);
        let peer = rig.connect(0, &lasting(version, "a"));
        assert!(!rig.read(peer)[0].contains("present"), "what started clean was not kept");
        assert_eq!(rig.counted(Count::Resumed), 1);
    }
}

#[test]
fn a_clean_start_ends_subscriptions_and_what_waited() {
    for version in BOTH {
        let mut rig = rig();
        let (reader, writer) = (rig.join(&lasting(version, "r")), rig.join(&clean(version, "w")));
        rig.subscribe(reader, "a", Qos::AtLeastOnce);
        rig.lose(reader);
        rig.publish(writer, "a", q1(1), "waits");
        assert_eq!(rig.brokers[0].delivery_count(), 1);
        let reader = rig.join(&clean(version, "r"));
        rig.publish(writer, "a", q1(2), "new");
        assert_eq!(rig.read(reader), [""; 0]);
        assert_eq!((rig.brokers[0].delivery_count(), rig.brokers[0].message_count()), (0, 0));
        assert_eq!(rig.brokers[0].subscription_count(), 0);
    }
}

#[test]
fn a_client_without_an_identifier_is_given_one_of_its_shard() {
    let mut rig = Rig::new(limits(), 3);
    for shard in 0..3 {
        let peer = rig.connect(shard, &clean(Version::V5, ""));
        let said = rig.read(peer);
        let id = said[0].split("assigned auto-").nth(1).expect("an identifier");
        assert_eq!(id.as_bytes()[21] as usize % 3, shard);
        let peer = rig.connect(shard, &clean(Version::V3, ""));
        assert_eq!(rig.read(peer), ["CONNACK 00"]);
    }
}

#[test]
fn an_older_connection_is_taken_over() {
    for version in BOTH {
        let mut rig = rig();
        let first = rig.join(&lasting(version, "a"));
        let second = rig.connect(0, &lasting(version, "a"));
        let closed: &[&str] = if version == Version::V5 { &["DISCONNECT 8E", "closed 8E"] } else { &["closed 8E"] };
        assert_eq!(rig.read(first), closed);
        assert!(rig.read(second)[0].contains("present"));
        assert_eq!(rig.counted(Count::TakenOver), 1);
        assert_eq!(
            rig.shards[0].happened,
            ["a connected", "a disconnected: Broker(SessionTakenOver)", "a connected, resumed"]
        );
    }
}

#[test]
fn an_older_connection_that_takes_no_more_does_not_take_the_newer_with_it() {
    let mut rig = rig();
    let first = rig.join(&lasting(Version::V5, "a"));
    rig.set_output_room(first, 0);
    let second = rig.join(&lasting(Version::V5, "a"));
    assert!(!rig.is_connected(first));
    rig.send(second, &Packet::Pingreq);
    assert_eq!(rig.read(second), ["PINGRESP"]);
}

#[test]
fn a_session_is_of_its_owner_and_its_space() {
    let mut rig = rig();
    let first = rig.join(&lasting(Version::V5, "a"));
    let other = Identity { space: 1, principal: 2, owner: 2, authentication_data: None };
    let thief = rig.connect_as(0, &lasting(Version::V5, "a"), other);
    assert_eq!(rig.read(thief), ["CONNACK 87", "closed 87"]);
    assert!(rig.is_connected(first), "and the owner stays connected");
    let elsewhere = rig.connect_as(0, &lasting(Version::V5, "a"), Identity { space: 2, ..other });
    assert!(rig.is_connected(elsewhere) && rig.is_connected(first));
    rig.skip_first(elsewhere);
    rig.subscribe(elsewhere, "#", Qos::AtMostOnce);
    rig.publish(first, "t", Q0, "x");
    assert_eq!(rig.read(elsewhere), [""; 0], "no topic is of two spaces");
}

#[test]
fn too_many_sessions_are_refused() {
    let mut rig = Rig::new(Limits { session_count_max: 1, ..limits() }, 1);
    rig.join(&clean(Version::V5, "a"));
    let refused = rig.connect(0, &Connect { will: will("w", "x", &[]), ..clean(Version::V5, "b") });
    assert_eq!(rig.read(refused), ["CONNACK 97", "closed 97"]);
    let refused = rig.connect(0, &clean(Version::V3, "c"));
    assert_eq!(rig.read(refused), ["CONNACK 88", "closed 97"]);
    assert_eq!(rig.brokers[0].message_count(), 0, "a will of nobody is not kept");
}

#[test]
fn a_keep_alive_is_waited_for_once_and_a_half() {
    for version in BOTH {
        let mut rig = rig();
        let peer = rig.join(&Connect { keep_alive_s: 10, ..lasting(version, "a") });
        rig.pass(core::time::Duration::from_secs(14));
        rig.send(peer, &Packet::Pingreq);
        assert_eq!(rig.read(peer), ["PINGRESP"]);
        rig.pass(core::time::Duration::from_secs(14));
        assert!(rig.is_connected(peer));
        rig.pass(core::time::Duration::from_secs(2));
        let closed: &[&str] = if version == Version::V5 { &["DISCONNECT 8D", "closed 8D"] } else { &["closed 8D"] };
        assert_eq!(rig.read(peer), closed);
        assert_eq!(rig.counted(Count::KeepAlive), 1);
    }
}

#[test]
fn without_a_keep_alive_nothing_is_waited_for() {
    let mut rig = rig();
    let peer = rig.join(&clean(Version::V3, "a"));
    rig.pass(core::time::Duration::from_secs(1_000_000));
    assert!(rig.is_connected(peer));
}

#[test]
fn the_server_may_ask_for_a_shorter_keep_alive() {
    let mut rig = Rig::new(Limits { keep_alive_s_max: 60, ..limits() }, 1);
    for (asked, told) in [(0, true), (61, true), (60, false), (5, false)] {
        let peer = rig.connect(0, &Connect { keep_alive_s: asked, ..clean(Version::V5, "a") });
        assert_eq!(rig.read(peer)[0].contains("ServerKeepAlive(60)"), told, "{asked}");
        rig.pass(core::time::Duration::from_secs(89));
        assert_eq!(rig.is_connected(peer), asked != 5);
        rig.pass(core::time::Duration::from_secs(2));
        assert!(!rig.is_connected(peer), "{asked}");
    }
}

#[test]
fn an_authentication_goes_on_with_the_same_method_alone() {
    let list = [Property::AuthenticationMethod(text("M"))];
    let connect = Connect { properties: Properties::listed(&list), ..clean(Version::V5, "a") };
    let again = Packet::Auth(mqtt::Auth { code: ReasonCode::ReAuthenticate, properties: Properties::listed(&list) });
    let mut rig = rig();
    let identity = Identity { space: 1, principal: 1, owner: 1, authentication_data: Some(b"data") };
    let peer = rig.connect_as(0, &connect, identity);
    let said = rig.read(peer);
    assert!(said[0].contains("AuthenticationMethod(\"M\")") && said[0].contains("AuthenticationData"), "{said:?}");
    rig.send(peer, &again);
    assert_eq!(rig.shards[0].authenticated.len(), 1);
    assert!(rig.is_connected(peer));
    let list = [Property::AuthenticationMethod(text("N"))];
    rig.send(
        peer,
        &Packet::Auth(mqtt::Auth { code: ReasonCode::ReAuthenticate, properties: Properties::listed(&list) }),
    );
    assert_eq!(rig.read(peer), ["DISCONNECT 82", "closed 82"]);
    let peer = rig.join(&connect);
    rig.shards[0].authentication = Err(ReasonCode::NotAuthorized);
    rig.send(peer, &again);
    assert_eq!(rig.read(peer), ["DISCONNECT 87", "closed 87"]);
    let peer = rig.join(&clean(Version::V5, "a"));
    rig.send(peer, &again);
    assert_eq!(rig.read(peer), ["DISCONNECT 8C", "closed 8C"], "without a method there is none");
}

#[test]
fn a_broken_packet_ends_the_connection_with_its_code() {
    let mut rig = rig();
    let peer = rig.join(&clean(Version::V5, "a"));
    rig.send_bytes(peer, vec![0x36, 0]);
    assert_eq!(rig.read(peer), ["DISCONNECT 81", "closed 81"]);
    let peer = rig.join(&clean(Version::V3, "a"));
    rig.send_bytes(peer, vec![0x10, 0]);
    assert_eq!(rig.read(peer), ["closed 82"], "a second CONNECT; 3.1.1 has no words for it");
    assert_eq!(rig.counted(Count::Malformed), 2);
}

#[test]
fn a_ping_is_answered() {
    for version in BOTH {
        let mut rig = rig();
        let peer = rig.join(&clean(version, "a"));
        rig.send(peer, &Packet::Pingreq);
        assert_eq!(rig.read(peer), ["PINGRESP"]);
    }
}

#[test]
fn client_identifiers_of_any_letters_and_digits_are_allowed() {
    for version in BOTH {
        let mut rig = rig();
        for name in
            ["0", "0123456789abcdefghijklm", "ABCDEFGHIJKLMNOPQRSTUVW", "nopqrstuvwxyzXYZ", "länger als 23 Zeichen/+#"]
        {
            rig.join(&clean(version, name));
        }
        assert_eq!(rig.brokers[0].session_count(), 5);
    }
}

#[test]
fn a_connection_gets_one_connack_and_no_words_for_reasons() {
    let mut rig = rig();
    let list = [Property::RequestProblemInformation(false)];
    let peer = rig.connect(0, &Connect { properties: Properties::listed(&list), ..clean(Version::V5, "a") });
    rig.publish(peer, "a", q1(1), "x");
    rig.ack(peer, AckKind::Pubrel, 2);
    let said = rig.read(peer);
    assert!(said[0].starts_with("CONNACK 00 {") && said[1..] == ["PUBACK #1 10", "PUBCOMP #2 92"], "{said:?}");
    let older = peer;
    let peer = rig.connect(0, &clean(Version::V5, "a"));
    rig.send(peer, &Packet::Pingreq);
    assert_eq!(rig.read(older), ["DISCONNECT 8E", "closed 8E"]);
    let said = rig.read(peer);
    assert!(said[0].starts_with("CONNACK 00 {") && said[1..] == ["PINGRESP"], "{said:?}");
}
