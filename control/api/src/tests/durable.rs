//! Durable streams: their state, groups, history and dead letters; who may have them, and what an older dataplane answers.

use super::{House, Tenant};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const DEVICE: &str = "70B3D57ED0000001";

impl House {
    /// A durable stream of the whole tenant: below `/api/v1/`.
    async fn durable(&self, tenant: &Tenant) -> String {
        let body = json!({"name": "Kept", "level": "tenant", "delivery": "durable"});
        format!("streams/{}", self.make(&tenant.admin, "streams", body).await)
    }

    /// What was asked of the dataplane since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.dataplane.asked.lock().expect("sound"))
    }

    fn reject(&self, reason: Option<&str>) {
        *self.dataplane.reject.lock().expect("sound") = reason.map(str::to_owned);
    }
}

#[tokio::test]
async fn a_stream_says_how_its_groups_are_going() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let path = house.durable(&acme).await;
    let state = house.get(&acme.viewer, &path).await.expect(200).json()["state"].clone();
    assert_eq!((&state["retained_bytes"], &state["not_stored"]), (&json!(70_000), &json!(3)));
    assert_eq!(
        (&state["retained_messages"], &state["retained_oldest"]),
        (&json!(700), &json!("2024-02-29T23:59:59.000Z"))
    );
    assert_eq!((&state["retention_s"], &state["retention_bytes"]), (&json!(604_800), &json!(10_u64 << 30)));
    let group = &state["groups"][0];
    assert_eq!(
        (&group["group"], &group["lag_messages"], &group["sessions"]),
        (&json!("billing"), &json!(7), &json!(0))
    );
    assert_eq!(group["oldest"], "1970-01-01T00:00:00.000Z");

    let journals = house.get(&house.operator, "journal").await.expect(200).json();
    let disks: Vec<_> = journals["items"].as_array().expect("items").iter().map(|item| item["disk"].clone()).collect();
    assert_eq!(disks, ["healthy", "full"], "in the order of the shards");
    assert_eq!(journals["items"][1]["bytes"], 1_u64 << 40);
}

#[tokio::test]
async fn a_group_is_told_where_to_read_on() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let path = house.durable(&acme).await;
    let group = format!("{path}/groups/eu-1.billing_B");
    let seek = format!("{group}/seek");
    for (body, position) in [
        (json!({"to": "earliest"}), "Earliest"),
        (json!({"to": "latest"}), "Latest"),
        (json!({"time": "2024-02-29T23:59:59Z"}), "Time(1709251199000000)"),
        (json!({"time": "1709251199.5"}), "Time(1709251199500000)"),
        (json!({"id": "0A-1"}), "Id(\"0A-1\")"),
    ] {
        house.post(&acme.admin, &seek, body).await.expect(204);
        let expected = format!("SeekGroup {{ stream: 1, group: \"eu-1.billing_B\", to: {position} }}");
        assert_eq!(house.asked(), [expected]);
    }
    for (body, field) in [
        (json!({}), "to"),
        (json!({"to": "yesterday"}), "to"),
        (json!({"to": "latest", "id": "x"}), "to"),
        (json!({"time": "yesterday"}), "time"),
        (json!({"time": 5}), "time"),
        (json!({"id": ""}), "id"),
        (json!({"id": "x".repeat(129)}), "id"),
        (json!({"offset": 1}), "offset"),
    ] {
        assert_eq!(house.post(&acme.admin, &seek, body).await.expect(422).fields(), [field]);
    }
    for bad in ["a%20b", "a%2Fb", &"g".repeat(65)] {
        let answer = house.post(&acme.admin, &format!("{path}/groups/{bad}/seek"), json!({"to": "latest"})).await;
        assert_eq!(answer.expect(422).fields(), ["group"]);
    }
    assert_eq!(house.asked(), [] as [&str; 0], "what is wrong is not asked");

    house.ask(&acme.admin, "DELETE", &group, None).await.expect(204);
    assert_eq!(house.asked(), ["(1, \"eu-1.billing_B\")"]);
    for (reason, status) in [
        ("unknown_stream", 409),
        ("not_durable", 409),
        ("unknown_group", 404),
        ("in_use", 409),
        ("unavailable", 503),
        ("something_newer", 409),
    ] {
        house.reject(Some(reason));
        house.ask(&acme.admin, "DELETE", &group, None).await.expect(status).fields();
    }
    house.reject(Some("unknown_id"));
    assert_eq!(house.post(&acme.admin, &seek, json!({"id": "x"})).await.expect(422).fields(), ["id"]);
}

