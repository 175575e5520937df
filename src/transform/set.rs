//! `set`: writes values to paths. Templates see the event as it was before the step.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrl::path::OwnedValuePath;
use vrl::value::Value;

use super::{Emit, Example, Transform, failure, paths, take_value};
use crate::event::{Body, Event};
use crate::outcome::Failure;
use crate::plan::expr::{Surroundings, TreeFinding, ValueTemplate, View, measure};
use crate::settings::References;
use crate::telemetry::metrics::TransformErrorKind;

/// Paths of the value and what is written to them: any YAML, whose strings may hold templates and references.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Spec(pub IndexMap<String, serde_json::Value>);

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "set: { .source: shop, .ref: { id: \"{{ .id }}\", text: \"order {{ .id }}\" } }",
    input: r#"{"id": 7}"#,
    output: r#"{"id": 7, "ref": {"id": 7, "text": "order 7"}, "source": "shop"}"#,
};

/// Parses paths and templates, and resolves references.
pub fn build(spec: &Spec, references: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let mut findings = Vec::new();
    let mut writes = Vec::new();
    for (key, tree) in &spec.0 {
        let path = paths::parse(key).map_err(|f| findings.push(TreeFinding::on_key([key], f))).ok();
        let template = ValueTemplate::parse(tree)
            .map_err(|list| findings.extend(list.into_iter().map(|f| f.under(key))))
            .ok()
            .and_then(|template| {
                let mut resolve = |text: &str| references.resolve(text).map(|r| r.expose().to_owned());
                template
                    .resolve(&mut resolve)
                    .map_err(|e| findings.push(super::spec::unresolved([key.as_str()], &e)))
                    .ok()
            });
        if let (Some(path), Some(template)) = (path, template) {
            writes.push((path, template));
        }
    }
    if findings.is_empty() { Ok(Box::new(Set { writes })) } else { Err(findings) }
}

#[derive(Debug)]
struct Set {
    writes: Vec<(OwnedValuePath, ValueTemplate)>,
}

impl Transform for Set {
    fn apply(&self, mut event: Event, around: Surroundings<'_>) -> Result<Emit, Failure> {
        let view = View::of(&event, around);
        let render = |(_, template): &(OwnedValuePath, ValueTemplate)| template.render(&view);
        let rendered: Vec<Value> = self.writes.iter().map(render).collect::<Result<_, _>>()?;
        let mut value = take_value(&mut event);
        for ((path, _), new) in self.writes.iter().zip(rendered) {
            value.insert(path, new);
        }
        measure::check(&value).map_err(failure)?;
        event.body = Body::Value(value);
        Ok(Emit::One(event))
    }

    fn failure_kind(&self) -> TransformErrorKind {
        TransformErrorKind::Eval
    }

    fn reads_id(&self) -> bool {
        self.writes.iter().any(|(_, template)| template.reads_id())
    }
}
