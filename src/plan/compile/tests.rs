//! Files and what the compiler makes of them, or says about them.

use std::collections::BTreeMap;

use super::*;
use crate::handler::egress;
use crate::plan::check;
use crate::settings::ClusterSettings;
use crate::spec::diagnostic::{self, short};
use crate::spec::span;
use std::path::Path;

fn compiled(text: &str) -> (Option<Plan>, Vec<Diagnostic>) {
    let references = References {
        vars: BTreeMap::from([
            ("topic".into(), "shop.orders".into()),
            ("url".into(), "https://h.test".into()),
        ]),
        secrets: BTreeMap::from([("key".into(), "0123456789abcdef".into())]),
        ..References::default()
    };
    let egress = Arc::new(Egress::new(&egress::Spec::default(), &[]).unwrap());
    let environment = Environment {
        references: &references,
        egress,
        schemas: Path::new("schemas"),
        registry: None,
        plugins: &Plugins::new("plugins", BTreeMap::new()),
        transport: None,
    };
    let mut findings = Vec::new();
    let source = span::Source::new("a.yaml", text);
    let file = PipelineFile::parse(&source, &mut findings);
    let plan = compile(&file, &environment, &mut findings);
    diagnostic::sort(&mut findings);
    (plan, findings)
}

fn plan(text: &str) -> Plan {
    let (plan, findings) = compiled(text);
    assert_eq!(findings.iter().map(short).collect::<Vec<_>>(), Vec::<String>::new());
    plan.unwrap()
}

/// Line, column, code and message of every finding; there is no plan then.
fn said(text: &str, expected: &[&str]) {
    let (plan, findings) = compiled(text);
    let found: Vec<_> = findings
        .iter()
        .map(|f| {
            let marked = f.primary.source.slice(f.primary.span);
            format!("{} {} [{marked}] {}", f.primary.source.position(f.primary.span.start), f.code, f.message)
        })
        .collect();
    assert_eq!(found, expected, "{text}");
    assert!(plan.is_none());
}

#[test]
fn the_event_id_is_kept_only_where_something_behind_a_transform_asks_for_it() {
    let needs = |transforms: &str, more: &str| {
        let head = "pipeline: a\nsource: t\ndlq: t.dlq\n";
        plan(&format!("{head}transforms: {transforms}\n{more}\n")).stages[0].needs_id
    };
    let plain = "handler: https://h.test/v1";
    let header = "handler: { webhook: { url: https://h.test/v1, headers: { x-id: '{{ %id }}' } } }";
    let body = "handler: { webhook: { url: https://h.test/v1, body: { id: ['{{ %id }}'] } } }";
    let url = "handler: 'https://h.test/v1/{{ %id }}'";
    for more in [header, body, url, "publish: { topic: out }"] {
        assert!(needs("[{ remove: [.id] }]", more), "{more}");
        assert!(!needs("[]", more), "nothing changes what it is taken from: {more}");
    }
    assert!(!needs("[{ remove: [.id] }]", plain));
    assert!(needs("[{ remove: [.id] }, { set: { .was: '{{ %id }}' } }]", plain));
    assert!(!needs("[{ set: { .was: '{{ %id }}' } }, { remove: [.id] }]", plain));
}

#[test]
fn four_lines_are_a_pipeline() {
    let text = "pipeline: billing\nsource: shop.orders\nhandler: https://h.test/v1/invoices\ndlq: shop.dlq\n";
    let plan = plan(text);
    assert_eq!((plan.pipeline.as_str(), plan.revision.len(), plan.stages.len()), ("billing", 64, 1));
    let stage = &plan.stages[0];
    assert_eq!((stage.service.as_str(), stage.stage.as_deref()), ("billing", None));
    assert_eq!(
        (stage.source.group.as_str(), &stage.source.topics[..]),
        ("weir.billing", &["shop.orders".to_owned()][..])
    );
    assert_eq!((stage.max_in_flight, stage.source.start), (256, Start::Earliest));
    assert_eq!(&*stage.dlq.as_ref().unwrap().topic, "shop.dlq");
    assert!(stage.policy.dlq && stage.breaker.is_some());
    assert!(!stage.looks_into_payload, "an untouched payload is not parsed");
    assert_ne!(plan.revision, super::Revision::of("pipeline: other\n"));
}

#[test]
fn stages_take_the_defaults_of_the_file() {
    let plan = plan(
        "pipeline: booking\nretry: { max_attempts: 3 }\ndlq: booking.dlq\nstages:\n  pay:\n    source: { topic: \"${var:topic}\", start: latest }\n    handler: log\n    retry: { max_attempts: 5 }\n  tell:\n    source: booking.paid\n    transforms:\n      - filter: .a == 1\n    handler: log\n",
    );
    let [pay, tell] = &plan.stages[..] else { panic!("two stages") };
    assert_eq!((pay.service.as_str(), pay.source.group.as_str()), ("booking.pay", "weir.booking.pay"));
    assert_eq!((pay.source.topics[0].as_str(), pay.source.start), ("shop.orders", Start::Latest));
    assert_eq!((pay.policy.retry.max_attempts(), tell.policy.retry.max_attempts()), (5, 3));
    assert!(tell.policy.dlq && tell.looks_into_payload && tell.breaker.is_none());
    assert_eq!(tell.steps[0].name, "filter-0");
}

