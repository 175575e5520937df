//! Forms of values in a file of tests: for all stages or for each, one or a list. They read through the deserializer that they
//! are given, so that the place of an error stays known.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What is said of the pipeline's one stage, or of each stage by its name.
#[derive(Debug, Clone, PartialEq)]
pub enum PerStage<T> {
    /// Of the one.
    One(T),
    /// Of each by its name.
    Each(IndexMap<String, T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PerStage<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Form<T> {
            type Value = PerStage<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, or one for each stage by its name")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<PerStage<T>, E> {
                T::deserialize(number.into_deserializer()).map(PerStage::One)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<PerStage<T>, E> {
                T::deserialize(number.into_deserializer()).map(PerStage::One)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PerStage<T>, E> {
                T::deserialize(text.into_deserializer()).map(PerStage::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<PerStage<T>, A::Error> {
                T::deserialize(SeqAccessDeserializer::new(seq)).map(PerStage::One)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PerStage<T>, A::Error> {
                IndexMap::deserialize(MapAccessDeserializer::new(map)).map(PerStage::Each)
            }
        }
        deserializer.deserialize_any(Form(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for PerStage<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("PerStage{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "object", "additionalProperties": one }] })
    }
}

/// What is said of every record, or of each in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Several<T> {
    /// Of every one.
    Every(T),
    /// Of each in its order.
    Each(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Form<T> {
            type Value = Several<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value for every record, or a list with one for each")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Several<T>, E> {
                T::deserialize(number.into_deserializer()).map(Several::Every)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Several<T>, E> {
                T::deserialize(number.into_deserializer()).map(Several::Every)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Several<T>, E> {
                T::deserialize(text.into_deserializer()).map(Several::Every)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Several<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Several::Each)
            }
        }
        deserializer.deserialize_any(Form(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Several<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Several{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// One block, or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrList<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Form<T> {
            type Value = OneOrList<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a block, or a list of blocks")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrList<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrList(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrList<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrList)
            }
        }
        deserializer.deserialize_any(Form(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrList<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrList{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}
