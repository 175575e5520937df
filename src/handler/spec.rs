//! The `handler` key as the user writes it: a URL, `log`, or a block with one handler.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{log, sql, webhook};
use crate::spec::form::{TextOrBlock, text_or_block};

/// What a stage does with an event: one side effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Spec {
    /// An HTTP request. `handler: URL` is short for it.
    Webhook(Box<webhook::Spec>),
    /// A line in Weir's log. `handler: log` is short for it.
    Log(log::Spec),
    /// A statement in a database.
    Sql(Box<sql::Spec>),
}

const EXPECTED: &str = "a URL, `log`, or a block with one of webhook, log, sql";

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Kind {
    Webhook,
    Log,
    Sql,
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpecVisitor)
    }
}

struct SpecVisitor;

impl<'de> Visitor<'de> for SpecVisitor {
    type Value = Spec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Spec, E> {
        match text {
            "log" => Ok(Spec::Log(log::Spec::default())),
            "webhook" | "sql" => Err(E::custom(format_args!("`{text}` needs a block; write {EXPECTED}"))),
            url => Ok(Spec::Webhook(Box::new(webhook::Spec::of_url(url)))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spec, A::Error> {
        let Some(kind) = map.next_key()? else {
            return Err(A::Error::custom(format_args!("this handler is empty; write {EXPECTED}")));
        };
        let spec = match kind {
            Kind::Webhook => Spec::Webhook(map.next_value::<WebhookBlock>()?.0),
            Kind::Log => Spec::Log(map.next_value()?),
            Kind::Sql => Spec::Sql(map.next_value()?),
        };
        if map.next_key::<Kind>()?.is_some() {
            return Err(A::Error::custom(
                "a stage has one handler, for a retry repeats one side effect; put the other into a stage of its own",
            ));
        }
        Ok(spec)
    }
}

/// `webhook: URL` reads like `webhook: {url: URL}`.
struct WebhookBlock(Box<webhook::Spec>);

impl TextOrBlock for WebhookBlock {
    type Block = Box<webhook::Spec>;
    const EXPECTED: &'static str = "a URL or a block with `url`";

    fn of_text<E>(url: &str) -> Result<WebhookBlock, E> {
        Ok(WebhookBlock(Box::new(webhook::Spec::of_url(url))))
    }

    fn of_block<E>(block: Box<webhook::Spec>) -> Result<WebhookBlock, E> {
        Ok(WebhookBlock(block))
    }
}

impl<'de> Deserialize<'de> for WebhookBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for Spec {
    fn schema_name() -> Cow<'static, str> {
        "Handler".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let webhook = generator.subschema_for::<webhook::Spec>();
        let (log, sql) = (generator.subschema_for::<log::Spec>(), generator.subschema_for::<sql::Spec>());
        json_schema!({
            "description": "What the stage does with an event: one side effect.",
            "anyOf": [
                { "type": "string", "description": "The URL of a webhook, or `log`." },
                {
                    "type": "object",
                    "properties": {
                        "webhook": { "anyOf": [{ "type": "string" }, webhook] },
                        "log": log,
                        "sql": sql,
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::egress::{self, Egress};
    use crate::handler::{Context, build};
    use crate::settings::References;
    use crate::spec::span::Source;
    use crate::spec::tree::{self, Document};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn read(value: Value) -> Result<Spec, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn the_short_forms_are_the_long_ones_with_defaults() {
        let url = "https://billing.internal/v1/invoices";
        let short = read(json!(url)).unwrap();
        assert_eq!(short, read(json!({ "webhook": { "url": url } })).unwrap());
        assert_eq!(short, read(json!({ "webhook": url })).unwrap());
        assert_eq!(read(json!("log")).unwrap(), read(json!({ "log": {} })).unwrap());
    }

    #[test]
    fn every_key_of_the_contract_is_read_and_written_back() {
        let full = json!({ "webhook": {
            "url": "https://x/a", "method": "PUT", "headers": { "a": "b" }, "forward_headers": ["x-shop-*"],
            "body": { "id": "{{ .id }}", "n": 1 }, "content": "form",
            "cloudevents": { "mode": "binary", "type": "t" },
            "batch": { "max_records": 5, "max_bytes": "64KiB", "linger": "5ms" },
            "accept": [202, "204-206"], "rules": [{ "when": "%response.status == 200", "then": "retry" }],
            "sign": { "secret": ["${secret:a}", "${secret:b}"] }, "auth": { "bearer": "${secret:t}" },
            "tls": { "ca": "ca.pem" }, "proxy": "http://proxy:3128", "timeout": "10s",
            "timeouts": { "dns": "1s" }, "max_body": "1MiB", "max_response": "1KiB", "concurrency": 10,
            "rate": "50/s", "retry_after_max": "5m", "breaker": "none", "probe": "head", "compress": "gzip",
            "idempotency_key": true, "identify": true,
        } });
        let spec = read(full).unwrap();
        let written = serde_json::to_value(&spec).unwrap();
        assert_eq!(read(written).unwrap(), spec);
        let short = read(json!("http://x/")).unwrap();
        assert_eq!(read(serde_json::to_value(&short).unwrap()).unwrap(), short);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let unknown = read(json!({ "webhook": { "url": "https://x/", "ulr": 1 } })).unwrap_err();
        assert!(unknown.contains("unknown field `ulr`"), "{unknown}");
        let two = read(json!({ "log": {}, "webhook": { "url": "https://x/" } })).unwrap_err();
        assert!(two.contains("one handler"), "{two}");
        for wrong in
            [json!({}), json!(5), json!("sql"), json!({ "webhook": { "url": "https://x/", "accept": [99] } })]
        {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[derive(Deserialize)]
    struct File {
        handler: Option<Spec>,
    }

    fn read_file(text: &str) -> (Option<Spec>, Vec<String>) {
        let mut findings = Vec::new();
        let source = Source::new("example", text);
        let mut document = Document::parse(&source, &mut findings).unwrap();
        let file: Option<File> = tree::read(&mut document, &mut findings);
        (file.and_then(|file| file.handler), findings.iter().map(|f| format!("{f:?}")).collect())
    }

    #[test]
    fn the_examples_are_read_and_run() {
        let egress = Egress::new(&egress::Spec::default(), &[]).unwrap();
        let context = Context {
            service: "order-billing".into(),
            identity: "order-billing".into(),
            revision: "r1".into(),
            max_in_flight: 256,
            reads_answer: false,
            folder: Arc::from(std::path::Path::new("")),
            egress: Arc::new(egress),
            transport: None,
        };
        for example in [webhook::EXAMPLE, log::EXAMPLE] {
            let (spec, findings) = read_file(example);
            assert!(findings.is_empty(), "{findings:?}");
            build(&spec.unwrap(), &context, &References::default()).unwrap();
        }
        let sql = Spec::Sql(Box::new(sql::Spec {
            url: "sqlite:x".into(),
            statement: "select 1".into(),
            params: Default::default(),
            batch: None,
        }));
        assert!(build(&sql, &context, &References::default()).is_err());
    }

    #[test]
    fn a_fault_inside_of_a_block_is_placed() {
        for (block, at) in [("timeouts: { dsn: 5s }", "dsn"), ("breaker: { window: 5 }", "5 }")] {
            let text = format!("handler:\n  webhook:\n    url: https://x/\n    {block}\n");
            let (_, findings) = read_file(&text);
            let at = format!("start: {}", text.find(at).unwrap());
            assert!(findings.iter().any(|finding| finding.contains(&at)), "{findings:?}");
        }
    }
}
