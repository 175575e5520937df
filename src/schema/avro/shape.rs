//! What values of a schema look like.

use super::parse::Schema;
use super::types::{FixedAs, IntAs, LongAs, Type, TypeId};
use crate::schema::shape::{Budget, Field, Object, Shape, Use};

impl Schema {
    /// What values look like that are read by it, or may be written.
    pub fn shape(&self, used: Use) -> Shape {
        self.shape_of(self.root, used, &mut Budget::new())
    }

    fn shape_of(&self, id: TypeId, used: Use, budget: &mut Budget) -> Shape {
        budget.enter(|budget| match self.get(id) {
            Type::Null => Shape::Null,
            Type::Boolean => Shape::BOOLEAN,
            Type::Int(IntAs::Number) | Type::Long(LongAs::Number) => {
                either(used, Shape::INTEGER, &[Shape::NUMBER])
            }
            Type::Int(IntAs::Date | IntAs::TimeMillis)
            | Type::Long(LongAs::TimeMicros | LongAs::LocalTimestamp(_)) => {
                either(used, Shape::TEXT, &[Shape::INTEGER])
            }
            Type::Long(LongAs::Timestamp(_)) => {
                either(used, Shape::TIMESTAMP, &[Shape::TEXT, Shape::INTEGER])
            }
            Type::Float | Type::Double => either(used, Shape::NUMBER, &[Shape::INTEGER]),
            Type::Bytes(Some(_)) => decimal(used),
            Type::Bytes(None) => either(used, Shape::TEXT, &[Shape::BYTES]),
            Type::String(_) => either(used, Shape::TEXT, &[Shape::TIMESTAMP]),
            Type::Array(items) => Shape::List(Box::new(self.shape_of(*items, used, budget))),
            Type::Map(values) => Shape::Map(Box::new(self.shape_of(*values, used, budget))),
            Type::Union(branches) => {
                Shape::one_of(branches.iter().map(|branch| self.shape_of(*branch, used, budget)))
            }
            Type::Record(record) => {
                let mut object = Object::default();
                for field in &record.fields {
                    // What is read has each field; what is written, those without a default.
                    let always = used == Use::Read || field.default.is_none();
                    budget.field(&mut object, &field.name, |budget| {
                        Field::new(self.shape_of(field.of, used, budget), always)
                    });
                }
                Shape::Object(object)
            }
            Type::Enum(of) => Shape::symbols(of.symbols.iter().cloned()),
            Type::Fixed(fixed) => match fixed.means {
                FixedAs::Bytes => either(used, Shape::TEXT, &[Shape::BYTES]),
                FixedAs::Decimal(_) => decimal(used),
                FixedAs::Uuid => either(used, Shape::TEXT, &[Shape::TIMESTAMP]),
                FixedAs::Duration => {
                    let parts = ["months", "days", "millis"];
                    let fields = parts.map(|part| (part.to_owned(), Field::new(Shape::INTEGER, true)));
                    Shape::Object(Object { fields: fields.into_iter().collect(), ..Object::default() })
                }
            },
        })
    }
}

/// What is read, and what may be written too.
fn either(used: Use, read: Shape, written: &[Shape]) -> Shape {
    match used {
        Use::Read => read,
        Use::Write => Shape::one_of(std::iter::once(read).chain(written.iter().cloned())),
    }
}

fn decimal(used: Use) -> Shape {
    either(used, Shape::TEXT, &[Shape::INTEGER, Shape::NUMBER])
}