#[test]
fn only_what_a_stage_reads_is_decoded() {
    let stage = |transforms: &str| {
        let text = format!(
            "pipeline: p\nsource: t\nhandler: https://h.test/v1/{{{{ %key }}}}\ntransforms:\n{transforms}"
        );
        plan(&text).stages[0].looks_into_payload
    };
    assert!(!stage("  - filter: exists(%headers.tenant)\n"));
    assert!(stage("  - filter: .a == 1\n"));
    assert!(stage("  - remove: [.a]\n"));
}

#[test]
fn every_finding_has_its_place() {
    said(
        "pipeline: p\nsource: t\nhandler: log\ntransforms:\n  - filter: .total.cents > 0\n  - remap: |\n      .a = 1\n      .b = upcas(.c)\n  - { name: x, when: \"%atempts > 3\", set: { .d: 'say \"{{ e }}\"', .f: \"${var:nope}\" } }\n  - split: lines\n",
        &[
            "5:13 W0302 [.total.cents > 0] this comparison can fail: the type of `.total.cents` is not known (VRL E100)",
            "8:12 W0305 [upcas] there is no function `upcas` (VRL E105)",
            "9:23 W0308 [%atempts] `%atempts` does not exist",
            "9:58 W0309 [e] `e` is not a path",
            "9:70 W0201 [\"${var:nope}\"] `${var:nope}` is not set",
            "10:12 W0309 [lines] `lines` is not a path",
        ],
    );
}

#[test]
fn what_no_stage_can_do_is_said() {
    said(
        "pipeline: Pay Me\nsource: { topics: [\"a b\", \"${var:no}\"] }\n",
        &[
            "1:11 W0202 [Pay Me] `Pay Me` is not a name",
            "2:1 W0205 [source] this stage reads records and does nothing with them",
            "2:20 W0203 [\"a b\"] a topic's name is made of letters, digits, `.`, `_` and `-`",
            "2:27 W0201 [\"${var:no}\"] `${var:no}` is not set",
        ],
    );
    said("pipeline: p\n", &["1:11 W0205 [p] this pipeline has no `source`"]);
    said(
        "pipeline: p\nhandler: log\nretry: { backoff: [] }\ndlq: \"a {{ .b }}\"\nstages:\n  a_b:\n    source: { topic: t, group: g }\n    handler: log\n  b:\n    source: { topic: t, group: g }\n    handler: log\n",
        &[
            "2:1 W0116 [handler] `handler` stands beside `stages`",
            "3:10 W0117 [backoff] there is no wait in this list",
            "4:6 W0117 [\"a {{ .b }}\"] a dead-letter topic holds no record data",
            "6:3 W0202 [a_b] `a_b` is not a name",
        ],
    );
}

#[test]
fn routes_are_compiled_and_placed() {
    let plan = plan(
        "pipeline: p\nsource: t\nhandler: https://h.test/v1/a\npublish:\n  - { topic: a, when: \"%response.status == 200\" }\n  - { topic: b, value: { id: \"{{ %key }}\" } }\n",
    );
    let stage = &plan.stages[0];
    assert_eq!((stage.publish.len(), stage.looks_into_payload), (2, false));
    said(
        "pipeline: p\nsource: t\npublish: { topic: a, when: .a, value: { id: \"x {{ b }}\" } }\n",
        &["3:28 W0303 [.a] `.a` is not known to be true or false", "3:51 W0309 [b] `b` is not a path"],
    );
}

#[test]
fn what_check_has_said_is_not_said_again() {
    let text = "pipeline: a\nsource: t\nhandler: log\ntransforms:\n  - set: { .a: \"${var:nope}\" }\n  - filter: .a == \"${var:b}\"\n";
    let mut findings = Vec::new();
    let file = PipelineFile::parse(&span::Source::new("a.yaml", text), &mut findings);
    let references = References::default();
    let clusters = BTreeMap::from([(DEFAULT_CLUSTER.to_owned(), ClusterSettings::default())]);
    let labels = BTreeMap::new();
    let given =
        check::Given { references: &references, memory: 1 << 30, clusters: &clusters, labels: &labels };
    check::check(std::slice::from_ref(&file), given, &mut findings);
    let said = findings.len();
    let egress = Arc::new(Egress::new(&egress::Spec::default(), &[]).unwrap());
    assert!(
        compile(
            &file,
            &Environment {
                references: &references,
                egress,
                schemas: Path::new("schemas"),
                registry: None,
                plugins: &Plugins::new("plugins", BTreeMap::new()),
                transport: None,
            },
            &mut findings
        )
        .is_none()
    );
    assert_eq!((said, findings.len()), (2, 2), "{:?}", findings.iter().map(short).collect::<Vec<_>>());
}

#[test]
fn a_handler_problem_has_its_place() {
    let (plan, findings) = compiled(
        "pipeline: p\nsource: t\nhandler:\n  webhook:\n    url: \"https://h.test/v1/{{ .a\"\n    headers: { host: x }\n",
    );
    assert!(plan.is_none());
    let lines: Vec<_> =
        findings.iter().map(|f| f.primary.source.position(f.primary.span.start).line).collect();
    assert_eq!(lines, [5, 6], "{:?}", findings.iter().map(short).collect::<Vec<_>>());
}
