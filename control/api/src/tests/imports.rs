//! Imports: what is good gets in, what is bad is told.

use super::{Answered, House};
use axum::body::Body;
use axum::http::{Request, header};
use futures_util::stream;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// Sends a body in pieces of `size` bytes.
async fn import(house: &House, key: &str, query: &str, kind: &str, text: &str, size: usize) -> Answered {
    let pieces: Vec<_> = text.as_bytes().chunks(size).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let request = Request::post(format!("/api/v1/devices/import{query}"))
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from_stream(stream::iter(pieces)));
    house.send(request.expect("a request")).await
}

fn lines(answer: &Answered) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let last = lines.pop().expect("a summary");
    (lines, last["summary"].clone())
}

fn counts(summary: &Value) -> [u64; 5] {
    ["rows", "created", "updated", "unchanged", "failed"].map(|name| summary[name].as_u64().expect("a count"))
}

#[tokio::test]
async fn csv_rows_become_devices() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let query = format!("?application={}&profile={}", acme.application, acme.profile);
    let key = "000102030405060708090A0B0C0D0E0F";
    let text = format!(
        "\u{FEFF}dev_eui,name,app_key,dev_addr,nwk_s_key,app_s_key,fcnt_up,enabled\r\n\
         0000000000000001,\"Meter, first\",{key},,,,,\r\n\
         0000000000000002,,,26011BDA,{key},{key},7,no\r\n\
         0000000000000003,,{key},26011BDA,,,,\r\n\
         nonsense,,{key},,,,,\r\n\
         0000000000000005,,short,,,,,\r\n\
         0000000000000006,,{key},,,,-1,maybe\r\n\
         0000000000000007,x\r\n\
         0000000000000008,\"two\nlines\",{key},,,,,"
    );
    for size in [1, 7, 100_000] {
        let answer = import(&house, &acme.admin, &query, "text/csv; charset=utf-8", &text, size).await.expect(200);
        let (failed, summary) = lines(&answer);
        let expected = if size == 1 { [8, 2, 0, 0, 6] } else { [8, 0, 0, 2, 6] };
        assert_eq!(counts(&summary), expected, "{answer:?}");
        assert_eq!(summary["applied"], true);
        let told: Vec<_> = failed
            .iter()
            .map(|line| (line["row"].as_u64().expect("a row"), line["errors"][0]["field"].as_str().expect("a field")))
            .collect();
        assert_eq!(told, [(3, "abp"), (4, "dev_eui"), (5, "otaa.app_key"), (6, "enabled"), (7, "row"), (8, "name")]);
        assert!(!answer.text.contains(key));
    }
    let first = house.get(&acme.admin, "devices/0000000000000001").await.expect(200).json();
    assert_eq!(first["name"], "Meter, first");
    let second = house.get(&acme.admin, "devices/0000000000000002").await.expect(200).json();
    assert_eq!((&second["activation"], &second["enabled"]), (&json!("abp"), &json!(false)));
}

#[tokio::test]
async fn ndjson_rows_are_upserted() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let evil = house.tenant("Evil").await;
    let kind = "application/x-ndjson";
    let rows = |count: u64| {
        (1..=count).map(|number| acme.otaa(&format!("{number:016X}")).to_string() + "\n").collect::<String>()
    };
    let dry = import(&house, &acme.admin, "?dry_run=true", kind, &rows(10), 50).await.expect(200);
    assert_eq!(counts(&lines(&dry).1), [10, 10, 0, 0, 0]);
    house.get(&acme.admin, "devices/0000000000000001").await.expect(404);

    // More than one batch.
    let (failed, summary) = lines(&import(&house, &acme.admin, "", kind, &rows(5002), 10_000).await.expect(200));
    assert_eq!((failed.len(), counts(&summary)), (0, [5002, 5002, 0, 0, 0]));
    let mut changed = acme.otaa("0000000000000002");
    changed["name"] = json!("changed");
    // Without keys, the stored ones stay.
    let keyless = json!({"dev_eui": "0000000000000003", "application": acme.application, "profile": acme.profile});
    let mut unknown = acme.otaa("00000000000000FF");
    unknown["nonsense"] = json!(1);
    let text = format!(
        "{}\n\n{changed}\n{keyless}\n{unknown}\nnot json\n{}\n{{}}",
        acme.otaa("0000000000000001"),
        evil.otaa("0000000000000009"),
    );
    let (failed, summary) = lines(&import(&house, &acme.admin, "", kind, &text, 11).await.expect(200));
    assert_eq!(counts(&summary), [7, 0, 1, 2, 4], "{failed:?}");
    let told: Vec<_> = failed.iter().map(|line| line["errors"][0]["field"].as_str().expect("a field")).collect();
    assert_eq!(told, ["nonsense", "", "application", "dev_eui"]);

    // Others' devices cannot be taken over.
    let (failed, summary) =
        lines(&import(&house, &evil.admin, "", kind, &evil.otaa("0000000000000001").to_string(), 99).await.expect(200));
    assert_eq!((failed[0]["dev_eui"].as_str(), counts(&summary)), (Some("0000000000000001"), [1, 0, 0, 0, 1]));
    let device = house.get(&acme.admin, "devices/0000000000000001").await.expect(200).json();
    assert_eq!(device["application"], acme.application);
}

