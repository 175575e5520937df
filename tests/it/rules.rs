//! `rules` of a webhook: what an answer means by the file's own words, before the table is asked (H09).

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::outputs::answered;
use crate::support::receiver::{Reply, Seen, status};

const RULES: &str = r#"    rules:
      - { when: "int!(%response.body.code) == 7", then: dlq }
      - { when: "%response.status == 200 && exists(%response.body.error)", then: retry }
      - { when: "%response.status == 422 && %response.headers.\"x-known\" == \"yes\"", then: ok }
      - { when: "%response.status == 418", then: hold }
retry: { max_attempts: 3, initial_delay: 50ms, only: [503] }
"#;

/// Each record's value is what it is answered with.
fn reply(seen: &Seen<'_>) -> Reply {
    match &*seen.arrival.body {
        b"error once" if seen.before == 0 => answered(r#"{"error":"busy"}"#),
        b"error always" => answered(r#"{"error":"busy"}"#),
        b"code" => answered(r#"{"code":7}"#),
        b"known" => Reply { headers: vec![("x-known", "yes".into())], ..status(422) },
        b"unknown" => status(422),
        b"teapot" if seen.before == 0 => status(418),
        _ => status(200),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_means_what_the_rules_say() {
    let stage = Stage::set("rules", RULES, |seen| reply(&seen)).await;
    let weir = stage.site.start("one").await;
    let values = ["error once", "error always", "code", "known", "unknown", "plain"];
    for value in values {
        send(&stage, Some(value.as_bytes()), Some(value.as_bytes()), OwnedHeaders::new(), 0);
    }
    stage.watched().all_committed(&stage.run, &[(0, 6)].into()).await;
    let mut requests: HashMap<String, usize> = HashMap::new();
    for arrival in stage.receiver.arrivals() {
        *requests.entry(String::from_utf8(arrival.body.to_vec()).unwrap()).or_default() += 1;
    }
    let made: Vec<usize> = values.iter().map(|value| requests[*value]).collect();
    assert_eq!(made, [2, 3, 1, 1, 1, 1], "{values:?}; `retry.only` says nothing where a rule has spoken");
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let mut ends: Vec<_> = dead
        .iter()
        .map(|dead| {
            let value = std::str::from_utf8(dead.value.as_ref().unwrap()).unwrap();
            (value, dead.header("weir-reason").unwrap(), dead.header("weir-code").unwrap())
        })
        .collect();
    ends.sort_unstable();
    let expected = [
        ("code", "rejected", "unexpected_status"),
        ("error always", "exhausted", "status"),
        ("unknown", "rejected", "status"),
    ];
    assert_eq!(ends, expected);
    let failed = weir.metric("weir_anomalies_total", &[("kind", "rule_failed")]).await;
    assert!(failed >= 5.0, "a rule that cannot be evaluated is counted: {failed}");

    send(&stage, Some(b"t"), Some(b"teapot"), OwnedHeaders::new(), 1);
    weir.holds("disabled").await;
    assert!(weir.log().contains("by rules[3]"), "the log says which rule");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