#[tokio::test]
async fn history_is_read_line_by_line_and_page_by_page() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let path = format!("{}/history", house.durable(&acme).await);
    let first = house.get(&acme.viewer, &path).await.expect(200);
    assert_eq!(first.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = first.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, [json!({"Type": 2, "FCnt": 1}), json!({"Message": "2;\"x\""})]);
    assert!(first.text.starts_with("{\"Type\":2,"), "what is JSON is left as it is");
    assert_eq!(house.asked(), ["History { stream: 1, from_us: 0, to_us: 0, device: None, page: [], limit: 100 }"]);

    let query = format!("from=2024-02-29T23:59:59Z&to=1709251200.25&device={DEVICE}&limit=1000");
    let first = house.get(&acme.viewer, &format!("{path}?{query}")).await.expect(200);
    let asked = house.asked().concat();
    assert!(asked.contains("from_us: 1709251199000000, to_us: 1709251200250000"), "{asked}");
    assert!(asked.contains("limit: 1000"), "{asked}");
    let link = first.header("link").strip_prefix("</api/v1/").and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    let last = house.get(&acme.viewer, link.expect("more follows")).await.expect(200);
    assert_eq!(house.asked(), [asked.replace("page: []", "page: [171, 0]")], "the same request, further on");
    assert_eq!(last.header("link"), "", "nothing follows");

    for (query, fields) in [
        ("from=yesterday&to=tomorrow&device=x&limit=0&page=x", &["from", "to", "device", "limit", "page"][..]),
        ("from=10&to=10", &["to"]),
        ("to=0", &["to"]),
        ("limit=1001", &["limit"]),
        ("limit=-1", &["limit"]),
        ("device=0000000000000000", &["device"]),
        ("page=ABC", &["page"]),
    ] {
        let answer = house.get(&acme.viewer, &format!("{path}?{query}")).await.expect(400);
        assert_eq!(answer.fields(), fields, "{query}");
    }
    house.get(&acme.viewer, &format!("{path}?until=1")).await.expect(400).fields();
    assert_eq!(house.asked(), [] as [&str; 0]);
    house.reject(Some("bad_page"));
    assert_eq!(house.get(&acme.viewer, &format!("{path}?page=00")).await.expect(400).fields(), ["page"]);
    house.reject(Some("not_durable"));
    house.get(&acme.viewer, &path).await.expect(409).fields();
}

#[tokio::test]
async fn dead_letters_are_listed_and_put_back() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let path = format!("{}/dead-letters", house.durable(&acme).await);
    let page = house.get(&acme.viewer, &format!("{path}?limit=5&after=AB00")).await.expect(200).json();
    assert_eq!(house.asked(), ["DeadLetters { stream: 1, page: [171, 0], limit: 5 }"]);
    let letter = json!({"id": "77", "group": "billing", "reason": "too hot", "attempts": 5,
        "at": "2024-02-29T23:59:59.000Z", "message": "{\"Type\":2}"});
    assert_eq!(page, json!({"items": [letter], "next": "09"}));
    for (query, field) in [("limit=0", "limit"), ("after=x", "after")] {
        assert_eq!(house.get(&acme.viewer, &format!("{path}?{query}")).await.expect(422).fields(), [field]);
    }

    let put_back = format!("{path}/put-back");
    let done = house.post(&acme.admin, &put_back, json!({"ids": ["77", "78"]})).await.expect(200).json();
    assert_eq!(done, json!({"count": 2}));
    assert_eq!(house.post(&acme.admin, &put_back, json!({})).await.expect(200).json(), json!({"count": 12}));
    assert_eq!(house.asked(), ["(1, [\"77\", \"78\"])", "(1, [])"]);
    let many: Vec<_> = (0..1001).map(|id| id.to_string()).collect();
    assert_eq!(house.post(&acme.admin, &put_back, json!({"ids": many})).await.expect(422).fields(), ["ids"]);
    house.reject(Some("unknown_id"));
    assert_eq!(house.post(&acme.admin, &put_back, json!({"ids": ["x"]})).await.expect(422).fields(), ["ids"]);
}

