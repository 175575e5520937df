//! The types of a schema, as reading and writing look them up: made once, of all messages of a file and its imports.

use std::collections::HashMap;
use std::fmt;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind as Described, MessageDescriptor};
use vrl::value::KeyString;

use super::parse::Schema;

/// A message's place among the types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MessageId(usize);

/// An enum's place among the types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EnumId(usize);

/// A message of a schema: what bytes are read and written as. Cheap to clone.
#[derive(Clone)]
pub struct Message {
    pub(super) schema: Schema,
    pub(super) id: MessageId,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Message").field(&self.name()).finish()
    }
}

impl Message {
    pub(super) fn new(schema: Schema, id: MessageId) -> Message {
        Message { schema, id }
    }

    /// Its name, with its package.
    pub fn name(&self) -> &str {
        &self.schema.types().message(self.id).full
    }

    /// The schema that it is of.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }
}

#[derive(Debug)]
pub(super) struct Types {
    messages: Vec<Type>,
    enums: Vec<Enum>,
    ids: HashMap<String, MessageId>,
}

/// A message as it is read and written.
#[derive(Debug, Default)]
pub(super) struct Type {
    pub(super) full: String,
    pub(super) known: Known,
    /// By number.
    pub(super) fields: Vec<Field>,
    /// The names of its oneofs; those that an `optional` stands for are none.
    pub(super) oneofs: Vec<String>,
}

/// What has a form of its own in JSON.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    #[default]
    No,
    Any,
    Timestamp,
    Duration,
    Struct,
    Value,
    ListValue,
    Wrapper,
}

#[derive(Debug)]
pub(super) struct Field {
    /// As the .proto text has it.
    pub(super) name: KeyString,
    pub(super) json: KeyString,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) label: Label,
    pub(super) packed: bool,
    /// Which of the message's oneofs it is a member of.
    pub(super) oneof: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Required,
    /// It is there or not.
    Optional,
    /// It has its default where it is not there.
    Implicit,
    List,
    /// Of messages with a key and a value.
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
    Group(MessageId),
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) full: String,
    /// `google.protobuf.NullValue`, which is null.
    pub(super) is_null: bool,
    by_number: HashMap<i32, KeyString>,
    by_name: HashMap<String, i32>,
}

impl Types {
    pub(super) fn of(pool: &DescriptorPool) -> Types {
        let ids = pool.all_messages().enumerate();
        let ids: HashMap<String, MessageId> =
            ids.map(|(at, message)| (message.full_name().to_owned(), MessageId(at))).collect();
        let enum_ids = pool.all_enums().enumerate();
        let enum_ids: HashMap<String, EnumId> =
            enum_ids.map(|(at, of)| (of.full_name().to_owned(), EnumId(at))).collect();
        let enums = pool.all_enums().map(|of| {
            let mut by_number = HashMap::new();
            for value in &of.enum_descriptor_proto().value {
                // Of several names of a number the first one is told.
                by_number.entry(value.number()).or_insert_with(|| KeyString::from(value.name()));
            }
            Enum {
                full: of.full_name().to_owned(),
                is_null: of.full_name() == "google.protobuf.NullValue",
                by_number,
                by_name: of.values().map(|value| (value.name().to_owned(), value.number())).collect(),
            }
        });
        let enums = enums.collect();
        let messages = pool.all_messages().map(|message| of_message(&message, &ids, &enum_ids)).collect();
        Types { messages, enums, ids }
    }

    pub(super) fn id(&self, full_name: &str) -> Option<MessageId> {
        self.ids.get(full_name).copied()
    }

    pub(super) fn message(&self, id: MessageId) -> &Type {
        // Ids are made by the types that they are asked of.
        static NONE: std::sync::LazyLock<Type> = std::sync::LazyLock::new(Type::default);
        self.messages.get(id.0).unwrap_or(&NONE)
    }

    pub(super) fn enumeration(&self, id: EnumId) -> Option<&Enum> {
        self.enums.get(id.0)
    }

    /// What a kind is called in messages.
    pub(super) fn word(&self, kind: Kind) -> String {
        let word = match kind {
            Kind::Double => "double",
            Kind::Float => "float",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Uint32 => "uint32",
            Kind::Uint64 => "uint64",
            Kind::Sint32 => "sint32",
            Kind::Sint64 => "sint64",
            Kind::Fixed32 => "fixed32",
            Kind::Fixed64 => "fixed64",
            Kind::Sfixed32 => "sfixed32",
            Kind::Sfixed64 => "sfixed64",
            Kind::Bool => "bool",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Enum(id) => {
                return format!("enum {}", self.enumeration(id).map_or("", |of| of.full.as_str()));
            }
            Kind::Message(id) | Kind::Group(id) => return format!("message {}", self.message(id).full),
        };
        word.to_owned()
    }
}