#[tokio::test]
async fn what_is_no_import_is_refused() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    import(&house, &acme.viewer, "", "text/csv", "dev_eui\n", 99).await.expect(403);
    import(&house, &acme.admin, "", "application/json", "[]", 99).await.expect(415).fields();
    import(&house, &acme.admin, "", "text/csv", "dev_eui,colour\n", 99).await.expect(400).fields();
    import(&house, &acme.admin, "?nonsense=1", "text/csv", "dev_eui\n", 99).await.expect(400);
    let endless = "x".repeat(200_000);
    import(&house, &acme.admin, "", "text/csv", &endless, 10_000).await.expect(422).fields();
    let empty = import(&house, &acme.admin, "", "text/csv", "", 1).await.expect(200);
    assert_eq!(counts(&lines(&empty).1), [0; 5]);
    // Telling which rows failed has its bound; counting them has none.
    let bad = "{}\n".repeat(10_100);
    let (failed, summary) =
        lines(&import(&house, &acme.admin, "", "application/x-ndjson", &bad, 9999).await.expect(200));
    assert_eq!((failed.len(), counts(&summary)), (10_000, [10_100, 0, 0, 0, 10_100]));
}

#[tokio::test]
async fn a_row_that_is_too_long_fails_alone() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let endless = "x".repeat(200_000);
    let good = |number: u64| acme.otaa(&format!("{number:016X}")).to_string();
    let ndjson = format!("{}\n{endless}\n{}\n{endless}", good(1), good(2));
    let key = "000102030405060708090A0B0C0D0E0F";
    let csv = format!(
        "dev_eui,app_key,name\n0000000000000003,{key},\n0000000000000004,{key},{endless}\n\
         0000000000000005,{key},a{}\n0000000000000006,{key},last\n",
        ",".repeat(100)
    );
    let query = format!("?application={}&profile={}", acme.application, acme.profile);
    for (kind, text) in [("application/x-ndjson", ndjson), ("text/csv", csv)] {
        for size in [999, 10_000, 1 << 20] {
            let answer = import(&house, &acme.admin, &query, kind, &text, size).await.expect(200);
            let (failed, summary) = lines(&answer);
            let told: Vec<_> = failed.iter().map(|line| (line["row"].as_u64(), &line["errors"][0]["field"])).collect();
            let row = json!("row");
            let expected = if kind == "text/csv" {
                [(Some(2), &row), (Some(3), &row)]
            } else {
                [(Some(2), &row), (Some(4), &row)]
            };
            assert_eq!(told, expected, "{failed:?}");
            assert_eq!(counts(&summary)[4], 2, "{summary}");
        }
    }
    house.get(&acme.admin, "devices/0000000000000002").await.expect(200);
    assert_eq!(house.get(&acme.admin, "devices/0000000000000006").await.expect(200).json()["name"], "last");
}

#[tokio::test]
async fn what_is_told_of_failed_rows_is_bounded() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let many: String = (0..5000).map(|number| format!("\"{number}\":1,")).collect();
    let row = format!("{{{many}\"name\":\"x\"}}\n");
    let answer = import(&house, &acme.admin, "", "application/x-ndjson", &row.repeat(100), 1 << 20).await.expect(200);
    let (failed, summary) = lines(&answer);
    assert_eq!((failed.len(), counts(&summary)), (100, [100, 0, 0, 0, 100]));
    assert!(failed.iter().all(|row| row["errors"].as_array().is_some_and(|errors| errors.len() == 16)));
    let long = format!("{{\"{}\":1}}\n", "x".repeat(60_000));
    let answer = import(&house, &acme.admin, "", "application/x-ndjson", &long.repeat(200), 1 << 20).await.expect(200);
    assert!(answer.text.len() < (4 << 20) + 1000, "{}", answer.text.len());
    assert_eq!(counts(&lines(&answer).1), [200, 0, 0, 0, 200]);
}

/// A batch that the store cannot take ends an import; what was said before, and kept, is told.
#[tokio::test]
async fn an_import_that_breaks_off_tells_what_it_kept() {
    let house = House::new();
    let acme = house.tenant("Acme").await;
    let rows = |first: u64| {
        let row = |number: u64| acme.otaa(&format!("{number:016X}")).to_string() + "\n";
        (first..first + 5000).map(row).collect::<String>()
    };
    let dry = rows(1) + &rows(1) + &rows(2);
    let answer = import(&house, &acme.admin, "?dry_run=true", "application/x-ndjson", &dry, 1 << 20).await.expect(200);
    let [read, created, updated, unchanged, failed] = counts(&lines(&answer).1);
    assert_eq!((read, created, updated + unchanged, failed), (15_000, 5001, 9999, 0));

    let pieces = [Ok("{}\n".to_owned() + &rows(1)), Err(std::io::Error::other("gone"))];
    let request = Request::post("/api/v1/devices/import")
        .header(header::AUTHORIZATION, format!("Bearer {}", acme.admin))
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(Body::from_stream(stream::iter(pieces)));
    let answer = house.send(request.expect("a request")).await.expect(200);
    let (failed, summary) = lines(&answer);
    assert_eq!((failed.len(), counts(&summary)[1] >= 4999), (1, true), "{summary}");
    assert_eq!(summary["broke_off"], "the upload broke off");

    house.dataplane.is_away.store(true, Ordering::SeqCst);
    let again = acme.otaa("00000000000FFFFF").to_string();
    let answer = import(&house, &acme.admin, "", "application/x-ndjson", &again, 1 << 20).await.expect(202);
    assert_eq!(lines(&answer).1["applied"], false);
}
