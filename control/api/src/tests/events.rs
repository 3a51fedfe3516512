//! What happened, as a list and as it happens.

use super::House;
use crate::dataplane::Happened;
use axum::body::Body;
use axum::http::{Request, header};
use base::Eui64;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;

fn joined(tenant: u32, device: u64) -> Happened {
    Happened {
        kind: "joined".into(),
        at_us: 1_709_251_199_000_000,
        tenant,
        application: tenant,
        dev_eui: Eui64::new(device),
        ..Happened::default()
    }
}

/// Events reach the memory through a task; a list is asked until they are there.
async fn listed(house: &House, key: &str, query: &str, count: usize) -> Value {
    for _ in 0..500 {
        let list = house.get(key, &format!("events{query}")).await.expect(200).json();
        if list["items"].as_array().expect("items").len() >= count {
            return list;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{count} events never came");
}

#[tokio::test]
async fn events_are_remembered_and_confined() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    house.tenant("Other").await;
    for (tenant, device) in [(1, 1), (2, 2), (1, 3)] {
        house.dataplane.events.send(joined(tenant, device)).expect("somebody listens");
    }
    let gone = Happened { kind: "gateway_offline".into(), gateway: Eui64::new(9), ..Happened::default() };
    house.dataplane.events.send(gone).expect("somebody listens");
    let all = listed(&house, &house.operator, "", 4).await;
    let own = listed(&house, &acme.viewer, "", 2).await;
    let devices = |list: &Value| -> Vec<Value> {
        list["items"].as_array().expect("items").iter().map(|item| item["device"].clone()).collect()
    };
    assert_eq!(devices(&own), ["0000000000000001", "0000000000000003"]);
    assert_eq!(own["items"][0]["tenant"], acme.id);
    assert_eq!(own["items"][0]["application"], acme.application);
    assert_eq!(own["items"][0]["at"], "2024-02-29T23:59:59.000Z");
    assert_eq!(all["items"][3]["gateway"], "0000000000000009");

    let first = all["items"][0]["id"].as_str().expect("an id");
    let rest = listed(&house, &house.operator, &format!("?since={first}&limit=2"), 2).await;
    assert_eq!(devices(&rest), ["0000000000000002", "0000000000000003"]);
    let after = rest["next"].as_str().expect("a next").to_owned();
    let rest = listed(&house, &house.operator, &format!("?since={after}"), 1).await;
    assert_eq!(rest["items"][0]["kind"], "gateway_offline");
}

#[tokio::test]
async fn events_filter_and_refuse_nonsense() {
    let house = House::new();
    house.dataplane.events.send(joined(1, 1)).expect("somebody listens");
    house.dataplane.events.send(joined(1, 2)).expect("somebody listens");
    listed(&house, &house.operator, "", 2).await;
    let one = listed(&house, &house.operator, "?device=0000000000000002", 1).await;
    assert_eq!(one["items"].as_array().expect("items").len(), 1);
    assert_eq!(listed(&house, &house.operator, "?kind=uplink", 0).await["items"], json!([]));
    let newest = listed(&house, &house.operator, "?limit=1", 1).await;
    assert_eq!(newest["items"][0]["device"], "0000000000000002");
    house.get(&house.operator, "events?device=x").await.expect(422).fields();
    house.get(&house.operator, "events?since=x").await.expect(400).fields();
}

#[tokio::test]
async fn events_are_followed_from_where_one_was() {
    let house = House::new();
    house.dataplane.events.send(joined(1, 1)).expect("somebody listens");
    house.dataplane.events.send(joined(1, 2)).expect("somebody listens");
    let list = listed(&house, &house.operator, "", 2).await;
    let first = list["items"][0]["id"].as_str().expect("an id").to_owned();
    let request = Request::get("/api/v1/events/stream")
        .header(header::AUTHORIZATION, format!("Bearer {}", house.operator))
        .header("last-event-id", first)
        .body(Body::empty());
    let response = house.router.clone().oneshot(request.expect("a request")).await.expect("an answer");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut next = async || {
        let piece = tokio::time::timeout(Duration::from_secs(5), body.next()).await.expect("in time");
        String::from_utf8(piece.expect("a piece").expect("no error").to_vec()).expect("text")
    };
    assert!(next().await.contains(r#""device":"0000000000000002""#));
    house.dataplane.events.send(joined(1, 3)).expect("somebody listens");
    let text = next().await;
    assert!(text.contains(r#""device":"0000000000000003""#) && text.contains("id: "), "{text}");
}

async fn follow(house: &House, key: &str) -> axum::body::BodyDataStream {
    let request = Request::get("/api/v1/events/stream")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .body(Body::empty());
    let response = house.router.clone().oneshot(request.expect("a request")).await.expect("an answer");
    assert_eq!(response.status(), 200);
    response.into_body().into_data_stream()
}

#[tokio::test]
async fn following_ends_with_the_key_and_with_the_api() {
    let house = House::new();
    let body = json!({"name": "other", "role": "operator"});
    let other = house.post(&house.operator, "api-keys", body).await.expect(201).json();
    let path = format!("api-keys/{}", other["id"].as_str().expect("an id"));
    let mut revoked = follow(&house, other["key"].as_str().expect("a key")).await;
    let mut kept = follow(&house, &house.operator).await;
    house.ask(&house.operator, "DELETE", &path, None).await.expect(204);
    let end = tokio::time::timeout(Duration::from_secs(10), revoked.next()).await.expect("it ends");
    assert!(end.is_none(), "{end:?}");
    house.dataplane.events.send(joined(1, 1)).expect("somebody listens");
    let next = tokio::time::timeout(Duration::from_secs(10), kept.next()).await.expect("it goes on");
    assert!(next.is_some());
    house.api.stop();
    let end = tokio::time::timeout(Duration::from_secs(10), kept.next()).await.expect("it ends");
    assert!(end.is_none(), "{end:?}");
}
