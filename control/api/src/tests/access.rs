//! Who may do what, and whose things exist for whom.

use super::House;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;

const DEVICE: &str = "70B3D57ED0000001";
const GATEWAY: &str = "0016C001FF10A235";

#[tokio::test]
async fn nobody_gets_in_without_a_key() {
    let house = House::new();
    for key in ["", "nonsense", "tlk_0000000000000000000000000000000000000000000000000000000000000000"] {
        let answer = house.get(key, "me").await.expect(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        answer.fields();
    }
    // The key belongs into the header: never into the query, which proxies log.
    let path = format!("me?key={}", house.operator);
    house.get("", &path).await.expect(401);
    let basic = Request::get("/api/v1/me").header("authorization", format!("Basic {}", house.operator));
    house.send(basic.body(Body::empty()).expect("a request")).await.expect(401);
    let me = house.get(&house.operator, "me").await.expect(200).json();
    assert_eq!((&me["role"], &me["tenant"]), (&json!("operator"), &json!(null)));
}

#[tokio::test]
async fn roles_do_what_they_may() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    house.post(&acme.admin, "devices", acme.otaa(DEVICE)).await.expect(201);
    let device = format!("devices/{DEVICE}");
    let own = format!("tenants/{}", acme.id);
    let name = Some(json!({"name": "x"}));
    let stream = Some(json!({"name": "x", "level": "tenant"}));
    let shared = Some(json!({"name": "x", "region": "EU868", "mac_version": "1.0.4"}));
    let new_key = Some(json!({"name": "x", "role": "tenant_viewer"}));
    let root_key = Some(json!({"name": "x", "role": "operator"}));
    // method, path, body, then the statuses for operator, admin, viewer.
    let matrix = [
        ("GET", "tenants", None, [200, 200, 200]),
        ("GET", own.as_str(), None, [200, 200, 200]),
        ("POST", "tenants", name.clone(), [201, 403, 403]),
        ("PATCH", own.as_str(), name.clone(), [200, 403, 403]),
        ("GET", "api-keys", None, [200, 200, 403]),
        ("POST", "api-keys", new_key, [422, 201, 403]),
        ("POST", "api-keys", root_key, [201, 403, 403]),
        ("GET", "applications", None, [200, 200, 200]),
        ("POST", "applications", name.clone(), [422, 201, 403]),
        ("POST", "profiles", shared, [201, 201, 403]),
        ("POST", "streams", stream, [422, 201, 403]),
        ("GET", device.as_str(), None, [200, 200, 200]),
        ("PATCH", device.as_str(), name.clone(), [200, 200, 403]),
        ("GET", "settings", None, [200, 403, 403]),
        ("PATCH", "settings", Some(json!({})), [200, 403, 403]),
        ("GET", "status", None, [200, 200, 200]),
        ("GET", "events", None, [200, 200, 200]),
        ("GET", "me", None, [200, 200, 200]),
        ("DELETE", device.as_str(), None, [204, 404, 403]),
    ];
    for (method, path, body, statuses) in matrix {
        for (key, status) in [&house.operator, &acme.admin, &acme.viewer].into_iter().zip(statuses) {
            let answer = house.ask(key, method, path, body.clone()).await;
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        }
    }
    let me = house.get(&acme.viewer, "me").await.json();
    assert_eq!((&me["role"], &me["tenant_name"]), (&json!("tenant_viewer"), &json!("x")));
    assert_eq!(house.get(&acme.viewer, "status").await.json()["counts"], json!(null));
}

