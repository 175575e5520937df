//! The header `weir-signature: v1,KEY,BASE64`: an ed25519 signature (RFC 8032) of a record's topic, key, value, event id and schema id. Not of
//! its position and time, which Kafka gives it, nor of headers that change on the way.

use bytes::Bytes;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key;
use crate::event::{Header, header_event_id};

/// The header's name.
pub const HEADER: &str = "weir-signature";
/// The header that registries' serializers write in place of the value's first bytes.
const SCHEMA_ID: &str = "__value_schema_id";
/// What the signed bytes begin with: they are of this use and version and of no other.
const BEGIN: &[u8] = b"weir-signature-v1\0";
const VERSION: &str = "v1";
/// How many bytes a signature has.
pub(super) const LEN: usize = 64;

/// What is signed of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    /// The topic that it is written to.
    pub(super) topic: &'a str,
    /// Its key; `None` is null.
    pub(super) key: Option<&'a [u8]>,
    /// Its value; `None` is null.
    pub(super) value: Option<&'a [u8]>,
    /// Its headers, for the event id and the schema id.
    pub(super) headers: &'a [Header],
}

impl Signed<'_> {
    /// The signed bytes: a beginning, and six fields. A field is the byte 0 where it is null or absent; else the byte 1, its length
    /// in 8 bytes (big-endian), and its bytes. So null is not empty, and no byte can move from one field to the next.
    pub(super) fn bytes(&self, id: &str) -> Vec<u8> {
        let event_id = header_event_id(self.headers);
        let fields = [
            Some(id.as_bytes()),
            Some(self.topic.as_bytes()),
            self.key,
            self.value,
            event_id.map(str::as_bytes),
            self.schema_id(),
        ];
        let long: usize = fields.iter().flatten().map(|field| field.len()).sum();
        let mut out = Vec::with_capacity(BEGIN.len() + fields.len() * 9 + long);
        out.extend_from_slice(BEGIN);
        for field in fields {
            match field {
                None => out.push(0),
                Some(bytes) => {
                    out.push(1);
                    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }
}

impl<'a> Signed<'a> {
    /// The header that says which schema the value is written with, where its first bytes do not.
    fn schema_id(&self) -> Option<&'a [u8]> {
        let header = self.headers.iter().rev().find(|header| header.name == SCHEMA_ID)?;
        header.value.as_deref()
    }
}

/// The header of a signature.
pub(super) fn header(id: &str, signature: &[u8; LEN]) -> Header {
    let value = format!("{VERSION},{id},{}", STANDARD.encode(signature));
    Header { name: Bytes::from_static(HEADER.as_bytes()), value: Some(value.into()) }
}

/// Key and signature of a header; `None` where it is no such header. `Some(None)` is one of another version.
#[expect(clippy::option_option, reason = "what is wrong and what is of another version are said apart")]
pub(super) fn read(value: &[u8]) -> Option<Option<(&str, [u8; LEN])>> {
    let (version, rest) = std::str::from_utf8(value).ok()?.split_once(',')?;
    if version != VERSION {
        let number = version.strip_prefix('v')?;
        return (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(None);
    }
    let (id, encoded) = rest.split_once(',').filter(|(id, _)| key::is_id(id))?;
    let signature = STANDARD.decode(encoded).ok()?.try_into().ok()?;
    Some(Some((id, signature)))
}
