//! A schema as a .proto text: of a descriptor that a client has registered, for those who read texts. What is parsed of it
//! is the same descriptor, but for comments. Options that extensions define are left out of services, oneofs, ranges and
//! extensions.

use std::collections::HashMap;
use std::fmt::Write as _;

use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, ServiceDescriptorProto,
};

use prost_reflect::{FileDescriptor, MessageDescriptor};

use self::custom::of_extensions;
use super::parse::Schema;

mod custom;
mod words;

impl Schema {
    /// Its .proto text.
    pub fn text(&self) -> String {
        let file = self.file();
        let mut print =
            Print { out: String::new(), level: 0, is_proto3: false, described: file, scope: Vec::new() };
        print.file(file.file_descriptor_proto());
        print.out
    }
}

struct Print<'a> {
    out: String,
    level: usize,
    is_proto3: bool,
    described: &'a FileDescriptor,
    /// The names of the messages that it is in.
    scope: Vec<String>,
}

impl Print<'_> {
    /// A name with those that it is in.
    fn full_name(&self, name: Option<&str>) -> String {
        let package = Some(self.described.package_name()).filter(|package| !package.is_empty());
        let names = package.into_iter().chain(self.scope.iter().map(String::as_str)).chain(name);
        names.collect::<Vec<_>>().join(".")
    }

    /// The message that it is in.
    fn inside(&self) -> Option<MessageDescriptor> {
        self.described.parent_pool().get_message_by_name(&self.full_name(None))
    }

    fn line(&mut self, text: &str) {
        let indent = "  ".repeat(self.level);
        // A String takes whatever is written.
        let _written = writeln!(self.out, "{indent}{text}");
    }

    /// A line, what stands in its brackets, and their end.
    fn braces(&mut self, head: &str, inside: impl FnOnce(&mut Self)) {
        self.line(&format!("{head} {{"));
        self.level += 1;
        inside(self);
        self.level -= 1;
        self.line("}");
    }

    fn options(&mut self, options: words::Options) {
        for (name, value) in options {
            self.line(&format!("option {name} = {value};"));
        }
    }

    fn file(&mut self, file: &FileDescriptorProto) {
        self.is_proto3 = file.syntax() == "proto3";
        self.line(&format!("syntax = \"{}\";", if self.is_proto3 { "proto3" } else { "proto2" }));
        if !file.package().is_empty() {
            self.line(&format!("\npackage {};", file.package()));
        }
        if !file.dependency.is_empty() {
            self.out.push('\n');
        }
        for (at, import) in file.dependency.iter().enumerate() {
            let is_in = |list: &[i32]| list.iter().any(|index| usize::try_from(*index) == Ok(at));
            let how = match (is_in(&file.public_dependency), is_in(&file.weak_dependency)) {
                (true, _) => "public ",
                (_, true) => "weak ",
                _ => "",
            };
            self.line(&format!("import {how}{};", words::quoted(import)));
        }
        let mut options = file.options.as_ref().map(words::of_file).unwrap_or_default();
        options.extend(of_extensions(&self.described.options()));
        if !options.is_empty() {
            self.out.push('\n');
        }
        self.options(options);
        for message in &file.message_type {
            if !is_brought(message, &file.extension) {
                self.out.push('\n');
                self.message(message);
            }
        }
        for of in &file.enum_type {
            self.out.push('\n');
            self.enumeration(of);
        }
        self.extensions(&file.extension, &file.message_type);
        for service in &file.service {
            self.out.push('\n');
            self.service(service);
        }
    }

    fn message(&mut self, message: &DescriptorProto) {
        self.braces(&format!("message {}", message.name()), |print| print.body(message));
    }

    fn body(&mut self, message: &DescriptorProto) {
        self.scope.push(message.name().to_owned());
        self.options(message.options.as_ref().map(words::of_message).unwrap_or_default());
        self.options(self.inside().map(|message| of_extensions(&message.options())).unwrap_or_default());
        self.members(message);
        self.scope.pop();
    }

    fn members(&mut self, message: &DescriptorProto) {
        let mut nested = Nested { of: message, next: 0 };
        let mut at = 0;
        while let Some(field) = message.field.get(at) {
            let member_of = |field: &FieldDescriptorProto| {
                field.oneof_index.filter(|_| !field.proto3_optional()).and_then(|at| usize::try_from(at).ok())
            };
            let Some(oneof) = member_of(field) else {
                nested.before(field, self);
                self.field(field, &message.nested_type, true);
                at += 1;
                continue;
            };
            let members = message.field.get(at..).unwrap_or_default().iter();
            let members: Vec<_> = members.take_while(|field| member_of(field) == Some(oneof)).collect();
            at += members.len();
            members.iter().for_each(|field| nested.before(field, self));
            let name = message.oneof_decl.get(oneof).map_or("", |oneof| oneof.name());
            self.braces(&format!("oneof {name}"), |print| {
                members.iter().for_each(|field| print.field(field, &message.nested_type, false));
            });
        }
        nested.rest(self);
        message.enum_type.iter().for_each(|of| self.enumeration(of));
        self.extensions(&message.extension, &message.nested_type);
        for range in &message.extension_range {
            self.line(&format!(
                "extensions {};",
                words::range(range.start(), range.end().saturating_sub(1), words::MAX_NUMBER)
            ));
        }
        for range in &message.reserved_range {
            self.line(&format!(
                "reserved {};",
                words::range(range.start(), range.end().saturating_sub(1), words::MAX_NUMBER)
            ));
        }
        self.reserved_names(&message.reserved_name);
    }

    fn reserved_names(&mut self, names: &[String]) {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| words::quoted(name)).collect();
            self.line(&format!("reserved {};", names.join(", ")));
        }
    }

    /// A field; `labelled`: no member of a oneof, of which none has a label.
    fn field(&mut self, field: &FieldDescriptorProto, nested: &[DescriptorProto], labelled: bool) {
        let entry = entry_of(field, nested);
        let label = match field.label() {
            _ if !labelled || entry.is_some() => "",
            Label::Repeated => "repeated ",
            Label::Required => "required ",
            Label::Optional if !self.is_proto3 || field.proto3_optional() => "optional ",
            Label::Optional => "",
        };
        let mut options = field.options.as_ref().map(words::of_field).unwrap_or_default();
        let number = field.number();
        let described = self.inside().filter(|_| field.extendee.is_none());
        let described = described.and_then(|of| of.get_field(u32::try_from(number).ok()?));
        options.extend(described.map(|field| of_extensions(&field.options())).unwrap_or_default());
        if field.json_name.as_ref().is_some_and(|json| *json != words::json_name(field.name())) {
            options.push(("json_name".to_owned(), words::quoted(field.json_name())));
        }
        if let Some(default) = &field.default_value {
            let default = match field.r#type() {
                Type::String => words::quoted(default),
                // Its text has the escapes already.
                Type::Bytes => format!("\"{default}\""),
                _ => default.clone(),
            };
            options.push(("default".to_owned(), default));
        }
        let options = bracketed(&options);
        if let Some((key, value)) = entry {
            let of = format!("map<{}, {}>", words::of_type(key), words::of_type(value));
            self.line(&format!("{of} {} = {number}{options};", field.name()));
        } else if let (Type::Group, Some(group)) = (field.r#type(), named(field, nested)) {
            let head = format!("{label}group {} = {number}{options}", group.name());
            self.braces(&head, |print| print.body(group));
        } else {
            self.line(&format!("{label}{} {} = {number}{options};", words::of_type(field), field.name()));
        }
    }

    fn enumeration(&mut self, of: &EnumDescriptorProto) {
        let described = self.described.parent_pool().get_enum_by_name(&self.full_name(Some(of.name())));
        self.braces(&format!("enum {}", of.name()), |print| {
            print.options(of.options.as_ref().map(words::of_enum).unwrap_or_default());
            print.options(described.as_ref().map(|of| of_extensions(&of.options())).unwrap_or_default());
            for value in &of.value {
                let deprecated = value.options.as_ref().and_then(|options| options.deprecated);
                let mut options: words::Options =
                    deprecated.map(|is| ("deprecated".to_owned(), is.to_string())).into_iter().collect();
                let found = described.as_ref().and_then(|of| of.get_value_by_name(value.name()));
                options.extend(found.map(|value| of_extensions(&value.options())).unwrap_or_default());
                print.line(&format!("{} = {}{};", value.name(), value.number(), bracketed(&options)));
            }
            for range in &of.reserved_range {
                print.line(&format!("reserved {};", words::range(range.start(), range.end(), i32::MAX)));
            }
            print.reserved_names(&of.reserved_name);
        });
    }

    /// Extensions: those of one message beside each other in one block.
    fn extensions(&mut self, extensions: &[FieldDescriptorProto], nested: &[DescriptorProto]) {
        for block in extensions.chunk_by(|one, next| one.extendee() == next.extendee()) {
            let extendee = block.first().map_or("", |field| field.extendee());
            if self.level == 0 {
                self.out.push('\n');
            }
            self.braces(&format!("extend {extendee}"), |print| {
                block.iter().for_each(|field| print.field(field, nested, true));
            });
        }
    }

    fn service(&mut self, service: &ServiceDescriptorProto) {
        self.braces(&format!("service {}", service.name()), |print| {
            if let Some(deprecated) = service.options.as_ref().and_then(|options| options.deprecated) {
                print.line(&format!("option deprecated = {deprecated};"));
            }
            for method in &service.method {
                let stream = |is: bool| if is { "stream " } else { "" };
                let head = format!(
                    "rpc {} ({}{}) returns ({}{})",
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type()
                );
                match method.options.as_ref().map(words::of_method).filter(|options| !options.is_empty()) {
                    Some(options) => print.braces(&head, |print| print.options(options)),
                    None => print.line(&format!("{head};")),
                }
            }
        });
    }
}

