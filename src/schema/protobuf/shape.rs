//! What messages of a schema look like.

use super::Schema;
use super::known::TYPE;
use super::types::{Field, Kind, Known, Label, Message, MessageId, Types};
use crate::schema::shape::{Budget, Field as Shaped, Object, Shape, Use};

impl Message {
    /// What values look like that are read as it, or may be written.
    pub fn shape(&self, used: Use) -> Shape {
        let shaping = Shaping { types: self.schema.types(), used };
        shaping.message(self.id, &mut Budget::new())
    }
}

impl Schema {
    /// What values look like that are read as any of its messages, those of the files that it imports and those inside of others
    /// among them.
    pub fn any_shape(&self, used: Use) -> Shape {
        let shaping = Shaping { types: self.types(), used };
        let mut budget = Budget::new();
        Shape::one_of(self.all_messages().iter().map(|message| shaping.message(message.id, &mut budget)))
    }
}

struct Shaping<'t> {
    types: &'t Types,
    used: Use,
}

impl Shaping<'_> {
    fn message(&self, id: MessageId, budget: &mut Budget) -> Shape {
        let of = self.types.message(id);
        budget.enter(|budget| match of.known {
            Known::No => {
                let mut object = Object::default();
                for field in &of.fields {
                    budget.field(&mut object, &field.name, |budget| self.field(field, budget));
                }
                Shape::Object(object)
            }
            Known::Any => {
                let said = (TYPE.to_owned(), Shaped::new(Shape::TEXT, false));
                Shape::Object(Object { fields: [said].into_iter().collect(), open: true, told: true })
            }
            Known::Timestamp => self.either(Shape::TIMESTAMP, &[Shape::TEXT]),
            Known::Duration => Shape::TEXT,
            Known::Struct => Shape::Map(Box::new(Shape::Anything)),
            Known::Value => Shape::Anything,
            Known::ListValue => Shape::List(Box::new(Shape::Anything)),
            Known::Wrapper => {
                of.fields.first().map_or(Shape::Anything, |value| self.kind(value.kind, budget))
            }
        })
    }

    fn field(&self, field: &Field, budget: &mut Budget) -> Shaped {
        let one = self.kind(field.kind, budget);
        let shape = match field.label {
            Label::List => Shape::List(Box::new(one)),
            Label::Map => Shape::Map(Box::new(self.value_of(field, budget))),
            Label::Required | Label::Optional | Label::Implicit => one,
        };
        let (shape, always) = match self.used {
            // Null stands for what is not there.
            Use::Write if field.label != Label::Required => (Shape::one_of([shape, Shape::Null]), false),
            Use::Write => (shape, true),
            Use::Read => (shape, field.label != Label::Optional && field.oneof.is_none()),
        };
        let also = Some(field.json.to_string()).filter(|json| *json != field.name.as_str());
        Shaped { shape, always, also: also.filter(|_| self.used == Use::Write) }
    }

    /// What the values of a map are.
    fn value_of(&self, field: &Field, budget: &mut Budget) -> Shape {
        let (Kind::Message(id) | Kind::Group(id)) = field.kind else { return Shape::Anything };
        let entry = self.types.message(id).entry();
        entry.map_or(Shape::Anything, |(_, value)| self.kind(value.kind, budget))
    }

    fn kind(&self, kind: Kind, budget: &mut Budget) -> Shape {
        match kind {
            Kind::Double | Kind::Float => self.either(Shape::NUMBER, &[Shape::INTEGER]),
            Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32 | Kind::Sfixed32 => {
                self.either(Shape::INTEGER, &[Shape::NUMBER])
            }
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => {
                self.either(Shape::INTEGER, &[Shape::NUMBER, Shape::TEXT])
            }
            Kind::Bool => Shape::BOOLEAN,
            Kind::String => self.either(Shape::TEXT, &[Shape::TIMESTAMP]),
            Kind::Bytes => self.either(Shape::TEXT, &[Shape::BYTES]),
            Kind::Enum(id) => match self.types.enumeration(id) {
                Some(of) if !of.is_null => {
                    let named = Shape::symbols(of.names());
                    // A number that has no name.
                    Shape::one_of([named, self.either(Shape::INTEGER, &[Shape::NUMBER])])
                }
                _ => Shape::Anything,
            },
            Kind::Message(id) | Kind::Group(id) => self.message(id, budget),
        }
    }

    /// What is read, and what may be written too.
    fn either(&self, read: Shape, written: &[Shape]) -> Shape {
        match self.used {
            Use::Read => read,
            Use::Write => Shape::one_of(std::iter::once(read).chain(written.iter().cloned())),
        }
    }
}