#[tokio::test]
async fn what_is_kept_is_its_tenants_alone() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let evil = house.tenant("Evil").await;
    let path = house.durable(&acme).await;
    let seek = Some(json!({"to": "latest"}));
    // Then the statuses for the operator, the tenant's admin and viewer, and another tenant's admin and viewer.
    let matrix = [
        ("GET", String::new(), None, [200, 200, 200, 404, 404]),
        ("GET", "/history".into(), None, [200, 200, 200, 404, 404]),
        ("GET", "/dead-letters".into(), None, [200, 200, 200, 404, 404]),
        ("POST", "/dead-letters/put-back".into(), Some(json!({})), [200, 200, 403, 404, 403]),
        ("POST", "/groups/billing/seek".into(), seek, [204, 204, 403, 404, 403]),
        ("DELETE", "/groups/billing".into(), None, [204, 204, 403, 404, 403]),
    ];
    let keys = [&house.operator, &acme.admin, &acme.viewer, &evil.admin, &evil.viewer];
    for (method, below, body, statuses) in matrix {
        let mut expected = 0;
        for (key, status) in keys.into_iter().zip(statuses) {
            let answer = house.ask(key, method, &format!("{path}{below}"), body.clone()).await;
            assert_eq!(answer.status, status, "{method} {below}: {answer:?}");
            expected += usize::from(status < 300 && !below.is_empty());
        }
        assert_eq!(house.asked().len(), expected, "{method} {below}: who may not never reaches the dataplane");
    }
    // Streams of the operator are the operator's.
    let body = json!({"name": "All", "level": "operator", "delivery": "durable"});
    let path = format!("streams/{}", house.make(&house.operator, "streams", body).await);
    house.get(&house.operator, &format!("{path}/history")).await.expect(200);
    house.get(&acme.admin, &format!("{path}/history")).await.expect(404);
    for (key, status) in keys.into_iter().zip([200, 403, 403, 403, 403]) {
        house.get(key, "journal").await.expect(status);
    }
}

#[tokio::test]
async fn an_older_dataplane_is_said_to_need_an_upgrade() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let path = house.durable(&acme).await;
    house.dataplane.is_old.store(true, Ordering::SeqCst);
    let seek = Some(json!({"to": "latest"}));
    let all = [
        ("GET", "journal".to_owned(), None),
        ("GET", format!("{path}/history"), None),
        ("GET", format!("{path}/dead-letters"), None),
        ("POST", format!("{path}/dead-letters/put-back"), Some(json!({}))),
        ("POST", format!("{path}/groups/billing/seek"), seek),
        ("DELETE", format!("{path}/groups/billing"), None),
    ];
    for (method, path, body) in &all {
        let answer = house.ask(&house.operator, method, path, body.clone()).await.expect(501);
        answer.fields();
        let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains("1.0") && detail.contains("needs 1.1"), "{method} {path}: {detail}");
    }
    // It would serve a durable stream live without a word. What is durable already may still be changed.
    let durable = json!({"name": "More", "level": "tenant", "delivery": "durable"});
    house.post(&acme.admin, "streams", durable).await.expect(501).fields();
    house.ask(&acme.admin, "PATCH", &path, Some(json!({"name": "Renamed"}))).await.expect(200);
    house.ask(&acme.admin, "PATCH", &path, Some(json!({"delivery": "live"}))).await.expect(200);
    house.ask(&acme.admin, "PATCH", &path, Some(json!({"delivery": "durable"}))).await.expect(501);
    assert_eq!(house.get(&acme.admin, &path).await.json()["delivery"], "live");

    house.dataplane.is_away.store(true, Ordering::SeqCst);
    for (method, path, body) in &all {
        house.ask(&house.operator, method, path, body.clone()).await.expect(503).fields();
    }
    house.ask(&acme.admin, "PATCH", &path, Some(json!({"delivery": "durable"}))).await.expect(202);
}
