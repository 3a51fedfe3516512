//! Every resource: made, read, changed, removed; and what is wrong with what is wrong.

use super::House;
use crate::dataplane::Dataplane;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const DEVICE: &str = "70B3D57ED0000001";
const GATEWAY: &str = "0016C001FF10A235";

#[tokio::test]
async fn a_thing_lives_through_every_method() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let device = format!("devices/{DEVICE}");
    house.post(&acme.admin, "devices", acme.otaa(DEVICE)).await.expect(201);
    let stream = json!({"name": "All", "level": "application", "application": acme.application});
    let things = [
        ("tenants".to_owned(), house.operator.clone(), json!({"name": "Other"}), "name"),
        ("applications".into(), acme.admin.clone(), json!({"name": "More", "dedup_window_ms": 100}), "name"),
        (
            "profiles".into(),
            acme.admin.clone(),
            json!({"name": "US", "region": "US915", "mac_version": "1.0.3", "sub_bands": [2]}),
            "name",
        ),
        ("streams".into(), acme.admin.clone(), stream, "name"),
        ("gateways".into(), acme.admin.clone(), json!({"eui": GATEWAY, "name": "Roof"}), "name"),
    ];
    for (path, key, body, field) in things {
        let made = house.post(&key, &path, body.clone()).await.expect(201);
        let location = made.header("location").strip_prefix("/api/v1/").expect("a location").to_owned();
        assert_eq!(made.header("trunkline-applied"), "true");
        let value = made.json();
        assert_eq!(value["applied"], true, "{value}");
        for (name, sent) in body.as_object().expect("an object") {
            assert_eq!(&value[name], sent, "{path}");
        }
        let read = house.get(&key, &location).await.expect(200);
        assert_eq!(read.header("etag"), made.header("etag"));
        assert_eq!(read.json()["revision"], value["revision"]);

        let stale = read.header("etag").to_owned();
        let patched = house.ask(&key, "PATCH", &location, Some(json!({field: "Renamed"}))).await.expect(200);
        assert_eq!(patched.json()[field], "Renamed");
        let tag = patched.header("etag").to_owned();
        assert_ne!(tag, stale);
        house.ask_if(&key, "PATCH", &location, Some(json!({})), Some(&stale)).await.expect(412).fields();
        house.ask_if(&key, "DELETE", &location, None, Some(&stale)).await.expect(412);
        let replaced = house.ask_if(&key, "PUT", &location, Some(body.clone()), Some(&tag)).await.expect(200);
        assert_eq!(replaced.json()[field], body[field]);
        let bad = house.ask(&key, "PATCH", &location, Some(json!({field: 1}))).await.expect(422);
        assert_eq!(bad.fields(), [field]);
        let bad = house.ask(&key, "PATCH", &location, Some(json!({"nonsense": 1}))).await.expect(422);
        assert_eq!(bad.fields(), ["nonsense"]);

        let listed = house.get(&key, &path).await.expect(200).json();
        assert!(listed["items"].as_array().expect("items").iter().any(|item| item[field] == body[field]));
        assert_eq!(listed["next"], Value::Null);
        house.ask_if(&key, "DELETE", &location, None, Some("*")).await.expect(204);
        house.get(&key, &location).await.expect(404).fields();
        house.ask(&key, "DELETE", &location, None).await.expect(404);
        house.ask(&key, "PUT", &location, Some(body)).await.expect(404);
    }
    house.ask(&acme.admin, "DELETE", &device, None).await.expect(204);
}

