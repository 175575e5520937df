//! Records that are validated by a JSON Schema, on the way in and on the way out.

use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::receiver::{Reply, status};

const ORDER: &str = r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["id","total"],
    "properties":{"id":{"type":"string"},"total":{"$ref":"money.json"}}}"#;
const MONEY: &str = r#"{"type":"object","properties":{"cents":{"type":"integer","minimum":0}}}"#;
const PAID: &str =
    r#"{"type":"object","required":["id"],"properties":{"id":{"type":"string","maxLength":4}}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_valid_is_dead_lettered_with_its_place_in_and_out() {
    let answer = r#"{"id":"p-1"}"#;
    let mut stage = Stage::set("json-schema", "", move |seen| {
        let long = seen.arrival.body.windows(4).any(|part| part == b"long");
        let body = if long { r#"{"id":"too long"}"# } else { answer };
        Reply { headers: vec![("content-type", "application/json".into())], body: body.into(), ..status(200) }
    })
    .await;
    let schemas = stage.site.path().join("schemas");
    std::fs::create_dir_all(schemas.join("shop")).unwrap();
    for (name, text) in [("order.json", ORDER), ("money.json", MONEY), ("paid.json", PAID)] {
        std::fs::write(schemas.join("shop").join(name), text).unwrap();
    }
    let out = format!("{}.out", stage.topic);
    stage.kafka.create(&out, 1, &[]).await;
    let yaml = format!(
        "source: {{ topic: {0}, schema: {{ file: schemas/shop/order.json, references: [schemas/shop/money.json] }} }}\n\
         handler: {1}\npublish: {{ topic: {out}, format: json, schema: {{ file: shop/paid.json }} }}\ndlq: {0}.dlq\n",
        stage.topic,
        stage.receiver.url()
    );
    stage.site =
        stage.site.runtime(&format!("schemas: {}\n", schemas.display())).pipeline(&stage.topic, &yaml);
    let good: &[u8] = b" {\"id\" : \"o-1\", \"total\":{\"cents\":9007199254740993}}\n";
    let wrong: [&[u8]; 4] = [
        br#"{"id":"o-2","total":{"cents":"1"}}"#,
        br#"{"id":"o-3"}"#,
        br#"{"id":"o-4","total":{"cents":-1}}"#,
        b"{",
    ];
    let long: &[u8] = br#"{"id":"long","total":{}}"#;
    for value in [&[good][..], &wrong, &[long]].concat() {
        send(&stage, Some(b"k"), Some(value), OwnedHeaders::new(), 0);
    }
    let weir = stage.site.start("one").await;
    stage.watched().all_committed_within(&stage.run, &[(0, 6)].into(), Duration::from_secs(60)).await;
    let arrivals = stage.receiver.arrivals();
    let bodies: Vec<&[u8]> = arrivals.iter().map(|arrival| &arrival.body[..]).collect();
    assert_eq!(bodies, [good, long], "what is valid goes out as it came");
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let said: Vec<(&str, &str)> = dead
        .iter()
        .map(|one| (one.header("weir-code").unwrap(), one.header("weir-error").unwrap()))
        .collect();
    assert_eq!(said[0], ("schema", "validating JSON: /total/cents: expected integer, got string"));
    assert_eq!(said[1], ("schema", "validating JSON: the property `total` is missing"));
    assert_eq!(said[2], ("schema", "validating JSON: /total/cents: value is less than the minimum of 0"));
    assert_eq!(said[3].0, "decode");
    assert_eq!(said[4].0, "answer");
    assert!(said[4].1.contains("/id: value is longer than 4"), "{said:?}");
    let values: Vec<&[u8]> = dead.iter().map(|one| one.value.as_deref().unwrap_or_default()).collect();
    assert_eq!(values, [&wrong[..], &[long]].concat(), "byte for byte");
    let published = stage.kafka.read(&stage.run, &out);
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].value.as_deref(), Some(answer.as_bytes()));
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
