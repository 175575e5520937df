//! What the value of a stage looks like, from its source through each step to where it goes: what reads a path that it never
//! has is found, and what is published and never fits its schema.

mod fits;
mod report;
mod steps;

use std::ops::Range;

use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};

use super::compile::Compiler;
use super::expr::{Insert, Part, Template, Touch, TreeFinding, parse_path, touches};
use super::{OnTombstone, place};
use crate::codec::Codec;
use crate::codec::shape::{Shape, Use};
use crate::handler;
use crate::publish::route::{self, PartitionBy, Route};
use crate::spec::diagnostic::Severity;
use crate::spec::pipeline;
use crate::spec::tree::{MAX_FINDINGS, Path};

impl Compiler<'_, '_> {
    /// Follows a stage whose values are read by `source`. `routes`: its entries of `publish`, where all of them compile.
    pub(super) fn shapes(
        &mut self,
        written: &pipeline::Stage,
        source: &Codec,
        routes: Option<&[Route]>,
        path: &Path,
    ) {
        let list = path.then("transforms");
        let items = self.document.at(&list).map_or(0, |node| node.items().len());
        if items != written.transforms.len() {
            // What a step does that could not be read is not known.
            return;
        }
        let mut walk = Walk::new(source, written.source.on_tombstone == OnTombstone::Deliver);
        if let Some(priority) = &written.priority {
            walk.expression(&At::new(&self.written_at(path, "priority"), &[]), priority);
        }
        for (index, item) in written.transforms.iter().enumerate() {
            walk.step(item, &place::item(self.document, &list, index));
        }
        if let Some(handler) = &written.handler {
            walk.handler(handler, &path.then("handler"));
        }
        for (index, route) in written.publish.0.iter().enumerate() {
            let item = place::item(self.document, &path.then("publish"), index);
            walk.route(route, &item);
            if let Some(built) = routes.and_then(|routes| routes.get(index)) {
                walk.published(route, built.own_codec(), written.handler.is_some(), &item);
            }
        }
        for Seen { base, tree, severity } in walk.found {
            if self.findings.len() >= MAX_FINDINGS {
                break;
            }
            let mut finding = place::tree_finding(self.document, &base, &tree);
            finding.severity = severity;
            self.findings.push(finding);
        }
    }
}

/// A finding, and the block that it is in.
struct Seen {
    base: Path,
    tree: TreeFinding,
    severity: Severity,
}

/// A text of the file: the keys that lead to it from a block, or to the key that it is.
#[derive(Debug, Clone)]
struct At {
    base: Path,
    keys: Vec<String>,
    on_key: bool,
}

impl At {
    fn new(base: &Path, keys: &[&str]) -> At {
        At { base: base.clone(), keys: keys.iter().map(|key| (*key).to_owned()).collect(), on_key: false }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a text or a number, as it comes")]
    fn then(&self, key: impl ToString) -> At {
        let mut below = self.clone();
        below.keys.push(key.to_string());
        below
    }

    fn key(self) -> At {
        At { on_key: true, ..self }
    }
}

/// Why a path is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// The schema of the source lacks it.
    Schema,
    /// The source has no schema, and its format lacks it.
    Format,
    /// The source may have it, and a step has taken it out.
    TakenOut,
}

struct Walk<'s> {
    source: &'s Codec,
    /// What the source gives.
    first: Shape,
    /// What it is by now.
    shape: Shape,
    /// Whether a step may have changed it.
    changed: bool,
    found: Vec<Seen>,
    /// How much may still be copied.
    room: usize,
}

/// How many parts of shapes are copied for one stage; behind that anything may be. A schema of 10,000 types is that often
/// copied 200 times: once for each step with a `when`, and each write of a program that is not certain.
const MAX_COPIED: usize = 2_000_000;

