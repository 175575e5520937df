//! Options that extensions define, as a .proto text has them.

use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, MapKey, Value};

use super::words;

/// The options of extensions among those of a file, message, field, enum or name: `(confluent.field_meta) = { tags: "PII" }`.
pub(super) fn of_extensions(options: &DynamicMessage) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (extension, value) in options.extensions() {
        let name = format!("({})", extension.full_name());
        match value {
            // Each item is an option of its own.
            Value::List(list) => {
                out.extend(list.iter().map(|item| (name.clone(), text(item, &extension.kind()))));
            }
            value => out.push((name, text(value, &extension.kind()))),
        }
    }
    out
}

fn text(value: &Value, kind: &Kind) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::I32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        Value::F32(number) => float(f64::from(*number)),
        Value::F64(number) => float(*number),
        Value::String(text) => words::quoted(text),
        Value::Bytes(bytes) => {
            let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            format!("\"{escaped}\"")
        }
        Value::EnumNumber(number) => kind.as_enum().map_or(String::new(), |of| name(of, *number)),
        Value::Message(message) => {
            let mut parts = String::new();
            for (field, value) in message.fields() {
                for item in items(value) {
                    parts.push_str(&format!("{}: {} ", field.name(), text(item, &field.kind())));
                }
                if let (Value::Map(map), Kind::Message(entry)) = (value, field.kind()) {
                    let of_value = entry.map_entry_value_field().kind();
                    // In an order of their own, since the map has none.
                    let mut entries: Vec<String> = map
                        .iter()
                        .map(|(key, value)| {
                            format!(
                                "{}: {{ key: {} value: {} }} ",
                                field.name(),
                                of_key(key),
                                text(value, &of_value)
                            )
                        })
                        .collect();
                    entries.sort();
                    parts.extend(entries);
                }
            }
            format!("{{ {parts}}}")
        }
        // A list or map is written item by item where it stands.
        Value::List(_) | Value::Map(_) => String::new(),
    }
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::List(list) => list,
        Value::Map(_) => &[],
        one => std::slice::from_ref(one),
    }
}

fn name(of: &EnumDescriptor, number: i32) -> String {
    of.get_value(number).map_or_else(|| number.to_string(), |value| value.name().to_owned())
}

fn of_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(number) => number.to_string(),
        MapKey::I64(number) => number.to_string(),
        MapKey::U32(number) => number.to_string(),
        MapKey::U64(number) => number.to_string(),
        MapKey::String(text) => words::quoted(text),
    }
}

fn float(number: f64) -> String {
    if number.is_nan() { "nan".to_owned() } else { format!("{number:?}") }
}
