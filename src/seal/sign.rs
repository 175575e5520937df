//! `publish: {sign: ..}`: signs what is written, when it is written as its readers get it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key;
use super::signature::{self, HEADER, Signed};
use crate::event::Outgoing;
use crate::plan::expr::TreeFinding;
use crate::settings::References;

/// Signs each record of the entry in the header `weir-signature`, for readers whose source has `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PublishSign")]
pub struct SignSpec {
    /// The ed25519 key, a secret: `${secret:NAME}`. `whsk_` and base64 of its seed (32 bytes), or of seed and public key (64).
    pub key: String,
    /// What readers know the key by: 1 to 64 letters, digits, `.`, `_` and `-`.
    pub id: String,
}

const HOW: &str =
    "its secret is `whsk_` and base64 of a seed of 32 bytes, such as of: openssl rand -base64 32";

/// A key that signs. Prints its name only.
#[derive(Clone)]
pub struct Signer {
    id: String,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.id)
    }
}

impl Signer {
    /// Reads the key. Findings are placed inside the block and say nothing of what the secret holds.
    pub fn build(spec: &SignSpec, references: &References) -> Result<Signer, Vec<TreeFinding>> {
        let mut findings = Vec::new();
        if !key::is_id(&spec.id) {
            findings.push(key::wrong(&["id"], "this is no name of a key", key::ID_HELP));
        }
        let path = &["key"];
        let text = key::secret(path, &spec.key, references);
        match text.and_then(|text| read(text.trim_end()).map_err(|why| Box::new(key::wrong(path, why, HOW))))
        {
            Ok(key) if findings.is_empty() => return Ok(Signer { id: spec.id.clone(), key }),
            Ok(_) => {}
            Err(finding) => findings.push(*finding),
        }
        Err(findings)
    }

    /// Puts the header at the end of a record that is complete, in place of any other of its name.
    pub fn sign(&self, record: &mut Outgoing) {
        record.headers.retain(|header| header.name != HEADER);
        let signed = Signed {
            topic: &record.topic,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        };
        let signature = self.key.sign(&signed.bytes(&self.id)).to_bytes();
        record.headers.push(signature::header(&self.id, &signature));
    }
}

/// A seed, or a seed and the public key that belongs to it.
fn read(text: &str) -> Result<SigningKey, &'static str> {
    let encoded = text.strip_prefix("whsk_").ok_or("the signing key does not begin with `whsk_`")?;
    let bytes = STANDARD.decode(encoded).map_err(|_| "the signing key is not base64 after `whsk_`")?;
    if let Ok(seed) = <[u8; 32]>::try_from(bytes.as_slice()) {
        return Ok(SigningKey::from_bytes(&seed));
    }
    let pair =
        <[u8; 64]>::try_from(bytes.as_slice()).map_err(|_| "the signing key has neither 32 bytes nor 64")?;
    SigningKey::from_keypair_bytes(&pair)
        .map_err(|_| "the two halves of the signing key do not belong together")
}
