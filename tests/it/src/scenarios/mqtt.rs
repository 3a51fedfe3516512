//! The MQTT broker, as clients of others see it. Two shards, so that clients meet who live on different ones.

use crate::harness::mqtt::{Broker, Mosquitto, Paho, Way};
use serde_json::json;
use std::collections::BTreeSet;

/// Both versions.
const VERSIONS: [u8; 2] = [3, 5];

#[test]
fn every_version_over_every_transport_at_every_qos() {
    let broker = Broker::start(2);
    let mut paho = Paho::start();
    for (number, way) in Way::ALL.into_iter().enumerate() {
        for version in VERSIONS {
            // Four publishers: whichever shard the reader is on, some are on the other.
            let reader = format!("reader-{number}-{version}");
            paho.connect(&reader, &broker, way, &json!({ "version": version }));
            let filter = format!("plant/{number}/{version}/+");
            assert_eq!(paho.subscribe(&reader, &filter, 2), json!([2]));
            for writer in 0..4 {
                let name = format!("writer-{number}-{version}-{writer}");
                paho.connect(&name, &broker, way, &json!({ "version": version }));
                for qos in 0..3 {
                    let topic = format!("plant/{number}/{version}/{writer}");
                    paho.publish(&name, &topic, &format!("{qos}"), qos, false);
                    let message = paho.message(&reader, &topic);
                    assert_eq!((&message["payload"], &message["qos"]), (&json!(format!("{qos}")), &json!(qos)));
                    assert_eq!((&message["retain"], &message["dup"]), (&json!(false), &json!(false)));
                }
                paho.ask(&name, "disconnect", json!({}));
                assert_eq!(paho.expect(&name, "disconnected")["code"], 0);
            }
            paho.silence(&reader, "message");
        }
    }
    assert_eq!(broker.counted("malformed") + broker.counted("protocol"), 0);
}

#[test]
fn thousands_of_messages_keep_their_order_and_none_is_lost() {
    const COUNT: usize = 2000;
    let broker = Broker::start(2);
    let mut paho = Paho::start();
    let writers: Vec<String> = (0..4).map(|number| format!("writer-{number}")).collect();
    for (version, qos) in [(5, 1), (3, 2)] {
        let reader = format!("reader-{qos}");
        paho.connect(&reader, &broker, Way::Tls, &json!({ "version": version }));
        paho.subscribe(&reader, &format!("order/{qos}/#"), qos);
        for writer in &writers {
            paho.connect(writer, &broker, Way::Tcp, &json!({ "version": version }));
            let topic = format!("order/{qos}/{writer}");
            paho.ask(writer, "publish", json!({ "topic": topic, "payload": "#", "qos": qos, "count": COUNT }));
        }
        let mut next = vec![0; writers.len()];
        for _ in 0..COUNT * writers.len() {
            let message = paho.expect(&reader, "message");
            let topic = message["topic"].as_str().expect("a topic");
            let writer = writers.iter().position(|writer| topic.ends_with(writer)).expect("one of them");
            assert_eq!(message["payload"], json!(next[writer].to_string()), "of {topic}");
            next[writer] += 1;
        }
        for writer in &writers {
            for _ in 0..COUNT {
                assert_eq!(paho.expect(writer, "published")["code"].as_u64().map(|code| code < 0x80), Some(true));
            }
        }
        paho.silence(&reader, "message");
    }
}

