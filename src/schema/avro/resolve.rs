//! What a reader makes of what a writer has written: decided once for two schemas, step by step; reading only follows. Of
//! what does not resolve the step says why, which is the comparison of schemas too.
//!
//! Source: Avro 1.12, "Schema Resolution". Where a reader's union has the writer's very type, that branch is taken before
//! one that it could be promoted to, as Java does.

use std::collections::{HashMap, VecDeque};

use vrl::value::{KeyString, Value};

use super::parse::Schema;
use super::types::{Decimal, Enum, FixedAs, IntAs, LongAs, Names, Record, Type, TypeId, simple};

/// A step's place in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StepId(pub(super) usize);

/// What is read, and what becomes of it.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Null,
    Boolean,
    /// An `int` as any number.
    Int(Number),
    Long(Number),
    Float,
    Double,
    Bytes(BytesAs),
    String(BytesAs),
    Fixed(usize, FixedAs),
    /// By the writer's symbol: the reader's, or why there is none.
    Enum(Vec<Result<Value, String>>),
    Array(StepId),
    Map(StepId),
    /// By the writer's branch.
    Union(Vec<StepId>),
    Record(Vec<FieldStep>, Vec<(KeyString, Value)>),
    /// It does not resolve.
    Mismatch(String),
}

/// A number of the writer as the reader's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Int(IntAs),
    Long(LongAs),
    Float,
    Double,
}

/// Bytes of the writer as the reader's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BytesAs {
    Bytes,
    Text,
    Decimal(Decimal),
}

/// A field that the writer has written.
#[derive(Debug, Clone)]
pub(super) struct FieldStep {
    /// The writer's name, for messages.
    pub(super) name: String,
    /// The reader's; `None` where it has no such field.
    pub(super) to: Option<KeyString>,
    pub(super) step: StepId,
}

/// Reads what was written by one schema as another says.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) steps: Vec<Step>,
    pub(super) root: StepId,
    /// Why steps do not resolve, with where.
    mismatches: Vec<Mismatch>,
}

/// Something that a writer may write and a reader cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the writer's schema: fields by name, `[]` for items and values, `|N` for a union's branch.
    pub path: String,
    /// Why.
    pub why: String,
}

impl Reader {
    /// Reads with the schema that wrote.
    pub fn of(schema: &Schema) -> Reader {
        Reader::new(schema, schema)
    }

    /// Reads what `writer` wrote as `reader` says. What does not resolve is found when a record has it.
    pub fn new(writer: &Schema, reader: &Schema) -> Reader {
        let mut resolve = Resolve {
            writer,
            reader,
            steps: Vec::new(),
            known: HashMap::new(),
            open: VecDeque::new(),
            mismatches: Vec::new(),
        };
        let root = resolve.step(Pair { writer: writer.root, reader: reader.root, own: false }, String::new());
        while let Some((id, pair, path)) = resolve.open.pop_front() {
            resolve.fill(id, pair, &path);
        }
        Reader { steps: resolve.steps, root, mismatches: resolve.mismatches }
    }

    /// What the writer may write and the reader cannot read; empty where the reader reads all of it.
    pub fn mismatches(&self) -> &[Mismatch] {
        &self.mismatches
    }
}

/// A type of the writer, and what it is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    writer: TypeId,
    reader: TypeId,
    /// Both are types of the writer: what nobody wants is read over.
    own: bool,
}

struct Resolve<'a> {
    writer: &'a Schema,
    reader: &'a Schema,
    steps: Vec<Step>,
    /// The step of each pair that was met.
    known: HashMap<Pair, StepId>,
    /// Steps that are still to be filled, one after the other: types may be inside of each other as deeply as they like.
    open: VecDeque<(StepId, Pair, String)>,
    mismatches: Vec<Mismatch>,
}

