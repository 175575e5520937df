//! `source: {verify: ..}`: takes only records that one of the keys has signed, as they lie in Kafka.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key;
use super::signature::{self, HEADER, Signed};
use crate::event::{Body, Event};
use crate::plan::expr::TreeFinding;
use crate::settings::References;

/// Takes only records whose header `weir-signature` one of these keys has made (`sign` of a `publish`). Any other is invalid
/// (`signature`), and `on_invalid` says what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceVerify")]
pub struct VerifySpec {
    /// The public keys, each `NAME:BASE64` of its 32 bytes. They are no secrets.
    pub keys: Vec<String>,
}

/// At most this many keys.
const MAX_KEYS: usize = 100;
const HOW: &str = "write NAME:BASE64 of the 32 bytes of an ed25519 public key";

/// The keys of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Verifier {
    keys: Vec<(String, VerifyingKey)>,
}

/// Why a record is not taken. Prints nothing of it but the name of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unverified {
    /// It has no signature.
    Missing,
    /// Its signature is none.
    Malformed,
    /// Of a version that comes later.
    Version,
    /// Made by a key that the source does not name.
    UnknownKey(String),
    /// It does not fit the record.
    Forged(String),
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unverified::Missing => write!(f, "it has no header {HEADER}"),
            Unverified::Malformed => write!(f, "its header {HEADER} is none"),
            Unverified::Version => write!(f, "its header {HEADER} is of another version"),
            Unverified::UnknownKey(id) => write!(f, "the source has no key `{id}`"),
            Unverified::Forged(id) => write!(
                f,
                "its signature by the key `{id}` does not fit: topic, key, value, event id or schema id are not those that were signed"
            ),
        }
    }
}

impl Verifier {
    /// Reads the keys. Findings are placed inside the block.
    pub fn build(spec: &VerifySpec, references: &References) -> Result<Verifier, Vec<TreeFinding>> {
        let (mut findings, mut keys) = (Vec::new(), Vec::<(String, VerifyingKey)>::new());
        if spec.keys.is_empty() || spec.keys.len() > MAX_KEYS {
            let message = format!("{} keys; no record could be told from another", spec.keys.len());
            let message = if spec.keys.is_empty() { "`keys` has no key".to_owned() } else { message };
            findings.push(key::wrong(&["keys"], message, format!("write from 1 to {MAX_KEYS} of them")));
        }
        for (at, written) in spec.keys.iter().enumerate().take(MAX_KEYS) {
            let at = at.to_string();
            let path = &["keys", at.as_str()];
            let read = match references.resolve(written) {
                Ok(resolved) => read(resolved.expose().trim_end()).map_err(|why| key::wrong(path, why, HOW)),
                Err(error) => Err(key::unresolved(path, &error)),
            };
            match read {
                Ok((id, _)) if keys.iter().any(|(known, _)| *known == id) => {
                    findings.push(key::wrong(path, "this name is that of another key", key::ID_HELP));
                }
                Ok(key) => keys.push(key),
                Err(finding) => findings.push(finding),
            }
        }
        if findings.is_empty() { Ok(Verifier { keys }) } else { Err(findings) }
    }

    /// Whether one of the keys has signed a record. Its body is looked at as it came.
    pub fn verify(&self, event: &Event) -> Result<(), Unverified> {
        let value = match &event.body {
            Body::Raw(value) => value.as_deref(),
            // It was decoded already: what was signed is not there any more.
            Body::Value(_) => return Err(Unverified::Malformed),
        };
        let header = event.header(HEADER).ok_or(Unverified::Missing)?;
        let (id, signature) =
            signature::read(header).ok_or(Unverified::Malformed)?.ok_or(Unverified::Version)?;
        let (_, key) = self
            .keys
            .iter()
            .find(|(known, _)| known == id)
            .ok_or_else(|| Unverified::UnknownKey(id.to_owned()))?;
        let signed = Signed {
            topic: &event.origin.topic.name,
            key: event.key.as_deref(),
            value,
            headers: &event.headers,
        };
        key.verify_strict(&signed.bytes(id), &Signature::from_bytes(&signature))
            .map_err(|_| Unverified::Forged(id.to_owned()))
    }
}

fn read(text: &str) -> Result<(String, VerifyingKey), &'static str> {
    if text.contains("whsk_") || text.contains("whsec_") {
        return Err("this is a private key: take it out of the file, and another one into use");
    }
    let (id, encoded) = text.split_once(':').ok_or("this key has no name")?;
    if !key::is_id(id) {
        return Err("this key has a name that is none");
    }
    let bytes = STANDARD.decode(encoded.trim_start_matches("whpk_")).map_err(|_| "this key is not base64")?;
    let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| "this key has not 32 bytes")?;
    match VerifyingKey::from_bytes(&bytes) {
        Ok(key) if !key.is_weak() => Ok((id.to_owned(), key)),
        Ok(_) | Err(_) => Err("this is no public key of ed25519"),
    }
}