/// The options behind a field or a name.
fn bracketed(options: &words::Options) -> String {
    let options: Vec<String> = options.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    if options.is_empty() { String::new() } else { format!(" [{}]", options.join(", ")) }
}

/// The messages inside of one, in their order, among which those of maps and groups come with their fields.
struct Nested<'a> {
    of: &'a DescriptorProto,
    next: usize,
}

impl Nested<'_> {
    /// Prints those that stand before the one that a field brings.
    fn before(&mut self, field: &FieldDescriptorProto, print: &mut Print<'_>) {
        let brought = field.type_name().rsplit('.').next().unwrap_or_default();
        let Some(at) = self.of.nested_type.iter().position(|nested| nested.name() == brought) else { return };
        if self.of.nested_type.get(at).is_some_and(|nested| self.comes_with_a_field(nested)) {
            self.until(at, print);
        }
    }

    fn rest(&mut self, print: &mut Print<'_>) {
        self.until(self.of.nested_type.len(), print);
    }

    fn until(&mut self, end: usize, print: &mut Print<'_>) {
        for nested in self.of.nested_type.get(self.next..end).unwrap_or_default() {
            if !self.comes_with_a_field(nested) {
                print.message(nested);
            }
        }
        self.next = self.next.max(end);
    }

    fn comes_with_a_field(&self, nested: &DescriptorProto) -> bool {
        is_entry(nested) || is_brought(nested, &self.of.field) || is_brought(nested, &self.of.extension)
    }
}

/// Whether a message is the group of a field.
fn is_brought(message: &DescriptorProto, fields: &[FieldDescriptorProto]) -> bool {
    fields.iter().any(|field| {
        field.r#type() == Type::Group && field.type_name().rsplit('.').next() == Some(message.name())
    })
}

fn is_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

/// The message of a field among those beside it.
fn named<'a>(field: &FieldDescriptorProto, nested: &'a [DescriptorProto]) -> Option<&'a DescriptorProto> {
    let name = field.type_name().rsplit('.').next()?;
    nested.iter().find(|nested| nested.name() == name)
}

/// The key and value of a map.
fn entry_of<'a>(
    field: &FieldDescriptorProto,
    nested: &'a [DescriptorProto],
) -> Option<(&'a FieldDescriptorProto, &'a FieldDescriptorProto)> {
    let entry = named(field, nested).filter(|entry| is_entry(entry) && field.r#type() == Type::Message)?;
    let by_number: HashMap<i32, &FieldDescriptorProto> =
        entry.field.iter().map(|field| (field.number(), field)).collect();
    Some((by_number.get(&1)?, by_number.get(&2)?))
}