impl Resolve<'_> {
    fn step(&mut self, pair: Pair, path: String) -> StepId {
        if let Some(known) = self.known.get(&pair) {
            return *known;
        }
        let id = StepId(self.steps.len());
        self.steps.push(Step::Null);
        self.known.insert(pair, id);
        self.open.push_back((id, pair, path));
        id
    }

    fn fill(&mut self, id: StepId, pair: Pair, path: &str) {
        let step = match self.make(pair, path) {
            Ok(step) => step,
            Err(why) => {
                if !pair.own {
                    self.mismatches.push(Mismatch { path: path.to_owned(), why: why.clone() });
                }
                Step::Mismatch(why)
            }
        };
        if let Some(place) = self.steps.get_mut(id.0) {
            *place = step;
        }
    }

    fn make(&mut self, pair: Pair, path: &str) -> Result<Step, String> {
        let Pair { writer, reader, own } = pair;
        let read_as = if own { self.writer } else { self.reader };
        let (from, to) = (self.writer.get(writer), read_as.get(reader));
        if let Type::Union(branches) = from {
            // The writer's own branches are themselves.
            let each = branches.iter().enumerate().map(|(at, branch)| {
                let reader = if own { *branch } else { reader };
                self.step(Pair { writer: *branch, reader, own }, format!("{path}|{at}"))
            });
            return Ok(Step::Union(each.collect()));
        }
        if let Type::Union(branches) = to {
            let branch = branch(read_as, from, branches).ok_or_else(|| {
                let names: Vec<String> = branches.iter().map(|branch| read_as.get(*branch).name()).collect();
                format!("{} is none of {}", from.name(), names.join(", "))
            })?;
            return self.make(Pair { writer, reader: branch, own }, path);
        }
        let differ = || Err(format!("expected {}, got {}", to.name(), from.name()));
        Ok(match (from, to) {
            (Type::Null, Type::Null) => Step::Null,
            (Type::Boolean, Type::Boolean) => Step::Boolean,
            (Type::Int(meant), Type::Int(means)) => {
                same_meaning(*meant == IntAs::Number || *means == IntAs::Number || meant == means)?;
                Step::Int(Number::Int(*means))
            }
            (Type::Int(meant), Type::Long(means)) => {
                same_meaning(*meant == IntAs::Number || *means == LongAs::Number)?;
                Step::Int(Number::Long(*means))
            }
            (Type::Int(_), Type::Float) => Step::Int(Number::Float),
            (Type::Int(_), Type::Double) => Step::Int(Number::Double),
            (Type::Long(meant), Type::Long(means)) => {
                same_meaning(*meant == LongAs::Number || *means == LongAs::Number || meant == means)?;
                Step::Long(Number::Long(*means))
            }
            (Type::Long(_), Type::Float) => Step::Long(Number::Float),
            (Type::Long(_), Type::Double) => Step::Long(Number::Double),
            (Type::Float, Type::Float | Type::Double) => Step::Float,
            (Type::Double, Type::Double) => Step::Double,
            (Type::Bytes(a), Type::Bytes(b)) => {
                same_decimal(*a, *b)?;
                Step::Bytes(b.map_or(BytesAs::Bytes, BytesAs::Decimal))
            }
            (Type::Bytes(_), Type::String(_)) => Step::Bytes(BytesAs::Text),
            (Type::String(_), Type::String(_)) => Step::String(BytesAs::Text),
            (Type::String(_), Type::Bytes(is)) => Step::String(is.map_or(BytesAs::Bytes, BytesAs::Decimal)),
            (Type::Fixed(a), Type::Fixed(b)) => {
                if !b.names.know(&a.names) || a.size != b.size {
                    return differ();
                }
                let decimal = |means| if let FixedAs::Decimal(is) = means { Some(is) } else { None };
                same_decimal(decimal(a.means), decimal(b.means))?;
                Step::Fixed(a.size, b.means)
            }
            (Type::Enum(a), Type::Enum(b)) if b.names.know(&a.names) => self.symbols(a, b, path),
            (Type::Array(a), Type::Array(b)) => {
                Step::Array(self.step(Pair { writer: *a, reader: *b, own }, format!("{path}[]")))
            }
            (Type::Map(a), Type::Map(b)) => {
                Step::Map(self.step(Pair { writer: *a, reader: *b, own }, format!("{path}[]")))
            }
            (Type::Record(a), Type::Record(b)) if b.names.know(&a.names) => self.record(a, b, own, path)?,
            _ => return differ(),
        })
    }

    fn symbols(&mut self, writer: &Enum, reader: &Enum, path: &str) -> Step {
        let known = |symbol: &String| reader.symbols.contains(symbol);
        let of = |symbol: &String| match (known(symbol), &reader.default) {
            (true, _) => Ok(Value::from(symbol.as_str())),
            (false, Some(default)) => Ok(Value::from(default.as_str())),
            (false, None) => {
                Err(format!("enum {} has no symbol {symbol}, and no default", reader.names.full))
            }
        };
        let symbols: Vec<Result<Value, String>> = writer.symbols.iter().map(of).collect();
        for why in symbols.iter().filter_map(|symbol| symbol.as_ref().err()) {
            self.mismatches.push(Mismatch { path: path.to_owned(), why: why.clone() });
        }
        Step::Enum(symbols)
    }

    fn record(&mut self, writer: &Record, reader: &Record, own: bool, path: &str) -> Result<Step, String> {
        let by_name = |name: &str| writer.fields.iter().position(|field| field.name == name);
        let found: Vec<Option<usize>> = reader
            .fields
            .iter()
            .map(|field| {
                by_name(&field.name).or_else(|| field.aliases.iter().find_map(|alias| by_name(alias)))
            })
            .collect();
        let mut fields = Vec::with_capacity(writer.fields.len());
        for (at, field) in writer.fields.iter().enumerate() {
            let taker =
                found.iter().position(|found| *found == Some(at)).and_then(|at| reader.fields.get(at));
            let path = format!("{path}/{}", field.name);
            let (to, pair) = match taker {
                Some(to) => {
                    (Some(KeyString::from(to.name.clone())), Pair { writer: field.of, reader: to.of, own })
                }
                None => (None, Pair { writer: field.of, reader: field.of, own: true }),
            };
            fields.push(FieldStep { name: field.name.clone(), to, step: self.step(pair, path) });
        }
        let mut defaults = Vec::new();
        for (field, _) in reader.fields.iter().zip(&found).filter(|(_, found)| found.is_none()) {
            let value = match &field.default {
                Some(json) => self.reader.default(field.of, json).map_err(|fault| fault.to_string()),
                None => Err("the writer does not have it, and it has no default".to_owned()),
            };
            let value = value.map_err(|why| format!("the field {}: {why}", field.name))?;
            defaults.push((KeyString::from(field.name.clone()), value));
        }
        Ok(Step::Record(fields, defaults))
    }
}

