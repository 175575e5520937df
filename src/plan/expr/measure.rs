//! How large a value is: what a program makes is bounded before it goes on.

use vrl::value::Value;

/// The most bytes of text that a value may hold after a program.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The most fields and entries.
pub const MAX_NODES: usize = 1_000_000;
/// The deepest nesting, that of JSON.
pub const MAX_DEPTH: usize = 127;

/// What a value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Values, itself included.
    pub nodes: usize,
    /// Bytes of text.
    pub bytes: usize,
}

/// Says which bound a value is over. Stops counting there.
pub fn check(value: &Value) -> Result<(), String> {
    weigh(value).map(drop)
}

/// Weighs a value, or says which bound it is over. Stops counting there.
pub fn weigh(value: &Value) -> Result<Weight, String> {
    let mut left = Left { bytes: MAX_BYTES, nodes: MAX_NODES };
    left.take(value, MAX_DEPTH)?;
    Ok(Weight { nodes: MAX_NODES - left.nodes, bytes: MAX_BYTES - left.bytes })
}

/// How many values there are in a value, itself included.
pub fn nodes(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(nodes).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(nodes).sum::<usize>(),
        _ => 1,
    }
}

struct Left {
    bytes: usize,
    nodes: usize,
}

impl Left {
    fn take(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        let Some(nodes) = self.nodes.checked_sub(1) else {
            return Err(format!("the result has more than {MAX_NODES} entries"));
        };
        self.nodes = nodes;
        match value {
            Value::Bytes(bytes) => self.text(bytes.len()),
            Value::String(text) => self.text(text.len()),
            Value::Array(list) => {
                let depth = deeper(depth)?;
                list.iter().try_for_each(|item| self.take(item, depth))
            }
            Value::Object(map) => {
                let depth = deeper(depth)?;
                map.iter().try_for_each(|(key, item)| {
                    self.text(key.len())?;
                    self.take(item, depth)
                })
            }
            Value::Regex(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Timestamp(_)
            | Value::Null => Ok(()),
        }
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let Some(bytes) = self.bytes.checked_sub(length) else {
            return Err(format!("the result holds more than {MAX_BYTES} bytes of text"));
        };
        self.bytes = bytes;
        Ok(())
    }
}

fn deeper(depth: usize) -> Result<usize, String> {
    depth.checked_sub(1).ok_or_else(|| format!("the result is nested deeper than {MAX_DEPTH} levels"))
}
