//! The words of a .proto text: types, ranges, options with their values.

use std::fmt::{Debug, Write as _};

use prost_reflect::prost_types::field_descriptor_proto::Type;
use prost_reflect::prost_types::{
    EnumOptions, FieldDescriptorProto, FieldOptions, FileOptions, MessageOptions, MethodOptions,
    field_options, file_options, method_options,
};

/// The largest number of a field.
pub(super) const MAX_NUMBER: i32 = (1 << 29) - 1;

/// Options with their values.
pub(super) type Options = Vec<(String, String)>;

/// Text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // A String takes whatever is written.
                    let _written = write!(out, "\\{byte:03o}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Both ends are in it.
pub(super) fn range(first: i32, last: i32, most: i32) -> String {
    match last {
        _ if last == most => format!("{first} to max"),
        _ if last == first => first.to_string(),
        _ => format!("{first} to {last}"),
    }
}

/// The JSON name of a field that has none of its own.
pub(super) fn json_name(name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c => {
                out.push(if upper { c.to_ascii_uppercase() } else { c });
                upper = false;
            }
        }
    }
    out
}

pub(super) fn of_type(field: &FieldDescriptorProto) -> &str {
    match field.r#type() {
        Type::Double => "double",
        Type::Float => "float",
        Type::Int64 => "int64",
        Type::Uint64 => "uint64",
        Type::Int32 => "int32",
        Type::Fixed64 => "fixed64",
        Type::Fixed32 => "fixed32",
        Type::Bool => "bool",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Uint32 => "uint32",
        Type::Sfixed32 => "sfixed32",
        Type::Sfixed64 => "sfixed64",
        Type::Sint32 => "sint32",
        Type::Sint64 => "sint64",
        Type::Group | Type::Message | Type::Enum => field.type_name(),
    }
}

fn put(out: &mut Options, name: &str, value: Option<&impl Debug>) {
    if let Some(value) = value {
        out.push((name.to_owned(), format!("{value:?}")));
    }
}

fn put_text(out: &mut Options, name: &str, value: Option<&String>) {
    if let Some(value) = value {
        out.push((name.to_owned(), quoted(value)));
    }
}

fn put_word(out: &mut Options, name: &str, word: Option<&str>) {
    if let Some(word) = word {
        out.push((name.to_owned(), word.to_owned()));
    }
}

pub(super) fn of_file(options: &FileOptions) -> Options {
    let mut out = Options::new();
    for (name, value) in [
        ("java_package", &options.java_package),
        ("java_outer_classname", &options.java_outer_classname),
        ("go_package", &options.go_package),
        ("objc_class_prefix", &options.objc_class_prefix),
        ("csharp_namespace", &options.csharp_namespace),
        ("swift_prefix", &options.swift_prefix),
        ("php_class_prefix", &options.php_class_prefix),
        ("php_namespace", &options.php_namespace),
        ("php_metadata_namespace", &options.php_metadata_namespace),
        ("ruby_package", &options.ruby_package),
    ] {
        put_text(&mut out, name, value.as_ref());
    }
    #[expect(deprecated, reason = "a text may have it")]
    let generates = options.java_generate_equals_and_hash;
    for (name, value) in [
        ("java_multiple_files", options.java_multiple_files),
        ("java_generate_equals_and_hash", generates),
        ("java_string_check_utf8", options.java_string_check_utf8),
        ("cc_generic_services", options.cc_generic_services),
        ("java_generic_services", options.java_generic_services),
        ("py_generic_services", options.py_generic_services),
        ("php_generic_services", options.php_generic_services),
        ("deprecated", options.deprecated),
        ("cc_enable_arenas", options.cc_enable_arenas),
    ] {
        put(&mut out, name, value.as_ref());
    }
    let mode = options.optimize_for.and_then(|mode| file_options::OptimizeMode::try_from(mode).ok());
    put_word(&mut out, "optimize_for", mode.map(|mode| mode.as_str_name()));
    out
}

pub(super) fn of_message(options: &MessageOptions) -> Options {
    let mut out = Options::new();
    put(&mut out, "message_set_wire_format", options.message_set_wire_format.as_ref());
    put(&mut out, "no_standard_descriptor_accessor", options.no_standard_descriptor_accessor.as_ref());
    put(&mut out, "deprecated", options.deprecated.as_ref());
    out
}

pub(super) fn of_field(options: &FieldOptions) -> Options {
    let mut out = Options::new();
    put(&mut out, "packed", options.packed.as_ref());
    put(&mut out, "deprecated", options.deprecated.as_ref());
    put(&mut out, "lazy", options.lazy.as_ref());
    put(&mut out, "weak", options.weak.as_ref());
    let ctype = options.ctype.and_then(|of| field_options::CType::try_from(of).ok());
    put_word(&mut out, "ctype", ctype.map(|of| of.as_str_name()));
    let jstype = options.jstype.and_then(|of| field_options::JsType::try_from(of).ok());
    put_word(&mut out, "jstype", jstype.map(|of| of.as_str_name()));
    out
}

pub(super) fn of_enum(options: &EnumOptions) -> Options {
    let mut out = Options::new();
    put(&mut out, "allow_alias", options.allow_alias.as_ref());
    put(&mut out, "deprecated", options.deprecated.as_ref());
    out
}

pub(super) fn of_method(options: &MethodOptions) -> Options {
    let mut out = Options::new();
    put(&mut out, "deprecated", options.deprecated.as_ref());
    let level = options.idempotency_level.and_then(|of| method_options::IdempotencyLevel::try_from(of).ok());
    put_word(&mut out, "idempotency_level", level.map(|of| of.as_str_name()));
    out
}
