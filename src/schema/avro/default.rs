//! The default of a field as a value, as if it had been written and read.

use serde_json::Value as Json;
use vrl::value::{KeyString, ObjectMap, Value};

use super::parse::Schema;
use super::read;
use super::types::{Type, TypeId};
use crate::schema::Fault;

impl Schema {
    /// A default, as Avro writes it in a schema: bytes as the characters 0 to 255, of a union any branch that takes it.
    pub(super) fn default(&self, of: TypeId, json: &Json) -> Result<Value, Fault> {
        self.default_at(of, json, 0)
    }

    fn default_at(&self, of: TypeId, json: &Json, depth: usize) -> Result<Value, Fault> {
        if depth > super::MAX_DEPTH {
            return Err(Fault::new(format!("the default is deeper than {}", super::MAX_DEPTH)));
        }
        let of_type = self.get(of);
        let wrong = || Fault::new(format!("the default is no {}", of_type.name()));
        let integer = || json.as_i64().ok_or_else(wrong);
        Ok(match (of_type, json) {
            (Type::Null, Json::Null) => Value::Null,
            (Type::Boolean, Json::Bool(value)) => Value::Boolean(*value),
            (Type::Int(means), Json::Number(_)) => {
                i32::try_from(integer()?).map_err(|_| wrong()).and_then(|number| read::int(number, *means))?
            }
            (Type::Long(means), Json::Number(_)) => read::long(integer()?, *means)?,
            (Type::Float, Json::Number(number)) => {
                // The nearest that the type has, as a writer's own compiler would make of it.
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a float is the nearest to the default's text"
                )]
                let nearest = number.as_f64().ok_or_else(wrong)? as f32;
                read::float(nearest)?
            }
            (Type::Double, Json::Number(number)) => read::double(number.as_f64().ok_or_else(wrong)?)?,
            (Type::String(_), Json::String(text)) => Value::from(text.as_str()),
            (Type::Bytes(is), Json::String(text)) => {
                let bytes = latin_1(text).ok_or_else(wrong)?;
                read::bytes(
                    &bytes,
                    is.map_or(super::resolve::BytesAs::Bytes, super::resolve::BytesAs::Decimal),
                )?
            }
            (Type::Fixed(fixed), Json::String(text)) => {
                let bytes = latin_1(text).filter(|bytes| bytes.len() == fixed.size).ok_or_else(wrong)?;
                read::fixed(&bytes, fixed.means)?
            }
            (Type::Enum(of), Json::String(symbol)) if of.symbols.contains(symbol) => {
                Value::from(symbol.as_str())
            }
            (Type::Array(items), Json::Array(list)) => {
                let values = list.iter().map(|item| self.default_at(*items, item, depth + 1));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            (Type::Map(values), Json::Object(map)) => {
                let mut out = ObjectMap::new();
                for (key, value) in map {
                    out.insert(KeyString::from(key.clone()), self.default_at(*values, value, depth + 1)?);
                }
                Value::Object(out)
            }
            (Type::Union(branches), _) => {
                let each = branches.iter().map(|branch| self.default_at(*branch, json, depth + 1));
                each.into_iter().find_map(Result::ok).ok_or_else(wrong)?
            }
            (Type::Record(record), Json::Object(map)) => {
                let mut out = ObjectMap::new();
                for field in &record.fields {
                    let value = map.get(&field.name).or(field.default.as_ref());
                    let value = value.ok_or_else(|| Fault::new("it is missing in the default"));
                    let value = value.and_then(|value| self.default_at(field.of, value, depth + 1));
                    let value = value.map_err(|fault| fault.inside(&*field.name))?;
                    out.insert(KeyString::from(field.name.clone()), value);
                }
                Value::Object(out)
            }
            _ => return Err(wrong()),
        })
    }
}

/// The bytes that a default's characters stand for; `None` where one is above 255.
fn latin_1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}