#[tokio::test]
async fn devices_keep_their_keys_to_themselves() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let path = format!("devices/{DEVICE}");
    let made = house.post(&acme.admin, "devices", acme.otaa("70-b3-d5-7e-d0-00-00-01")).await.expect(201);
    assert_eq!(made.header("location"), format!("/api/v1/{path}"));
    let read = house.get(&acme.viewer, &path).await.expect(200);
    let value = read.json();
    assert_eq!(value["dev_eui"], DEVICE);
    assert_eq!(value["activation"], "otaa");
    assert_eq!(value["live"], true);
    assert_eq!(value["last_seen"], "2024-02-29T23:59:59.000Z");
    assert_eq!(value["session"]["dev_addr"], "26011BDA");
    assert_eq!(value["session"]["fcnt_up"], 17);
    assert_eq!(value["session"]["rssi"], -112.5);
    for text in [&made.text, &read.text, &house.get(&acme.admin, "devices").await.text] {
        assert!(!text.contains("0C0D0E0F") && !text.contains("app_key"), "{text}");
    }
    let keys = house.get(&acme.admin, &format!("{path}/keys")).await.expect(200).json();
    assert_eq!(keys, json!({"otaa": {"app_key": "000102030405060708090A0B0C0D0E0F"}}));
    house.get(&acme.viewer, &format!("{path}/keys")).await.expect(403);

    // What was read can be written again: the keys stay.
    let body = json!({"application": acme.application, "profile": acme.profile, "name": "Meter"});
    house.ask(&acme.admin, "PUT", &path, Some(body)).await.expect(200);
    assert_eq!(house.get(&acme.admin, &format!("{path}/keys")).await.json(), keys);
    let abp = json!({"dev_addr": "FC00AC01", "nwk_s_key": "0".repeat(32), "app_s_key": "1".repeat(32), "fcnt_up": 5});
    let both = house.ask(&acme.admin, "PATCH", &path, Some(json!({"abp": abp}))).await.expect(422);
    assert_eq!(both.fields(), ["abp"]);
    let value =
        house.ask(&acme.admin, "PATCH", &path, Some(json!({"otaa": null, "abp": abp}))).await.expect(200).json();
    assert_eq!((&value["activation"], &value["dev_addr"]), (&json!("abp"), &json!("FC00AC01")));
    assert_eq!(value["name"], "Meter");
    let keys = house.get(&acme.admin, &format!("{path}/keys")).await.json();
    assert_eq!(keys["abp"]["fcnt_up"], 5);
    house.post(&acme.admin, "devices", acme.otaa(DEVICE)).await.expect(409).fields();
}

