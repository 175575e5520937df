//! Which message of a file is meant: by places, as the wire format of schema registries has it.

use prost_reflect::MessageDescriptor;

use super::parse::Schema;
use super::types::Message;
use super::wire::{Input, of_zigzag, put_varint, zigzag};
use crate::schema::Fault;

/// The most places of a path: messages inside of messages.
const MAX_PLACES: usize = 16;

/// Reads the places before a message, and returns what stands behind them. None at all means the first message.
///
/// # Errors
/// Bytes that end too early, numbers out of range.
pub fn read_indexes(bytes: &[u8]) -> Result<(Vec<usize>, &[u8]), Fault> {
    let mut input = Input(bytes);
    let count = of_zigzag(input.varint()?);
    let most = MAX_PLACES.min(input.0.len());
    let count = usize::try_from(count).ok().filter(|count| *count <= most);
    let count = count.ok_or_else(|| Fault::new("the count of message indexes is out of range"))?;
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        let place = usize::try_from(of_zigzag(input.varint()?));
        places.push(place.map_err(|_| Fault::new("a message index is negative"))?);
    }
    if places.is_empty() {
        places.push(0);
    }
    Ok((places, input.0))
}

/// The bytes of places; the first message of a file is one byte.
pub fn write_indexes(places: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    if places == [0] {
        return vec![0];
    }
    for number in [places.len()].iter().chain(places) {
        put_varint(&mut out, zigzag(i64::try_from(*number).unwrap_or(i64::MAX)));
    }
    out
}

impl Schema {
    /// The message at a path of places: of the file's messages, then of each one's own. Where the schema came as a descriptor
    /// the entries of maps are counted, as Python and Go do; where it came as a text they are not, as Java does.
    ///
    /// # Errors
    /// That there is none.
    pub fn at(&self, places: &[usize]) -> Result<Message, String> {
        let none = || format!("it has no message at {places:?}");
        let (first, rest) = places.split_first().ok_or_else(none)?;
        let mut found = self.file().messages().nth(*first).ok_or_else(none)?;
        for place in rest {
            let child = self.counted(&found).nth(*place);
            found = child.ok_or_else(none)?;
        }
        if found.is_map_entry() {
            return Err(format!("what it has at {places:?} is the entry of a map"));
        }
        self.of_name(found.full_name())
    }

    fn counted<'a>(&self, message: &'a MessageDescriptor) -> impl Iterator<Item = MessageDescriptor> + 'a {
        let is_text = self.is_text();
        message.child_messages().filter(move |child| !is_text || !child.is_map_entry())
    }
}

impl Message {
    /// Where in its file it stands, by places; `None` for a message of an import.
    pub fn indexes(&self) -> Option<Vec<usize>> {
        let file = self.schema.file();
        let mut at = file
            .messages()
            .chain(file.parent_pool().all_messages())
            .find(|m| m.full_name() == self.name())?;
        if at.parent_file() != *file {
            return None;
        }
        let mut places = Vec::new();
        while let Some(parent) = at.parent_message() {
            places.push(self.schema.counted(&parent).position(|child| child == at)?);
            at = parent;
        }
        places.push(file.messages().position(|message| message == at)?);
        places.reverse();
        Some(places)
    }
}
