//! Several shards: messages, acknowledgements, retained messages and groups across them.

use super::*;
use crate::{Count, Identity};

fn rig_of(shard_count: u8) -> Rig {
    Rig::new(limits(), shard_count)
}

#[test]
fn a_message_reaches_subscribers_of_other_shards_and_no_others() {
    for version in BOTH {
        let mut rig = rig_of(3);
        let (near, far) = (rig.join_at(0, &clean(version, "near")), rig.join_at(1, &clean(version, "far")));
        let other = rig.join_at(2, &clean(version, "other"));
        let writer = rig.join_at(0, &clean(version, "w"));
        rig.subscribe(near, "a/+", Qos::ExactlyOnce);
        rig.subscribe(far, "a/#", Qos::ExactlyOnce);
        rig.subscribe(other, "b", Qos::ExactlyOnce);
        rig.rest();
        rig.publish(writer, "a/1", q2(1), "x");
        assert_eq!(rig.read(writer), ["PUBREC #1 00"]);
        assert_eq!(rig.read(near), ["PUBLISH a/1 q2 #1 = x"]);
        rig.rest();
        assert_eq!(rig.read(far), ["PUBLISH a/1 q2 #1 = x"]);
        assert_eq!(rig.read(other), [""; 0]);
        assert_eq!(rig.counted(Count::Forwarded), 1, "it goes to no shard in vain");
        rig.unsubscribe(far, "a/#");
        rig.rest();
        rig.publish(writer, "a/1", q1(2), "x");
        assert_eq!(rig.counted(Count::Forwarded), 1);
    }
}

#[test]
fn what_a_message_brings_crosses_shards() {
    let mut rig = rig_of(2);
    let (far, writer) = (rig.join_at(1, &clean(Version::V5, "far")), rig.join_at(0, &clean(Version::V5, "w")));
    let kept = Subscription { retain_as_published: true, ..Subscription::new(filter("#"), Qos::AtLeastOnce) };
    let identifier = [Property::SubscriptionIdentifier(mqtt::SubscriptionId::new(5).expect("in range"))];
    rig.subscribe_with(far, kept, &identifier);
    rig.rest();
    let list = [
        Property::UserProperty((text("a"), text("b"))),
        Property::MessageExpiryInterval(9),
        Property::TopicAlias(mqtt::TopicAlias::MIN),
    ];
    let publish = Publish {
        delivery: q1(1),
        retain: true,
        properties: Properties::listed(&list),
        ..Publish::new(topic("t"), b"x")
    };
    rig.publish_with(writer, publish);
    rig.rest();
    assert_eq!(rig.read(far), ["PUBLISH t q1 #1 retain {expiry 9, id 5, a: b} = x"]);
}

#[test]
fn a_message_is_acknowledged_once_every_ring_has_it() {
    for version in BOTH {
        let mut rig = rig_of(3);
        let readers = [rig.join_at(1, &clean(version, "1")), rig.join_at(2, &clean(version, "2"))];
        let near = rig.join_at(0, &clean(version, "near"));
        let writer = rig.join_at(0, &lasting(version, "w"));
        for reader in [readers[0], readers[1], near] {
            rig.subscribe(reader, "#", Qos::AtLeastOnce);
        }
        rig.rest();
        rig.shards[0].ring_room = 1;
        for number in 1..=3 {
            rig.publish(writer, "a", q1(number), &number.to_string());
        }
        assert_eq!(rig.read(writer), ["PUBACK #1 00"], "the second waits, the third was not read");
        assert!(rig.is_paused(writer));
        assert_eq!(rig.read(near), ["PUBLISH a q1 #1 = 1", "PUBLISH a q1 #2 = 2"]);
        // One of both rings has room.
        rig.deliver(0, 1, 1);
        rig.brokers[0].turn(&mut rig.shards[0], now());
        assert_eq!(rig.read(writer), [""; 0]);
        rig.rest();
        rig.rest();
        assert_eq!(rig.read(writer), ["PUBACK #2 00", "PUBACK #3 00"]);
        for reader in readers {
            assert_eq!(rig.read(reader), ["PUBLISH a q1 #1 = 1", "PUBLISH a q1 #2 = 2", "PUBLISH a q1 #3 = 3"]);
        }
        assert!(!rig.is_paused(writer));
        assert_eq!(rig.counted(Count::ForwardWaited), 2);
    }
}

