//! `decrypt`: opens the envelopes of `encrypt`; a value comes back as it was, with its type. A path that the value lacks, and null,
//! are left alone; anything else that does not open is an error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encrypt::{self, Field};
use super::{Emit, Example, Transform, failure, paths, take_value};
use crate::event::{Body, Event};
use crate::outcome::Failure;
use crate::plan::expr::{Finding, Surroundings, TreeFinding, finding, measure};
use crate::seal::{self, Bound, KeyRing, Unopened};
use crate::settings::References;

/// Which fields to decrypt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Decrypt")]
pub struct Spec {
    /// The paths to decrypt, under which they were encrypted.
    pub fields: Vec<String>,
    /// The key ring, a secret: `${secret:NAME}`. One line for each key, `NAME:BASE64` of 32 bytes; an envelope says which one it
    /// needs.
    pub key: String,
    /// The context in which they were encrypted. Left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The path under which it was encrypted, where the field has been moved since; `fields` has one entry then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_as: Option<String>,
}

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "decrypt: { fields: [.customer.card], key: \"${secret:orders_keys}\" }",
    input: r#"{"customer": {"card": "weir:1:2026-11:j90vd1uWk4E_7k7dpsYorPZ9BfkrGNfx7u6UmzBGDFfB5rhUUNxI0QzlwpRSNA"}}"#,
    output: r#"{"customer": {"card": "4111111111111111"}}"#,
};

/// Parses the paths and reads the keys.
pub fn build(spec: &Spec, references: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let mut findings = Vec::new();
    let fields = encrypt::fields(&spec.fields, &mut findings);
    let context = encrypt::context(spec.context.as_deref(), references, &mut findings);
    let sealed_as = spec.sealed_as.as_deref().and_then(|text| {
        if spec.fields.len() != 1 {
            let message = "`sealed_as` is for one field";
            let finding = Finding::new(finding::INVALID, message, 0..usize::MAX);
            findings.push(TreeFinding::on_key(
                ["sealed_as"],
                finding.help("write an item for each field that has been moved"),
            ));
        }
        let parsed = paths::parse(text);
        parsed.map_err(|finding| findings.push(TreeFinding::at(["sealed_as"], finding))).ok()
    });
    let sealed_as = sealed_as.map(|path| paths::name(&path));
    match seal::ring(&spec.key, references) {
        Ok(ring) if findings.is_empty() => Ok(Box::new(Decrypt { fields, ring, context, sealed_as })),
        Ok(_) => Err(findings),
        Err(finding) => {
            findings.push(*finding);
            Err(findings)
        }
    }
}

#[derive(Debug)]
struct Decrypt {
    fields: Vec<Field>,
    ring: KeyRing,
    context: String,
    sealed_as: Option<String>,
}

impl Transform for Decrypt {
    fn apply(&self, mut event: Event, _: Surroundings<'_>) -> Result<Emit, Failure> {
        let mut value = take_value(&mut event);
        for Field { path, name } in &self.fields {
            let Some(field) = value.get_mut(path).filter(|field| !field.is_null()) else { continue };
            let bound = Bound { context: &self.context, path: self.sealed_as.as_ref().unwrap_or(name) };
            let opened = match field.to_str() {
                Some(text) => seal::open(&self.ring, bound, text),
                None => Err(Unopened::NoEnvelope),
            };
            *field = opened.map_err(|why| failure(format!("decrypting `{name}`: {why}")))?;
        }
        measure::check(&value).map_err(failure)?;
        event.body = Body::Value(value);
        Ok(Emit::One(event))
    }
}