#[tokio::test]
async fn problems_name_every_field() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let check = async |path: &str, body: Value, fields: &[&str]| {
        let mut named = house.post(&acme.admin, path, body.clone()).await.expect(422).fields();
        named.sort();
        assert_eq!(named, fields, "{path} {body}");
    };
    check("applications", json!({"name": "", "dedup_window_ms": 5}), &["dedup_window_ms", "name"]).await;
    check("applications", json!({"name": "x", "tenant": "nonsense"}), &["tenant"]).await;
    check("profiles", json!({"name": "x", "region": "EU", "mac_version": "2"}), &["mac_version", "region"]).await;
    let profile = json!({"name": "x", "region": "EU868", "mac_version": "1.0.4", "rx1_delay_s": 16, "sub_bands": [9]});
    check("profiles", profile, &["rx1_delay_s", "sub_bands"]).await;
    // The dataplane's compiler knows what a region allows.
    let profile = json!({"name": "x", "region": "EU868", "mac_version": "1.0.4", "rx1_dr_offset": 7});
    check("profiles", profile, &["rx1_dr_offset"]).await;
    check("devices", json!({"dev_eui": "0000000000000000"}), &["dev_eui"]).await;
    check("devices", json!({"dev_eui": DEVICE}), &["application", "otaa", "profile"]).await;
    let mut device = acme.otaa(DEVICE);
    device["otaa"]["app_key"] = json!("00");
    device["join_eui"] = json!("x");
    check("devices", device, &["join_eui", "otaa.app_key"]).await;
    let mut device = acme.otaa(DEVICE);
    device["otaa"]["more"] = json!(1);
    check("devices", device, &["otaa.more"]).await;
    check("gateways", json!({"eui": GATEWAY, "place": {"latitude": 91, "longitude": 0}}), &["place"]).await;
    check("gateways", json!({"name": "x"}), &["eui"]).await;
    let stream = |more: Value| {
        let mut body = json!({"name": "x", "level": "tenant"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    check("streams", stream(json!({"level": "application"})), &["application"]).await;
    check("streams", stream(json!({"device": DEVICE})), &["device"]).await;
    check("streams", stream(json!({"level": "device", "device": DEVICE})), &["device"]).await;
    check("streams", stream(json!({"level": "operator"})), &["level"]).await;
    check("streams", stream(json!({"copies": "some", "when_full": "wait"})), &["copies", "when_full"]).await;
    check("streams", stream(json!({"kinds": ["uplink", "nonsense"]})), &["kinds[1]"]).await;
    check("streams", stream(json!({"format": "nonsense"})), &["format"]).await;
    check("streams", stream(json!({"templates": {"uplink": "{{nonsense}}"}})), &["templates.uplink"]).await;
    check("streams", stream(json!({"format": "json", "templates": {"uplink": "x"}})), &["templates"]).await;
    check("streams", stream(json!({"queue_bytes_max": 1})), &["queue_bytes_max"]).await;
    check("streams", stream(json!({"delivery": "eventual"})), &["delivery"]).await;
    let wrong = json!({"delivery": "durable", "accept": "tape", "retention_s": 59, "retention_bytes": 1, "in_flight_max": 0,
        "attempts_max": 101, "retry_s": 86401, "ack_timeout_s": 4});
    let fields =
        ["accept", "ack_timeout_s", "attempts_max", "in_flight_max", "retention_bytes", "retention_s", "retry_s"];
    check("streams", stream(wrong), &fields).await;
    let durable_only = json!({"accept": "memory", "retention_s": 60, "retention_bytes": 1_u64 << 50, "in_flight_max": 1,
        "attempts_max": 1, "retry_s": 0, "ack_timeout_s": 5});
    check("streams", stream(durable_only), &fields).await;
    assert_eq!(house.get(&acme.admin, "streams").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_stream_becomes_durable_and_live_again() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    // The defaults may be said of a live stream.
    let body = json!({"name": "All", "level": "tenant", "copies": "all", "delivery": "live", "accept": "disk",
        "retention_s": 604_800, "retention_bytes": 0, "retry_s": 10, "ack_timeout_s": 0});
    let path = format!("streams/{}", house.make(&acme.admin, "streams", body).await);
    let live = house.get(&acme.viewer, &path).await.expect(200).json();
    assert_eq!(
        (&live["delivery"], &live["accept"], &live["retention_s"]),
        (&json!("live"), &Value::Null, &Value::Null)
    );
    let patch = async |body: Value| house.ask(&acme.admin, "PATCH", &path, Some(body)).await;

    let durable = patch(json!({"delivery": "durable", "retention_bytes": 1_u64 << 40})).await.expect(200).json();
    assert_eq!((&durable["delivery"], &durable["accept"]), (&json!("durable"), &json!("disk")));
    assert_eq!((&durable["retention_bytes"], &durable["retention_s"]), (&json!(1_u64 << 40), &Value::Null));
    let durable =
        patch(json!({"accept": "memory", "retention_s": 3600, "in_flight_max": 4096, "attempts_max": 1, "retry_s": 0,
        "ack_timeout_s": 86400}))
        .await
        .expect(200)
        .json();
    for (field, value) in [("accept", json!("memory")), ("retention_s", json!(3600)), ("retry_s", json!(0))] {
        assert_eq!(durable[field], value);
    }
    assert_eq!(house.get(&acme.admin, &path).await.json()["ack_timeout_s"], 86400);

    // What it had comes along in the patch; what it had not is refused.
    assert_eq!(patch(json!({"delivery": "live", "attempts_max": 7})).await.expect(422).fields(), ["attempts_max"]);
    let live = patch(json!({"delivery": "live"})).await.expect(200).json();
    assert_eq!(
        (&live["delivery"], &live["accept"], &live["retention_s"]),
        (&json!("live"), &Value::Null, &Value::Null)
    );
    assert_eq!(patch(json!({"retention_s": 3600})).await.expect(422).fields(), ["retention_s"]);
    let again = patch(json!({"delivery": "durable"})).await.expect(200).json();
    assert_eq!(again["retention_s"], Value::Null, "it is forgotten: the default holds");
}

#[tokio::test]
async fn templates_of_one_owner_are_bounded_together() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let longest = model::Format::TEMPLATE_BYTES_MAX;
    let stream = |text: String| json!({"name": "x", "level": "tenant", "templates": {"uplink": text}});
    let mut last = String::new();
    for _ in 0..model::Format::OWNED_BYTES_MAX / longest {
        last = house.make(&acme.admin, "streams", stream("\"".repeat(longest))).await;
    }
    let more = house.post(&acme.admin, "streams", stream("x".into())).await.expect(422);
    assert_eq!(more.fields(), ["templates"]);
    assert!(more.text.contains("4194304 bytes together"), "{}", more.text);
    // What is there may become less, and stay; others have bounds of their own.
    let path = format!("streams/{last}");
    house.ask(&acme.admin, "PATCH", &path, Some(json!({"enabled": false}))).await.expect(200);
    house.ask(&acme.admin, "PUT", &path, Some(stream("y".repeat(longest - 1)))).await.expect(200);
    house.post(&acme.admin, "streams", stream("x".into())).await.expect(201);
    house.ask(&acme.admin, "PUT", &path, Some(stream("y".repeat(longest)))).await.expect(422);
    let other = house.tenant("Other").await;
    house.post(&other.admin, "streams", stream("x".into())).await.expect(201);
}

#[tokio::test]
async fn a_stream_keeps_its_owner() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let id = house.make(&house.operator, "streams", json!({"name": "x", "level": "operator"})).await;
    let path = format!("streams/{id}");
    let patch = json!({"level": "application", "application": acme.application});
    assert_eq!(house.ask(&house.operator, "PATCH", &path, Some(patch)).await.expect(422).fields(), ["tenant"]);
    assert_eq!(house.get(&house.operator, &path).await.expect(200).json()["tenant"], Value::Null);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let house = House::with(crate::Options { body_timeout: Duration::from_millis(50), ..Default::default() });
    let request = Request::post("/api/v1/tenants")
        .header("authorization", format!("Bearer {}", house.operator))
        .header("content-type", "application/json")
        .body(Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>()));
    house.send(request.expect("a request")).await.expect(408).fields();
}