#[test]
fn a_publisher_that_is_not_read_does_not_lose_its_keep_alive() {
    let mut rig = rig_of(2);
    let far = rig.join_at(1, &clean(Version::V3, "far"));
    rig.subscribe(far, "#", Qos::AtLeastOnce);
    rig.rest();
    rig.shards[0].ring_room = 0;
    let writer = rig.join_at(0, &Connect { keep_alive_s: 10, ..clean(Version::V3, "w") });
    rig.publish(writer, "a", q1(1), "x");
    rig.pass(core::time::Duration::from_secs(100));
    assert!(rig.is_connected(writer) && rig.is_paused(writer));
    rig.shards[0].ring_room = 1;
    rig.rest();
    assert_eq!(rig.read(writer), ["PUBACK #1 00"]);
    rig.pass(core::time::Duration::from_secs(40));
    assert!(!rig.is_connected(writer), "from then on it is heard, or not");
}

fn now() -> crate::Now {
    crate::Now { monotonic: base::Monotonic(1), unix: base::UnixMicros(1_700_000_000_000_000) }
}

#[test]
fn a_publisher_that_comes_back_while_its_message_waits_is_not_acknowledged_twice() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut rig = rig_of(2);
        let far = rig.join_at(1, &clean(Version::V5, "far"));
        rig.subscribe(far, "#", qos);
        rig.rest();
        rig.shards[0].ring_room = 0;
        let writer = rig.join_at(0, &lasting(Version::V5, "w"));
        rig.publish(writer, "a", Delivery::with(qos, id(1)), "x");
        assert_eq!(rig.read(writer), [""; 0]);
        rig.lose(writer);
        let writer = rig.join_at(0, &lasting(Version::V5, "w"));
        let again = Publish { delivery: Delivery::with(qos, id(1)), dup: true, ..Publish::new(topic("a"), b"x") };
        rig.publish_with(writer, again);
        assert_eq!(rig.read(writer), [""; 0], "it is not read before");
        rig.shards[0].ring_room = 100;
        rig.rest();
        rig.rest();
        let (answers, got) = (rig.read(writer), rig.read(far));
        match qos {
            Qos::ExactlyOnce => {
                assert_eq!((answers, got.len()), (vec!["PUBREC #1 00".to_owned()], 1));
            }
            _ => assert_eq!((answers, got.len()), (vec!["PUBACK #1 00".to_owned()], 2)),
        }
    }
}

