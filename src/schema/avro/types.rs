//! The types of a schema. A type refers to others by their place, since it may be inside of itself.

use serde_json::Value as Json;

/// A type's place in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TypeId(pub(super) usize);

/// A type.
#[derive(Debug, Clone)]
pub(super) enum Type {
    Null,
    Boolean,
    Int(IntAs),
    Long(LongAs),
    Float,
    Double,
    Bytes(Option<Decimal>),
    /// `true`: a UUID.
    String(bool),
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Record),
    Enum(Enum),
    Fixed(Fixed),
}

/// What an `int` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntAs {
    Number,
    Date,
    TimeMillis,
}

/// What a `long` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LongAs {
    Number,
    TimeMicros,
    Timestamp(Unit),
    LocalTimestamp(Unit),
}

/// The part of a second that a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// How many are a second.
    pub(super) fn in_a_second(self) -> i64 {
        match self {
            Unit::Millis => 1_000,
            Unit::Micros => 1_000_000,
            Unit::Nanos => 1_000_000_000,
        }
    }
}

/// A number with a fixed count of decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) precision: usize,
    pub(super) scale: usize,
}

/// The name of a record, enum or fixed, and those that it had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// With its namespace.
    pub(super) full: String,
    /// The same of each alias.
    pub(super) aliases: Vec<String>,
}

impl Names {
    /// Whether one who knows a type by these names finds the type of `writer`: by its name or an alias, where the namespace
    /// does not count.
    pub(super) fn know(&self, writer: &Names) -> bool {
        let of_writer = simple(&writer.full);
        simple(&self.full) == of_writer || self.aliases.iter().any(|alias| simple(alias) == of_writer)
    }
}

/// A name without its namespace.
pub(super) fn simple(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) names: Names,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) of: TypeId,
    pub(super) default: Option<Json>,
}

#[derive(Debug, Clone)]
pub(super) struct Enum {
    pub(super) names: Names,
    pub(super) symbols: Vec<String>,
    pub(super) default: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub(super) names: Names,
    pub(super) size: usize,
    pub(super) means: FixedAs,
}

/// What a `fixed` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FixedAs {
    Bytes,
    Decimal(Decimal),
    Uuid,
    Duration,
}

impl Type {
    /// What it is called in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Type::Null => "null".to_owned(),
            Type::Boolean => "boolean".to_owned(),
            Type::Int(IntAs::Number) => "int".to_owned(),
            Type::Int(IntAs::Date) => "date".to_owned(),
            Type::Int(IntAs::TimeMillis) => "time-millis".to_owned(),
            Type::Long(LongAs::Number) => "long".to_owned(),
            Type::Long(LongAs::TimeMicros) => "time-micros".to_owned(),
            Type::Long(LongAs::Timestamp(unit)) => format!("timestamp-{}", unit.word()),
            Type::Long(LongAs::LocalTimestamp(unit)) => format!("local-timestamp-{}", unit.word()),
            Type::Float => "float".to_owned(),
            Type::Double => "double".to_owned(),
            Type::Bytes(None) => "bytes".to_owned(),
            Type::Bytes(Some(decimal)) => decimal.name(),
            Type::String(false) => "string".to_owned(),
            Type::String(true) => "uuid".to_owned(),
            Type::Array(_) => "array".to_owned(),
            Type::Map(_) => "map".to_owned(),
            Type::Union(_) => "union".to_owned(),
            Type::Record(record) => format!("record {}", record.names.full),
            Type::Enum(of) => format!("enum {}", of.names.full),
            Type::Fixed(fixed) => format!("fixed {} of {} bytes", fixed.names.full, fixed.size),
        }
    }
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Unit::Millis => "millis",
            Unit::Micros => "micros",
            Unit::Nanos => "nanos",
        }
    }
}

impl Decimal {
    fn name(self) -> String {
        format!("decimal({}, {})", self.precision, self.scale)
    }
}
