//! `plugin`: gives an event to a WebAssembly function, which answers with no event, one or several. What goes in and what comes
//! out is JSON (docs/plugins.md). What the function does wrong is a failure of that record.

mod contract;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Tree;

use super::{Context, Counted, Emit, Transform};
use crate::event::Event;
use crate::outcome::{Code, Failure, Filter};
use crate::plan::expr::{Finding, Surroundings, TreeFinding};
use crate::plugin::{self, Guest, Limits, Wanted};
use crate::settings::References;
use crate::spec::form::{TextOrBlock, text_or_block};
use crate::spec::units::{Duration, Size};
use crate::telemetry::metrics::TransformErrorKind;

/// Which function, and what one call of it may take; `plugin: plugins/mask.wasm` is short for a block with `file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PluginBlock")]
pub struct Block {
    /// The WebAssembly file, below the folder of the plugins.
    pub file: String,
    /// The exported function. Default `transform`; of a filter `filter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// What the plugin finds as its configuration: a text as it is, anything else as JSON.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub config: IndexMap<String, Tree>,
    /// How long a call may take: 1ms to 10s, default 100ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How much memory an instance may have: 2MiB to 1GiB, default 32MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// How long an answer may be: up to 64MiB, default 1MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<Size>,
}

/// A plugin as it is written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Spec(pub Block);

/// What is wrong with a plugin.
const PLUGIN: &str = "W0811";
/// The most names of counters of one step; what is counted beyond them is counted as `other`.
const MAX_COUNTERS: usize = 32;

/// Loads the function.
pub fn build(spec: &Spec, context: &Context<'_>) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    Ok(Box::new(Plugin { step: Step::build(&spec.0, "transform", context)? }))
}

/// The same for a filter.
pub(super) fn build_filter(
    block: &Block,
    context: &Context<'_>,
) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    Ok(Box::new(FilterPlugin { step: Step::build(block, "filter", context)? }))
}

#[derive(Debug)]
struct Plugin {
    step: Step,
}

#[derive(Debug)]
struct FilterPlugin {
    step: Step,
}

/// A function of a guest, and what it has counted.
#[derive(Debug)]
struct Step {
    guest: Arc<Guest>,
    function: String,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    new: BTreeMap<String, u64>,
    names: BTreeSet<String>,
}

impl Transform for Plugin {
    fn apply(&self, event: Event, around: Surroundings<'_>) -> Result<Emit, Failure> {
        let output = self.step.call(&event, around)?;
        let mut events = contract::events(&output, &event).map_err(|why| self.step.failure(&why))?;
        Ok(match events.len() {
            0 => Emit::Filtered(Filter::Empty),
            1 => events.pop().map_or(Emit::Filtered(Filter::Empty), Emit::One),
            _ => Emit::Many(events),
        })
    }

    fn failure_kind(&self) -> TransformErrorKind {
        TransformErrorKind::Plugin
    }

    fn reads_id(&self) -> bool {
        true
    }

    fn counted(&self) -> Vec<Counted> {
        self.step.counted()
    }

    fn blocks(&self) -> bool {
        true
    }
}

impl Transform for FilterPlugin {
    fn apply(&self, event: Event, around: Surroundings<'_>) -> Result<Emit, Failure> {
        let output = self.step.call(&event, around)?;
        let passes = contract::answer(&output).map_err(|why| self.step.failure(&why))?;
        Ok(if passes { Emit::One(event) } else { Emit::Filtered(Filter::Condition) })
    }

    fn failure_kind(&self) -> TransformErrorKind {
        TransformErrorKind::Plugin
    }

    fn reads_id(&self) -> bool {
        true
    }

    fn counted(&self) -> Vec<Counted> {
        self.step.counted()
    }

    fn blocks(&self) -> bool {
        true
    }
}

