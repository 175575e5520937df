//! Which branch of a union takes a value: plain JSON does not say it.

use vrl::value::Value;

use super::parse::Schema;
use super::types::{LongAs, Type, TypeId};

impl Schema {
    /// The place of the branch: the first that is naturally written so and takes all of the value, else the first that
    /// takes it. `None` where no branch does.
    pub(super) fn choose(&self, branches: &[TypeId], value: &Value, depth: usize) -> Option<usize> {
        let takes = |at: &usize| branches.get(*at).is_some_and(|branch| self.takes(*branch, value, depth));
        let natural = |at: &usize| branches.get(*at).is_some_and(|branch| natural(self.get(*branch), value));
        let all = 0..branches.len();
        all.clone().find(|at| natural(at) && takes(at)).or_else(|| all.clone().find(takes))
    }

    /// Whether a type takes a value: writing it would do.
    fn takes(&self, of: TypeId, value: &Value, depth: usize) -> bool {
        super::write::fits(self, of, value, depth)
    }
}

/// Whether a value of a type looks so, where several do.
fn natural(of: &Type, value: &Value) -> bool {
    matches!(
        (of, value),
        (Type::Null, Value::Null)
            | (Type::Boolean, Value::Boolean(_))
            | (Type::Int(_) | Type::Long(LongAs::Number), Value::Integer(_))
            | (Type::Long(LongAs::Timestamp(_)), Value::Timestamp(_))
            | (Type::Double, Value::Float(_))
            | (Type::String(_) | Type::Enum(_), Value::String(_))
            | (Type::Bytes(None), Value::Bytes(_))
            | (Type::Array(_), Value::Array(_))
            | (Type::Record(_), Value::Object(_))
    )
}
