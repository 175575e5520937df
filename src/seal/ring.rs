//! The key ring of encrypted fields: the keys of one secret, by name. The first one encrypts, every one decrypts, so that a key is
//! replaced by putting another before it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use sha2::Sha256;

use super::key;
use crate::plan::expr::TreeFinding;
use crate::settings::References;

/// At most this many keys.
const MAX_KEYS: usize = 100;
/// What the key of the nonces is made from, with the key itself.
const NONCE_LABEL: &[u8] = b"weir:1:nonce";
const HOW: &str = "its secret has one line for each key, NAME:BASE64 of 32 bytes, such as 2026-11:$(openssl rand -base64 32)";

/// Keys, the first of which encrypts. Prints their names only.
pub struct KeyRing {
    pub(super) first: Key,
    pub(super) others: Vec<Key>,
}

/// One of them.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) aead: LessSafeKey,
    /// Makes nonces: an HMAC under a key of its own.
    pub(super) nonces: Hmac<Sha256>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = std::iter::once(&self.first).chain(&self.others).map(|key| key.id.as_str());
        f.write_str("KeyRing")?;
        f.debug_list().entries(names).finish()
    }
}

impl KeyRing {
    pub(super) fn find(&self, id: &str) -> Option<&Key> {
        std::iter::once(&self.first).chain(&self.others).find(|key| key.id == id)
    }

    fn of_text(text: &str) -> Result<KeyRing, String> {
        let mut keys: Vec<Key> = Vec::new();
        for (at, line) in (1..).zip(text.split_whitespace()) {
            let key = read(line).map_err(|why| format!("key {at} of the ring {why}"))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(format!("key {at} of the ring has the name of another one"));
            }
            if keys.len() == MAX_KEYS {
                return Err(format!("the ring has more than {MAX_KEYS} keys"));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or("the ring has no key")?;
        Ok(KeyRing { first, others: keys.collect() })
    }
}

/// Reads the ring of a block's `key`. Says nothing of what the secret holds.
pub fn ring(written: &str, references: &References) -> Result<KeyRing, Box<TreeFinding>> {
    let path = &["key"];
    let text = key::secret(path, written, references)?;
    KeyRing::of_text(&text).map_err(|why| Box::new(key::wrong(path, why, HOW)))
}

fn read(line: &str) -> Result<Key, &'static str> {
    let (id, encoded) = line.split_once(':').ok_or("has no name")?;
    if !key::is_id(id) {
        return Err("has a name that is none");
    }
    let bytes = STANDARD.decode(encoded).map_err(|_| "is not base64")?;
    let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| "has not 32 bytes")?;
    let mac = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).map_err(|_| "is no key");
    let nonces = mac(&mac(&bytes)?.chain_update(NONCE_LABEL).finalize().into_bytes())?;
    Ok(Key { id: id.to_owned(), aead: LessSafeKey::new(key), nonces })
}
