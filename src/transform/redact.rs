//! `redact`: masks fields, or replaces them by a keyed hash. A list or an object is masked value by value. A path that
//! the value lacks, and null, are left alone.

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use vrl::path::OwnedValuePath;
use vrl::value::Value;

use super::{Emit, Example, Transform, paths, take_value};
use crate::event::{Body, Event};
use crate::outcome::Failure;
use crate::plan::expr::{Finding, Surroundings, TreeFinding, finding};
use crate::settings::References;

/// Which fields to mask, and how. Without `keep_last` and `hash` a field becomes `***`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The paths to mask, such as `[.customer.card]`.
    pub fields: Vec<String>,
    /// How many of the last characters stay: `***1111`. A text that is not at least twice as long becomes `***`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u8>,
    /// Replaces the text by its HMAC-SHA256 in hexadecimal: the same text gives the same hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<HashSpec>,
}

/// How to hash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashSpec {
    /// The key, a secret of at least 16 bytes: `${secret:NAME}`.
    pub key: String,
}

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "redact: { fields: [.customer.card], keep_last: 4 }",
    input: r#"{"customer": {"card": "4111111111111111"}}"#,
    output: r#"{"customer": {"card": "***1111"}}"#,
};

const MASK: &str = "***";

/// Parses the paths and resolves the key.
pub fn build(spec: &Spec, references: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let mut findings = Vec::new();
    let mut fields = Vec::new();
    for (at, text) in spec.fields.iter().enumerate() {
        match paths::parse(text) {
            Ok(path) => fields.push(path),
            Err(finding) => findings.push(TreeFinding::at(["fields".to_owned(), at.to_string()], finding)),
        }
    }
    let how = match (&spec.hash, spec.keep_last) {
        (Some(_), Some(_)) => {
            let both = Finding::new(finding::INVALID, "`keep_last` and `hash` exclude each other", 0..0);
            findings.push(TreeFinding::on_key(["hash"], both));
            How::Mask(0)
        }
        (None, keep) => How::Mask(usize::from(keep.unwrap_or(0))),
        (Some(hash), None) => match keyed(&hash.key, references) {
            Ok(mac) => How::Hash(Box::new(mac)),
            Err(finding) => {
                findings.push(*finding);
                How::Mask(0)
            }
        },
    };
    if findings.is_empty() { Ok(Box::new(Redact { fields, how })) } else { Err(findings) }
}

fn keyed(key: &str, references: &References) -> Result<Hmac<Sha256>, Box<TreeFinding>> {
    let path = ["hash", "key"];
    let resolved = references.resolve(key).map_err(|e| Box::new(super::spec::unresolved(path, &e)))?;
    let short = || {
        let finding = Finding::new(finding::INVALID, "the key has less than 16 bytes", 0..key.len())
            .help("take a random one of 32 bytes, from ${secret:NAME}");
        Box::new(TreeFinding::at(path, finding))
    };
    let bytes = resolved.expose().as_bytes();
    if bytes.len() < 16 {
        return Err(short());
    }
    Hmac::new_from_slice(bytes).map_err(|_| short())
}

struct Redact {
    fields: Vec<OwnedValuePath>,
    how: How,
}

enum How {
    Mask(usize),
    Hash(Box<Hmac<Sha256>>),
}

impl std::fmt::Debug for Redact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redact({:?})", self.fields)
    }
}

impl Transform for Redact {
    fn apply(&self, mut event: Event, _: Surroundings<'_>) -> Result<Emit, Failure> {
        let mut value = take_value(&mut event);
        for path in &self.fields {
            if let Some(field) = value.get_mut(path) {
                self.how.redact(field);
            }
        }
        event.body = Body::Value(value);
        Ok(Emit::One(event))
    }
}

impl How {
    fn redact(&self, value: &mut Value) {
        match value {
            Value::Null => {}
            Value::Array(list) => list.iter_mut().for_each(|item| self.redact(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.redact(item)),
            Value::Bytes(_)
            | Value::String(_)
            | Value::Regex(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Timestamp(_) => *value = Value::from(self.replacement(value)),
        }
    }

    fn replacement(&self, value: &Value) -> String {
        let bytes = value.coerce_to_bytes();
        match self {
            How::Hash(keyed) => {
                let mut mac = Hmac::clone(keyed);
                mac.update(&bytes);
                HEXLOWER.encode(&mac.finalize().into_bytes())
            }
            How::Mask(keep) => {
                let text = String::from_utf8_lossy(&bytes);
                let length = text.chars().count();
                let kept = if length >= keep * 2 { *keep } else { 0 };
                MASK.chars().chain(text.chars().skip(length - kept)).collect()
            }
        }
    }
}
