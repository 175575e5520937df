//! One file, from its text to its Spec, with everything that is wrong with it.

use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::pipeline::Pipeline;
use super::span::Source;
use super::tree::{Document, Kind, Node, Path, Style, read};
use super::{later, misplaced};

/// A pipeline file as it was read.
#[derive(Debug, Clone)]
pub struct PipelineFile {
    /// Its tree, which places findings; `None` where nothing can be made of the text.
    pub document: Option<Document>,
    /// What it says; without what is wrong with it. Run it only where there is no error.
    pub spec: Option<Pipeline>,
}

impl PipelineFile {
    /// Reads a pipeline file. What is wrong goes to `findings`, all of it in one go.
    pub fn parse(source: &Arc<Source>, findings: &mut Vec<Diagnostic>) -> PipelineFile {
        let mut document = Document::parse(source, findings);
        let spec = document.as_mut().and_then(|document| {
            later::pipeline(document, findings);
            joined_programs(document, findings);
            let before = findings.len();
            let spec = read(document, findings);
            misplaced::say(findings.get_mut(before..).unwrap_or_default(), || {
                schemars::schema_for!(Pipeline).to_value()
            });
            spec.filter(|spec| few_stages(document, spec, findings))
        });
        PipelineFile { document, spec }
    }
}

/// How many stages a file may have.
const MAX_STAGES: usize = 500;

/// Whether the stages can be looked at: what is checked across them costs more than their number.
fn few_stages(document: &Document, spec: &Pipeline, findings: &mut Vec<Diagnostic>) -> bool {
    let count = spec.stages.as_ref().map_or(0, |stages| stages.len());
    if count > MAX_STAGES {
        let label = document.key_label(&Path::root().then("stages"), format!("{count} of them"));
        let message = format!("a file has at most {MAX_STAGES} stages");
        findings.push(Diagnostic::error("W0110", message, label).with_help("make several pipelines of it"));
    }
    count <= MAX_STAGES
}

/// `remap: >`, or a plain program over several lines: YAML joins its lines by spaces, and two statements on one line are
/// no VRL.
fn joined_programs(document: &mut Document, findings: &mut Vec<Diagnostic>) {
    let root = Path::root();
    let stages = document.root.get("stages").map_or(&[][..], Node::entries);
    let mut places = vec![(root.then("transforms"), document.root.get("transforms"))];
    for stage in stages {
        let path = root.then("stages").then(stage.key.as_str()).then("transforms");
        places.push((path, stage.value.get("transforms")));
    }
    let mut wrong = Vec::new();
    for (path, transforms) in places {
        for (at, item) in transforms.map_or(&[][..], Node::items).iter().enumerate() {
            let Some(node) = item.get("remap") else { continue };
            let Kind::Scalar(_, style @ (Style::Plain | Style::Folded)) = node.kind else { continue };
            let lines =
                document.source.slice(node.span).lines().filter(|line| !line.trim().is_empty()).count();
            if lines > 1 && !document.skip.contains(&node.id) {
                wrong.push((node.id, style, path.then(at).then("remap")));
            }
        }
    }
    for (id, style, path) in wrong {
        let form =
            if style == Style::Folded { "`>` joins the lines" } else { "without `|` the lines are joined" };
        let label = document.key_label(&path, form);
        let message = "YAML joins the lines of this program by spaces";
        let finding = Diagnostic::error("W0115", message, label)
            .with_cause("two statements on one line are no VRL (E203)")
            .with_help("begin the program with `|`:\nremap: |");
        findings.push(finding);
        document.skip.insert(id);
    }
}

/// Reads a text of YAML as a `T`, for the tests of components; fails with all findings, one a line.
#[cfg(test)]
pub(crate) fn from_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut findings = Vec::new();
    let source = Source::new("test.yaml", text);
    let value = Document::parse(&source, &mut findings).and_then(|mut d| read(&mut d, &mut findings));
    let said = findings.iter().map(super::diagnostic::short).collect::<Vec<_>>().join("\n");
    if said.is_empty() { value.ok_or_else(|| "nothing was read".to_owned()) } else { Err(said) }
}
