//! From the text of a schema to its types.

use std::collections::{HashMap, HashSet};

use apache_avro::Schema as Parsed;
use apache_avro::schema::{Aliases, FixedSchema, InnerDecimalSchema, Name, UuidSchema};
use serde_json::Value as Json;

use super::types::{Decimal, Enum, Field, Fixed, FixedAs, IntAs, LongAs, Names, Record, Type, TypeId, Unit};

/// The longest text of a schema.
const MAX_TEXT: usize = 1 << 20;
/// The most types of a schema.
const MAX_TYPES: usize = 10_000;

/// How deep types stand inside of each other in one text.
const MAX_NESTING: usize = 64;
/// The most texts that one schema refers to, and the stack on which all of them are read.
const MAX_REFERENCES: usize = 200;
const STACK: usize = 64 << 20;

/// A schema, and those that it refers to.
#[derive(Debug, Clone)]
pub struct Schema {
    pub(super) types: Vec<Type>,
    pub(super) root: TypeId,
}

/// The text of a schema whose types another one uses by name.
pub type Reference<'a> = &'a str;

impl Schema {
    /// Reads the text of a schema, in JSON. `references` are texts of schemas whose types it uses, in an order in which each
    /// one uses only those before it.
    ///
    /// # Errors
    /// What is wrong, in one sentence.
    pub fn parse(text: &str, references: &[Reference<'_>]) -> Result<Schema, String> {
        if references.len() > MAX_REFERENCES {
            return Err(format!("a schema has at most {MAX_REFERENCES} references"));
        }
        // One text may lead to the next as deeply as there are texts.
        std::thread::scope(|scope| {
            let build = std::thread::Builder::new().name("avro-schema".into()).stack_size(STACK);
            let parsed = build.spawn_scoped(scope, || Schema::parse_here(text, references));
            let parsed = parsed.map_err(|error| format!("no thread to read it on: {error}"))?;
            parsed.join().unwrap_or_else(|_| Err("its parser has panicked".to_owned()))
        })
    }

    fn parse_here(text: &str, references: &[Reference<'_>]) -> Result<Schema, String> {
        let mut defined = HashSet::new();
        let mut texts = Vec::new();
        for part in references.iter().copied().chain([text]) {
            if part.len() > MAX_TEXT {
                return Err(format!("a schema has at most {MAX_TEXT} bytes"));
            }
            let mut json: Json =
                serde_json::from_str(part).map_err(|error| format!("the schema is not JSON: {error}"))?;
            define(&mut json, "", &mut defined, 0)?;
            texts.push(json.to_string());
        }
        let main = texts.pop().unwrap_or_default();
        let (parsed, others) =
            Parsed::parse_str_with_list(&main, &texts).map_err(|error| error.to_string())?;
        let mut build = Build { types: Vec::new(), named: HashMap::new() };
        for other in &others {
            build.add(other)?;
        }
        let root = build.add(&parsed)?;
        Ok(Schema { types: build.types, root })
    }

    /// The full name of the record, enum or fixed that it is; `None` for other types.
    pub fn name(&self) -> Option<String> {
        let names = match self.get(self.root) {
            Type::Record(record) => &record.names,
            Type::Enum(symbols) => &symbols.names,
            Type::Fixed(fixed) => &fixed.names,
            _ => return None,
        };
        Some(names.full.clone())
    }

    pub(super) fn get(&self, id: TypeId) -> &Type {
        // Ids are made by the schema that they are asked of.
        self.types.get(id.0).unwrap_or(&Type::Null)
    }
}

/// Notes the names that a schema defines: one that is there twice is two types in one, of which the parser would drop one in
/// silence. Takes out logical types that are no text, which the specification says to ignore.
fn define(
    json: &mut Json,
    namespace: &str,
    defined: &mut HashSet<String>,
    depth: usize,
) -> Result<(), String> {
    if depth > MAX_NESTING {
        return Err(format!(
            "a schema is nested at most {MAX_NESTING} levels; give the inner types names of their own"
        ));
    }
    let below = depth + 1;
    match json {
        Json::Array(branches) => {
            branches.iter_mut().try_for_each(|branch| define(branch, namespace, defined, below))
        }
        Json::Object(map) => {
            if map.get("logicalType").is_some_and(|logical| !logical.is_string()) {
                map.remove("logicalType");
            }
            let text = |map: &serde_json::Map<String, Json>, key: &str| {
                map.get(key).and_then(Json::as_str).map(str::to_owned)
            };
            let mut namespace = namespace.to_owned();
            if let (Some("record" | "error" | "enum" | "fixed"), Some(name)) =
                (map.get("type").and_then(Json::as_str), text(map, "name"))
            {
                let full = match name.rsplit_once('.') {
                    Some((space, _)) => {
                        namespace = space.to_owned();
                        name
                    }
                    None => {
                        namespace = text(map, "namespace").unwrap_or(namespace);
                        if namespace.is_empty() { name } else { format!("{namespace}.{name}") }
                    }
                };
                if !defined.insert(full.clone()) {
                    return Err(format!(
                        "the type `{full}` is defined twice; refer to the first by its name"
                    ));
                }
            }
            for key in ["type", "items", "values"] {
                if let Some(inner) = map.get_mut(key) {
                    define(inner, &namespace, defined, below)?;
                }
            }
            let fields = map.get_mut("fields").and_then(Json::as_array_mut);
            fields.into_iter().flatten().try_for_each(|field| match field.get_mut("type") {
                Some(of) => define(of, &namespace, defined, below),
                None => Ok(()),
            })
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Ok(()),
    }
}

struct Build {
    types: Vec<Type>,
    named: HashMap<String, TypeId>,
}

impl Build {
    fn add(&mut self, parsed: &Parsed) -> Result<TypeId, String> {
        if let Parsed::Ref { name } = parsed {
            let full = name.fullname(None);
            return self.named.get(&full).copied().ok_or_else(|| format!("the type `{full}` is not defined"));
        }
        if self.types.len() >= MAX_TYPES {
            return Err(format!("a schema has at most {MAX_TYPES} types"));
        }
        let id = TypeId(self.types.len());
        self.types.push(Type::Null);
        if let Some(name) = name(parsed) {
            self.named.insert(name.fullname(None), id);
        }
        let made = self.make(parsed)?;
        if let Some(place) = self.types.get_mut(id.0) {
            *place = made;
        }
        Ok(id)
    }

    fn make(&mut self, parsed: &Parsed) -> Result<Type, String> {
        Ok(match parsed {
            // A reference has been looked up.
            Parsed::Null | Parsed::Ref { .. } => Type::Null,
            Parsed::Boolean => Type::Boolean,
            Parsed::Int => Type::Int(IntAs::Number),
            Parsed::Date => Type::Int(IntAs::Date),
            Parsed::TimeMillis => Type::Int(IntAs::TimeMillis),
            Parsed::Long => Type::Long(LongAs::Number),
            Parsed::TimeMicros => Type::Long(LongAs::TimeMicros),
            Parsed::TimestampMillis => Type::Long(LongAs::Timestamp(Unit::Millis)),
            Parsed::TimestampMicros => Type::Long(LongAs::Timestamp(Unit::Micros)),
            Parsed::TimestampNanos => Type::Long(LongAs::Timestamp(Unit::Nanos)),
            Parsed::LocalTimestampMillis => Type::Long(LongAs::LocalTimestamp(Unit::Millis)),
            Parsed::LocalTimestampMicros => Type::Long(LongAs::LocalTimestamp(Unit::Micros)),
            Parsed::LocalTimestampNanos => Type::Long(LongAs::LocalTimestamp(Unit::Nanos)),
            Parsed::Float => Type::Float,
            Parsed::Double => Type::Double,
            Parsed::Bytes | Parsed::BigDecimal | Parsed::Uuid(UuidSchema::Bytes) => Type::Bytes(None),
            Parsed::String => Type::String(false),
            Parsed::Uuid(UuidSchema::String) => Type::String(true),
            Parsed::Decimal(decimal) => {
                let is = Decimal { precision: decimal.precision, scale: decimal.scale };
                match &decimal.inner {
                    InnerDecimalSchema::Bytes => Type::Bytes(Some(is)),
                    InnerDecimalSchema::Fixed(of) if is.precision <= most_digits(of.size) => {
                        fixed(of, FixedAs::Decimal(is))
                    }
                    // It cannot hold what it promises: the specification says to ignore that.
                    InnerDecimalSchema::Fixed(of) => fixed(of, FixedAs::Bytes),
                }
            }
            Parsed::Uuid(UuidSchema::Fixed(of)) => fixed(of, FixedAs::Uuid),
            Parsed::Duration(of) => fixed(of, FixedAs::Duration),
            Parsed::Fixed(of) => fixed(of, FixedAs::Bytes),
            Parsed::Array(of) => Type::Array(self.add(&of.items)?),
            Parsed::Map(of) => Type::Map(self.add(&of.types)?),
            Parsed::Union(of) => {
                Type::Union(of.variants().iter().map(|branch| self.add(branch)).collect::<Result<_, _>>()?)
            }
            Parsed::Enum(of) => Type::Enum(Enum {
                names: names(&of.name, &of.aliases),
                symbols: of.symbols.clone(),
                default: of.default.clone(),
            }),
            Parsed::Record(of) => {
                let mut fields = Vec::with_capacity(of.fields.len());
                for field in &of.fields {
                    fields.push(Field {
                        name: field.name.clone(),
                        aliases: field.aliases.clone(),
                        of: self.add(&field.schema)?,
                        default: field.default.clone(),
                    });
                }
                Type::Record(Record { names: names(&of.name, &of.aliases), fields })
            }
        })
    }
}

fn name(parsed: &Parsed) -> Option<&Name> {
    match parsed {
        Parsed::Record(of) => Some(&of.name),
        Parsed::Enum(of) => Some(&of.name),
        Parsed::Fixed(of) | Parsed::Duration(of) | Parsed::Uuid(UuidSchema::Fixed(of)) => Some(&of.name),
        Parsed::Decimal(decimal) => match &decimal.inner {
            InnerDecimalSchema::Fixed(of) => Some(&of.name),
            InnerDecimalSchema::Bytes => None,
        },
        _ => None,
    }
}

fn names(name: &Name, aliases: &Aliases) -> Names {
    let space = name.namespace().map(str::to_owned);
    let aliases =
        aliases.iter().flatten().map(|alias| alias.fully_qualified_name(space.as_deref()).fullname(None));
    Names { full: name.fullname(None), aliases: aliases.collect() }
}

fn fixed(of: &FixedSchema, means: FixedAs) -> Type {
    Type::Fixed(Fixed { names: names(&of.name, &of.aliases), size: of.size, means })
}

/// The most decimal digits that so many bytes of two's complement hold.
fn most_digits(bytes: usize) -> usize {
    // log10(2) to nine places; a fixed is no longer than a datum, so that is exact enough.
    (bytes.saturating_mul(8).saturating_sub(1)).saturating_mul(301_029_995) / 1_000_000_000
}