impl Walk<'_> {
    fn new(source: &Codec, takes_null: bool) -> Walk<'_> {
        let first = source.shape(Use::Read);
        let first = if takes_null { Shape::one_of([first, Shape::Null]) } else { first };
        Walk { source, shape: first.clone(), first, changed: false, found: Vec::new(), room: MAX_COPIED }
    }

    /// Looks at a path that is read; what stands there, where anything may.
    fn read(&mut self, at: &At, path: &[OwnedSegment], span: Range<usize>) -> Option<Shape> {
        self.read_as(at, path, span, Severity::Error)
    }

    /// The same; how bad it is where the path is never there.
    fn read_as(
        &mut self,
        at: &At,
        path: &[OwnedSegment],
        span: Range<usize>,
        lacks: Severity,
    ) -> Option<Shape> {
        if self.found.len() >= MAX_FINDINGS {
            return None;
        }
        match self.shape.get(path) {
            Ok(found) => {
                if let Some(near) = &found.near {
                    self.say(at, report::near(path, near, span), Severity::Warning);
                }
                self.spend(found.shape.nodes());
                Some(found.shape)
            }
            Err(absent) => {
                let lack = match self.first.get(path) {
                    Ok(_) => Lack::TakenOut,
                    Err(_) if self.source.validates() => Lack::Schema,
                    Err(_) => Lack::Format,
                };
                self.say(at, report::absent(path, &absent, lack, span), lacks);
                None
            }
        }
    }

    /// Takes a copy off what may be copied.
    fn spend(&mut self, nodes: usize) {
        self.room = self.room.saturating_sub(nodes);
        if self.room == 0 {
            self.shape = Shape::Anything;
        }
    }

    fn say(&mut self, at: &At, finding: super::expr::Finding, severity: Severity) {
        if self.found.len() >= MAX_FINDINGS {
            return;
        }
        let tree = TreeFinding { path: at.keys.clone(), on_key: at.on_key, finding };
        self.found.push(Seen { base: at.base.clone(), tree, severity });
    }

    /// A path of the value that is a text of the file; `None` where it is none, or is never there.
    fn path(&mut self, at: &At, text: &str) -> Option<(OwnedValuePath, Shape)> {
        let path = value_path(text)?;
        let shape = self.read(at, &path.segments, 0..text.len())?;
        Some((path, shape))
    }

    /// What a condition or an expression reads.
    fn expression(&mut self, at: &At, source: &str) {
        for touch in touches(source).unwrap_or_default() {
            if let Touch::Read(path, span) = touch {
                self.read(at, &path.segments, trimmed(source, span));
            }
        }
    }

    fn template(&mut self, at: &At, source: &str) {
        for insert in inserts(source) {
            self.insert(at, &insert);
        }
    }

    /// What a template puts in; anything where it comes from elsewhere.
    fn insert(&mut self, at: &At, insert: &Insert) -> Shape {
        match insert.path().prefix {
            PathPrefix::Metadata => Shape::Anything,
            PathPrefix::Event => {
                let shape = self.read(at, &insert.path().path.segments, insert.span());
                shape.unwrap_or(Shape::Anything)
            }
        }
    }

    /// A tree of templates, and what it makes.
    fn tree(&mut self, at: &At, tree: &serde_json::Value) -> Shape {
        match tree {
            serde_json::Value::String(text) => match Template::parse(text) {
                Ok(template) => match template.parts() {
                    [Part::Insert(insert)] => self.insert(at, insert),
                    parts => {
                        let inserts = parts.iter().filter_map(of_part);
                        inserts.for_each(|insert| drop(self.insert(at, insert)));
                        text_of(&template)
                    }
                },
                Err(_) => Shape::Anything,
            },
            serde_json::Value::Array(list) => {
                let items = list.iter().enumerate().map(|(index, item)| self.tree(&at.then(index), item));
                let items: Vec<Shape> = items.collect();
                Shape::List(Box::new(Shape::one_of(items)))
            }
            serde_json::Value::Object(map) => {
                let fields = map.iter().map(|(key, item)| (key.clone(), self.tree(&at.then(key), item)));
                steps::object(fields.collect())
            }
            serde_json::Value::Null => Shape::Null,
            serde_json::Value::Bool(_) => Shape::BOOLEAN,
            serde_json::Value::Number(number) if number.is_f64() => Shape::NUMBER,
            serde_json::Value::Number(_) => Shape::INTEGER,
        }
    }

    fn handler(&mut self, written: &handler::Spec, base: &Path) {
        let handler::Spec::Webhook(webhook) = written else { return };
        let at = At::new(base, &["webhook"]);
        self.template(&at.then("url"), &webhook.url);
        for (name, text) in &webhook.headers {
            self.template(&at.then("headers").then(name), text);
        }
        if let Some(body) = &webhook.body {
            self.tree(&at.then("body"), body);
        }
        if let Some(subject) = webhook.cloudevents.as_ref().and_then(|written| written.subject()) {
            self.template(&at.then("cloudevents").then("subject"), subject);
        }
        for (index, rule) in webhook.rules.iter().enumerate() {
            self.expression(&at.then("rules").then(index).then("when"), &rule.when);
        }
    }

    fn route(&mut self, route: &route::Spec, base: &Path) {
        let at = |key: &str| At::new(base, &[key]);
        self.template(&at("topic"), &route.topic);
        if let Some(when) = &route.when {
            self.expression(&at("when"), when);
        }
        if let Some(key) = &route.key {
            self.template(&at("key"), key);
        }
        for (name, text) in &route.headers {
            self.template(&at("headers").then(name), text);
        }
        if let Some(value) = &route.value {
            self.tree(&at("value"), value);
        }
        if let PartitionBy::Partition(source) = &route.partition_by {
            self.expression(&at("partition_by").then("partition"), source);
        }
    }
}

/// A path of the value, as a key or an entry of a block has it.
fn value_path(text: &str) -> Option<OwnedValuePath> {
    match parse_path(text, 0..text.len()) {
        Ok(OwnedTargetPath { prefix: PathPrefix::Event, path }) => Some(path),
        Ok(_) | Err(_) => None,
    }
}

fn of_part(part: &Part) -> Option<&Insert> {
    match part {
        Part::Insert(insert) => Some(insert),
        Part::Literal(_) => None,
    }
}

fn inserts(source: &str) -> Vec<Insert> {
    let template = Template::parse(source);
    template.map_or_else(
        |_| Vec::new(),
        |template| template.parts().iter().filter_map(of_part).cloned().collect(),
    )
}

/// The text that a template makes which is not one path alone: itself, where nothing is put in.
fn text_of(template: &Template) -> Shape {
    match template.as_literal() {
        Some(text) if !text.contains("${") => Shape::symbols([text.to_owned()]),
        _ => Shape::TEXT,
    }
}

/// A span without the space behind what it holds.
fn trimmed(source: &str, span: Range<usize>) -> Range<usize> {
    let text = source.get(span.clone()).unwrap_or_default();
    span.start..span.start + text.trim_end().len()
}

#[cfg(test)]
mod tests;
