//! The client against a registry that answers as it is told.

use serde_json::json;

use super::testing::Fake;
use super::{Error, Key, SchemaText, SchemaType, Version};

#[tokio::test]
async fn a_schema_is_asked_for_once_whoever_wants_it() {
    let (fake, client) = Fake::new();
    fake.has(7, &json!({ "schema": "\"long\"" }));
    let wanted = (0..50).map(|_| client.schema(Key::Id(7)));
    for schema in futures_util::future::join_all(wanted).await {
        let schema = schema.unwrap();
        assert_eq!((schema.id, schema.kind, schema.text.as_str()), (7, SchemaType::Avro, "\"long\""));
    }
    client.schema(Key::Id(7)).await.unwrap();
    assert_eq!(fake.count("GET /schemas/ids/7"), 1);
}

/// S9
#[tokio::test]
async fn s9_what_is_not_known_is_not_asked_for_again_at_once_and_an_outage_is_no_answer() {
    let (fake, client) = Fake::new();
    for _ in 0..10 {
        let error = client.schema(Key::Id(9)).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unknown { message, .. } if message == "Schema not found"),
            "{error:?}"
        );
    }
    assert_eq!(fake.count("GET /schemas/ids/9"), 1);
    for (status, body, why) in [
        (0, "asking registry.test: connection refused", "connection refused"),
        (500, "{\"error_code\":50001,\"message\":\"store\"}", "answers 500: store"),
        (200, "<html>hello</html>", "is not that of a schema registry"),
        (200, "{\"id\":1}", "is not that of a schema registry"),
        (401, "", "refuses the credentials (401)"),
        (404, "{\"error_code\":404,\"message\":\"HTTP 404 Not Found\"}", "no schema registry at this path"),
        (404, "nginx", "no schema registry at this path"),
        (302, "", "answers 302"),
        (429, "", "answers 429"),
    ] {
        fake.answer("GET /schemas/ids/8", status, body);
        let error = client.schema(Key::Id(8)).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unavailable(said) if said.contains(why)),
            "{status} {body}: {error:?}"
        );
    }
    fake.has(8, &json!({ "schema": "{}", "schemaType": "JSON" }));
    assert_eq!(client.schema(Key::Id(8)).await.unwrap().kind, SchemaType::Json, "nothing of it was kept");
}

/// S9, B-02, F-73: else one record would hold its stage for good.
#[tokio::test]
async fn s9_what_no_registry_can_have_or_give_is_the_records_matter() {
    let (fake, client) = Fake::new();
    let of = async |key: Key| client.schema(key).await.unwrap_err();
    assert!(matches!(of(Key::Id(u32::MAX)).await, Error::Unknown { .. }));
    assert_eq!(fake.asked.lock().unwrap().len(), 0);
    let guid = "GET /schemas/guids/00000000-0000-0000-0000-000000000007";
    fake.answer(guid, 404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#);
    assert!(matches!(of(Key::Guid(7)).await, Error::Unavailable(_)), "it may be no registry at all");
    fake.answer("GET /schemas/types", 200, r#"["AVRO"]"#);
    assert!(matches!(of(Key::Guid(7)).await, Error::Unknown { .. }));
    for (status, body) in [
        (1, "50 MB".to_owned()),
        (200, json!({ "schema": "x", "schemaType": "THRIFT" }).to_string()),
        (422, json!({ "error_code": 42201, "message": "stored badly" }).to_string()),
    ] {
        fake.answer("GET /schemas/ids/9", status, &body);
        let error = of(Key::Id(9)).await;
        assert!(matches!(error, Error::Unusable(_)), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn references_come_each_after_those_that_it_uses_and_circles_end() {
    let (fake, client) = Fake::new();
    let uses = |names: &[&str]| -> Vec<_> {
        names
            .iter()
            .map(|name| json!({ "name": name, "subject": format!("s/{name}"), "version": 1 }))
            .collect()
    };
    fake.has(1, &json!({ "schema": "main", "references": uses(&["a", "b"]) }));
    for (name, others) in [("a", &["c"][..]), ("b", &["c", "a"]), ("c", &["d"]), ("d", &["c"])] {
        let line = format!("GET /subjects/s%2F{name}/versions/1?deleted=true");
        fake.answer(&line, 200, json!({ "schema": name.to_uppercase(), "references": uses(others) }));
    }
    let schema = client.schema(Key::Id(1)).await.unwrap();
    let names: Vec<_> = schema.references.iter().map(|one| format!("{}={}", one.name, one.text)).collect();
    assert_eq!(names, ["d=D", "c=C", "a=A", "b=B"]);

    fake.has(2, &json!({ "schema": "main", "references": uses(&["missing"]) }));
    let error = client.schema(Key::Id(2)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unusable(why) if why.contains("uses `missing`, which is not there")),
        "{error:?}"
    );
}

/// F-73: recursive references, 50 MB of schemas
#[tokio::test]
async fn schemas_that_use_ever_more_schemas_are_refused() {
    let (fake, client) = Fake::new();
    let next = |n: u32| json!([{ "name": format!("n{n}"), "subject": format!("s{n}"), "version": -1 }]);
    fake.has(1, &json!({ "schema": "main", "references": next(0) }));
    for n in 0..200 {
        let line = format!("GET /subjects/s{n}/versions/latest?deleted=true");
        fake.answer(&line, 200, json!({ "schema": "x", "references": next(n + 1) }));
    }
    let error = client.schema(Key::Id(1)).await.unwrap_err();
    assert_eq!(error, Error::Unusable("the schema uses more than 64 others".to_owned()));
    let large = "x".repeat(3 << 20);
    for n in 0..2 {
        let line = format!("GET /subjects/s{n}/versions/latest?deleted=true");
        fake.answer(&line, 200, json!({ "schema": large, "references": next(n + 1) }));
    }
    let error = client.schema(Key::Id(1)).await.unwrap_err();
    assert!(matches!(&error, Error::Unusable(why) if why.contains("bytes")), "{error:?}");
}

#[tokio::test]
async fn a_place_is_looked_up_or_made() {
    let (fake, client) = Fake::new();
    let text = SchemaText {
        schema: "\"long\"".to_owned(),
        kind: SchemaType::Avro,
        references: Vec::new(),
        ..SchemaText::default()
    };
    assert!(matches!(client.place("a b", &text, false).await.unwrap_err(), Error::Unknown { .. }));
    fake.answer(
        "POST /subjects/a%20b/versions",
        409,
        json!({ "error_code": 409, "message": "incompatible\nwith 1" }),
    );
    let error = client.place("a b", &text, true).await.unwrap_err();
    assert_eq!(error, Error::Refused { code: 409, message: "incompatible with 1".to_owned() });
    fake.answer("POST /subjects/a%20b", 200, json!({ "id": 4, "version": 2, "subject": "a b" }));
    fake.asked.lock().unwrap().clear();
    assert_eq!(client.place("a b", &text, true).await.unwrap(), (4, 2));
    assert_eq!(fake.count("POST /subjects/a%20b/versions"), 0, "who may only read finds it too");
    fake.answer(
        "GET /subjects/a/versions/latest",
        200,
        json!({ "id": 4, "version": 2, "schema": "\"long\"" }),
    );
    let latest = client.version("a", Version::Latest).await.unwrap();
    assert_eq!((latest.id, latest.version), (4, Some(2)));
}