#[tokio::test]
async fn streams_have_tokens_and_state() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let body = json!({"name": "All", "level": "application", "application": acme.application});
    let id = house.make(&acme.admin, "streams", body).await;
    let path = format!("streams/{id}");
    let tokens = format!("{path}/tokens");
    let made = house.post(&acme.admin, &tokens, json!({})).await.expect(201).json();
    let token = made["token"].as_str().expect("a token");
    assert_eq!(token.len(), 64);
    assert_eq!(made["url"], format!("wss://localhost:8443/?token={token}"));
    let own = json!({"name": "own", "token": "typed-by-hand-0123"});
    house.post(&acme.admin, &tokens, own.clone()).await.expect(201);
    assert_eq!(house.post(&acme.admin, &tokens, own).await.expect(409).fields(), ["token"]);
    assert_eq!(house.post(&acme.admin, &tokens, json!({"token": "short"})).await.expect(422).fields(), ["token"]);

    let listed = house.get(&acme.admin, &tokens).await.expect(200);
    assert_eq!(listed.json()["items"].as_array().expect("items").len(), 2);
    assert!(!listed.text.contains(token));
    let one = format!("{tokens}/{}", made["id"].as_str().expect("an id"));
    assert_eq!(house.get(&acme.admin, &one).await.expect(200).json()["token"], token);
    house.get(&acme.viewer, &one).await.expect(403);
    house.get(&acme.viewer, &tokens).await.expect(403);
    let rotated = house.ask(&acme.admin, "POST", &format!("{one}/rotate"), None).await.expect(201).json();
    assert_ne!(rotated["token"], token);
    house.get(&acme.admin, &one).await.expect(404);
    let one = format!("{tokens}/{}", rotated["id"].as_str().expect("an id"));
    house.ask(&acme.admin, "DELETE", &one, None).await.expect(204);

    let read = house.get(&acme.viewer, &path).await.expect(200).json();
    assert_eq!(read["state"]["delivered"], 8);
    assert_eq!(read["state"]["drops"], json!({"queue_full": 2}));
    assert_eq!(read["state"]["connections"][0]["peer"], "192.0.2.2:5");
    house.ask(&acme.admin, "DELETE", &path, None).await.expect(204);
    house.get(&acme.admin, &tokens).await.expect(404);
}

