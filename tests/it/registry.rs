//! Values in the wire format, with Weir's own registry in a process of its own, and Confluent's Python client at both ends: its
//! serializers register and write, its deserializers read what Weir publishes.

use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::message::OwnedHeaders;
use serde_json::{Value, json};

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::postgres::database;
use crate::support::python::python;
use crate::support::receiver::status;
use crate::support::run::{Run, pause, root};
use crate::support::weir::{Site, Weir, free_port};

const V1: &str = r#"{"type":"record","name":"shop.Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"long"}]}"#;
/// A field more, with a default.
const V2: &str = r#"{"type":"record","name":"shop.Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"long"},
    {"name":"note","type":"string","default":"-"}]}"#;
/// Yet another one, of which a reader of the second version knows nothing.
const V3: &str = r#"{"type":"record","name":"shop.Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"long"},
    {"name":"note","type":"string","default":"-"},{"name":"gift","type":"boolean","default":false}]}"#;
/// What was a number is a text.
const OTHER: &str = r#"{"type":"record","name":"shop.Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"string"}]}"#;

/// What each program begins with: `registry`, `brokers`, the rest of the arguments as `arguments`, the input as `given`.
const CLIENT: &str = r#"
import json, sys
from confluent_kafka import Producer, Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient, Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroSerializer, AvroDeserializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer, JSONDeserializer
from confluent_kafka.serialization import SerializationContext, MessageField
registry, brokers, arguments = SchemaRegistryClient({"url": sys.argv[1]}), sys.argv[2], sys.argv[3:]
given = json.load(sys.stdin)
def value(topic): return SerializationContext(topic, MessageField.VALUE)
def write(topic, serializer, values):
    producer = Producer({"bootstrap.servers": brokers})
    for one in values:
        producer.produce(topic, key="k", value=serializer(one, value(topic)), partition=0)
    assert producer.flush(30) == 0
def read(topic, deserializer, count):
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic + ".reader", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    for _ in range(count):
        message = consumer.poll(30)
        assert message is not None and not message.error(), message and message.error()
        print(json.dumps(deserializer(message.value(), value(topic)), sort_keys=True))
    consumer.close()
"#;

/// A registry in a process of its own.
struct Registry {
    site: Site,
    port: u16,
}

impl Registry {
    async fn start(run: &Run, stage: &Stage, store: Option<&str>) -> (Registry, Weir) {
        let port = free_port();
        let mut own = run.clone();
        own.name.push_str("-registry");
        let yaml = format!("paused: true\nsource: {}\nhandler: log\n", stage.topic);
        let site = Site::new(&own, stage.kafka).port(port).pipeline("idle", &yaml);
        let file = format!("sqlite:{}", site.path().join("weir.db").display());
        let site = site.runtime(&format!("registry: embedded\nstore: {}\n", store.unwrap_or(&file)));
        let registry = Registry { site, port };
        let weir = registry.site.start("registry").await;
        (registry, weir)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/registry", self.port)
    }

    /// What a program says, line by line.
    fn client(&self, stage: &Stage, program: &str, arguments: &[&str], input: &[Value]) -> Vec<String> {
        let (url, brokers) = (self.url(), stage.kafka.brokers());
        let all: Vec<&str> = [url.as_str(), brokers].into_iter().chain(arguments.iter().copied()).collect();
        let said = python(&format!("{CLIENT}{program}"), &all, input);
        said.lines().map(str::to_owned).collect()
    }
}

/// A stage that reads `avro` of the registry, a registry, and its process.
async fn scene(test: &str, yaml: &str) -> (Stage, Registry, Weir) {
    scene_over(test, yaml, None).await
}

/// The same with another store than a file.
async fn scene_over(test: &str, yaml: &str, store: Option<&str>) -> (Stage, Registry, Weir) {
    let mut stage = Stage::set(test, "", |_| status(200)).await;
    let (registry, weir) = Registry::start(&stage.run, &stage, store).await;
    stage.kafka.create(&format!("{}.out", stage.topic), 1, &[]).await;
    let yaml = yaml.replace("TOPIC", &stage.topic).replace("URL", &stage.receiver.url());
    let schemas = stage.site.path().join("schemas");
    std::fs::create_dir_all(&schemas).unwrap();
    std::fs::write(schemas.join("order.avsc"), V2).unwrap();
    let runtime = format!("schemas: {}\nregistry: {}\n", schemas.display(), registry.url());
    stage.site = stage.site.runtime(&runtime).pipeline(&stage.topic, &yaml);
    (stage, registry, weir)
}

fn orders(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| json!({ "id": format!("o-{n}"), "cents": 9_007_199_254_740_993_u64 + n as u64 }))
        .collect()
}

