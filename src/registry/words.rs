//! The words of the Confluent Schema Registry's REST API.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The language of a schema. What a registry leaves out is Avro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SchemaType {
    /// Avro.
    #[default]
    Avro,
    /// JSON Schema.
    Json,
    /// Protobuf.
    Protobuf,
}

impl SchemaType {
    /// The registry's word.
    pub fn as_str(self) -> &'static str {
        match self {
            SchemaType::Avro => "AVRO",
            SchemaType::Json => "JSON",
            SchemaType::Protobuf => "PROTOBUF",
        }
    }

    /// Whether it is what is meant where nothing is said.
    pub fn is_default(&self) -> bool {
        *self == SchemaType::Avro
    }
}

impl fmt::Display for SchemaType {
    /// As people write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SchemaType::Avro => "Avro",
            SchemaType::Json => "JSON Schema",
            SchemaType::Protobuf => "Protobuf",
        })
    }
}

/// A schema that another one uses, by the name that it is used by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// Avro: the full name of the type; JSON Schema: the `$ref`; Protobuf: the path of the import.
    pub name: String,
    /// Where it is registered.
    pub subject: String,
    /// Its version there; -1 is the latest.
    pub version: i64,
}

/// A schema as it is sent: the body of a registration, a look-up or a comparison.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SchemaText {
    /// The text.
    pub schema: String,
    /// Its language.
    #[serde(
        rename = "schemaType",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "SchemaType::is_default"
    )]
    pub kind: SchemaType,
    /// What it uses.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Rules of which this registry runs none.
    #[serde(rename = "ruleSet", default, skip_serializing)]
    pub rules: Option<serde_json::Value>,
}

/// A null is what is left out.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Which schema a record is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// The id of the wire format.
    Id(u32),
    /// The GUID of a record header.
    Guid(u128),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Id(id) => write!(f, "id {id}"),
            Key::Guid(guid) => write!(f, "GUID {}", hyphened(*guid)),
        }
    }
}

/// A GUID as it is written: `8-4-4-4-12` digits.
pub(super) fn hyphened(guid: u128) -> String {
    let digits = format!("{guid:032x}");
    let mut out = String::with_capacity(36);
    for (at, digit) in digits.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(digit);
    }
    out
}

/// A schema that a registry has, with all that it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its id.
    pub id: u32,
    /// Its version, where it was asked for by subject.
    pub version: Option<u32>,
    /// Its language.
    pub kind: SchemaType,
    /// Its text.
    pub text: String,
    /// What it and its references use, each one after those that it uses itself.
    pub references: Vec<Named>,
}

/// A schema under the name by which another one uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Registered {
    /// Bytes that it takes in a cache, about.
    pub fn weight(&self) -> u32 {
        let references: usize = self.references.iter().map(|named| named.name.len() + named.text.len()).sum();
        u32::try_from(self.text.len() + references + 256).unwrap_or(u32::MAX)
    }
}
