//! One item of `transforms`: exactly one transform, and perhaps `name` and `when`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::step::Step;
use super::{
    Context, Transform, cast, decrypt, encrypt, filter, flatten, plugin, redact, remap, remove, rename, set,
    split,
};
use crate::plan::expr::{Finding, Predicate, TreeFinding, finding};
use crate::settings::ReferenceError;

/// One item of `transforms`.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it is called in tests, logs and metrics; `None`: the transform's word and its index.
    pub name: Option<String>,
    /// The step is passed over where this VRL condition is false.
    pub when: Option<String>,
    /// The transform.
    pub kind: Kind,
}

macro_rules! kinds {
    ($($variant:ident = $module:ident, $word:literal;)+) => {
        /// A transform as it is written. The key in YAML names the variant.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Kind {
            $(#[doc = concat!("`", $word, "`")] $variant($module::Spec),)+
        }

        /// Every key of an item.
        const FIELDS: &[&str] = &["name", "when", $($word,)+];

        impl Kind {
            /// The word in YAML.
            pub fn as_str(&self) -> &'static str {
                match self { $(Kind::$variant(_) => $word,)+ }
            }

            fn read<'de, A: MapAccess<'de>>(word: &str, map: &mut A) -> Result<Option<Kind>, A::Error> {
                Ok(Some(match word {
                    $($word => Kind::$variant(map.next_value()?),)+
                    _ => return Ok(None),
                }))
            }

            fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self { $(Kind::$variant(spec) => map.serialize_entry($word, spec),)+ }
            }

            fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
                vec![$(($word, generator.subschema_for::<$module::Spec>()),)+]
            }

            /// Compiles the transform. Findings are placed inside its block.
            pub fn build(&self, context: &Context<'_>) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
                match self { $(Kind::$variant(spec) => $module::build(spec, context),)+ }
            }
        }
    };
}

kinds! {
    Filter = filter, "filter";
    Remap = remap, "remap";
    Set = set, "set";
    Remove = remove, "remove";
    Rename = rename, "rename";
    Redact = redact, "redact";
    Encrypt = encrypt, "encrypt";
    Decrypt = decrypt, "decrypt";
    Split = split, "split";
    Flatten = flatten, "flatten";
    Cast = cast, "cast";
    Plugin = plugin, "plugin";
}

impl Item {
    /// Compiles the item, the `index`-th of its list. Findings are placed inside the item: `when`, `filter` ..
    pub fn build(&self, index: usize, context: &Context<'_>) -> Result<Step, Vec<TreeFinding>> {
        let mut findings = Vec::new();
        let when = self.when.as_deref().and_then(|source| {
            Predicate::compile(source)
                .map_err(|list| findings.extend(unplaced(list).into_iter().map(|f| f.under("when"))))
                .ok()
        });
        let word = self.kind.as_str();
        let transform = self
            .kind
            .build(context)
            .map_err(|list| findings.extend(list.into_iter().map(|f| f.under(word))))
            .ok();
        let name = self.name.clone().unwrap_or_else(|| format!("{word}-{index}"));
        match transform {
            Some(transform) if findings.is_empty() => Ok(Step { name, when, transform, watch: None }),
            _ => Err(findings),
        }
    }
}

/// Findings of a block that is one text.
pub(super) fn unplaced(list: Vec<Finding>) -> Vec<TreeFinding> {
    list.into_iter().map(|finding| TreeFinding::at([""; 0], finding)).collect()
}

/// A reference that does not resolve.
pub(super) fn unresolved<'p>(path: impl IntoIterator<Item = &'p str>, error: &ReferenceError) -> TreeFinding {
    let missing = matches!(error, ReferenceError::Missing { .. });
    let code = if missing { finding::UNRESOLVED } else { finding::MALFORMED };
    TreeFinding::at(path, Finding::new(code, error.to_string(), 0..usize::MAX).help(error.help()))
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Item, D::Error> {
        deserializer.deserialize_map(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a transform and its value, such as filter: .status == \"PAID\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let (mut name, mut when, mut kind) = (None, None, None::<Kind>);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => name = Some(map.next_value()?),
                "when" => when = Some(map.next_value()?),
                word => {
                    let Some(read) = Kind::read(word, &mut map)? else {
                        return Err(A::Error::unknown_field(word, FIELDS));
                    };
                    if let Some(first) = kind.replace(read) {
                        return Err(A::Error::custom(format_args!(
                            "an item holds one transform, and `{}` is already here; make two items of it",
                            first.as_str()
                        )));
                    }
                }
            }
        }
        let Some(kind) = kind else {
            let words = FIELDS.get(2..).unwrap_or(FIELDS).join(", ");
            return Err(A::Error::custom(format_args!("an item needs a transform; write one of {words}")));
        };
        Ok(Item { name, when, kind })
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(name) = &self.name {
            map.serialize_entry("name", name)?;
        }
        if let Some(when) = &self.when {
            map.serialize_entry("when", when)?;
        }
        self.kind.write(&mut map)?;
        map.end()
    }
}

impl JsonSchema for Item {
    fn schema_name() -> Cow<'static, str> {
        "Transform".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = serde_json::Map::new();
        let mut required = Vec::new();
        for (word, schema) in Kind::schemas(generator) {
            properties.insert(word.to_owned(), schema.to_value());
            required.push(serde_json::json!({ "required": [word] }));
        }
        properties.insert(
            "name".to_owned(),
            serde_json::json!({ "type": "string", "description": "What the step is called in tests, logs and metrics." }),
        );
        properties.insert(
            "when".to_owned(),
            serde_json::json!({ "type": "string", "description": "A VRL condition: where it is false, the step is passed over." }),
        );
        json_schema!({
            "description": "One step: one transform, and perhaps `name` and `when`.",
            "type": "object",
            "properties": properties,
            "oneOf": required,
            "additionalProperties": false,
        })
    }
}
