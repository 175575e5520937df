//! Compiles an entry of `publish`: templates, conditions, references, and that no record decides how a topic's name begins.

use bytes::Bytes;

use super::written::{PartitionBy, Spec};
use super::{Content, Place, Route, Topic};
use crate::codec::Codec;
use crate::plan::expr::{
    Expression, Finding, Part, Predicate, Template, TreeFinding, ValueTemplate, finding,
};
use crate::publish::topic;
use crate::seal::{SignSpec, Signer};
use crate::settings::References;

/// A topic that may not be written, or whose beginning a record would decide.
const TOPIC: &str = "W0401";
/// A header that may not be written.
const HEADER: &str = "W0402";

/// `%response` where nobody answers.
const RESPONSE: &str = "W0403";
/// What this version does not do yet.
const LATER: &str = "W0114";

impl Route {
    /// Compiles an entry. Fails with all findings, each placed inside of the entry.
    pub fn build(spec: &Spec, place: Place, references: &References) -> Result<Route, Vec<TreeFinding>> {
        let mut build = Build { references, findings: Vec::new() };
        let topic = build.topic(&spec.topic);
        let compile = if place.handler { Predicate::compile_answered } else { Predicate::compile };
        let when = spec.when.as_deref().and_then(|source| build.compiled("when", compile(source)));
        let key = spec.key.as_deref().and_then(|source| build.template(&["key"], source));
        let headers: Vec<_> =
            spec.headers.iter().filter_map(|(name, text)| build.header(name, text)).collect();
        let value = match &spec.value {
            Some(tree) => build.value(tree).map(Content::Template),
            None if place.handler => Some(Content::Answer),
            None if place.own.as_ref().is_some_and(|own| *own != place.source) => Some(Content::Encoded),
            None => Some(Content::Event),
        };
        let codec = place.own.clone().unwrap_or_else(|| match value {
            Some(Content::Event | Content::Encoded) => place.source.clone(),
            Some(Content::Answer | Content::Template(_)) | None => Codec::Json,
        });
        let partition = match &spec.partition_by {
            PartitionBy::Key => None,
            PartitionBy::Partition(source) => {
                let compiled = build.compiled("partition", Expression::compile(source));
                build.nest_last("partition_by", compiled.is_none());
                compiled
            }
        };
        let sign = spec.sign.as_ref().and_then(|sign| build.signer(sign));
        if spec.atomic {
            let finding = Finding::new(LATER, "`atomic: true` is not available yet", 0..usize::MAX);
            build.at(&["atomic"], finding.help("take `atomic: true` out"));
        }
        match (topic, value) {
            (Some(topic), Some(value)) if build.findings.is_empty() => {
                let mut route = Route {
                    place,
                    topic,
                    when,
                    key,
                    headers,
                    codec,
                    value,
                    partition,
                    sign,
                    reads_response_body: false,
                    watch: None,
                };
                route.reads_response_body = route.find_response_body();
                if !route.place.handler
                    && let Some(key) = route.reads_response()
                {
                    let what = "this stage has no handler that could answer";
                    let help = "add a `handler`, or take the value from the record, such as {{ .id }}";
                    let finding = Finding::new(RESPONSE, what, 0..usize::MAX).help(help);
                    return Err(vec![TreeFinding::at([key], finding)]);
                }
                Ok(route)
            }
            _ => Err(build.findings),
        }
    }

    /// The first key that reads `%response`.
    fn reads_response(&self) -> Option<&'static str> {
        let value = match &self.value {
            Content::Template(template) => template.reads_response(),
            Content::Answer | Content::Event | Content::Encoded => false,
        };
        let topic = matches!(&self.topic, Topic::Template(template) if template.reads_response());
        let keys = [
            ("topic", topic),
            ("when", self.when.as_ref().is_some_and(Predicate::reads_response)),
            ("key", self.key.as_ref().is_some_and(Template::reads_response)),
            ("headers", self.headers.iter().any(|(_, template)| template.reads_response())),
            ("value", value),
            ("partition_by", self.partition.as_ref().is_some_and(Expression::reads_response)),
        ];
        keys.into_iter().find(|(_, reads)| *reads).map(|(key, _)| key)
    }
}

struct Build<'a> {
    references: &'a References,
    findings: Vec<TreeFinding>,
}