impl Step {
    fn build(block: &Block, function: &str, context: &Context<'_>) -> Result<Step, Vec<TreeFinding>> {
        let mut findings = Vec::new();
        let mut resolver =
            Resolver { references: context.references, secrets: Vec::new(), findings: &mut findings };
        let config = resolver.config(block);
        let secrets = resolver.secrets;
        let limits = limits(block, &mut findings);
        let function = block.function.as_deref().unwrap_or(function);
        if !findings.is_empty() {
            return Err(findings);
        }
        let wanted = Wanted { file: &block.file, function, config, secrets, limits };
        match context.plugins.load(&wanted) {
            Ok(guest) => Ok(Step { guest, function: function.to_owned(), counts: Mutex::default() }),
            Err(refused) => {
                let at = if refused.function && block.function.is_some() { "function" } else { "file" };
                let finding = Finding::new(PLUGIN, refused.message, 0..usize::MAX).help(refused.help);
                Err(vec![TreeFinding::at([at], finding)])
            }
        }
    }

    fn call(&self, event: &Event, around: Surroundings<'_>) -> Result<Vec<u8>, Failure> {
        let input = contract::input(event, around).map_err(|why| self.failure(&why))?;
        let called = self.guest.call(&self.function, &input).map_err(|fault| self.failure(&fault))?;
        if !called.counts.is_empty() {
            self.count(called.counts);
        }
        Ok(called.output)
    }

    fn count(&self, counts: Vec<(String, u64)>) {
        let mut known = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, by) in counts {
            let name = if known.names.contains(&name) || known.names.len() < MAX_COUNTERS {
                known.names.insert(name.clone());
                name
            } else {
                "other".to_owned()
            };
            let sum = known.new.entry(name).or_default();
            *sum = sum.saturating_add(by);
        }
    }

    fn counted(&self) -> Vec<Counted> {
        let new = std::mem::take(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner).new);
        let plugin = self.guest.name();
        new.into_iter().map(|(name, by)| Counted { plugin: plugin.to_owned(), name, by }).collect()
    }

    fn failure(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::invalid(Code::Plugin, format!("{}: {why}", self.guest.name()))
    }
}

/// Resolves what a configuration refers to.
struct Resolver<'a> {
    references: &'a References,
    /// What is secret of it.
    secrets: Vec<String>,
    findings: &'a mut Vec<TreeFinding>,
}

impl Resolver<'_> {
    fn config(&mut self, block: &Block) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for (key, value) in &block.config {
            let text = match self.value(value, &mut vec!["config".to_owned(), key.clone()]) {
                Tree::String(text) => text,
                other => other.to_string(),
            };
            out.insert(key.clone(), text);
        }
        out
    }

    fn value(&mut self, value: &Tree, path: &mut Vec<String>) -> Tree {
        let mut below = |step: String, value: &Tree| {
            path.push(step);
            let resolved = self.value(value, path);
            path.pop();
            resolved
        };
        match value {
            Tree::Array(list) => {
                Tree::Array(list.iter().enumerate().map(|(at, item)| below(at.to_string(), item)).collect())
            }
            Tree::Object(map) => {
                Tree::Object(map.iter().map(|(key, item)| (key.clone(), below(key.clone(), item))).collect())
            }
            Tree::String(text) => Tree::String(self.text(text, path)),
            Tree::Null | Tree::Bool(_) | Tree::Number(_) => value.clone(),
        }
    }

    fn text(&mut self, text: &str, path: &[String]) -> String {
        match self.references.resolve(text) {
            Ok(resolved) => {
                let text = resolved.expose().to_owned();
                self.secrets.extend(resolved.is_secret().then(|| text.clone()));
                text
            }
            Err(error) => {
                self.findings.push(super::spec::unresolved(path.iter().map(String::as_str), &error));
                String::new()
            }
        }
    }
}