#[tokio::test]
async fn downlinks_go_to_the_dataplane() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    house.post(&acme.admin, "devices", acme.otaa(DEVICE)).await.expect(201);
    let path = format!("devices/{DEVICE}/downlinks");
    let body = json!({"fport": 10, "data": "01ff", "confirmed": true, "expires_in_s": 60});
    let made = house.post(&acme.admin, &path, body.clone()).await.expect(201).json();
    assert_eq!(made, json!({"id": 1}), "the number that streams call DownlinkId");
    let sent = house.dataplane.queue.lock().expect("sound")[0].clone();
    assert_eq!((sent.fport, sent.confirmed, sent.payload), (10, true, vec![1, 0xFF]));
    assert!(sent.expires_us > 0);
    let queue = house.get(&acme.viewer, &path).await.expect(200).json();
    assert_eq!((&queue["items"][0]["id"], &queue["items"][0]["data"]), (&json!(1), &json!("01FF")));
    assert_eq!(house.get(&acme.viewer, &format!("devices/{DEVICE}")).await.json()["queue"], queue["items"]);
    house.post(&acme.viewer, &path, body.clone()).await.expect(403);
    let flushed = house.ask(&acme.admin, "DELETE", &path, None).await.expect(200).json();
    assert_eq!(flushed, json!({"count": 1}));

    for (body, field) in [
        (json!({"fport": 0, "data": ""}), "fport"),
        (json!({"fport": 224, "data": ""}), "fport"),
        (json!({"fport": 1, "data": "0"}), "data"),
        (json!({"fport": 1, "data": "00".repeat(243)}), "data"),
        (json!({"fport": 1}), "data"),
    ] {
        assert_eq!(house.post(&acme.admin, &path, body).await.expect(422).fields(), [field]);
    }
    *house.dataplane.reject.lock().expect("sound") = Some("queue_full".into());
    assert!(house.post(&acme.admin, &path, body.clone()).await.expect(409).text.contains("queue_full"));
    *house.dataplane.reject.lock().expect("sound") = Some("too_long".into());
    assert_eq!(house.post(&acme.admin, &path, body.clone()).await.expect(422).fields(), ["data"]);
    house.dataplane.is_away.store(true, Ordering::SeqCst);
    house.post(&acme.admin, &path, body).await.expect(503).fields();
    house.get(&acme.admin, &path).await.expect(503);
}

#[tokio::test]
async fn what_the_dataplane_has_no_room_for_is_stored_and_not_in_force() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let full_for = |euis: &[&str]| {
        *house.dataplane.full_for.lock().expect("sound") =
            euis.iter().map(|eui| eui.parse().expect("an EUI")).collect();
    };
    full_for(&[DEVICE, GATEWAY]);
    let bodies = [("devices", DEVICE, acme.otaa(DEVICE)), ("gateways", GATEWAY, json!({"eui": GATEWAY}))];
    for (path, eui, body) in bodies {
        let is = |view: &Value, applied: bool, no_room: Value| {
            assert_eq!((&view["applied"], &view["no_room"], &view["live"]), (&json!(applied), &no_room, &json!(true)));
        };
        let made = house.post(&acme.admin, path, body).await.expect(202);
        assert_eq!(made.header("trunkline-applied"), "false");
        is(&made.json(), false, json!(1));
        let one = format!("{path}/{eui}");
        let read = house.get(&acme.viewer, &one).await.expect(200).json();
        is(&read, false, json!(1));
        assert_eq!(read.get("state").or(read.get("session")), Some(&Value::Null), "there is nothing to show of it");
        is(&house.get(&acme.viewer, path).await.expect(200).json()["items"][0], false, json!(1));
        let changed = house.ask(&acme.admin, "PATCH", &one, Some(json!({"name": "x"}))).await.expect(202).json();
        is(&changed, false, json!(1));
    }
    full_for(&[]);
    for path in [format!("devices/{DEVICE}"), format!("gateways/{GATEWAY}")] {
        let read = house.get(&acme.viewer, &path).await.expect(200).json();
        assert_eq!((&read["applied"], &read["no_room"]), (&json!(true), &Value::Null), "it fits");
    }
}

