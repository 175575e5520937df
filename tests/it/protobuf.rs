//! Protobuf by a file's schema, from Kafka to a webhook and back to Kafka, with Google's compiler and Python's `protobuf` as the
//! other end: records that Weir did not write, and a reader that is not Weir's.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::OwnedHeaders;
use serde_json::{Value, json};

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::python::python;
use crate::support::receiver::status;

const ORDER: &str = r#"syntax = "proto3";

package shop;

import "shop/money.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

enum Level {
  LOW = 0;
  HIGH = 1;
}

message Draft {}

message Order {
  string id = 1;
  Money total = 2;
  google.protobuf.Timestamp at = 3;
  google.protobuf.Duration took = 4;
  uint64 wide = 5;
  sint64 low = 6;
  Level level = 7;
  map<string, string> tags = 8;
  message Line {
    string sku = 1;
    double weight = 2;
    float part = 3;
  }
  repeated Line lines = 9;
  optional string note = 10;
  bytes hash = 11;
  repeated fixed64 counts = 12 [packed = false];
  oneof how {
    string card = 13;
    Money cash = 14;
  }
  google.protobuf.Struct extra = 15;
  google.protobuf.Int64Value boxed = 16;
  google.protobuf.Any more = 17;
  map<int64, Level> levels = 18;
  bool flag = 19;
}
"#;
const MONEY: &str = r#"syntax = "proto3";

package shop;

message Money {
  int64 cents = 1;
}
"#;

/// What stands before each program: both files compiled by protoc, and the orders.
const SCHEMAS: &str = r#"
import base64, json, os, sys, tempfile
import grpc_tools
from grpc_tools import protoc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
folder = tempfile.mkdtemp()
os.mkdir(folder + "/shop")
open(folder + "/order.proto", "w").write(sys.argv[1])
open(folder + "/shop/money.proto", "w").write(sys.argv[2])
built_in = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
assert protoc.main(["protoc", "-I" + folder, "-I" + built_in, "--include_imports", "--descriptor_set_out=" + folder + "/out", "order.proto"]) == 0
pool = descriptor_pool.DescriptorPool()
for file in descriptor_pb2.FileDescriptorSet.FromString(open(folder + "/out", "rb").read()).file:
    pool.Add(file)
Order = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
Money = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Money"))
def order(number):
    order = Order(id=f"o-{number}", wide=9223372036854775807, low=-9223372036854775808 + number, level=1, hash=b"\x00\xff\x01\x02",
        counts=[1, 9007199254740993], tags={"é": "ü"}, levels={-3: 1, 4: 7})
    order.total.cents = 9007199254740993 + number
    order.at.seconds, order.at.nanos = 1795254062, 118207000
    order.took.seconds, order.took.nanos = -1, -500000000
    order.lines.add(sku="a", weight=0.1, part=0.1)
    order.lines.add()
    order.extra.update({"a": [1.0, None, "x", {"b": True}]})
    order.boxed.value = 9007199254740993
    order.more.type_url = "type.googleapis.com/shop.Money"
    order.more.value = Money(cents=-1).SerializeToString()
    if number % 2 == 0:
        order.note = ""
        order.card = "c"
    else:
        order.cash.SetInParent()
    return order
"#;

fn protobuf(program: &str, input: &[Value]) -> Vec<String> {
    let said = python(&format!("{SCHEMAS}{program}"), &[ORDER, MONEY], input);
    said.lines().map(str::to_owned).collect()
}

/// The first orders, written by Python.
fn messages(count: usize) -> Vec<Vec<u8>> {
    let program = format!(
        "for number in range({count}):\n    print(base64.b64encode(order(number).SerializeToString(deterministic=True)).decode())"
    );
    protobuf(&program, &[]).iter().map(|line| STANDARD.decode(line).unwrap()).collect()
}