fn bodies(stage: &Stage) -> Vec<Value> {
    stage.receiver.arrivals().iter().map(|arrival| serde_json::from_slice(&arrival.body).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confluents_serializers_write_and_read_avro_and_json_through_weir() {
    let (stage, registry, own) = scene(
        "registry",
        "source: { topic: TOPIC, format: avro }\nhandler: URL\ndlq: TOPIC.dlq\n\
         publish:\n  topic: TOPIC.out\n  schema: { file: order.avsc }\n  format: avro\n  register: if_compatible\n  \
         value: { id: \"{{ .id }}\", cents: \"{{ .cents }}\", note: \"n\" }\n",
    )
    .await;
    let write = "write(arguments[0], AvroSerializer(registry, arguments[1]), given)";
    registry.client(&stage, write, &[&stage.topic, V1], &orders(3));
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(3, Duration::from_secs(60)).await;
    stage.watched().all_committed(&stage.run, &[(0, 3)].into()).await;
    assert_eq!(bodies(&stage), orders(3), "64-bit integers are exact");
    let out = format!("{}.out", stage.topic);
    let read = "read(arguments[0], AvroDeserializer(registry), 3)\n\
                print(json.dumps([registry.get_subjects(), registry.get_latest_version(arguments[0] + '-value').version]))";
    let said = registry.client(&stage, read, &[&out], &[]);
    let expected: Vec<String> = orders(3)
        .iter()
        .map(|order| format!(r#"{{"cents": {}, "id": {}, "note": "n"}}"#, order["cents"], order["id"]))
        .chain([format!(r#"[["{}-value", "{out}-value"], 1]"#, stage.topic)])
        .collect();
    assert_eq!(said, expected);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    assert_eq!(own.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_schemas_of_the_registry_are_kept_to_at_both_ends() {
    let schema = r#"{"$schema":"http://json-schema.org/draft-07/schema#","title":"Order","type":"object","required":["id"],
        "properties":{"id":{"type":"string"},"cents":{"type":"integer"}}}"#;
    let (stage, registry, own) = scene(
        "registry-json",
        "source: { topic: TOPIC, format: json, schema: { framing: confluent } }\ndlq: TOPIC.dlq\n\
         publish:\n  topic: TOPIC.out\n  format: json\n  schema: { subject: TOPIC-value }\n  value: \"{{ . }}\"\n",
    )
    .await;
    let write = "write(arguments[0], JSONSerializer(arguments[1], registry), given)";
    registry.client(&stage, write, &[&stage.topic, schema], &orders(2));
    send(&stage, Some(b"k"), Some(b"\0\0\0\0\x01{\"cents\":1}"), OwnedHeaders::new(), 0);
    send(&stage, Some(b"k"), Some(b"{\"id\":\"o-9\"}"), OwnedHeaders::new(), 0);
    let weir = stage.site.start("one").await;
    stage.watched().all_committed_within(&stage.run, &[(0, 4)].into(), Duration::from_secs(60)).await;
    let out = format!("{}.out", stage.topic);
    let read = "read(arguments[0], JSONDeserializer(arguments[1]), 2)";
    let said = registry.client(&stage, read, &[&out, schema], &[]);
    let said: Vec<Value> = said.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said, orders(2));
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let why: Vec<_> = dead.iter().map(|one| (one.header("weir-code"), one.header("weir-error"))).collect();
    assert_eq!(
        why,
        [
            (Some("schema"), Some("validating JSON: the property `id` is missing")),
            (
                Some("decode"),
                Some(
                    "reading the wire format: the value begins with byte 0x7b, not with the magic byte 0x00"
                )
            ),
        ]
    );
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    drop(own);
}

/// S9: an outage dead-letters nothing, an id that nobody knows is one record's fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s9_a_registry_that_is_killed_for_thirty_seconds_costs_nothing() {
    let yaml = "source: { topic: TOPIC, format: avro }\nhandler: URL\ndlq: TOPIC.dlq\n";
    let (stage, registry, mut own) = scene("registry-outage", yaml).await;
    let weir = stage.site.start("one").await;
    let write = "write(arguments[0], AvroSerializer(registry, arguments[1]), given)";
    registry.client(&stage, write, &[&stage.topic, V1], &orders(2));
    stage.receiver.wait_for(2, Duration::from_secs(60)).await;
    // A schema that Weir has not seen yet, and the registry goes before it can ask.
    let encode = "print(AvroSerializer(registry, arguments[1])(given[0], value(arguments[0])).hex())";
    let order = json!({ "id": "o-2", "cents": 7, "note": "late" });
    let framed = registry.client(&stage, encode, &[&stage.topic, V2], std::slice::from_ref(&order));
    let framed = data_encoding::HEXLOWER.decode(framed[0].as_bytes()).unwrap();
    own.signal("KILL");
    own.end(Duration::from_secs(5)).await;
    send(&stage, Some(b"k"), Some(&framed), OwnedHeaders::new(), 0);
    weir.holds("registry").await;
    pause(Duration::from_secs(30)).await;
    assert_eq!(stage.receiver.arrivals().len(), 2);
    let own = registry.site.start("registry").await;
    stage.receiver.wait_for(3, Duration::from_secs(60)).await;
    assert_eq!(bodies(&stage)[2], order);
    send(&stage, Some(b"k"), Some(&[&[0, 0, 0, 0x0f, 0xff], &framed[5..]].concat()), OwnedHeaders::new(), 0);
    send(&stage, Some(b"k"), Some(&framed), OwnedHeaders::new(), 0);
    stage.watched().all_committed_within(&stage.run, &[(0, 5)].into(), Duration::from_secs(60)).await;
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    assert_eq!(dead.len(), 1, "the unknown id alone");
    assert_eq!(dead[0].header("weir-code"), Some("unknown_schema"));
    assert_eq!(stage.receiver.arrivals().len(), 4);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    drop(own);
}

/// v1 in the topic, v2 in the pipeline, v3 at the producer: what is compatible passes, what is not is refused where it is
/// registered, and what was written all the same is dead-lettered with the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_grow_and_what_does_not_fit_is_told() {
    let (stage, registry, own) = scene(
        "registry-evolves",
        "source: { topic: TOPIC, format: avro, schema: { file: order.avsc, framing: confluent } }\nhandler: URL\ndlq: TOPIC.dlq\n",
    )
    .await;
    let write = "write(arguments[0], AvroSerializer(registry, arguments[1]), given)";
    registry.client(&stage, write, &[&stage.topic, V1], &orders(1));
    let later = json!({ "id": "o-1", "cents": 1, "note": "n", "gift": true });
    registry.client(&stage, write, &[&stage.topic, V3], std::slice::from_ref(&later));
    let refused = "try:\n    write(arguments[0], AvroSerializer(registry, arguments[1]), given)\n    print('written')\n\
                   except SchemaRegistryError as error:\n    print(error.http_status_code, error.error_code)\n\
                   print(registry.test_compatibility(arguments[0] + '-value', Schema(arguments[1], 'AVRO')))\n\
                   registry.set_compatibility(arguments[0] + '-value', 'NONE')\n\
                   write(arguments[0], AvroSerializer(registry, arguments[1]), given)\nprint('written')";
    let other = json!({ "id": "o-2", "cents": "much" });
    let said = registry.client(&stage, refused, &[&stage.topic, OTHER], std::slice::from_ref(&other));
    assert_eq!(said, ["409 409", "False", "written"]);
    let weir = stage.site.start("one").await;
    stage.watched().all_committed_within(&stage.run, &[(0, 3)].into(), Duration::from_secs(60)).await;
    let first = json!({ "id": "o-0", "cents": 9_007_199_254_740_993_u64, "note": "-" });
    assert_eq!(bodies(&stage), [first, json!({ "id": "o-1", "cents": 1, "note": "n" })]);
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].header("weir-reason"), dead[0].header("weir-code")),
        (Some("invalid"), Some("schema"))
    );
    let why = dead[0].header("weir-error").unwrap();
    assert!(why.starts_with("decoding Avro: /cents: "), "{why}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    drop(own);
}

const ORDER_PROTO: &str = r#"syntax = "proto3";
package shop;
import "shop/money.proto";
message Draft { string id = 1; }
message Order {
  string id = 1;
  Money total = 2;
  map<string, string> tags = 3;
  message Line { string sku = 1; }
  repeated Line lines = 4;
}
"#;
const MONEY_PROTO: &str = "syntax = \"proto3\";\npackage shop;\nmessage Money { int64 cents = 1; }\n";

/// Compiles both files with protoc; `Order` is the class of the message.
const PROTO: &str = r#"
import os, tempfile, grpc_tools
from grpc_tools import protoc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer, ProtobufDeserializer
folder = tempfile.mkdtemp(); os.mkdir(folder + "/shop")
open(folder + "/order.proto", "w").write(arguments[1]); open(folder + "/shop/money.proto", "w").write(arguments[2])
assert protoc.main(["", "-I" + folder, "--include_imports", "--descriptor_set_out=" + folder + "/all", "order.proto"]) == 0
files = descriptor_pb2.FileDescriptorSet.FromString(open(folder + "/all", "rb").read())
pool = descriptor_pool.DescriptorPool()
for one in files.file: pool.Add(one)
Order = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
def order(one): return json_format.ParseDict(one, Order())
def plain(message, context=None): return json_format.MessageToDict(message, preserving_proto_field_name=True)
"#;

/// The serializer registers the compiled files; Weir reads them as the message that each record names, and writes with the
/// schema of a file that it registers itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confluents_protobuf_serializer_writes_and_reads_through_weir() {
    let (stage, registry, own) = scene(
        "registry-proto",
        "source: { topic: TOPIC, format: protobuf }\nhandler: URL\ndlq: TOPIC.dlq\n\
         publish:\n  topic: TOPIC.out\n  schema: { file: order.proto, message: shop.Order }\n  format: protobuf\n  \
         register: if_compatible\n  value: \"{{ . }}\"\n",
    )
    .await;
    let schemas = stage.site.path().join("schemas");
    std::fs::create_dir_all(schemas.join("shop")).unwrap();
    std::fs::write(schemas.join("order.proto"), ORDER_PROTO).unwrap();
    std::fs::write(schemas.join("shop/money.proto"), MONEY_PROTO).unwrap();
    let orders: Vec<Value> = (0..3)
        .map(|n| {
            json!({ "id": format!("o-{n}"), "total": { "cents": (9_007_199_254_740_993_u64 + n).to_string() },
                "tags": { "a": "b" }, "lines": [{ "sku": "s" }] })
        })
        .collect();
    let write = format!(
        "{PROTO}write(arguments[0], ProtobufSerializer(Order, registry, {{'use.deprecated.format': False}}), [order(one) for one in given])"
    );
    registry.client(&stage, &write, &[&stage.topic, ORDER_PROTO, MONEY_PROTO], &orders);
    send(&stage, Some(b"k"), Some(b"\0\0\0\0\x02\x02\x20x"), OwnedHeaders::new(), 0);
    let weir = stage.site.start("one").await;
    stage.watched().all_committed_within(&stage.run, &[(0, 4)].into(), Duration::from_secs(60)).await;
    let exact: Vec<Value> = (0..3)
        .map(|n| {
            json!({ "id": format!("o-{n}"), "total": { "cents": 9_007_199_254_740_993_u64 + n },
                "tags": { "a": "b" }, "lines": [{ "sku": "s" }] })
        })
        .collect();
    assert_eq!(bodies(&stage), exact);
    let out = format!("{}.out", stage.topic);
    let read = format!(
        "{PROTO}deserializer = ProtobufDeserializer(Order, {{'use.deprecated.format': False}})\n\
         read(arguments[0], lambda data, context: plain(deserializer(data, context)), 3)"
    );
    let said = registry.client(&stage, &read, &[&out, ORDER_PROTO, MONEY_PROTO], &[]);
    let said: Vec<Value> = said.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said, orders);
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    assert_eq!(dead.len(), 1);
    let why = dead[0].header("weir-error").unwrap();
    assert!(why.contains("it has no message at [16]"), "{why}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    drop(own);
}

/// franz-go's client: it registers, compares, is refused, writes, and reads what Weir publishes. The registry is over Postgres, and
/// a second instance of it sees the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn franz_go_registers_writes_and_reads_over_postgres() {
    let store = database(&Run::new("registry-go").name).await;
    let (stage, registry, own) = scene_over(
        "registry-go",
        "source: { topic: TOPIC, format: json, schema: { framing: confluent } }\nhandler: URL\ndlq: TOPIC.dlq\n\
         publish: { topic: TOPIC.out, format: json, schema: { subject: TOPIC-value }, value: \"{{ . }}\" }\n",
        Some(&store),
    )
    .await;
    let built = Command::new(root().join("scripts/registry-go")).stdin(Stdio::null()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let program = String::from_utf8(built.stdout).unwrap();
    let go = |registry: &str, what: &str, topic: &str| {
        let arguments = [registry, stage.kafka.brokers(), what, topic];
        let ran = Command::new(program.trim()).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let said = go(&registry.url(), "produce", &stage.topic);
    assert_eq!(said, "1 true false true FULL_TRANSITIVE\n");
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(3, Duration::from_secs(60)).await;
    stage.watched().all_committed(&stage.run, &[(0, 3)].into()).await;
    let (other, second) = Registry::start(&Run::new("registry-go-two"), &stage, Some(&store)).await;
    let read = go(&other.url(), "consume", &format!("{}.out", stage.topic));
    let lines =
        (0..3).map(|n| format!("JSON {{\"cents\":{},\"id\":\"o-{n}\"}}\n", 9_007_199_254_740_993_u64 + n));
    assert_eq!(read, lines.collect::<String>());
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    drop((own, second));
}
