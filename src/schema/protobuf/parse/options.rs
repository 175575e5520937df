//! What is taken out of a foreign descriptor before it is compiled: options that are still texts. Their parser recurses
//! without a bound, and no compiler leaves them in what it gives away.

use prost_reflect::{DynamicMessage, Value};

/// Of a `FileDescriptorProto`. Fails where messages are nested deeper than `most`.
pub(super) fn drop_uninterpreted(of: &mut DynamicMessage, most: usize) -> Result<(), String> {
    of.clear_field_by_name("uninterpreted_option");
    for (field, value) in of.fields_mut() {
        let below = if field.name() == "nested_type" { most.checked_sub(1) } else { Some(most) };
        let below = below.ok_or("its messages are nested too deep")?;
        match value {
            Value::Message(inner) => drop_uninterpreted(inner, below)?,
            Value::List(list) => {
                for inner in list.iter_mut().filter_map(Value::as_message_mut) {
                    drop_uninterpreted(inner, below)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