fn limits(block: &Block, findings: &mut Vec<TreeFinding>) -> Limits {
    let mut wrong = |key: &'static str, message: &str, help: &str| {
        findings.push(TreeFinding::at([key], Finding::new(PLUGIN, message, 0..usize::MAX).help(help)));
    };
    let timeout = block.timeout.map_or(plugin::TIMEOUT, |timeout| timeout.0);
    if timeout.is_zero() || timeout > std::time::Duration::from_secs(10) {
        wrong("timeout", "a call takes between 1ms and 10s", "write a time between them, such as 100ms");
    }
    let memory = block.memory.map_or(plugin::MEMORY, |size| size.0);
    if !(2 << 20..=1 << 30).contains(&memory) {
        wrong(
            "memory",
            "an instance has between 2MiB and 1GiB of memory",
            "write a size between them, such as 32MiB",
        );
    }
    let max_output = block.max_output.map_or(plugin::MAX_OUTPUT.min(memory), |size| size.0);
    if max_output == 0 || max_output > (64 << 20).min(memory) {
        let message = "an answer is no longer than 64MiB, nor than the memory";
        wrong("max_output", message, "write a smaller size, such as 1MiB");
    }
    Limits { timeout, memory, max_output: usize::try_from(max_output).unwrap_or(usize::MAX) }
}

impl TextOrBlock for Spec {
    type Block = Block;
    const EXPECTED: &'static str = "the file of a plugin, or a block with `file`";

    fn of_text<E>(file: &str) -> Result<Spec, E> {
        let file = file.to_owned();
        Ok(Spec(Block {
            file,
            function: None,
            config: IndexMap::new(),
            timeout: None,
            memory: None,
            max_output: None,
        }))
    }

    fn of_block<E>(block: Block) -> Result<Spec, E> {
        Ok(Spec(block))
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for Spec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Plugin".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<Block>();
        json_schema!({ "anyOf": [{ "type": "string" }, block] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> Spec {
        crate::spec::from_yaml(yaml).unwrap()
    }

    #[test]
    fn a_configuration_is_texts_and_its_secrets_are_known() {
        let Spec(block) =
            spec("{ file: a.wasm, config: { n: 4, fields: [a, '${secret:k}x'], t: '${var:v}', on: true } }");
        let references = References {
            vars: BTreeMap::from([("v".into(), "plain".into())]),
            secrets: BTreeMap::from([("k".into(), "c4nary".into())]),
            ..References::default()
        };
        let mut findings = Vec::new();
        let mut resolver = Resolver { references: &references, secrets: Vec::new(), findings: &mut findings };
        let config = resolver.config(&block);
        assert_eq!(resolver.secrets, ["c4naryx"]);
        let config: Vec<(&str, &str)> =
            config.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
        assert_eq!(config, [("fields", r#"["a","c4naryx"]"#), ("n", "4"), ("on", "true"), ("t", "plain")]);
        assert_eq!(findings, []);
    }

    #[test]
    fn both_forms_are_read_and_limits_have_defaults() {
        let short = spec("plugins/a.wasm");
        assert_eq!(short, spec("{ file: plugins/a.wasm }"));
        let mut findings = Vec::new();
        assert_eq!(limits(&short.0, &mut findings), Limits::default());
        let Spec(block) = spec("{ file: a.wasm, timeout: 1ms, memory: 2MiB, max_output: 2MiB }");
        let limits = limits(&block, &mut findings);
        assert_eq!((limits.memory, limits.max_output, findings.len()), (2 << 20, 2 << 20, 0));
        let schema = schemars::schema_for!(Spec);
        let validator = jsonschema::validator_for(schema.as_value()).unwrap();
        for (value, is_valid) in [
            (serde_json::json!("a.wasm"), true),
            (serde_json::json!({ "file": "a.wasm", "timeout": "5ms", "config": { "a": [1] } }), true),
            (serde_json::json!({ "function": "transform" }), false),
        ] {
            assert_eq!(validator.is_valid(&value), is_valid, "{value}");
        }
    }
}