#[test]
fn retained_messages_are_on_every_shard_and_the_later_one_stays() {
    let mut rig = rig_of(2);
    let writers = [rig.join_at(0, &clean(Version::V5, "w0")), rig.join_at(1, &clean(Version::V5, "w1"))];
    let publish = |payload: &'static str| Publish { retain: true, ..Publish::new(topic("t"), payload.as_bytes()) };
    // Both at one time, and each sees its own first.
    rig.publish_with(writers[0], publish("zero"));
    rig.publish_with(writers[1], publish("one"));
    rig.rest();
    let mut said = Vec::new();
    for shard in 0..2 {
        let reader = rig.join_at(shard, &clean(Version::V5, "r"));
        said.push(rig.subscribe_with(reader, Subscription::new(filter("t"), Qos::AtMostOnce), &[])[1].clone());
        rig.lose(reader);
    }
    assert_eq!(said, ["PUBLISH t q0 retain = one", "PUBLISH t q0 retain = one"]);
    // One that was published after another had arrived is later, whatever the clocks say.
    rig.publish_with(writers[0], publish("two"));
    rig.rest();
    for shard in 0..2 {
        let reader = rig.join_at(shard, &clean(Version::V5, "r"));
        let said = rig.subscribe_with(reader, Subscription::new(filter("t"), Qos::AtMostOnce), &[]);
        assert_eq!(said[1..], ["PUBLISH t q0 retain = two"], "shard {shard}");
        rig.lose(reader);
    }
    // One is removed while an older one is still on its way.
    rig.publish_with(writers[0], publish("older"));
    rig.publish_with(writers[1], publish("newer"));
    rig.publish_with(writers[1], publish(""));
    rig.rest();
    for shard in 0..2 {
        let reader = rig.join_at(shard, &clean(Version::V5, "r"));
        let said = rig.subscribe_with(reader, Subscription::new(filter("t"), Qos::AtMostOnce), &[]);
        assert_eq!(said.len(), 1, "shard {shard}: {said:?}");
        rig.lose(reader);
    }
    rig.pass(core::time::Duration::from_secs(11));
    for broker in &rig.brokers {
        assert_eq!((broker.retained_count(), broker.message_bytes()), (0, 0), "it is forgotten after a while");
    }
}

#[test]
fn a_shared_group_spans_shards() {
    for version in BOTH {
        for shard_count in [1, 2, 3, 5] {
            let mut rig = rig_of(shard_count);
            let shards = usize::from(shard_count);
            let names = ["a", "b", "c", "d"];
            let members: Vec<usize> = names
                .iter()
                .enumerate()
                .map(|(index, name)| rig.join_at(index % shards, &lasting(version, name)))
                .collect();
            let writer = rig.join_at(shards - 1, &clean(version, "w"));
            for member in &members {
                rig.subscribe(*member, "$share/g/t/#", Qos::AtLeastOnce);
            }
            rig.rest();
            for number in 1..=8 {
                rig.publish(writer, "t/1", q1(number), &number.to_string());
                rig.rest();
            }
            for member in &members {
                assert_eq!(rig.read(*member).len(), 2, "in turn, over {shard_count} shards");
            }
            // Those who are away get nothing while another is there.
            for member in &members[1..] {
                rig.lose(*member);
            }
            rig.rest();
            for number in 1..=4 {
                rig.publish(writer, "t/1", q1(number), "x");
            }
            rig.rest();
            assert_eq!(rig.read(members[0]).len(), 4);
            rig.lose(members[0]);
            rig.rest();
            rig.publish(writer, "t/1", q1(5), "kept");
            rig.rest();
            let kept: usize = (0..4)
                .map(|index| {
                    let again = rig.join_at(index % shards, &lasting(version, names[index]));
                    let count = rig.read(again).iter().filter(|said| said.ends_with("= kept")).count();
                    rig.unsubscribe(again, "$share/g/t/#");
                    count
                })
                .sum();
            assert_eq!(kept, 1, "over {shard_count} shards");
            rig.rest();
            rig.publish(writer, "t/1", q1(6), "x");
            rig.rest();
            let subscriptions: usize = rig.brokers.iter().map(crate::Broker::subscription_count).sum();
            let sessions: usize = rig.brokers.iter().map(crate::Broker::session_count).sum();
            assert_eq!((subscriptions, sessions), (0, 5), "no stand-in is left");
        }
    }
}

#[test]
fn a_member_that_is_forgotten_leaves_its_groups() {
    let mut rig = rig_of(4);
    for shard in 0..4 {
        let member = rig.join_at(shard, &clean(Version::V5, "m"));
        for group in 0..8 {
            rig.subscribe(member, &format!("$share/g{group}/t"), Qos::AtLeastOnce);
        }
        rig.rest();
        rig.lose(member);
        rig.rest();
    }
    for broker in &rig.brokers {
        assert_eq!((broker.subscription_count(), broker.session_count()), (0, 0));
    }
}