#[tokio::test]
async fn others_things_do_not_exist() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let evil = house.tenant("Evil").await;
    house.post(&acme.admin, "devices", acme.otaa(DEVICE)).await.expect(201);
    house.post(&acme.admin, "gateways", json!({"eui": GATEWAY})).await.expect(201);
    let stream = house.make(&acme.admin, "streams", json!({"name": "x", "level": "tenant"})).await;
    let token = house.make(&acme.admin, &format!("streams/{stream}/tokens"), json!({})).await;
    let key =
        house.post(&acme.admin, "api-keys", json!({"name": "x", "role": "tenant_admin"})).await.expect(201).json();
    let key = key["id"].as_str().expect("an id").to_owned();
    let device = format!("devices/{DEVICE}");
    let things = [
        format!("tenants/{}", acme.id),
        format!("applications/{}", acme.application),
        format!("profiles/{}", acme.profile),
        format!("api-keys/{key}"),
        format!("gateways/{GATEWAY}"),
        format!("streams/{stream}"),
        device.clone(),
    ];
    for path in &things {
        house.get(&evil.admin, path).await.expect(404);
        house.get(&acme.admin, path).await.expect(200);
        house.ask(&evil.admin, "DELETE", path, None).await.expect(404);
        let body = if path.starts_with("api-keys") { ("PUT", json!({"name": "x"})) } else { ("PATCH", json!({})) };
        house.ask(&evil.admin, body.0, path, Some(body.1)).await.expect(404);
    }
    for path in [format!("{device}/keys"), format!("{device}/downlinks"), format!("streams/{stream}/tokens/{token}")] {
        house.get(&evil.admin, &path).await.expect(404);
        house.get(&acme.admin, &path).await.expect(200);
    }
    house.post(&evil.admin, &format!("{device}/downlinks"), json!({"fport": 1, "data": ""})).await.expect(404);
    for path in ["tenants", "applications", "profiles", "devices", "gateways", "streams", "api-keys"] {
        let listed = house.get(&evil.admin, path).await.expect(200).text;
        for foreign in [&acme.id, &acme.application, &acme.profile, DEVICE, GATEWAY, &stream, &key] {
            assert!(!listed.contains(foreign), "{path} shows {foreign}");
        }
    }
    house.get(&evil.admin, &format!("devices?tenant={}", acme.id)).await.expect(422);
    house.get(&evil.admin, &format!("devices?application={}", acme.application)).await.expect(422);

    // Nor can they be referred to.
    let check = async |path: &str, body: serde_json::Value, fields: &[&str]| {
        let answer = house.post(&evil.admin, path, body.clone()).await;
        assert!([409, 422].contains(&answer.status), "{path} {body}: {answer:?}");
        assert_eq!(answer.fields(), fields, "{path} {body}");
    };
    check("streams", json!({"name": "x", "level": "device", "device": DEVICE}), &["device"]).await;
    check("streams", json!({"name": "x", "level": "gateway", "gateway": GATEWAY}), &["gateway"]).await;
    let tap = json!({"name": "x", "level": "application", "application": acme.application});
    check("streams", tap, &["application"]).await;
    check("streams", json!({"name": "x", "level": "tenant", "tenant": acme.id}), &["tenant"]).await;
    check("api-keys", json!({"name": "x", "role": "tenant_admin", "tenant": acme.id}), &["tenant"]).await;
    let mut device = acme.otaa("00000000000000AA");
    check("devices", device.clone(), &["application", "profile"]).await;
    device["application"] = json!(evil.application);
    check("devices", device, &["profile"]).await;
    check("devices", evil.otaa(DEVICE), &["dev_eui"]).await;
    check("gateways", json!({"eui": GATEWAY}), &["eui"]).await;
    // The operator sees both and may still not mix them.
    let mut device = acme.otaa("00000000000000AA");
    device["profile"] = json!(evil.profile);
    assert_eq!(house.post(&house.operator, "devices", device).await.expect(422).fields(), ["profile"]);
    let tap = json!({"name": "x", "level": "device", "device": DEVICE, "tenant": evil.id});
    assert_eq!(house.post(&house.operator, "streams", tap).await.expect(422).fields(), ["device"]);
}

#[tokio::test]
async fn the_operators_profiles_serve_everyone() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let body = json!({"name": "Shared", "region": "EU868", "mac_version": "1.0.4"});
    let shared = house.make(&house.operator, "profiles", body).await;
    let path = format!("profiles/{shared}");
    house.get(&acme.viewer, &path).await.expect(200);
    assert!(house.get(&acme.viewer, "profiles").await.text.contains(&shared));
    house.ask(&acme.admin, "PATCH", &path, Some(json!({"name": "Mine"}))).await.expect(403);
    house.ask(&acme.admin, "DELETE", &path, None).await.expect(403);
    let mut device = acme.otaa(DEVICE);
    device["profile"] = json!(shared);
    house.post(&acme.admin, "devices", device).await.expect(201);
}

#[tokio::test]
async fn keys_are_shown_once_and_revoked_at_once() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let made =
        house.post(&acme.admin, "api-keys", json!({"name": "x", "role": "tenant_viewer"})).await.expect(201).json();
    let secret = made["key"].as_str().expect("a key");
    let path = format!("api-keys/{}", made["id"].as_str().expect("an id"));
    let read = house.get(&acme.admin, &path).await.expect(200);
    assert!(!read.text.contains(secret) && !house.get(&acme.admin, "api-keys").await.text.contains(secret));
    assert!(secret.starts_with(read.json()["hint"].as_str().expect("a hint")));
    let renamed = house.ask(&acme.admin, "PUT", &path, Some(json!({"name": "y"}))).await.expect(200);
    assert_ne!(renamed.header("etag"), read.header("etag"));
    house.get(secret, "me").await.expect(200);
    house.ask(&acme.admin, "DELETE", &path, None).await.expect(204);
    house.get(secret, "me").await.expect(401);
    let me = house.get(&acme.admin, "me").await.json();
    let own = format!("api-keys/{}", me["key"].as_str().expect("an id"));
    house.ask(&acme.admin, "DELETE", &own, None).await.expect(409);
}
