//! The golden list of names and labels, and what loading and unloading do.

use std::time::Duration;

use super::*;
use crate::outcome::{Code, Filter, HoldCause, Outcome, Reason};

/// `name type labels` of everything that exists, one line each; label values do not show.
fn shapes(metrics: &Metrics) -> Vec<String> {
    let mut lines = Vec::new();
    for family in metrics.registry.gather() {
        let labels = |metric: &prometheus::proto::Metric| {
            metric.get_label().iter().map(|pair| pair.name().to_owned()).collect::<Vec<_>>()
        };
        let first = family.get_metric().first().map(labels).unwrap_or_default();
        assert!(family.get_metric().iter().all(|metric| labels(metric) == first), "{}", family.name());
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        lines.push(format!("{} {kind} {}", family.name(), first.join(",")).trim_end().to_owned());
    }
    lines
}

fn loaded() -> (Arc<Metrics>, StageMetrics, PipelineMetrics) {
    let metrics = Metrics::new();
    let stage = metrics.stage("booking", "booking.payment");
    stage.source("booking.requested");
    stage.producer("booking.paid");
    stage.transform_errors("remap-1", TransformErrorKind::Eval);
    stage.plugin_counted("mask.wasm", "masked", 1);
    let facts = PipelineFacts {
        owner: "team-a".into(),
        max_age: Some(Duration::from_secs(300)),
        dlq_ratio: Some(0.001),
        ..PipelineFacts::default()
    };
    let pipeline = metrics.pipeline("booking", &facts);
    (metrics, stage, pipeline)
}

#[test]
fn the_names_and_labels_are_the_golden_list() {
    let (metrics, _stage, _pipeline) = loaded();
    metrics.http_answered("/livez", 200, Duration::from_millis(1));
    let golden: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(
        shapes(&metrics),
        golden,
        "where it is meant, change golden.txt, dashboards and alert rules too"
    );
}

#[test]
fn loading_sets_every_combination_to_zero() {
    let (metrics, _stage, _pipeline) = loaded();
    let text = metrics.encode();
    for line in [
        r#"weir_events_completed_total{outcome="dead_lettered",pipeline="booking",stage="booking.payment"} 0"#,
        r#"weir_handler_attempts_total{pipeline="booking",result="http_5xx",stage="booking.payment"} 0"#,
        r#"weir_stage_held{cause="no_dlq",pipeline="booking",stage="booking.payment"} 0"#,
        r#"weir_dead_letters_total{code="status",pipeline="booking",reason="rejected",stage="booking.payment"} 0"#,
        r#"weir_pipeline_health{health="starting",pipeline="booking"} 1"#,
        r#"weir_producer_records_total{pipeline="booking",result="error",stage="booking.payment",topic="booking.paid"} 0"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(
        !text.contains(r#"weir_memory_bytes{pool="fetch"}"#),
        "nobody weighs it, so nothing is said: {text}"
    );
    let series = text.lines().filter(|line| line.contains("stage=\"booking.payment\"")).count();
    assert!(series < 180, "{series} series for one stage");
}

#[test]
fn what_is_counted_shows() {
    let (metrics, stage, pipeline) = loaded();
    stage.finished(Outcome::Delivered, Some(Duration::from_secs(2)));
    stage.finished(Outcome::Filtered(Filter::Condition), None);
    stage.finished(Outcome::DeadLettered(Reason::Exhausted, Code::Timeout), None);
    stage.attempted(AttemptResult::Ok, Duration::from_millis(3));
    stage.attempted(AttemptResult::Http5xx, Duration::from_millis(3));
    stage.set_held(HoldCause::Dlq, true);
    stage.anomaly(Anomaly::PollSlow);
    stage.producer("booking.paid").ok.inc();
    stage.producer("booking.declined").ok.inc_by(2);
    pipeline.set_health(crate::telemetry::health::Health::Failing);
    assert_eq!((stage.completed(), stage.attempts(), stage.published()), ([1, 1, 1, 0], 2, 3));
    let text = metrics.encode();
    let of = |name: &str, label: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.to_owned()).collect()
    };
    assert_eq!(of("weir_dead_letters_total", r#"code="timeout""#), ["1", "0"], "exhausted, rejected");
    assert_eq!(of("weir_stage_held", r#"cause="dlq""#), ["1"]);
    assert_eq!(of("weir_anomalies_total", "poll_slow"), ["1"]);
    assert_eq!(of("weir_event_age_seconds_sum", ""), ["2"]);
    assert_eq!(of("weir_handler_duration_seconds_count", r#"ok="false""#), ["1"]);
    assert_eq!(of("weir_pipeline_health", "failing"), ["1"]);
    assert_eq!(of("weir_pipeline_health", "starting"), ["0"]);
}

#[test]
fn series_go_with_the_last_handle_and_a_reload_keeps_the_counts() {
    let (metrics, old, pipeline) = loaded();
    let empty = shapes(&Metrics::new());
    old.events_received.inc_by(7);
    let new = metrics.stage("booking", "booking.payment");
    let facts = PipelineFacts { revision: "5b1e20c".into(), ..PipelineFacts::default() };
    let replaced = metrics.pipeline("booking", &facts);
    drop((old, pipeline));
    assert_eq!(new.events_received.get(), 7);
    let text = metrics.encode();
    assert!(
        text.contains("weir_events_received_total{pipeline=\"booking\",stage=\"booking.payment\"} 7"),
        "{text}"
    );
    assert!(
        text.contains("revision=\"5b1e20c\"") && !text.contains("team-a") && !text.contains("weir_slo"),
        "{text}"
    );
    drop((new, replaced));
    assert_eq!(shapes(&metrics), empty);
    assert_eq!(metrics.stage("booking", "booking.payment").events_received.get(), 0);
}

#[test]
fn label_values_are_cut_and_too_many_pipelines_are_folded() {
    let metrics = Metrics::new();
    let long = "ä".repeat(40);
    let _long = metrics.stage(&long, &long);
    assert!(metrics.encode().contains(&format!("pipeline=\"{}\"", "ä".repeat(32))));
    let _handles: Vec<StageMetrics> =
        (1..=MAX_PIPELINES + 1).map(|n| metrics.stage(&format!("p{n}"), "s")).collect();
    let text = metrics.encode();
    let folded = r#"weir_events_received_total{pipeline="other",stage="other"} 0"#;
    assert_eq!(text.matches(folded).count(), 1);
    assert!(text.contains("weir_metric_series_dropped_total 2"));
}