#[tokio::test]
async fn without_a_dataplane_writes_are_stored_and_pending() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    house.dataplane.is_away.store(true, Ordering::SeqCst);
    let made = house.post(&acme.admin, "devices", acme.otaa(DEVICE)).await.expect(202);
    assert_eq!(made.header("trunkline-applied"), "false");
    assert_eq!(made.json()["applied"], false);
    let path = format!("devices/{DEVICE}");
    let read = house.get(&acme.admin, &path).await.expect(200).json();
    assert_eq!((&read["applied"], &read["live"], &read["session"]), (&json!(false), &json!(false), &Value::Null));
    let status = house.get(&house.operator, "status").await.expect(200).json();
    assert_eq!(status["dataplane"]["connected"], false);
    assert_eq!(status["pending"], status["revision"]);
    house.dataplane.is_away.store(false, Ordering::SeqCst);
    house.ask(&acme.admin, "PATCH", &path, Some(json!({"name": "x"}))).await.expect(200);
    assert_eq!(house.get(&acme.admin, &path).await.json()["applied"], true);
    let status = house.get(&house.operator, "status").await.expect(200).json();
    assert_eq!(status["pending"], 0);
    assert_eq!(status["counts"]["devices"], 1);
    house.dataplane.is_away.store(true, Ordering::SeqCst);
    house.ask(&acme.admin, "DELETE", &path, None).await.expect(202);
    house.get(&acme.admin, &path).await.expect(404);
}

#[tokio::test]
async fn lists_are_read_in_parts() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let other = house.tenant("Other").await;
    for number in 1..=7 {
        house.post(&acme.admin, "devices", acme.otaa(&format!("{number:016X}"))).await.expect(201);
    }
    house.post(&other.admin, "devices", other.otaa("00000000000000FF")).await.expect(201);
    let walk = async |path: &str| {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page = house.get(&house.operator, &format!("{path}limit=3{after}")).await.expect(200).json();
            let items = page["items"].as_array().expect("items");
            assert!(items.len() <= 3);
            found.extend(
                items.iter().map(|item| item["dev_eui"].as_str().or(item["name"].as_str()).expect("a name").to_owned()),
            );
            let Some(next) = page["next"].as_str() else { return found };
            after = format!("&after={next}");
        }
    };
    assert_eq!(walk("devices?").await.len(), 8);
    let own = walk(&format!("devices?application={}&", acme.application)).await;
    assert_eq!(own, (1..=7).map(|number| format!("{number:016X}")).collect::<Vec<_>>());
    assert_eq!(walk(&format!("devices?tenant={}&", other.id)).await, ["00000000000000FF"]);
    assert_eq!(walk(&format!("devices?profile={}&", other.profile)).await.len(), 1);
    assert_eq!(walk("tenants?").await, ["Acme", "Other"]);
    assert_eq!(walk(&format!("tenants?tenant={}&", other.id)).await, ["Other"]);
    // Its own is on the first page, however many there are before it.
    let page = house.get(&other.admin, "tenants?limit=1").await.expect(200).json();
    assert_eq!((&page["items"][0]["name"], &page["next"]), (&json!("Other"), &Value::Null));
    for (path, status) in [
        ("devices?limit=0", 422),
        ("devices?limit=1001", 422),
        ("devices?after=x", 422),
        ("devices?tenant=x", 422),
        ("devices?nonsense=1", 400),
        ("tenants?after=x", 422),
    ] {
        house.get(&house.operator, path).await.expect(status).fields();
    }
}

