//! The envelope of an encrypted field: `weir:1:KEY:` and, in base64url without padding, nonce (12 bytes), ciphertext and tag (16
//! bytes) of AES-256-GCM. The plaintext is the value's JSON. Bound to it (as associated data) are version, key, context and path:
//! an envelope that was moved to another field, or between contexts, does not open.
//!
//! The nonce is not drawn but derived: an HMAC of what is encrypted, where, and of which record, under a key of its own. So each
//! attempt at a record sends the same bytes, as a receiver may expect under the same id, while no two records share an envelope
//! even where their values are equal. Sources: NIST SP 800-38D, 8.2; RFC 8452, section 1, for the idea.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use ring::aead::{Aad, NONCE_LEN, Nonce};
use sha2::Sha256;
use vrl::value::Value;

use super::key;
use super::ring::{Key, KeyRing};
use crate::event::{Event, json};

/// How an envelope of ours begins, whatever its version.
const PREFIX: &str = "weir:";
/// The version that is written.
const VERSION: &str = "1";
const TAG_LEN: usize = 16;

/// What an envelope is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// What the file says of it; empty where it says nothing. No control characters.
    pub context: &'a str,
    /// The field's path as it is printed, such as `.customer.card`.
    pub path: &'a str,
}

/// Which part of which record is encrypted: the same over all attempts at it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a>(pub &'a Event);

/// Why a text is not opened. Prints nothing of it but the name of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unopened {
    /// It is none of ours.
    NoEnvelope,
    /// Of a version that comes later.
    Version,
    /// The ring has no key of this name.
    UnknownKey(String),
    /// It was changed, or belongs to another key, field or context.
    Forged(String),
    /// What was encrypted is no JSON: another program made it.
    NoValue,
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unopened::NoEnvelope => f.write_str("it is not encrypted"),
            Unopened::Version => f.write_str("its envelope is of another version"),
            Unopened::UnknownKey(id) => write!(f, "the ring has no key `{id}`"),
            Unopened::Forged(id) => write!(
                f,
                "it does not open with the key `{id}`: it was changed, or made for another field or context, or by another key of this name"
            ),
            Unopened::NoValue => f.write_str("what was encrypted is no JSON"),
        }
    }
}

/// The envelope of a value; fails where it has no JSON, or one longer than `limit`.
pub fn seal(
    ring: &KeyRing,
    bound: Bound<'_>,
    place: Place<'_>,
    value: &Value,
    limit: usize,
) -> Result<String, json::JsonError> {
    let plain = json::to_bytes(value, limit)?;
    let key = &ring.first;
    let bound = associated(key, bound);
    let nonce = nonce(key, &bound, place, &plain);
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_LEN);
    sealed.extend_from_slice(&plain);
    // Fails for plaintexts of more than 64 GiB alone, far above any `limit`.
    let tag = key
        .aead
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&bound), &mut sealed)
        .map_err(|_| json::JsonError::too_long(limit))?;
    let sealed = [nonce.as_slice(), sealed.as_slice(), tag.as_ref()].concat();
    let mut text = format!("{PREFIX}{VERSION}:{}:", key.id);
    URL_SAFE_NO_PAD.encode_string(sealed, &mut text);
    Ok(text)
}

/// The value in an envelope.
pub fn open(ring: &KeyRing, bound: Bound<'_>, text: &str) -> Result<Value, Unopened> {
    let Envelope { id, nonce, mut sealed } = read(text)?;
    let key = ring.find(id).ok_or_else(|| Unopened::UnknownKey(id.to_owned()))?;
    let bound = associated(key, bound);
    let plain = key
        .aead
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&bound), &mut sealed)
        .map_err(|_| Unopened::Forged(id.to_owned()))?;
    json::parse(plain).map_err(|_| Unopened::NoValue)
}

/// Whether a text is an envelope, whoever has made it.
pub fn is_sealed(text: &str) -> bool {
    read(text).is_ok()
}

struct Envelope<'a> {
    id: &'a str,
    nonce: [u8; NONCE_LEN],
    /// Ciphertext and tag.
    sealed: Vec<u8>,
}

fn read(text: &str) -> Result<Envelope<'_>, Unopened> {
    let rest = text.strip_prefix(PREFIX).ok_or(Unopened::NoEnvelope)?;
    let (version, rest) = rest.split_once(':').ok_or(Unopened::NoEnvelope)?;
    if version != VERSION {
        let number = (1..=3).contains(&version.len()) && version.bytes().all(|byte| byte.is_ascii_digit());
        return Err(if number { Unopened::Version } else { Unopened::NoEnvelope });
    }
    let (id, encoded) = rest.split_once(':').filter(|(id, _)| key::is_id(id)).ok_or(Unopened::NoEnvelope)?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Unopened::NoEnvelope)?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(Unopened::NoEnvelope)?;
    if sealed.len() < TAG_LEN {
        return Err(Unopened::NoEnvelope);
    }
    Ok(Envelope { id, nonce: *nonce, sealed: sealed.to_vec() })
}

/// Three lines: neither a key's name nor a context has a line break in it, so they are told apart.
fn associated(key: &Key, Bound { context, path }: Bound<'_>) -> Vec<u8> {
    format!("{PREFIX}{VERSION}:{}\n{context}\n{path}", key.id).into_bytes()
}

fn nonce(key: &Key, bound: &[u8], Place(event): Place<'_>, plain: &[u8]) -> [u8; NONCE_LEN] {
    let origin = &event.origin;
    let mut mac = key.nonces.clone();
    part(&mut mac, bound);
    part(&mut mac, origin.topic.cluster.as_bytes());
    part(&mut mac, origin.topic.identity().as_bytes());
    part(&mut mac, &origin.partition.to_be_bytes());
    part(&mut mac, &origin.offset.to_be_bytes());
    part(&mut mac, &event.part.to_be_bytes());
    part(&mut mac, plain);
    let code = mac.finalize().into_bytes();
    let mut nonce = [0; NONCE_LEN];
    nonce.iter_mut().zip(code).for_each(|(to, from)| *to = from);
    nonce
}

/// With its length in front, so that no two lists of parts are the same bytes.
fn part(mac: &mut Hmac<Sha256>, bytes: &[u8]) {
    mac.update(&(bytes.len() as u64).to_be_bytes());
    mac.update(bytes);
}
