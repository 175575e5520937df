//! Avro by a file's schema, from Kafka to a webhook and back to Kafka, with `fastavro` as the other end: records that Weir did
//! not write, and a reader that is not Weir's.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::OwnedHeaders;
use serde_json::{Value, json};

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::python::python;
use crate::support::receiver::status;

const SCHEMA: &str = r#"{"type":"record","name":"shop.Order","fields":[
    {"name":"id","type":"string"},
    {"name":"total","type":"shop.Money"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"due","type":{"type":"int","logicalType":"date"}},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}},
    {"name":"level","type":{"type":"enum","name":"shop.Level","symbols":["LOW","HIGH"]}},
    {"name":"tags","type":{"type":"map","values":"string"}},
    {"name":"lines","type":{"type":"array","items":{"type":"record","name":"shop.Line","fields":[
        {"name":"sku","type":"string"},{"name":"weight","type":"double"}]}}},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"hash","type":{"type":"fixed","name":"shop.Hash","size":4}}]}"#;
const MONEY: &str = r#"{"type":"record","name":"shop.Money","fields":[{"name":"cents","type":"long"}]}"#;

/// What follows an `import` in each program: both schemas, and the orders.
const SCHEMAS: &str = r#"
import base64, datetime, decimal, io, json, sys, fastavro
named = {}
fastavro.parse_schema(json.loads(sys.argv[2]), named_schemas=named)
schema = fastavro.parse_schema(json.loads(sys.argv[1]), named_schemas=named)
def order(number):
    return {"id": f"o-{number}", "total": {"cents": 9007199254740993 + number},
        "at": datetime.datetime(2026, 11, 21, 9, 41, 2, 118207, tzinfo=datetime.timezone.utc),
        "due": datetime.date(2026, 12, 24), "price": decimal.Decimal("123456789012345678.90"), "level": "HIGH",
        "tags": {"é": "ü"}, "lines": [{"sku": "a", "weight": 0.1}], "note": None if number % 2 else "n", "hash": b"\x00\xff\x01\x02"}
"#;

fn fastavro(program: &str, input: &[Value]) -> Vec<String> {
    let said = python(&format!("{SCHEMAS}{program}"), &[SCHEMA, MONEY], input);
    said.lines().map(str::to_owned).collect()
}

/// Datums of the first orders, written by `fastavro`.
fn datums(count: usize) -> Vec<Vec<u8>> {
    let program = format!(
        "for number in range({count}):\n    out = io.BytesIO(); fastavro.schemaless_writer(out, schema, order(number)); \
         print(base64.b64encode(out.getvalue()).decode())"
    );
    fastavro(&program, &[]).iter().map(|line| STANDARD.decode(line).unwrap()).collect()
}

async fn scene(test: &str, more: &str) -> Stage {
    let mut stage = Stage::set(test, "", |_| status(200)).await;
    let schemas = stage.site.path().join("schemas");
    std::fs::create_dir_all(&schemas).unwrap();
    std::fs::write(schemas.join("order.avsc"), SCHEMA).unwrap();
    std::fs::write(schemas.join("money.avsc"), MONEY).unwrap();
    stage.kafka.create(&format!("{}.out", stage.topic), 1, &[]).await;
    let yaml = format!(
        "source:\n  topic: {0}\n  format: avro\n  schema: {{ file: schemas/order.avsc, references: [schemas/money.avsc] }}\n\
         {more}handler: {1}\ndlq: {0}.dlq\n",
        stage.topic,
        stage.receiver.url()
    );
    let runtime = format!("schemas: {}\n", schemas.display());
    stage.site = stage.site.runtime(&runtime).pipeline(&stage.topic, &yaml.replace("TOPIC", &stage.topic));
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_another_writer_arrive_exactly_and_another_reader_reads_what_is_published() {
    let publish = "publish:\n  topic: TOPIC.out\n  format: avro\n  \
                   schema: { file: schemas/order.avsc, references: [schemas/money.avsc] }\n  value: \"{{ . }}\"\n";
    let stage = scene("avro", publish).await;
    let datums = datums(4);
    for datum in &datums {
        send(&stage, Some(b"k"), Some(datum), OwnedHeaders::new(), 0);
    }
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(4, Duration::from_secs(60)).await;
    stage.watched().all_committed(&stage.run, &[(0, 4)].into()).await;
    let arrivals = stage.receiver.arrivals();
    for (number, arrival) in arrivals.iter().enumerate() {
        assert_eq!(arrival.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&arrival.body).unwrap();
        let note = if number % 2 == 0 { json!("n") } else { Value::Null };
        let expected = json!({
            "id": format!("o-{number}"), "total": { "cents": 9_007_199_254_740_993_u64 + number as u64 },
            "at": "2026-11-21T09:41:02.118207Z", "due": "2026-12-24", "price": "123456789012345678.90", "level": "HIGH",
            "tags": { "é": "ü" }, "lines": [{ "sku": "a", "weight": 0.1 }], "note": note, "hash": "AP8BAg==",
        });
        assert_eq!(body, expected);
    }
    let published: Vec<Value> = stage
        .kafka
        .read(&stage.run, &format!("{}.out", stage.topic))
        .into_iter()
        .map(|record| STANDARD.encode(record.value.unwrap()).into())
        .collect();
    assert_eq!(published.len(), 4);
    let judge = "for number, one in enumerate(json.load(sys.stdin)):\n    data = io.BytesIO(base64.b64decode(one))\n    \
                 read = fastavro.schemaless_reader(data, schema, None)\n    \
                 print(read == order(number) and data.read() == b'' or read)";
    assert_eq!(fastavro(judge, &published), ["True"; 4]);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// B-03: what is no datum is dead-lettered as it came, and its neighbours arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_03_what_is_no_datum_is_dead_lettered_as_it_came() {
    let stage = scene("avro-hostile", "").await;
    let datums = datums(3);
    let cut = &datums[0][..datums[0].len() - 1];
    let longer = [&datums[0][..], &[0]].concat();
    let framed = [&[0, 0, 0, 0, 7], &datums[0][..]].concat();
    let huge = [&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], &datums[0][..]].concat();
    let wrong = [cut, &longer, &framed, &huge, b"{\"id\": \"o-1\"}", b""];
    send(&stage, Some(b"k"), Some(&datums[1]), OwnedHeaders::new(), 0);
    for bytes in wrong {
        send(&stage, Some(b"k"), Some(bytes), OwnedHeaders::new(), 0);
    }
    send(&stage, Some(b"k"), Some(&datums[2]), OwnedHeaders::new(), 0);
    let weir = stage.site.start("one").await;
    stage.watched().all_committed_within(&stage.run, &[(0, 8)].into(), Duration::from_secs(60)).await;
    let ids: Vec<Value> = stage
        .receiver
        .arrivals()
        .iter()
        .map(|arrival| serde_json::from_slice::<Value>(&arrival.body).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["o-1", "o-2"]);
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let values: Vec<&[u8]> = dead.iter().map(|one| one.value.as_deref().unwrap_or_default()).collect();
    assert_eq!(values, wrong, "byte for byte, in order");
    for letter in &dead {
        assert_eq!(
            (letter.header("weir-reason"), letter.header("weir-code")),
            (Some("invalid"), Some("decode"))
        );
        let why = letter.header("weir-error").unwrap();
        assert!(why.starts_with("decoding Avro: "), "{why}");
    }
    assert_eq!(dead[0].header("weir-error"), Some("decoding Avro: /hash: the bytes end too early"));
    assert_eq!(dead[1].header("weir-error"), Some("decoding Avro: 1 bytes are left over behind the value"));
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
