//! A file of tests as it is written: events that are given, answers that are scripted, and what is expected of them.

mod expect;
mod forms;
mod given;
mod reply;

use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::misplaced;
use super::span::Source;
use super::tree::{Document, read};

pub use expect::{
    DeadLetter, Expect, Hold, OutcomeWord, Published, Request, Requests, Signature, WordOfCode, WordOfReason,
};
pub use forms::{OneOrList, PerStage, Several};
pub use given::{Given, Moment};
pub use reply::{Answered, Reply};

/// Tests of one pipeline. They run on a virtual clock, without Kafka and without a network.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Weir tests")]
pub struct Tests {
    /// The pipeline's name: that of the file beside this one.
    pub pipeline: String,
    /// What `${var:NAME}` of the pipeline stands for.
    #[serde(default)]
    pub vars: IndexMap<String, String>,
    /// What `${secret:NAME}` of the pipeline stands for. Not the real ones.
    #[serde(default)]
    pub secrets: IndexMap<String, String>,
    /// What `${env:NAME}` of the pipeline stands for.
    #[serde(default)]
    pub env: IndexMap<String, String>,
    /// The event, or the events in their order, that every test starts from.
    pub given: Option<OneOrList<Given>>,
    /// The tests.
    pub tests: Vec<Test>,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What it shows, in one sentence; no other test of the file has it.
    pub name: String,
    /// The event, or the events in their order, in place of those that every test starts from.
    pub given: Option<OneOrList<Given>>,
    /// What is changed in what is given, by path: `.status`, `%key`, `%headers.NAME`. Null takes it away.
    #[serde(default)]
    pub change: IndexMap<String, Value>,
    /// The answers to the requests, in the order in which they are made; with `stages` a list for each stage.
    pub replies: Option<PerStage<Vec<Reply>>>,
    /// What is to come of it. What is left out is not looked at.
    pub expect: Expect,
}

/// A file of tests as it was read.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// Its tree, which places findings; `None` where nothing can be made of the text.
    pub document: Option<Document>,
    /// What it says; without what is wrong with it. Run it only where there is no error.
    pub spec: Option<Tests>,
}

impl TestFile {
    /// Reads a file of tests. What is wrong goes to `findings`, all of it in one go.
    pub fn parse(source: &Arc<Source>, findings: &mut Vec<Diagnostic>) -> TestFile {
        let mut document = Document::parse(source, findings);
        let spec = document.as_mut().and_then(|document| {
            let before = findings.len();
            let spec = read(document, findings);
            misplaced::say(findings.get_mut(before..).unwrap_or_default(), || {
                schemars::schema_for!(Tests).to_value()
            });
            spec
        });
        TestFile { document, spec }
    }
}