async fn scene(test: &str, more: &str) -> Stage {
    let mut stage = Stage::set(test, "", |_| status(200)).await;
    let schemas = stage.site.path().join("schemas");
    std::fs::create_dir_all(schemas.join("shop")).unwrap();
    std::fs::write(schemas.join("order.proto"), ORDER).unwrap();
    std::fs::write(schemas.join("shop/money.proto"), MONEY).unwrap();
    stage.kafka.create(&format!("{}.out", stage.topic), 1, &[]).await;
    let yaml = format!(
        "source:\n  topic: {0}\n  format: protobuf\n  schema: {{ file: schemas/order.proto, message: shop.Order }}\n\
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
    let publish = "publish:\n  topic: TOPIC.out\n  format: protobuf\n  \
                   schema: { file: schemas/order.proto, message: shop.Order }\n  value: \"{{ . }}\"\n";
    let stage = scene("protobuf", publish).await;
    for message in &messages(4) {
        send(&stage, Some(b"k"), Some(message), OwnedHeaders::new(), 0);
    }
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(4, Duration::from_secs(60)).await;
    stage.watched().all_committed(&stage.run, &[(0, 4)].into()).await;
    for (number, arrival) in stage.receiver.arrivals().iter().enumerate() {
        assert_eq!(arrival.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&arrival.body).unwrap();
        let mut expected = json!({
            "id": format!("o-{number}"), "total": { "cents": 9_007_199_254_740_993_u64 + number as u64 },
            "at": "2026-11-21T09:41:02.118207Z", "took": "-1.500s", "wide": i64::MAX, "low": i64::MIN + number as i64,
            "level": "HIGH", "tags": { "é": "ü" }, "hash": "AP8BAg==", "counts": [1, 9_007_199_254_740_993_u64],
            "lines": [{ "sku": "a", "weight": 0.1, "part": 0.1 }, { "sku": "", "weight": 0.0, "part": 0.0 }],
            "extra": { "a": [1, null, "x", { "b": true }] }, "boxed": 9_007_199_254_740_993_u64,
            "more": { "@type": "type.googleapis.com/shop.Money", "cents": -1 }, "levels": { "-3": "HIGH", "4": 7 },
            "flag": false,
        });
        if number % 2 == 0 {
            expected["note"] = json!("");
            expected["card"] = json!("c");
        } else {
            expected["cash"] = json!({ "cents": 0 });
        }
        assert_eq!(body, expected);
    }
    let published: Vec<Value> = stage
        .kafka
        .read(&stage.run, &format!("{}.out", stage.topic))
        .into_iter()
        .map(|record| STANDARD.encode(record.value.unwrap()).into())
        .collect();
    assert_eq!(published.len(), 4);
    let judge = "for number, one in enumerate(json.load(sys.stdin)):\n    \
                 read = Order.FromString(base64.b64decode(one))\n    print(read == order(number) or read)";
    assert_eq!(protobuf(judge, &published), ["True"; 4]);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// B-04: what is no message is dead-lettered as it came, and its neighbours arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_04_what_is_no_message_is_dead_lettered_as_it_came() {
    let stage = scene("protobuf-hostile", "").await;
    let messages = messages(3);
    let cut = &messages[0][..messages[0].len() - 1];
    let framed = [&[0, 0, 0, 0, 7, 2, 2], &messages[0][..]].concat();
    let long = [&[0x12, 0x0c, 0x08][..], &[0xff; 10], &[0x01]].concat();
    let wide = [&[0x28][..], &[0xff; 9], &[0x01]].concat();
    // Lists in lists, in the member of an object.
    let block = |tag: u8, inside: &[u8]| {
        let length = [inside.len() as u8 & 0x7f | 0x80, (inside.len() >> 7) as u8];
        [&[tag][..], &length, inside].concat()
    };
    let lists = (0..101).fold(Vec::new(), |inner, _| block(0x32, &block(0x0a, &inner)));
    let deep = block(0x7a, &block(0x0a, &block(0x12, &lists)));
    let wrong: [(&[u8], &str); 7] = [
        (cut, "/levels: the bytes end too early"),
        (&framed, "the number of a field is out of range"),
        (&long, "/total/cents: a number has more than 64 bits"),
        (&wide, "/wide: it is above 9223372036854775807, and would be another number"),
        (b"\x0a\x02\xc3\x28", "/id: the text is not UTF-8"),
        (b"{\"id\": \"o-1\"}", ""),
        (&deep, "the value is deeper than 100 levels"),
    ];
    send(&stage, Some(b"k"), Some(&messages[1]), OwnedHeaders::new(), 0);
    for (bytes, _) in wrong {
        send(&stage, Some(b"k"), Some(bytes), OwnedHeaders::new(), 0);
    }
    send(&stage, Some(b"k"), Some(&messages[2]), OwnedHeaders::new(), 0);
    let weir = stage.site.start("one").await;
    stage.watched().all_committed_within(&stage.run, &[(0, 9)].into(), Duration::from_secs(60)).await;
    let ids: Vec<Value> = stage
        .receiver
        .arrivals()
        .iter()
        .map(|arrival| serde_json::from_slice::<Value>(&arrival.body).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["o-1", "o-2"]);
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let values: Vec<&[u8]> = dead.iter().map(|one| one.value.as_deref().unwrap_or_default()).collect();
    let sent: Vec<&[u8]> = wrong.iter().map(|(bytes, _)| *bytes).collect();
    assert_eq!(values, sent, "byte for byte, in order");
    for (letter, (_, expected)) in dead.iter().zip(wrong) {
        let said = (letter.header("weir-reason"), letter.header("weir-code"));
        assert_eq!(said, (Some("invalid"), Some("decode")));
        let why = letter.header("weir-error").unwrap();
        assert!(why.starts_with("decoding Protobuf: ") && why.contains(expected), "{why} is not {expected}");
    }
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
