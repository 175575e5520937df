//! Whether a reader gets along with data that was written by another schema: by the rules of Confluent's schema registry.
//!
//! Compatible: messages, enums, names of enums and fields that come; enums, their names and fields that go, unless they are
//! required; other names of fields; texts and messages that become repeated or single; oneofs that come and go, members that
//! come, and members that leave the oneof alone; one field that becomes a member of a new oneof. Everything else is told.
//! Source: `SchemaDiff`, `MessageSchemaDiff`, `FieldSchemaDiff` of confluentinc/schema-registry.

use std::collections::{BTreeMap, HashSet};

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};

use super::parse::Schema;

/// How deep messages of imports are followed.
const MAX_DEPTH: usize = 100;

/// Something that a writer may write and a reader does not read as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the writer's schema: a message without its package, and a field: `/Order.Line/sku`; empty for the file.
    pub path: String,
    /// Why.
    pub why: String,
}

/// What a reader with the schema `new` does not read of data that was written by `old`; empty where it reads all of it. The
/// other way round it says whether readers that still have the old schema get along with new data.
pub fn mismatches(new: &Schema, old: &Schema) -> Vec<Mismatch> {
    let mut compare = Compare { new, old, found: Vec::new(), seen: HashSet::new(), depth: 0 };
    let (new_package, old_package) = (new.file().package_name(), old.file().package_name());
    if new_package != old_package {
        compare.say("", format!("the package changed from `{old_package}` to `{new_package}`"));
    }
    let messages: Vec<MessageDescriptor> = new.file().messages().collect();
    compare.messages(&messages, old.file().messages());
    compare.found
}

struct Compare<'a> {
    new: &'a Schema,
    old: &'a Schema,
    found: Vec<Mismatch>,
    /// Pairs of messages that have been compared: types may be inside of each other.
    seen: HashSet<(String, String)>,
    /// How deep the messages of imports are that are being compared.
    depth: usize,
}