#[test]
fn retained_messages_wait_for_whoever_subscribes_later() {
    let broker = Broker::start(2);
    let mut paho = Paho::start();
    paho.connect("writer", &broker, Way::Tcp, &json!({}));
    for (topic, payload) in [("state/a", "1"), ("state/b", "2"), ("state/a", "3")] {
        paho.publish("writer", topic, payload, 1, true);
    }
    for number in 0..4 {
        let reader = format!("reader-{number}");
        paho.connect(&reader, &broker, Way::Tcp, &json!({ "version": VERSIONS[number % 2] }));
        paho.subscribe(&reader, "state/+", 1);
        let got: BTreeSet<_> = (0..2)
            .map(|_| {
                let message = paho.expect(&reader, "message");
                assert_eq!(message["retain"], true, "{message}");
                (message["topic"].to_string(), message["payload"].to_string())
            })
            .collect();
        let expected = [("\"state/a\"", "\"3\""), ("\"state/b\"", "\"2\"")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(got, expected.into());
    }
    // An empty one takes it away, and live messages are not marked.
    paho.publish("writer", "state/a", "", 1, true);
    for number in 0..4 {
        let message = paho.message(&format!("reader-{number}"), "state/a");
        assert_eq!((&message["payload"], &message["retain"]), (&json!(""), &json!(false)));
    }
    paho.connect("late", &broker, Way::Tcp, &json!({}));
    paho.subscribe("late", "state/#", 0);
    paho.message("late", "state/b");
    paho.silence("late", "message");
}

#[test]
fn a_session_waits_for_its_client() {
    let broker = Broker::start(2);
    let mut paho = Paho::start();
    for version in VERSIONS {
        paho.connect("writer", &broker, Way::Tcp, &json!({ "version": version }));
        for number in 0..4 {
            let reader = format!("sleeper-{version}-{number}");
            let keeps = if version == 5 { json!({ "SessionExpiryInterval": 60 }) } else { json!(null) };
            let asked = |clean| json!({ "version": version, "clean": clean, "properties": keeps });
            // Of 3.1.1 a clean session is never kept.
            let connected = paho.connect(&reader, &broker, Way::Tcp, &asked(version == 5));
            assert_eq!(connected["present"], false);
            paho.subscribe(&reader, "night/#", 1);
            paho.ask(&reader, "disconnect", json!({}));
            paho.expect(&reader, "disconnected");
            for count in 0..5 {
                paho.publish("writer", "night/watch", &count.to_string(), 1, false);
            }
            let connected = paho.connect(&reader, &broker, Way::Tcp, &asked(false));
            assert_eq!(connected["present"], true, "{reader}");
            for count in 0..5 {
                assert_eq!(paho.message(&reader, "night/watch")["payload"], json!(count.to_string()));
            }
            paho.ask(&reader, "unsubscribe", json!({ "filters": ["night/#"] }));
            paho.expect(&reader, "unsubscribed");
            // With a clean start nothing of it is left.
            let connected = paho.connect(&reader, &broker, Way::Tcp, &asked(true));
            assert_eq!(connected["present"], false);
        }
    }
}

#[test]
fn a_will_is_published_for_whoever_vanishes_and_for_nobody_else() {
    let broker = Broker::start(2);
    let mut paho = Paho::start();
    paho.connect("heir", &broker, Way::Tcp, &json!({}));
    paho.subscribe("heir", "will/#", 1);
    for version in VERSIONS {
        for (number, way) in Way::ALL.into_iter().enumerate() {
            let name = format!("mortal-{version}-{number}");
            let topic = format!("will/{name}");
            let will = json!({ "version": version, "will": { "topic": topic, "payload": "gone", "qos": 1 } });
            paho.connect(&name, &broker, way, &will);
            paho.ask(&name, "disconnect", json!({}));
            paho.expect(&name, "disconnected");
            paho.connect(&name, &broker, way, &will);
            paho.ask(&name, "vanish", json!({}));
            let message = paho.message("heir", &topic);
            assert_eq!((&message["payload"], &message["qos"]), (&json!("gone"), &json!(1)));
        }
    }
    paho.silence("heir", "message");
}

#[test]
fn a_shared_subscription_spreads_messages_over_its_members() {
    const COUNT: usize = 400;
    let broker = Broker::start(2);
    let mut paho = Paho::start();
    let workers: Vec<String> = (0..4).map(|number| format!("worker-{number}")).collect();
    for worker in &workers {
        paho.connect(worker, &broker, Way::Tcp, &json!({}));
        assert_eq!(paho.subscribe(worker, "$share/crew/job/+", 1), json!([1]));
    }
    paho.connect("chief", &broker, Way::Tcp, &json!({}));
    paho.subscribe("chief", "job/+", 1);
    paho.connect("writer", &broker, Way::Tcp, &json!({}));
    paho.ask("writer", "publish", json!({ "topic": "job/1", "payload": "#", "qos": 1, "count": COUNT }));
    for count in 0..COUNT {
        assert_eq!(paho.message("chief", "job/1")["payload"], json!(count.to_string()));
    }
    let mut done = BTreeSet::new();
    for worker in &workers {
        for _ in 0..COUNT / workers.len() {
            let message = paho.message(worker, "job/1");
            assert!(done.insert(message["payload"].to_string()), "{message} came twice");
        }
    }
    assert_eq!(done.len(), COUNT);
    for worker in &workers {
        paho.silence(worker, "message");
    }
}

#[test]
fn properties_arrive_as_they_were_sent() {
    let broker = Broker::start(2);
    let mut paho = Paho::start();
    for number in 0..4 {
        let (reader, writer) = (format!("asker-{number}"), format!("answerer-{number}"));
        paho.connect(&reader, &broker, Way::Tcp, &json!({}));
        let ask =
            json!({ "filters": ["q/#"], "options": { "qos": 1 }, "properties": { "SubscriptionIdentifier": 77 } });
        paho.ask(&reader, "subscribe", ask);
        assert_eq!(paho.expect(&reader, "subscribed")["codes"], json!([1]));
        paho.connect(&writer, &broker, Way::Tcp, &json!({}));
        let properties = json!({
            "ContentType": "text/plain", "ResponseTopic": "answers/here", "PayloadFormatIndicator": 1,
            "MessageExpiryInterval": 3600, "UserProperty": [["key", "one"], ["key", "two"], ["", "empty"]],
        });
        let ask = json!({ "topic": "q/1", "payload": "?", "qos": 1, "properties": properties });
        paho.ask(&writer, "publish", ask);
        let got = paho.message(&reader, "q/1")["properties"].clone();
        assert_eq!(got["ContentType"], "text/plain");
        assert_eq!(got["ResponseTopic"], "answers/here");
        assert_eq!(got["PayloadFormatIndicator"], 1);
        assert_eq!(got["SubscriptionIdentifier"], json!([77]));
        assert_eq!(got["UserProperty"], json!([["key", "one"], ["key", "two"], ["", "empty"]]));
        assert!(got["MessageExpiryInterval"].as_u64().is_some_and(|left| (3590..=3600).contains(&left)), "{got}");
        paho.ask(&reader, "disconnect", json!({}));
    }
}

#[test]
fn mosquittos_programs_talk_through_it() {
    let broker = Broker::start(2);
    let (port, secure) = (broker.port.to_string(), broker.secure_port.to_string());
    let certificate = broker.system.path("cert.pem");
    let certificate = certificate.to_string_lossy();
    for version in ["mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("mosquitto/{version}/{qos}");
            let common = ["-V", version, "-h", "localhost", "-t", topic.as_str(), "-q", qos];
            // Retained, so that it does not matter who is first.
            let publish = [&common[..], &["-p", &port, "-r", "-m", "hello"]].concat();
            assert_eq!(Mosquitto::start("mosquitto_pub", &publish).said(), "");
            let plain = [&common[..], &["-p", &port, "-C", "1", "-W", "20"]].concat();
            let tls = [&common[..], &["-p", &secure, "--cafile", &certificate, "-C", "1", "-W", "20"]].concat();
            for arguments in [plain, tls] {
                assert_eq!(Mosquitto::start("mosquitto_sub", &arguments).said(), "hello\n");
            }
        }
    }
}