#[test]
fn words_wait_for_room_in_the_ring() {
    let mut rig = rig_of(2);
    rig.shards[1].ring_room = 0;
    let far = rig.join_at(1, &clean(Version::V5, "far"));
    for name in ["a", "b", "c", "$share/g/d", "$share/h/d", "$share/i/d"] {
        rig.subscribe(far, name, Qos::AtLeastOnce);
    }
    rig.unsubscribe(far, "b");
    rig.shards[1].ring_room = 1;
    for _ in 0..40 {
        rig.turn();
    }
    let writer = rig.join_at(0, &clean(Version::V5, "w"));
    for name in ["a", "b", "c", "d"] {
        rig.publish(writer, name, q1(1), "x");
        rig.rest();
    }
    rig.rest();
    assert_eq!(rig.read(writer), ["PUBACK #1 00", "PUBACK #1 10", "PUBACK #1 00", "PUBACK #1 00"]);
    assert_eq!(rig.read(far).len(), 5, "a, c, and d for three groups");
}

#[test]
fn spaces_are_apart_on_all_shards() {
    let mut rig = rig_of(2);
    let identity = |space| Identity { space, principal: 1, owner: 1, authentication_data: None };
    let far = rig.connect_as(1, &clean(Version::V5, "far"), identity(2));
    rig.skip_first(far);
    rig.subscribe(far, "#", Qos::AtMostOnce);
    rig.rest();
    let writer = rig.connect_as(0, &clean(Version::V5, "w"), identity(1));
    rig.publish_with(writer, Publish { retain: true, ..Publish::new(topic("t"), b"x") });
    rig.rest();
    assert_eq!(rig.read(far), [""; 0]);
    let said = rig.subscribe_with(far, Subscription::new(filter("t"), Qos::AtMostOnce), &[]);
    assert_eq!(said.len(), 1);
}

#[test]
fn a_message_does_not_overtake_one_that_the_ring_had_no_room_for() {
    let mut rig = rig_of(2);
    let far = rig.join_at(1, &clean(Version::V5, "far"));
    rig.subscribe(far, "#", Qos::AtLeastOnce);
    rig.rest();
    let writers = [rig.join_at(0, &clean(Version::V5, "a")), rig.join_at(0, &clean(Version::V5, "b"))];
    rig.shards[0].record_bytes_max = 100;
    rig.publish(writers[0], "a", q1(1), &"x".repeat(200));
    rig.publish(writers[1], "a", q1(1), "y");
    for _ in 0..3 {
        rig.turn();
    }
    assert_eq!((rig.read(far), rig.read(writers[1])), (vec![], vec![]));
    rig.shards[0].record_bytes_max = usize::MAX;
    rig.rest();
    let said = rig.read(far);
    assert!(said[0].ends_with('x') && said[1].ends_with('y') && said.len() == 2, "{said:?}");
}

#[test]
fn a_message_for_a_session_that_is_gone_reaches_nobody_else() {
    let mut rig = rig_of(2);
    let names: Vec<String> = (0..20).map(|number| format!("$share/g{number}/t")).collect();
    let member = rig.join_at(1, &clean(Version::V5, "m"));
    for name in &names {
        rig.subscribe(member, name, Qos::AtLeastOnce);
    }
    rig.rest();
    let writer = rig.join_at(0, &clean(Version::V5, "w"));
    rig.publish(writer, "t", q1(1), "x");
    // Groups of the first shard have chosen, and what they chose is in the ring.
    rig.lose(member);
    let other = rig.join_at(1, &clean(Version::V5, "other"));
    rig.rest();
    assert_eq!(rig.read(other), [""; 0]);
    assert!(rig.counted(Count::ForwardedStale) > 0);
    assert_eq!(rig.brokers[1].message_count(), 0);
}
