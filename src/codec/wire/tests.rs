//! Values in the wire format, with a registry that answers as it is told.

use serde_json::json;
use vrl::value;

use super::*;
use crate::outcome::Class;
use crate::registry::testing::Fake;

const V1: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"int"}]}"#;
const V2: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"long"},
    {"name":"note","type":"string","default":"-"}]}"#;
const V3: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"string"}]}"#;
/// `id` is `a`, `cents` is 3 (zigzag 6).
const DATUM: &[u8] = b"\x02a\x06";

fn framed(id: u32, payload: &[u8]) -> Bytes {
    frame::write(id, &[], payload)
}

fn avro(registry: Client, read: ReadBy) -> Codec {
    Codec::Wire(Wire::new(
        Format::Avro,
        registry,
        read,
        WriteBy::Subject(SubjectBy::Topic, Picked::default()),
    ))
}

/// Decodes, fetching what is missing.
async fn decode(codec: &Codec, bytes: &Bytes) -> Result<Value, Result<Failure, Unfetched>> {
    for _ in 0..3 {
        match codec.decode(Some(bytes), &[], Wide::Error) {
            Ok(value) => return Ok(value),
            Err(Trouble::Failed(failure)) => return Err(Ok(failure)),
            Err(Trouble::Missing(missing)) => missing.fetch().await.map_err(Err)?,
        }
    }
    panic!("it is never at hand")
}

async fn encode(codec: &Codec, value: &Value, topic: &str) -> Result<Bytes, Result<Failure, Unfetched>> {
    for _ in 0..3 {
        match codec.encode(value, topic, 1 << 20) {
            Ok(bytes) => return Ok(bytes.unwrap()),
            Err(Trouble::Failed(failure)) => return Err(Ok(failure)),
            Err(Trouble::Missing(missing)) => missing.fetch().await.map_err(Err)?,
        }
    }
    panic!("it is never at hand")
}

