//! Decoding and validating, and encoding: events a second of one core, for an order of about 512 bytes. `bench/schemas` runs it
//! beside `fastavro` on the same bytes.
#![expect(clippy::print_stdout, reason = "a measurement prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on shall stop")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use vrl::value::Value;
use weir::codec::{Avro, Codec, Document, JsonSchema, Protobuf, Wide};
use weir::telemetry::clock;

const AVRO: &str = include_str!("../schemas/order.avsc");
const JSON: &str = include_str!("../schemas/order.schema.json");
const PROTO: &str = include_str!("../schemas/summary.proto");
/// The same order in each language; the notes fill it up to 512 bytes of Avro.
const ORDER: &str = r#"{"id":"o-4711","customer":{"id":"c-1042","email":"ada@example.com","card":"4111111111111111"},
    "status":"PAID","total":{"cents":9007199254740993,"currency":"EUR"},"placed_at":"2026-11-21T09:41:02.118Z",
    "lines":[{"sku":"sku-1","quantity":2,"price_cents":1250},{"sku":"sku-2","quantity":1,"price_cents":99},{"sku":"sku-3","quantity":7,"price_cents":4500}],
    "note":"NOTE"}"#;

fn main() {
    let document = |path: &str, text: &str| Document { path: path.to_owned(), text: text.to_owned() };
    let codecs = [
        ("avro", Codec::Avro(Avro::new(AVRO.to_owned(), Vec::new()).unwrap())),
        ("json, parsed only", Codec::Json),
        (
            "json schema",
            Codec::JsonSchema(JsonSchema::new(document("order.schema.json", JSON), Vec::new()).unwrap()),
        ),
        ("protobuf", Codec::Protobuf(Protobuf::new(document("summary.proto", PROTO), Vec::new()).unwrap())),
    ];
    println!("{:<18} {:>6} {:>14} {:>14}", "format", "bytes", "decoded/s", "encoded/s");
    for (name, codec) in &codecs {
        let bytes = fill(codec);
        let value = decode(codec, &bytes);
        let decoded = rate(|| drop(black_box(decode(codec, black_box(&bytes)))));
        let encoded = rate(|| drop(black_box(codec.encode(black_box(&value), "t", 1 << 20).unwrap())));
        println!("{name:<18} {:>6} {decoded:>14.0} {encoded:>14.0}", bytes.len());
    }
    // What fastavro is given.
    let (_, avro) = codecs.first().unwrap();
    println!("datum {}", data_encoding::HEXLOWER.encode(&fill(avro)));
}

fn decode(codec: &Codec, bytes: &Bytes) -> Value {
    codec.decode(Some(bytes), &[], Wide::Error).unwrap()
}

/// The order with a note so long that it has 512 bytes.
fn fill(codec: &Codec) -> Bytes {
    let with = |length: usize| {
        let text = ORDER.replace("NOTE", &"n".repeat(length));
        let value = Codec::Json.decode(Some(&text.into()), &[], Wide::Error).unwrap();
        codec.encode(&value, "t", 1 << 20).unwrap().unwrap()
    };
    let bare = with(0).len();
    with(512_usize.saturating_sub(bare))
}

/// Calls a second: the best of five runs of half a second.
fn rate(mut call: impl FnMut()) -> f64 {
    (0..5).map(|_| run(&mut call)).fold(0.0, f64::max)
}

fn run(call: &mut impl FnMut()) -> f64 {
    let began = clock::now();
    let mut calls = 0_u32;
    loop {
        for _ in 0..1_000 {
            call();
        }
        calls += 1_000;
        let took = began.elapsed();
        if took >= Duration::from_millis(500) {
            return f64::from(calls) / took.as_secs_f64();
        }
    }
}