impl Compare<'_> {
    fn say(&mut self, path: &str, why: impl Into<String>) {
        self.found.push(Mismatch { path: path.to_owned(), why: why.into() });
    }

    fn messages(&mut self, new: &[MessageDescriptor], old: impl Iterator<Item = MessageDescriptor>) {
        for old in old.filter(|message| !message.is_map_entry()) {
            match new.iter().find(|message| message.name() == old.name() && !message.is_map_entry()) {
                Some(new) => self.message(new, &old),
                None => self.say(&format!("/{}", local(&old)), "the message is gone"),
            }
        }
    }

    fn message(&mut self, new: &MessageDescriptor, old: &MessageDescriptor) {
        if !self.seen.insert((new.full_name().to_owned(), old.full_name().to_owned())) {
            return;
        }
        let path = format!("/{}", local(old));
        let moved = self.oneofs(new, old, &path);
        let by_number = |message: &MessageDescriptor| -> BTreeMap<u32, FieldDescriptor> {
            message.fields().map(|field| (field.number(), field)).collect()
        };
        let (new_fields, old_fields) = (by_number(new), by_number(old));
        for (number, field) in &old_fields {
            let path = format!("{path}/{}", field.name());
            match new_fields.get(number) {
                Some(new) => self.field(new, field, &path),
                None if field.cardinality() == Cardinality::Required && !moved.contains(number) => {
                    self.say(&path, "a required field is gone");
                }
                None => {}
            }
        }
        for (number, field) in &new_fields {
            if field.cardinality() == Cardinality::Required && !old_fields.contains_key(number) {
                self.say(&format!("{path}/{}", field.name()), "a required field came");
            }
        }
        let nested: Vec<MessageDescriptor> = new.child_messages().collect();
        self.messages(&nested, old.child_messages());
    }

    /// Compares the oneofs; the numbers of fields that have become members.
    fn oneofs(&mut self, new: &MessageDescriptor, old: &MessageDescriptor, path: &str) -> HashSet<u32> {
        let mut moved = HashSet::new();
        let alone = |message: &MessageDescriptor, number: u32| {
            message.get_field(number).is_some_and(|field| oneof_of(&field).is_none())
        };
        for oneof in new.oneofs().filter(is_written) {
            let numbers: Vec<u32> = oneof.fields().map(|field| field.number()).collect();
            let came: Vec<u32> = numbers.iter().copied().filter(|number| alone(old, *number)).collect();
            let were_members = numbers
                .iter()
                .any(|number| old.get_field(*number).is_some_and(|field| oneof_of(&field).is_some()));
            let path = format!("{path}/{}", oneof.name());
            if came.len() > 1 {
                self.say(&path, "several fields became members of one oneof");
            } else if came.len() == 1 && were_members {
                self.say(&path, "a field became a member of a oneof that there was");
            }
            moved.extend(came);
        }
        for oneof in old.oneofs().filter(is_written) {
            let Some(same) = new.oneofs().filter(is_written).find(|new| new.name() == oneof.name()) else {
                continue;
            };
            for field in oneof.fields() {
                let stays = same.fields().any(|new| new.number() == field.number());
                if !stays && !alone(new, field.number()) {
                    self.say(&format!("{path}/{}", field.name()), "a member of a oneof is gone");
                }
            }
        }
        moved
    }

    fn field(&mut self, new: &FieldDescriptor, old: &FieldDescriptor, path: &str) {
        self.kind(new, old, path);
        let is_list = |field: &FieldDescriptor| field.is_list();
        let is_number =
            |field: &FieldDescriptor| !matches!(field.kind(), Kind::String | Kind::Bytes | Kind::Message(_));
        if is_list(new) != is_list(old) && !new.is_map() && !old.is_map() && is_number(old) {
            let now = if is_list(new) { "a list" } else { "no list" };
            self.say(path, format!("a field of numbers became {now}"));
        }
    }

    fn kind(&mut self, new: &FieldDescriptor, old: &FieldDescriptor, path: &str) {
        if new.is_map() != old.is_map() || new.is_group() != old.is_group() {
            self.changed(new, old, path);
            return;
        }
        match (new.kind(), old.kind()) {
            (Kind::Message(new), Kind::Message(old)) if new.is_map_entry() && old.is_map_entry() => {
                self.kind(&new.map_entry_key_field(), &old.map_entry_key_field(), &format!("{path}/key"));
                self.kind(
                    &new.map_entry_value_field(),
                    &old.map_entry_value_field(),
                    &format!("{path}/value"),
                );
            }
            (Kind::Message(of_new), Kind::Message(of_old)) => {
                if local(&of_new) != local(&of_old) {
                    self.changed(new, old, path);
                } else if of_new.parent_file() != *self.new.file() || of_old.parent_file() != *self.old.file()
                {
                    // What both files have themselves is compared with them.
                    if self.depth == MAX_DEPTH {
                        self.say(path, "not compared: the types of imports are too deep".to_owned());
                        return;
                    }
                    self.depth += 1;
                    self.message(&of_new, &of_old);
                    self.depth -= 1;
                }
            }
            (of_new, of_old) if group(&of_new) != group(&of_old) => self.changed(new, old, path),
            _ => {}
        }
    }

    fn changed(&mut self, new: &FieldDescriptor, old: &FieldDescriptor, path: &str) {
        self.say(path, format!("the type changed from {} to {}", word(old), word(new)));
    }
}

/// A message's name without its package.
fn local(message: &MessageDescriptor) -> String {
    let package = format!("{}.", message.package_name());
    message.full_name().strip_prefix(&package).unwrap_or(message.full_name()).to_owned()
}

/// Whether a oneof is one of the text, and not what an `optional` stands for.
fn is_written(oneof: &OneofDescriptor) -> bool {
    !oneof.fields().any(|field| field.field_descriptor_proto().proto3_optional())
}

fn oneof_of(field: &FieldDescriptor) -> Option<OneofDescriptor> {
    field.containing_oneof().filter(is_written)
}

/// Kinds of which one reads the other's bytes.
#[derive(PartialEq)]
enum Group {
    Number,
    Signed,
    Text,
    Fixed32,
    Fixed64,
    Float,
    Double,
    Message,
}

fn group(kind: &Kind) -> Group {
    match kind {
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => Group::Number,
        Kind::Sint32 | Kind::Sint64 => Group::Signed,
        Kind::String | Kind::Bytes => Group::Text,
        Kind::Fixed32 | Kind::Sfixed32 => Group::Fixed32,
        Kind::Fixed64 | Kind::Sfixed64 => Group::Fixed64,
        Kind::Float => Group::Float,
        Kind::Double => Group::Double,
        Kind::Message(_) => Group::Message,
    }
}

fn word(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(of) if of.is_map_entry() => {
            format!("map<{}, {}>", word(&of.map_entry_key_field()), word(&of.map_entry_value_field()))
        }
        Kind::Message(of) if field.is_group() => format!("group {}", of.full_name()),
        Kind::Message(of) => format!("message {}", of.full_name()),
        Kind::Enum(of) => format!("enum {}", of.full_name()),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}
