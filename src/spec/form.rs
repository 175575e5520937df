//! Keys that take a text or a block: one reader for all of them. Reads through the deserializer it is given, so that the
//! place of an error stays known.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};

/// What is written as a text, or as a block that says more.
pub(crate) trait TextOrBlock: Sized {
    /// The block.
    type Block: DeserializeOwned;
    /// What may stand here, for an error where something else does.
    const EXPECTED: &'static str;

    /// Of the text.
    fn of_text<E: Error>(text: &str) -> Result<Self, E>;

    /// Of the block.
    fn of_block<E: Error>(block: Self::Block) -> Result<Self, E>;
}

/// Reads one or the other: the body of a `Deserialize`.
pub(crate) fn text_or_block<'de, T: TextOrBlock, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Form<T>(PhantomData<T>);

    impl<'de, T: TextOrBlock> Visitor<'de> for Form<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            T::of_text(text)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::of_block(serde::Deserialize::deserialize(MapAccessDeserializer::new(map))?)
        }
    }

    deserializer.deserialize_any(Form(PhantomData))
}