impl Type {
    /// Where the field of a number stands.
    pub(super) fn place(&self, number: u32) -> Option<usize> {
        let likely = usize::try_from(number).ok()?.checked_sub(1)?;
        if self.fields.get(likely).is_some_and(|field| field.number == number) {
            return Some(likely);
        }
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }

    /// The fields of a map's entry.
    pub(super) fn entry(&self) -> Option<(&Field, &Field)> {
        match &self.fields[..] {
            [key, value] => Some((key, value)),
            _ => None,
        }
    }
}

impl Enum {
    pub(super) fn name(&self, number: i32) -> Option<&str> {
        self.by_number.get(&number).map(KeyString::as_str)
    }

    /// In the order of the alphabet.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.by_name.keys().cloned().collect();
        names.sort();
        names
    }

    pub(super) fn number(&self, name: &str) -> Option<i32> {
        self.by_name.get(name).copied()
    }
}

fn of_message(
    message: &MessageDescriptor,
    ids: &HashMap<String, MessageId>,
    enums: &HashMap<String, EnumId>,
) -> Type {
    let mut oneofs = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    for field in message.fields() {
        let Some(kind) = of_kind(&field, ids, enums) else { continue };
        let is_optional = field.field_descriptor_proto().proto3_optional();
        let oneof = field.containing_oneof().filter(|_| !is_optional).map(|oneof| {
            let known = oneofs.iter().position(|name| name == oneof.name());
            known.unwrap_or_else(|| {
                oneofs.push(oneof.name().to_owned());
                oneofs.len() - 1
            })
        });
        let label = if field.is_map() {
            Label::Map
        } else {
            match field.cardinality() {
                Cardinality::Repeated => Label::List,
                Cardinality::Required => Label::Required,
                Cardinality::Optional if field.supports_presence() => Label::Optional,
                Cardinality::Optional => Label::Implicit,
            }
        };
        fields.push(Field {
            name: KeyString::from(field.name()),
            json: KeyString::from(field.json_name()),
            number: field.number(),
            kind,
            label,
            packed: field.is_packed(),
            oneof,
        });
    }
    fields.sort_by_key(|field| field.number);
    let built_in = message.parent_file().name().starts_with("google/protobuf/");
    let known = if built_in { known(message.full_name()) } else { Known::No };
    Type { full: message.full_name().to_owned(), known, fields, oneofs }
}

fn of_kind(
    field: &FieldDescriptor,
    ids: &HashMap<String, MessageId>,
    enums: &HashMap<String, EnumId>,
) -> Option<Kind> {
    Some(match field.kind() {
        Described::Double => Kind::Double,
        Described::Float => Kind::Float,
        Described::Int32 => Kind::Int32,
        Described::Int64 => Kind::Int64,
        Described::Uint32 => Kind::Uint32,
        Described::Uint64 => Kind::Uint64,
        Described::Sint32 => Kind::Sint32,
        Described::Sint64 => Kind::Sint64,
        Described::Fixed32 => Kind::Fixed32,
        Described::Fixed64 => Kind::Fixed64,
        Described::Sfixed32 => Kind::Sfixed32,
        Described::Sfixed64 => Kind::Sfixed64,
        Described::Bool => Kind::Bool,
        Described::String => Kind::String,
        Described::Bytes => Kind::Bytes,
        Described::Enum(of) => Kind::Enum(*enums.get(of.full_name())?),
        Described::Message(of) if field.is_group() => Kind::Group(*ids.get(of.full_name())?),
        Described::Message(of) => Kind::Message(*ids.get(of.full_name())?),
    })
}

fn known(full_name: &str) -> Known {
    match full_name.strip_prefix("google.protobuf.").unwrap_or_default() {
        "Any" => Known::Any,
        "Timestamp" => Known::Timestamp,
        "Duration" => Known::Duration,
        "Struct" => Known::Struct,
        "Value" => Known::Value,
        "ListValue" => Known::ListValue,
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
        | "BoolValue" | "StringValue" | "BytesValue" => Known::Wrapper,
        _ => Known::No,
    }
}
