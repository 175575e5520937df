//! Which branch of a union a value looks like.

use vrl::value::Value;

use super::types::{LongAs, Type};

/// Whether a value of a type is naturally written so, where several may be.
pub(super) fn natural(of: &Type, value: &Value) -> bool {
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
