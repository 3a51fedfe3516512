//! The document, the pages, metrics, and what is not there.

use super::House;
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Calls `each` with every value in the tree.
fn walk<'a>(value: &'a Value, each: &mut impl FnMut(&'a Value)) {
    each(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, each)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, each)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let house = House::new();
    let document = house.get("", "openapi.json").await.expect(200).json();
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1"));
    let mut references = BTreeSet::new();
    walk(&document, &mut |value| {
        references.extend(value.get("$ref").and_then(Value::as_str));
    });
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut names = BTreeSet::new();
    let mut operation_count = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let what = format!("{method} {path}");
            operation_count += 1;
            assert!(operation["summary"].is_string(), "{what} says what it does");
            let id = operation["operationId"].as_str().expect("an id");
            assert!(names.insert(id), "{what}: {id} is taken");
            let empty = Vec::new();
            let parameters = operation["parameters"].as_array().unwrap_or(&empty);
            for named in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let is_it = |parameter: &Value| parameter["name"] == named && parameter["in"] == "path";
                assert!(parameters.iter().any(is_it), "{what} documents {named}");
            }
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.contains_key("4XX"), "{what} may fail");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{what} may succeed");
            // It is routed: it knows nobody, rather than nothing.
            let concrete = path.replace("{eui}", "0000000000000001").replace("{dev_eui}", "0000000000000001");
            let concrete = concrete.replace("{id}", "x").replace("{token}", "x").replace("{group}", "x");
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&concrete);
            let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from("{}"));
            assert_eq!(house.send(request.expect("a request")).await.status, 401, "{what}");
        }
    }
    for schema in ["AcceptedDownlink", "QueuedView"] {
        let id = &document["components"]["schemas"][schema]["properties"]["id"];
        assert_eq!(
            (&id["type"], id["maximum"].as_f64()),
            (&json!("integer"), Some(9_007_199_254_740_991.0)),
            "{schema}"
        );
    }
    assert_eq!(operation_count, 64);
    assert_eq!(document["security"], json!([{"key": []}]));
    // Both would read as optional, were they not named.
    let required = &document["components"]["schemas"]["DeviceBody"]["required"];
    assert_eq!(required, &json!(["application", "profile"]));
}

#[tokio::test]
async fn pages_come_whole_and_strict() {
    let house = House::new();
    for (path, kind) in [
        ("/", "text/html"),
        ("/console.js", "text/javascript"),
        ("/console.css", "text/css"),
        ("/api/docs", "text/html"),
        ("/docs.js", "text/javascript"),
    ] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let page = house.send(request).await.expect(200);
        assert!(page.header("content-type").starts_with(kind));
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        // Everything comes from here: no other hosts, and nothing inline that the policy would stop.
        for foreign in ["https://", "http://", "<style", " style=", "onclick=", "<script>"] {
            assert!(!page.text.contains(foreign), "{path} has {foreign}");
        }
    }
}

#[tokio::test]
async fn metrics_move_and_tell_no_secrets() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    house.get(&acme.admin, "devices?tenant=nonsense-secret").await.expect(422);
    house.get("", "nothing").await.expect(404);
    let request = || Request::get("/metrics").body(Body::empty()).expect("a request");
    let metrics = house.send(request()).await.expect(200).text;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("{name} in {metrics}"))
            .rsplit(' ')
            .next()
            .expect("a value")
            .parse()
            .expect("a number")
    };
    let requests = r#"trunkline_control_requests_total{method="POST",route="/api/v1/tenants",status="201"}"#;
    assert_eq!(value(requests), 1.0);
    assert_eq!(value(r#"trunkline_control_requests_total{method="GET",route="none",status="404"}"#), 1.0);
    assert!(value(r#"trunkline_control_store_seconds_count{operation="write"}"#) >= 5.0);
    assert!(value(r#"trunkline_control_store_seconds_bucket{operation="read",le="+Inf"}"#) >= 5.0);
    assert_eq!(value("trunkline_control_revision_stored"), house.store.revision() as f64);
    assert_eq!(value("trunkline_control_revisions_pending"), 0.0);
    assert_eq!(value("trunkline_control_dataplane_connected"), 1.0);
    assert_eq!(value("trunkline_control_dataplane_shards"), 2.0);
    assert_eq!(value(r#"trunkline_control_journal_disk{shard="0",state="healthy"}"#), 1.0);
    assert_eq!(value(r#"trunkline_control_journal_disk{shard="1",state="healthy"}"#), 0.0);
    assert_eq!(value(r#"trunkline_control_journal_disk{shard="1",state="full"}"#), 1.0);
    assert_eq!(value(r#"trunkline_control_journal_bytes{shard="0"}"#), (1_u64 << 40) as f64);
    assert_eq!(value(r#"trunkline_control_journal_segments{shard="1"}"#), 9.0);
    assert!(!metrics.contains("secret"));
    house.dataplane.is_old.store(true, Ordering::SeqCst);
    let older = house.send(request()).await.expect(200).text;
    assert!(older.contains("trunkline_control_dataplane_connected 1") && !older.contains("journal_bytes{"));
    let health = Request::get("/healthz").body(Body::empty()).expect("a request");
    assert_eq!(house.send(health).await.expect(200).text, "ok\n");
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let house = House::new();
    house.get(&house.operator, "nothing").await.expect(404).fields();
    house.ask(&house.operator, "DELETE", "tenants", None).await.expect(405).fields();
    house.get(&house.operator, "tenants/nonsense").await.expect(404).fields();
    house.get(&house.operator, "devices/nonsense").await.expect(404).fields();
    let long = json!({"name": "x".repeat(2 << 20)});
    house.post(&house.operator, "tenants", long).await.expect(413).fields();
    let request = |kind: &str, body: &str| {
        Request::post("/api/v1/tenants")
            .header(header::AUTHORIZATION, format!("Bearer {}", house.operator))
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body.to_owned()))
            .expect("a request")
    };
    house.send(request("text/plain", "{}")).await.expect(415).fields();
    house.send(request("application/json", "{")).await.expect(400).fields();
    house.send(request("application/json", "[]")).await.expect(422).fields();
    house.send(request("application/json; charset=utf-8", r#"{"name":"x"}"#)).await.expect(201);
}