impl Build<'_> {
    fn at(&mut self, path: &[&str], finding: Finding) {
        self.findings.push(TreeFinding::at(path.iter().copied(), finding));
    }

    fn nest_last(&mut self, under: &str, failed: bool) {
        if failed {
            let nested = self.findings.pop().map(|finding| finding.under(under));
            self.findings.extend(nested);
        }
    }

    fn compiled<T>(&mut self, key: &str, compiled: Result<T, Vec<Finding>>) -> Option<T> {
        let placed = |list: Vec<Finding>| list.into_iter().map(|finding| TreeFinding::at([key], finding));
        compiled.map_err(|list| self.findings.extend(placed(list))).ok()
    }

    fn signer(&mut self, spec: &SignSpec) -> Option<Signer> {
        let built = Signer::build(spec, self.references);
        built.map_err(|list| self.findings.extend(list.into_iter().map(|f| f.under("sign")))).ok()
    }

    fn template(&mut self, path: &[&str], source: &str) -> Option<Template> {
        let template = match Template::parse(source) {
            Ok(template) => template,
            Err(list) => {
                list.into_iter().for_each(|finding| self.at(path, finding));
                return None;
            }
        };
        match template.resolve(|text| self.references.resolve(text).map(|r| r.expose().to_owned())) {
            Ok(template) => Some(template),
            Err(error) => {
                self.at(
                    path,
                    Finding::new(finding::UNRESOLVED, error.to_string(), 0..usize::MAX).help(error.help()),
                );
                None
            }
        }
    }

    fn value(&mut self, tree: &serde_json::Value) -> Option<ValueTemplate> {
        let parsed = ValueTemplate::parse(tree);
        let template =
            parsed.map_err(|list| self.findings.extend(list.into_iter().map(|f| f.under("value")))).ok()?;
        let mut resolve = |text: &str| self.references.resolve(text).map(|r| r.expose().to_owned());
        match template.resolve(&mut resolve) {
            Ok(template) => Some(template),
            Err(error) => {
                self.at(
                    &["value"],
                    Finding::new(finding::UNRESOLVED, error.to_string(), 0..usize::MAX).help(error.help()),
                );
                None
            }
        }
    }

    /// The topic's name: its beginning is literal once references are resolved, and so is every character that a record
    /// does not put in, which Kafka takes.
    fn topic(&mut self, source: &str) -> Option<Topic> {
        let template = self.template(&["topic"], source)?;
        let whole = 0..source.len();
        if let Some(name) = template.as_literal() {
            if let Some(fault) = topic::fault(name) {
                self.at(&["topic"], Finding::new(TOPIC, fault, whole).help(topic::help(name)));
                return None;
            }
            return Some(Topic::Literal(name.into()));
        }
        let begins = template.literal_prefix();
        if begins.is_empty() || begins == "_" || begins == "." {
            let finding = Finding::new(TOPIC, "a record would decide how the topic's name begins", whole)
                .help("begin with text of the file: topic: \"shop.orders.{{ .country }}\"");
            self.at(&["topic"], finding);
            return None;
        }
        let literals = template.parts().iter().filter_map(|part| match part {
            Part::Literal(text) => Some(text.as_str()),
            Part::Insert(_) => None,
        });
        let text: String = literals.collect();
        if let Some(fault) = topic::fault(&text) {
            self.at(&["topic"], Finding::new(TOPIC, fault, whole).help(topic::help(&text)));
            return None;
        }
        Some(Topic::Template(template))
    }

    fn header(&mut self, name: &str, text: &str) -> Option<(Bytes, Template)> {
        let reserved = name.to_ascii_lowercase().starts_with("weir-");
        if reserved || name.is_empty() || name.contains("{{") || name.contains('\0') {
            let (what, help) = if reserved {
                ("headers beginning with `weir-` are Weir's own", "give it another name")
            } else {
                ("a header's name is literal text", "write the name itself; the value may be a template")
            };
            let finding = Finding::new(HEADER, what, 0..name.len()).help(help);
            self.findings.push(TreeFinding::on_key(["headers", name], finding));
            return None;
        }
        let template = self.template(&["headers", name], text)?;
        Some((Bytes::copy_from_slice(name.as_bytes()), template))
    }
}
