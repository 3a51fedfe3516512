//! Wills: when they are published, and when not (3.1.2.5, 3.1.3.2).

use super::*;
use crate::{Action, Count};
use core::time::Duration;

/// A reader of everything, and a client with a will.
fn pair<'a>(version: Version, connect: &Connect<'a>) -> (Rig, usize, usize) {
    let mut rig = rig();
    let reader = rig.join(&clean(version, "r"));
    rig.subscribe(reader, "#", Qos::AtLeastOnce);
    let peer = rig.join(connect);
    (rig, reader, peer)
}

#[test]
fn a_will_is_published_when_a_connection_ends_without_a_word() {
    for version in BOTH {
        let connect = Connect { will: will("w", "gone", &[]), ..clean(version, "a") };
        let ends: [fn(&mut Rig, usize); 4] = [
            |rig, peer| rig.lose(peer),
            |rig, peer| rig.dismiss(peer, ReasonCode::AdministrativeAction),
            |rig, peer| rig.send_bytes(peer, vec![0xFF, 0]),
            |rig, _| {
                rig.join(&clean(Version::V5, "a"));
            },
        ];
        for end in ends {
            let (mut rig, reader, peer) = pair(version, &connect);
            end(&mut rig, peer);
            assert_eq!(rig.read(reader), ["PUBLISH w q1 #1 = gone"]);
            rig.ack(reader, AckKind::Puback, 1);
            assert_eq!((rig.counted(Count::WillPublished), rig.brokers[0].message_count()), (1, 0));
        }
    }
}

#[test]
fn a_normal_disconnect_discards_the_will_and_another_does_not() {
    for version in BOTH {
        let connect = Connect { will: will("w", "gone", &[]), ..lasting(version, "a") };
        let (mut rig, reader, peer) = pair(version, &connect);
        rig.leave(peer, ReasonCode::Success);
        assert_eq!((rig.read(reader), rig.brokers[0].message_count()), (vec![], 0));
        // What was withdrawn is not published by a later connection's end.
        let peer = rig.join(&lasting(version, "a"));
        rig.lose(peer);
        assert_eq!(rig.read(reader), [""; 0]);
        if version == Version::V5 {
            let peer = rig.join(&connect);
            rig.leave(peer, ReasonCode::DisconnectWithWill);
            assert_eq!(rig.read(reader), ["PUBLISH w q1 #1 = gone"]);
        }
    }
}

#[test]
fn a_will_is_published_when_the_keep_alive_is_over() {
    for version in BOTH {
        let connect = Connect { will: will("w", "gone", &[]), keep_alive_s: 10, ..clean(version, "a") };
        let (mut rig, reader, _) = pair(version, &connect);
        rig.pass(Duration::from_secs(14));
        assert_eq!(rig.read(reader), [""; 0]);
        rig.pass(Duration::from_secs(2));
        assert_eq!(rig.read(reader), ["PUBLISH w q1 #1 = gone"]);
    }
}

#[test]
fn a_will_waits_for_its_delay_or_for_the_end_of_its_session() {
    let delay = [Property::WillDelayInterval(20)];
    for (expiry_s, due_s) in [(0, 0), (10, 10), (3600, 20), (u32::MAX, 20)] {
        let list = [Property::SessionExpiryInterval(expiry_s)];
        let properties = Properties::listed(&list);
        let connect = Connect { will: will("w", "gone", &delay), properties, ..lasting(Version::V5, "a") };
        let (mut rig, reader, peer) = pair(Version::V5, &connect);
        rig.lose(peer);
        if due_s > 0 {
            rig.pass(Duration::from_secs(due_s - 1));
            assert_eq!(rig.read(reader), [""; 0], "{expiry_s}");
            rig.pass(Duration::from_secs(2));
        }
        assert_eq!(rig.read(reader), ["PUBLISH w q1 #1 = gone"], "{expiry_s}");
        rig.pass(Duration::from_secs(100));
        assert_eq!(rig.counted(Count::WillPublished), 1);
    }
}

#[test]
fn a_delayed_will_is_not_sent_if_its_client_comes_back() {
    let delay = [Property::WillDelayInterval(20)];
    let connect = Connect { will: will("w", "gone", &delay), ..lasting(Version::V5, "a") };
    let (mut rig, reader, peer) = pair(Version::V5, &connect);
    rig.lose(peer);
    rig.pass(Duration::from_secs(19));
    let peer = rig.join(&lasting(Version::V5, "a"));
    rig.pass(Duration::from_secs(100));
    assert_eq!((rig.read(reader), rig.brokers[0].message_count()), (vec![], 0));
    rig.leave(peer, ReasonCode::Success);
    // A clean start ends the session, and with it the delay.
    let peer = rig.join(&connect);
    rig.lose(peer);
    rig.join(&clean(Version::V5, "a"));
    assert_eq!(rig.read(reader), ["PUBLISH w q1 #1 = gone"]);
}

#[test]
fn a_will_is_retained_if_it_says_so() {
    for version in BOTH {
        for retain in [false, true] {
            let own = will("w", "gone", &[]).map(|will| Will { retain, ..will });
            let (mut rig, reader, peer) = pair(version, &Connect { will: own, ..clean(version, "a") });
            rig.lose(peer);
            assert_eq!(rig.read(reader), ["PUBLISH w q1 #1 = gone"]);
            let said = rig.subscribe_with(reader, Subscription::new(filter("w"), Qos::AtMostOnce), &[]);
            assert_eq!(said[1..].len(), usize::from(retain));
        }
    }
}

#[test]
fn a_will_brings_its_properties_and_its_expiry_begins_when_it_is_published() {
    let list = [
        Property::WillDelayInterval(30),
        Property::MessageExpiryInterval(20),
        Property::ContentType(text("t")),
        Property::UserProperty((text("a"), text("b"))),
    ];
    let connect = Connect { will: will("w", "gone", &list), ..lasting(Version::V5, "a") };
    let (mut rig, reader, peer) = pair(Version::V5, &connect);
    rig.lose(peer);
    rig.pass(Duration::from_secs(31));
    assert_eq!(rig.read(reader), ["PUBLISH w q1 #1 {expiry 20, ContentType(\"t\"), a: b} = gone"]);
}

#[test]
fn a_will_that_may_not_be_published_is_refused_with_its_connection() {
    for version in BOTH {
        let mut rig = rig();
        rig.shards[0].denied = vec![(Action::Publish, "secret".into())];
        let peer = rig.connect(0, &Connect { will: will("secret/w", "x", &[]), ..clean(version, "a") });
        assert_eq!(rig.read(peer), ["CONNACK 87", "closed 87"]);
        assert_eq!((rig.brokers[0].session_count(), rig.brokers[0].message_count()), (0, 0));
    }
}