/// The branch of a union that takes a type: one of the very same kind and whole name, of the same kind and name, or one that
/// it is promoted to, in this order.
fn branch(union_of: &Schema, from: &Type, branches: &[TypeId]) -> Option<TypeId> {
    let find =
        |takes: &dyn Fn(&Type) -> bool| branches.iter().copied().find(|branch| takes(union_of.get(*branch)));
    find(&|to| same_kind(from, to, true)).or_else(|| find(&|to| same_kind(from, to, false))).or_else(|| {
        find(&|to| {
            matches!(
                (from, to),
                (Type::Int(_), Type::Long(_) | Type::Float | Type::Double)
                    | (Type::Long(_), Type::Float | Type::Double)
                    | (Type::Float, Type::Double)
                    | (Type::Bytes(_), Type::String(_))
                    | (Type::String(_), Type::Bytes(_))
            )
        })
    })
}

/// Whether two types are of one kind, and where they have names of one name.
fn same_kind(from: &Type, to: &Type, whole: bool) -> bool {
    match (from, to) {
        (Type::Record(a), Type::Record(b)) => same_name(&a.names, &b.names, whole),
        (Type::Enum(a), Type::Enum(b)) => same_name(&a.names, &b.names, whole),
        (Type::Fixed(a), Type::Fixed(b)) => a.size == b.size && same_name(&a.names, &b.names, whole),
        _ => std::mem::discriminant(from) == std::mem::discriminant(to),
    }
}

fn same_name(writer: &Names, reader: &Names, whole: bool) -> bool {
    if whole {
        return reader.full == writer.full;
    }
    simple(&reader.full) == simple(&writer.full) || reader.know(writer)
}

/// Numbers that count other things than the reader takes them for would be other times, and nobody would notice.
fn same_meaning(same: bool) -> Result<(), String> {
    if same { Ok(()) } else { Err("the number counts another time or unit".to_owned()) }
}

fn same_decimal(writer: Option<Decimal>, reader: Option<Decimal>) -> Result<(), String> {
    match (writer, reader) {
        (Some(a), Some(b)) if a != b => Err(format!(
            "expected decimal({}, {}), got decimal({}, {})",
            b.precision, b.scale, a.precision, a.scale
        )),
        _ => Ok(()),
    }
}
