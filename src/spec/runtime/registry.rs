//! `registry`: where the schema registry is.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::spec::form::{TextOrBlock, text_or_block};

/// The word for the registry that Weir serves itself.
const EMBEDDED: &str = "embedded";

/// The schema registry: `embedded`, a URL, or a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    /// Weir's own, over its store.
    Embedded,
    /// Another one that speaks Confluent's REST API.
    Remote(Box<Remote>),
}

/// A registry that is asked over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RemoteRegistry")]
pub struct Remote {
    /// `https://registry.internal`, perhaps with a path.
    pub url: String,
    /// The user, with `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password: `${secret:NAME}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A token in place of user and password: `${secret:NAME}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Certificates in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<RegistryTls>,
}

/// TLS to the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryTls {
    /// The authorities to trust in place of the system's: a file, or `${secret:NAME}` of a secret that holds the PEM.
    pub ca: Option<String>,
    /// Our certificate with those between it and its authority: a file, or `${secret:NAME}`.
    pub cert: Option<String>,
    /// The key of `cert`: a file, or `${secret:NAME}`.
    pub key: Option<String>,
}

impl TextOrBlock for Registry {
    type Block = Remote;
    const EXPECTED: &'static str = "`embedded`, a URL, or a block with `url`";

    fn of_text<E>(text: &str) -> Result<Registry, E> {
        Ok(match text {
            EMBEDDED => Registry::Embedded,
            url => Registry::Remote(Box::new(Remote { url: url.to_owned(), ..Remote::default() })),
        })
    }

    fn of_block<E>(block: Remote) -> Result<Registry, E> {
        Ok(Registry::Remote(Box::new(block)))
    }
}

impl<'de> Deserialize<'de> for Registry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl Serialize for Registry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Registry::Embedded => serializer.serialize_str(EMBEDDED),
            Registry::Remote(remote) => remote.serialize(serializer),
        }
    }
}

impl JsonSchema for Registry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Registry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<Remote>();
        json_schema!({ "anyOf": [{ "type": "string" }, block] })
    }
}
