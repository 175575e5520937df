//! Whether a value of one shape can be one of another. What may fit is let pass.

use super::{Field, Object, Scalar, Shape};

/// Why no value of a shape fits, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The names of the fields that lead there, from the outside in.
    pub path: Vec<String>,
    /// What is wrong there.
    pub why: Why,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is one thing, and the schema takes another.
    Kind {
        /// What it is.
        is: String,
        /// What the schema takes.
        takes: String,
    },
    /// A field that the schema does not have; its fields.
    Unknown(Vec<String>),
    /// A field that the schema asks for, and that the value never has; what the schema takes there.
    Missing(String),
    /// A text that is none of these.
    NoSymbol(Vec<String>),
}

impl Misfit {
    fn new(why: Why) -> Misfit {
        Misfit { path: Vec::new(), why }
    }

    fn inside(mut self, name: &str) -> Misfit {
        self.path.insert(0, name.to_owned());
        self
    }
}

impl Shape {
    /// Why no value of this shape is one that `taken` takes; `None` where one may be.
    pub fn misfit(&self, taken: &Shape) -> Option<Misfit> {
        let mut first = None;
        for one in self.alternatives() {
            let said = taken.alternatives().iter().map(|taken| misfit(one, taken));
            let said: Vec<Misfit> = said.collect::<Option<_>>()?;
            // Of several the one that went into it says most.
            let best = said.into_iter().max_by_key(|misfit| {
                usize::from(!matches!(misfit.why, Why::Kind { .. })) + misfit.path.len()
            });
            first = first.or(best);
        }
        match first {
            Some(Misfit { path, why: Why::Kind { .. } }) if path.is_empty() => Some(self.other_than(taken)),
            other => other,
        }
    }

    /// That this is none of what is taken.
    pub fn other_than(&self, taken: &Shape) -> Misfit {
        Misfit::new(Why::Kind { is: self.word(), takes: taken.word() })
    }

    /// The object of what is taken, where a value that is an object has to be that one.
    pub fn as_object(&self) -> Option<&Object> {
        let mut object = None;
        for one in self.alternatives() {
            match one {
                Shape::Object(found) => object = Some(found),
                Shape::Anything | Shape::Map(_) => return None,
                Shape::Null | Shape::Scalar(_) | Shape::List(_) | Shape::OneOf(_) => {}
            }
        }
        object
    }
}

impl Shape {
    /// What a key of an object of this shape holds, where that is known.
    pub fn value_of(&self, key: &str) -> Option<Shape> {
        let mut known = Vec::new();
        for one in self.alternatives() {
            match one {
                Shape::Anything => known.push(Shape::Anything),
                Shape::Map(value) => known.push((**value).clone()),
                Shape::Object(object) => match object.named(key) {
                    Some(field) => known.push(field.shape.clone()),
                    None if object.open => known.push(Shape::Anything),
                    None => {}
                },
                Shape::Null | Shape::Scalar(_) | Shape::List(_) | Shape::OneOf(_) => {}
            }
        }
        if known.is_empty() { None } else { Some(Shape::one_of(known)) }
    }
}

fn misfit(one: &Shape, taken: &Shape) -> Option<Misfit> {
    match (one, taken) {
        (Shape::Anything | Shape::OneOf(_), _) | (_, Shape::Anything | Shape::OneOf(_)) => None,
        (Shape::Null, Shape::Null) | (Shape::List(_), Shape::List(_)) => None,
        (Shape::Map(_), Shape::Map(_) | Shape::Object(_)) => None,
        (Shape::Scalar(scalar), Shape::Scalar(takes)) => scalars(scalar, takes),
        (Shape::Object(object), Shape::Map(value)) => object.fields.iter().find_map(|(name, field)| {
            let misfit = field.shape.misfit(value).filter(|_| field.always)?;
            Some(misfit.inside(name))
        }),
        (Shape::Object(object), Shape::Object(takes)) => objects(object, takes),
        _ => Some(one.other_than(taken)),
    }
}

fn scalars(scalar: &Scalar, takes: &Scalar) -> Option<Misfit> {
    match (scalar, takes) {
        (Scalar::Symbols(of), Scalar::Symbols(takes)) => {
            let none = !of.iter().any(|one| takes.contains(one));
            none.then(|| Misfit::new(Why::NoSymbol(takes.to_vec())))
        }
        (Scalar::Text | Scalar::Symbols(_), Scalar::Text | Scalar::Symbols(_)) => None,
        (one, other) if one == other => None,
        (one, other) => Some(Shape::Scalar(one.clone()).other_than(&Shape::Scalar(other.clone()))),
    }
}

fn objects(object: &Object, takes: &Object) -> Option<Misfit> {
    for (name, field) in &object.fields {
        match takes.named(name) {
            Some(taken) => {
                let certain = field.always || taken.always;
                if let Some(misfit) = field.shape.misfit(&taken.shape).filter(|_| certain) {
                    return Some(misfit.inside(name));
                }
            }
            None if !takes.open && field.always => {
                let names = takes.fields.keys().cloned().collect();
                return Some(Misfit::new(Why::Unknown(names)).inside(name));
            }
            None => {}
        }
    }
    if object.open {
        return None;
    }
    let has = |name: &str, field: &Field| {
        let also = field.also.as_deref();
        object.fields.contains_key(name) || also.is_some_and(|also| object.fields.contains_key(also))
    };
    let missing = takes.fields.iter().find(|(name, field)| field.always && !has(name, field));
    missing.map(|(name, field)| Misfit::new(Why::Missing(field.shape.word())).inside(name))
}
