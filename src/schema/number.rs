//! Numbers between values and the types of schemas: exact, or a fault.

use vrl::value::Value;

use super::Fault;

pub(super) fn of_float(float: f32) -> Result<Value, Fault> {
    // The shortest text that means this float, so that 0.1 stays 0.1.
    of_double(float.to_string().parse().unwrap_or(f64::from(float)))
}

pub(super) fn of_double(double: f64) -> Result<Value, Fault> {
    if double.is_finite() {
        return Ok(Value::from_f64_or_zero(double));
    }
    Err(Fault::new("NaN and infinity have no form in JSON"))
}

/// A float that is a whole number, as JSON may write an integer.
pub(super) fn whole(float: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "compared with what it was right after")]
    let number = float as i64;
    #[expect(clippy::cast_precision_loss, reason = "an integer that a float has given is exact in it")]
    let back = number as f64;
    (back.to_bits() == float.to_bits() && number != i64::MAX).then_some(number)
}

pub(super) fn float(double: f64) -> Result<f32, Fault> {
    #[expect(clippy::cast_possible_truncation, reason = "compared with what it was right after")]
    let float = double as f32;
    let same = f64::from(float).to_bits() == double.to_bits()
        || float.to_string().parse::<f64>().is_ok_and(|shortest| shortest.to_bits() == double.to_bits());
    if same && float.is_finite() { Ok(float) } else { Err(Fault::new("a float would round the number")) }
}

/// A number's double; `None` of what is no number.
pub(super) fn double(value: &Value) -> Option<Result<f64, Fault>> {
    match value {
        Value::Float(float) if float.is_finite() => Some(Ok(float.into_inner())),
        Value::Integer(number) => {
            #[expect(clippy::cast_precision_loss, reason = "compared with what it was right after")]
            let double = *number as f64;
            #[expect(clippy::cast_possible_truncation, reason = "a comparison")]
            let same = double as i128 == i128::from(*number);
            Some(if same { Ok(double) } else { Err(Fault::new("a double would round the number")) })
        }
        _ => None,
    }
}