fn not_now<T: fmt::Debug>(result: Result<T, Result<Failure, Unfetched>>) -> String {
    match result.unwrap_err().unwrap_err() {
        Unfetched::NotNow(why) => why,
        other @ Unfetched::Unknown(..) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_value_is_read_by_its_writers_schema_or_by_the_one_that_is_asked_for() {
    let (fake, registry) = Fake::new();
    fake.has(1, &json!({ "schema": V1 }));
    fake.has(3, &json!({ "schema": V3 }));
    fake.answer(
        "GET /subjects/orders-value/versions/latest",
        200,
        json!({ "schema": V2, "id": 2, "version": 2 }),
    );
    let by_writer = avro(registry.clone(), ReadBy::Writer);
    assert_eq!(decode(&by_writer, &framed(1, DATUM)).await.unwrap(), value!({ "id": "a", "cents": 3 }));
    let by_subject = avro(registry.clone(), ReadBy::Subject("orders-value".to_owned(), Picked::default()));
    let read = value!({ "id": "a", "cents": 3, "note": "-" });
    assert_eq!(decode(&by_subject, &framed(1, DATUM)).await.unwrap(), read);
    let by_file = ReadBy::File(Codec::Avro(crate::codec::Avro::new(V2.to_owned(), Vec::new()).unwrap()));
    let by_file = avro(registry, by_file);
    assert_eq!(decode(&by_file, &framed(1, DATUM)).await.unwrap(), read);
    // What the reader has no place for is another fault than bytes that are no datum.
    let failure = decode(&by_file, &framed(3, b"\x02a\x021")).await.unwrap_err().unwrap();
    assert_eq!(failure.code, Code::Schema, "{}", failure.message);
    assert!(failure.message.starts_with("decoding Avro: /cents: "), "{}", failure.message);
    let failure = decode(&by_file, &framed(1, b"\x02")).await.unwrap_err().unwrap();
    assert_eq!((failure.code, failure.class), (Code::Decode, Class::Invalid));
    assert_eq!(fake.count("GET /schemas/ids/1"), 1, "one client, one cache");
}

/// S9, F-73
#[tokio::test]
async fn s9_a_registry_that_is_away_is_no_fault_of_the_value() {
    let (fake, registry) = Fake::new();
    let codec = avro(registry, ReadBy::Writer);
    fake.answer("GET /schemas/ids/1", 0, "asking registry.test: connection refused");
    let why = not_now(decode(&codec, &framed(1, DATUM)).await);
    assert_eq!(why, "asking for the schema with id 1: asking registry.test: connection refused");
    fake.has(1, &json!({ "schema": V1 }));
    decode(&codec, &framed(1, DATUM)).await.unwrap();
    let unknown = decode(&codec, &framed(77, DATUM)).await.unwrap_err().unwrap_err();
    let failure = unknown.into_failure();
    assert_eq!(failure.code, Code::UnknownSchema);
    assert_eq!(failure.message, "the registry knows no schema with id 77: Schema not found");
    for (id, schema, why) in [
        (20, json!({ "schema": "{" }), "id 20 cannot be used"),
        (21, json!({ "schema": "{}", "schemaType": "JSON" }), "it is JSON Schema, and `format` is avro"),
    ] {
        fake.has(id, &schema);
        let failure = decode(&codec, &framed(id, DATUM)).await.unwrap_err().unwrap();
        assert!(failure.message.contains(why), "{}", failure.message);
    }
}

#[tokio::test]
async fn json_is_validated_inside_of_its_frame_and_goes_out_in_one() {
    let (fake, registry) = Fake::new();
    let schema = json!({ "schema": r#"{"type":"object","required":["id"]}"#, "schemaType": "JSON", "id": 5, "version": 1 });
    fake.has(5, &schema);
    fake.answer("GET /subjects/t-value/versions/latest", 200, &schema);
    let codec = Codec::Wire(Wire::new(
        Format::Json,
        registry,
        ReadBy::Writer,
        WriteBy::Subject(SubjectBy::Topic, Picked::default()),
    ));
    assert_eq!(decode(&codec, &framed(5, br#"{"id":1}"#)).await.unwrap(), value!({ "id": 1 }));
    let failure = decode(&codec, &framed(5, b"{}")).await.unwrap_err().unwrap();
    assert_eq!(failure.code, Code::Schema);
    assert_eq!(encode(&codec, &value!({ "id": 1 }), "t").await.unwrap(), framed(5, br#"{"id":1}"#));
    assert_eq!(encode(&codec, &value!({}), "t").await.unwrap_err().unwrap().code, Code::Schema);
}

#[tokio::test]
async fn a_subject_is_called_after_the_topic_and_a_file_is_registered_or_looked_up() {
    let (fake, registry) = Fake::new();
    let codec = avro(registry.clone(), ReadBy::Writer);
    let order = value!({ "id": "a", "cents": 3 });
    let why = not_now(encode(&codec, &order, "t").await);
    assert!(why.starts_with("the registry has no version latest of subject `t-value`"), "{why}");
    fake.answer("GET /subjects/t-value/versions/latest", 200, json!({ "schema": V1, "id": 9, "version": 1 }));
    assert_eq!(encode(&codec, &order, "t").await.unwrap(), framed(9, DATUM));
    let file = |register| {
        let write = WriteBy::File {
            subject: SubjectBy::TopicRecord("Order".to_owned()),
            codec: Codec::Avro(crate::codec::Avro::new(V1.to_owned(), Vec::new()).unwrap()),
            kind: SchemaType::Avro,
            text: V1.to_owned(),
            references: Vec::new(),
            register,
        };
        Codec::Wire(Wire::new(Format::Avro, registry.clone(), ReadBy::Writer, write))
    };
    let why = not_now(encode(&file(false), &order, "t").await);
    assert!(why.contains("not registered under subject `t-Order`") && why.contains("if_compatible"), "{why}");
    fake.answer(
        "POST /subjects/t-Order/versions",
        409,
        json!({ "error_code": 409, "message": "reader lacks /x" }),
    );
    let why = not_now(encode(&file(true), &order, "t").await);
    assert_eq!(why, "the registry refuses the schema under subject `t-Order`: reader lacks /x");
    fake.answer("POST /subjects/t-Order", 200, json!({ "id": 11, "version": 1 }));
    let written = file(true);
    assert_eq!(encode(&written, &order, "t").await.unwrap(), framed(11, DATUM));
    assert_eq!(encode(&written, &value!({ "id": 7 }), "t").await.unwrap_err().unwrap().code, Code::Schema);
    encode(&written, &order, "t").await.unwrap();
    assert_eq!(fake.count("POST /subjects/t-Order"), 3, "the id is kept");
}
