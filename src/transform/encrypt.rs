//! `encrypt`: puts fields into envelopes, which `decrypt` opens, here or in another pipeline, and nobody without the key. A value of
//! any type becomes a text. A path that the value lacks, and null, are left alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrl::path::OwnedValuePath;

use super::{Emit, Example, Transform, failure, paths, take_value};
use crate::event::{Body, Event};
use crate::outcome::Failure;
use crate::plan::expr::{Finding, Surroundings, TreeFinding, finding, measure};
use crate::seal::{self, Bound, KeyRing, Place};
use crate::settings::References;

/// Which fields to encrypt, with AES-256-GCM. The same over all attempts at a record; never the same for two records, so that
/// nobody sees which values are equal (for that, `redact` has `hash`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Encrypt")]
pub struct Spec {
    /// The paths to encrypt, such as `[.customer.card]`; none inside of another. What is encrypted already is an error.
    pub fields: Vec<String>,
    /// The key ring, a secret: `${secret:NAME}`. One line for each key, `NAME:BASE64` of 32 bytes; the first one encrypts. A key is
    /// good for 2^32 values.
    pub key: String,
    /// A text that whoever decrypts has to give too: envelopes do not open in another context. Left out: none. The field's path
    /// is bound in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "encrypt: { fields: [.customer.card], key: \"${secret:orders_keys}\" }",
    input: r#"{"customer": {"card": "4111111111111111"}}"#,
    output: r#"{"customer": {"card": "weir:1:2026-11:j90vd1uWk4E_7k7dpsYorPZ9BfkrGNfx7u6UmzBGDFfB5rhUUNxI0QzlwpRSNA"}}"#,
};

/// The longest context.
const MAX_CONTEXT: usize = 256;

/// Parses the paths and reads the keys.
pub fn build(spec: &Spec, references: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let mut findings = Vec::new();
    let fields = fields(&spec.fields, &mut findings);
    let context = context(spec.context.as_deref(), references, &mut findings);
    match seal::ring(&spec.key, references) {
        Ok(ring) if findings.is_empty() => Ok(Box::new(Encrypt { fields, ring, context })),
        Ok(_) => Err(findings),
        Err(finding) => {
            findings.push(*finding);
            Err(findings)
        }
    }
}

/// A field, and how its path is printed.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) path: OwnedValuePath,
    pub(super) name: String,
}

/// The paths of a list, of which none lies inside of another: else the order would decide what can be opened again.
pub(super) fn fields(written: &[String], findings: &mut Vec<TreeFinding>) -> Vec<Field> {
    if written.is_empty() {
        let none = Finding::new(finding::INVALID, "`fields` has no path", 0..usize::MAX);
        findings.push(TreeFinding::at(["fields"], none.help("name one: fields: [.customer.card]")));
    }
    let mut fields: Vec<Field> = Vec::new();
    for (at, text) in written.iter().enumerate() {
        let place = ["fields".to_owned(), at.to_string()];
        let path = match paths::parse(text) {
            Ok(path) => path,
            Err(finding) => {
                findings.push(TreeFinding::at(place, finding));
                continue;
            }
        };
        let (segments, name) = (&path.segments, paths::name(&path));
        let inside =
            |of: &&Field| segments.starts_with(&of.path.segments) || of.path.segments.starts_with(segments);
        if let Some(other) = fields.iter().find(inside) {
            let message = format!("`{name}` and `{}` are one, or one inside of the other", other.name);
            let finding =
                Finding::new(finding::INVALID, message, 0..text.len()).help("take one of the two out");
            findings.push(TreeFinding::at(place, finding));
            continue;
        }
        fields.push(Field { path, name });
    }
    fields
}

/// What envelopes are bound to besides their paths.
pub(super) fn context(
    written: Option<&str>,
    references: &References,
    findings: &mut Vec<TreeFinding>,
) -> String {
    let Some(written) = written else { return String::new() };
    let resolved = match references.resolve(written) {
        Ok(resolved) => resolved.expose().to_owned(),
        Err(error) => {
            findings.push(super::spec::unresolved(["context"], &error));
            return String::new();
        }
    };
    if resolved.is_empty() || resolved.len() > MAX_CONTEXT || resolved.chars().any(char::is_control) {
        let message = format!("a context has 1 to {MAX_CONTEXT} bytes, without line breaks");
        let finding = Finding::new(finding::INVALID, message, 0..usize::MAX);
        findings.push(TreeFinding::at(
            ["context"],
            finding.help("name what the fields belong to: context: orders"),
        ));
    }
    resolved
}

#[derive(Debug)]
struct Encrypt {
    fields: Vec<Field>,
    ring: KeyRing,
    context: String,
}

impl Transform for Encrypt {
    fn apply(&self, mut event: Event, _: Surroundings<'_>) -> Result<Emit, Failure> {
        let mut value = take_value(&mut event);
        for Field { path, name } in &self.fields {
            let Some(field) = value.get_mut(path).filter(|field| !field.is_null()) else { continue };
            let failed = |why: &dyn std::fmt::Display| failure(format!("encrypting `{name}`: {why}"));
            if field.to_str().is_some_and(seal::is_sealed) {
                return Err(failed(&"it is encrypted already"));
            }
            let bound = Bound { context: &self.context, path: name };
            let sealed = seal::seal(&self.ring, bound, Place(&event), field, measure::MAX_BYTES);
            *field = sealed.map_err(|why| failed(&why))?.into();
        }
        measure::check(&value).map_err(failure)?;
        event.body = Body::Value(value);
        Ok(Emit::One(event))
    }
}