#[tokio::test]
async fn settings_are_one_thing() {
    let house = House::new();
    let read = house.get(&house.operator, "settings").await.expect(200);
    assert_eq!(read.json()["net_id"], "000000");
    let tag = read.header("etag").to_owned();
    let body = json!({"net_id": "000013", "accept_unknown_gateways": true});
    let put = house.ask_if(&house.operator, "PUT", "settings", Some(body), Some(&tag)).await.expect(200).json();
    assert_eq!((&put["net_id"], &put["applied"]), (&json!("000013"), &json!(true)));
    house.ask_if(&house.operator, "PUT", "settings", Some(json!({})), Some(&tag)).await.expect(412);
    let patch = json!({"gateway_silence_s": 4, "net_id": "13"});
    let fields = house.ask(&house.operator, "PATCH", "settings", Some(patch)).await.expect(422).fields();
    assert_eq!(fields, ["net_id", "gateway_silence_s"]);
    let patch = json!({"gateway_silence_s": 30});
    house.ask(&house.operator, "PATCH", "settings", Some(patch)).await.expect(200);
    let read = house.get(&house.operator, "settings").await.json();
    assert_eq!((&read["gateway_silence_s"], &read["accept_unknown_gateways"]), (&json!(30), &json!(true)));
}

#[tokio::test]
async fn what_others_need_is_not_removed() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    house.post(&acme.admin, "devices", acme.otaa(DEVICE)).await.expect(201);
    let tap = house.make(&acme.admin, "streams", json!({"name": "x", "level": "device", "device": DEVICE})).await;
    let all = [
        format!("devices/{DEVICE}"),
        format!("applications/{}", acme.application),
        format!("profiles/{}", acme.profile),
    ];
    for path in &all {
        house.ask(&acme.admin, "DELETE", path, None).await.expect(409).fields();
    }
    house.ask(&house.operator, "DELETE", &format!("tenants/{}", acme.id), None).await.expect(409);
    house.ask(&acme.admin, "DELETE", &format!("streams/{tap}"), None).await.expect(204);
    for path in &all {
        house.ask(&acme.admin, "DELETE", path, None).await.expect(204);
    }
}

#[tokio::test]
async fn a_write_is_told_although_nobody_waits_for_its_answer() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let request = |path: &str, kind: &str, body: String| {
        let request =
            Request::post(format!("/api/v1/{path}")).header("authorization", format!("Bearer {}", acme.admin));
        request.header("content-type", kind).body(Body::from(body)).expect("a request")
    };
    let more = request("applications", "application/json", json!({"name": "More"}).to_string());
    let import = request("devices/import", "application/x-ndjson", acme.otaa(DEVICE).to_string());
    for request in [more, import] {
        // Another writer holds the request up until its client has gone: a dropped future is all that hyper leaves.
        let (begun, begins) = std::sync::mpsc::channel();
        let (end, ends) = std::sync::mpsc::channel();
        let store = Arc::clone(&house.store);
        let holder = std::thread::spawn(move || {
            store.write(|writer| {
                writer.only_try();
                begun.send(()).expect("somebody waits");
                ends.recv().expect("an end");
                Ok::<_, store::Error>(())
            })
        });
        begins.recv().expect("a beginning");
        let before = house.store.revision();
        let waited = tokio::time::timeout(Duration::from_secs(1), house.send(request)).await;
        assert!(waited.is_err(), "{waited:?}");
        end.send(()).expect("it waits");
        holder.join().expect("no panic").expect("nothing was kept");
        for _ in 0..500 {
            if house.store.revision() > before && house.dataplane.status().revision == house.store.revision() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(house.store.revision() > before, "it was written all the same");
        assert_eq!(house.dataplane.status().revision, house.store.revision());
    }
}
