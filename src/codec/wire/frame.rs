//! The Confluent wire format around a value: a magic byte and the schema's id, or a record header with its GUID.
//!
//! Source: reliability S8; Confluent's "Wire format" and `HeaderSchemaIdSerializer`.

use bytes::{BufMut, Bytes, BytesMut};

use crate::event::Header;
use crate::outcome::{Code, Failure};
use crate::registry::Key;

/// The record header that says the schema of the value in place of its first bytes.
const HEADER: &str = "__value_schema_id";
/// What comes before an id.
const MAGIC_ID: u8 = 0;
/// What comes before a GUID.
const MAGIC_GUID: u8 = 1;
/// The magic byte and the id.
const PREFIX: usize = 5;

/// A value out of its frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Framed {
    /// Which schema it is written with.
    pub(super) key: Key,
    /// What follows the GUID in the header: the message indexes of Protobuf. `None` where they begin the payload.
    pub(super) beside: Option<Bytes>,
    /// What is written with the schema.
    pub(super) payload: Bytes,
}

/// Takes a value out of its frame. Fails with code `decode`.
pub(super) fn read(value: &Bytes, headers: &[Header]) -> Result<Framed, Failure> {
    let wrong = |what: String| Failure::invalid(Code::Decode, format!("reading the wire format: {what}"));
    let header = headers.iter().rev().find(|header| header.name == HEADER);
    if let Some(id) = header.and_then(|header| header.value.as_ref()) {
        let (key, rest) = key(id).ok_or_else(|| wrong(format!("the header {HEADER} holds no id")))?;
        return Ok(Framed { key, beside: Some(rest), payload: value.clone() });
    }
    if value.len() < PREFIX {
        let long = value.len();
        return Err(wrong(format!("the value has {long} bytes, less than a magic byte and a schema id")));
    }
    match (value.first(), key(value)) {
        (Some(&MAGIC_ID | &MAGIC_GUID), Some((key, payload))) => Ok(Framed { key, beside: None, payload }),
        (first, _) => Err(wrong(format!(
            "the value begins with byte {:#04x}, not with the magic byte 0x00",
            first.copied().unwrap_or_default()
        ))),
    }
}

/// The id or GUID that bytes begin with, and what follows.
fn key(bytes: &Bytes) -> Option<(Key, Bytes)> {
    let rest = bytes.get(1..)?;
    let (key, length) = match *bytes.first()? {
        MAGIC_ID => (Key::Id(u32::from_be_bytes(*rest.first_chunk::<4>()?)), 5),
        MAGIC_GUID => (Key::Guid(u128::from_be_bytes(*rest.first_chunk::<16>()?)), 17),
        _ => return None,
    };
    Some((key, bytes.slice(length..)))
}

/// Puts a payload into a frame; `indexes` are those of a Protobuf message, else empty.
pub(super) fn write(id: u32, indexes: &[u8], payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + indexes.len() + payload.len());
    out.put_u8(MAGIC_ID);
    out.put_u32(id);
    out.put_slice(indexes);
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(value: &'static [u8]) -> String {
        read(&Bytes::from_static(value), &[]).unwrap_err().message
    }

    #[test]
    fn an_id_is_four_bytes_behind_a_zero_and_a_guid_stands_in_a_header() {
        let written = write(0x0102_0304, &[], b"abc");
        assert_eq!(&*written, b"\x00\x01\x02\x03\x04abc");
        let framed = read(&written, &[]).unwrap();
        assert_eq!(framed, Framed { key: Key::Id(0x0102_0304), beside: None, payload: "abc".into() });
        assert_eq!(read(&write(7, &[0], b""), &[]).unwrap().payload, Bytes::from_static(b"\0"));
        let header =
            |value: &[u8]| Header { name: HEADER.into(), value: Some(Bytes::copy_from_slice(value)) };
        let guid: Vec<u8> = [1].into_iter().chain(1..=16).chain([0]).collect();
        let framed = read(&"abc".into(), &[header(&guid)]).unwrap();
        assert_eq!(framed.key.to_string(), "GUID 01020304-0506-0708-090a-0b0c0d0e0f10");
        assert_eq!((framed.beside.as_deref(), &*framed.payload), (Some(&b"\0"[..]), &b"abc"[..]));
        assert!(read(&"abc".into(), &[header(&guid[..9])]).is_err());
    }

    /// S8, B-02
    #[test]
    fn b_02_what_is_no_frame_is_said_to_be_none() {
        for cut in [&b""[..], b"\0", b"\0\0\0\x01"] {
            assert!(said(cut).contains("bytes, less than a magic byte"), "{}", said(cut));
        }
        assert!(said(b"{\"id\":1}").contains("begins with byte 0x7b"), "{}", said(b"{\"id\":1}"));
        assert!(said(b"\x02\0\0\0\x01").contains("0x02"));
        assert!(said(b"\x01\0\0\0\x01").contains("0x01"), "a GUID has sixteen bytes");
        assert!(read(&Bytes::from_static(b"\0\xff\xff\xff\xff"), &[]).is_ok(), "an empty payload, any id");
    }
}
