//! From texts and descriptors to a schema.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64;
use prost_reflect::prost::{DecodeError, Message as _};
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DynamicMessage, FileDescriptor, MessageDescriptor, ReflectMessage as _, Value};
use protox::file::{File, FileResolver, GoogleFileResolver};

use super::stack::on_a_large_stack;
use super::types::{Message, Types};
use crate::schema::json::Document;

mod nesting;
mod options;

/// The longest text of a schema, and of all texts of one together.
const MAX_TEXT: usize = 1 << 20;
const MAX_TEXTS: usize = 4 << 20;
/// How deep types stand inside of each other.
const MAX_NESTING: usize = 64;
/// The most files that one schema imports, and the most types and fields of all of them.
const MAX_IMPORTS: usize = 200;
const MAX_TYPES: usize = 10_000;
const MAX_FIELDS: usize = 100_000;
/// The longest text of which places are kept, for messages: to keep them takes the square of it at worst.
const MAX_PLACED: usize = 64 << 10;

/// What everybody has at hand.
const BUILT_IN: [(&str, &str); 2] = [
    ("confluent/meta.proto", include_str!("confluent/meta.proto")),
    ("confluent/type/decimal.proto", include_str!("confluent/decimal.proto")),
];

/// A file of messages, and those that it imports. Cheap to clone.
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    file: FileDescriptor,
    types: Types,
    /// Whether it came as a text: then entries of maps are not among the messages that are counted.
    is_text: bool,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.0.file.name()).finish()
    }
}

impl Schema {
    /// Reads a schema, and the files that it and they import. Each is a .proto text, or the `FileDescriptorProto` of one in
    /// base64; its path is the name by which it is imported.
    ///
    /// # Errors
    /// What is wrong, in one sentence.
    pub fn parse(main: &Document, imports: &[Document]) -> Result<Schema, String> {
        if imports.len() > MAX_IMPORTS {
            return Err(format!("a schema has at most {MAX_IMPORTS} imports"));
        }
        let length: usize = imports.iter().map(|one| one.text.len()).sum::<usize>() + main.text.len();
        if length > MAX_TEXTS {
            return Err(format!("a schema and its imports have at most {MAX_TEXTS} bytes"));
        }
        on_a_large_stack(|| {
            let name = name(main);
            let mut files = HashMap::new();
            for document in imports.iter().filter(|one| self::name(one) != name) {
                files.insert(self::name(document).to_owned(), document.clone());
            }
            files.insert(name.to_owned(), main.clone());
            let mut compiler = protox::Compiler::with_file_resolver(Files(files));
            compiler.include_imports(true);
            compiler.open_file(name).map_err(|error| said(&error))?;
            let pool = compiler.descriptor_pool();
            let file = pool.get_file_by_name(name).ok_or("its name is none of a file")?;
            let whole = |entry: &MessageDescriptor| {
                entry.get_field(1).is_some() && entry.get_field(2).is_some() && entry.fields().len() == 2
            };
            if pool.all_messages().any(|message| message.is_map_entry() && !whole(&message)) {
                return Err("the entry of a map has other fields than key and value".to_owned());
            }
            let types = pool.all_messages().len() + pool.all_enums().len();
            let fields: usize = pool.all_messages().map(|message| message.fields().len()).sum();
            if types > MAX_TYPES || fields > MAX_FIELDS {
                return Err(format!("a schema has at most {MAX_TYPES} types and {MAX_FIELDS} fields"));
            }
            Ok(Schema(Arc::new(Inner { types: Types::of(&pool), file, is_text: !is_base64(&main.text) })))
        })
    }

    /// The message of a name, with its package or without; without a name the first one of the file.
    ///
    /// # Errors
    /// That there is none.
    pub fn message(&self, name: Option<&str>) -> Result<Message, String> {
        let file = self.file();
        let Some(name) = name else {
            let first = file.messages().next().ok_or("it has no message")?;
            return self.of_name(first.full_name());
        };
        let name = name.trim_start_matches('.');
        let inside = format!("{}.{name}", file.package_name());
        let found = file.parent_pool().get_message_by_name(name);
        let found = found.or_else(|| file.parent_pool().get_message_by_name(&inside));
        match found.filter(|message| !message.is_map_entry()) {
            Some(message) => self.of_name(message.full_name()),
            None => {
                let mut names: Vec<String> = file.messages().map(|one| one.full_name().to_owned()).collect();
                names.truncate(5);
                Err(format!("it has no message `{name}`; it has {}", names.join(", ")))
            }
        }
    }

    /// Its messages and those of all files that it imports, without those that Protobuf itself defines.
    pub(super) fn all_messages(&self) -> Vec<Message> {
        let file = self.file();
        let all = file.parent_pool().all_messages();
        let own = all.filter(|one| !one.is_map_entry() && one.package_name() != "google.protobuf");
        own.filter_map(|message| self.of_name(message.full_name()).ok()).collect()
    }

    pub(super) fn of_name(&self, full_name: &str) -> Result<Message, String> {
        let id = self.0.types.id(full_name).ok_or_else(|| format!("it has no message `{full_name}`"))?;
        Ok(Message::new(self.clone(), id))
    }

    /// The name by which it is imported.
    pub fn name(&self) -> &str {
        self.0.file.name()
    }

    /// Its `FileDescriptorProto`, in base64. Maps in options have no order in it: to compare schemas there is [`Schema::text`].
    pub fn descriptor(&self) -> String {
        let encoded = self.0.file.encode_to_vec();
        let described = FileDescriptorProto::default().descriptor();
        let bytes = match DynamicMessage::decode(described, &encoded[..]) {
            Ok(mut file) => {
                file.clear_field_by_name("source_code_info");
                file.encode_to_vec()
            }
            // What has been encoded just before is decoded.
            Err(_) => encoded,
        };
        BASE64.encode(&bytes)
    }

    pub(super) fn file(&self) -> &FileDescriptor {
        &self.0.file
    }

    pub(super) fn types(&self) -> &Types {
        &self.0.types
    }

    pub(super) fn is_text(&self) -> bool {
        self.0.is_text
    }
}

/// The files that one imports, without those that everybody has at hand.
///
/// # Errors
/// What is wrong with it, in one sentence.
pub fn imports(document: &Document) -> Result<Vec<String>, String> {
    on_a_large_stack(|| {
        let file = open(name(document), document).map_err(|error| said(&error))?;
        let names = file.file_descriptor_proto().dependency.iter();
        Ok(names.filter(|name| !is_built_in(name)).cloned().collect())
    })
}

/// Whether a file is at hand without being given.
fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(known, _)| *known == name) || GoogleFileResolver::new().open_file(name).is_ok()
}

fn name(document: &Document) -> &str {
    document.path.trim_start_matches("./")
}

/// Whether it is no text but a descriptor: a text has a bracket or a semicolon, which base64 does not.
fn is_base64(text: &str) -> bool {
    let text = text.trim();
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    !text.is_empty() && text.bytes().all(digit)
}

/// The files that are given, behind those that everybody has: what `google.protobuf.Timestamp` is, no text changes.
struct Files(HashMap<String, Document>);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if let Ok(file) = GoogleFileResolver::new().open_file(name) {
            return Ok(file);
        }
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return File::from_source(name, text);
        }
        open(name, self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?)
    }
}

fn open(name: &str, document: &Document) -> Result<File, protox::Error> {
    let wrong = |why: String| protox::Error::new(Wrong(format!("{name}: {why}")));
    if document.text.len() > MAX_TEXT {
        return Err(wrong(format!("a schema has at most {MAX_TEXT} bytes")));
    }
    if is_base64(&document.text) {
        return descriptor(name, &document.text).map_err(wrong);
    }
    nesting::check(&document.text, MAX_NESTING).map_err(wrong)?;
    let file = File::from_source(name, &document.text).map_err(|error| {
        let said = error.to_string();
        if said.ends_with("but found 'edition'") {
            return wrong("editions are not known here; write `syntax = \"proto3\";`".to_owned());
        }
        // What their parser says of a path of an import is about something else.
        let imports = document.text.lines().filter(|line| line.trim_start().starts_with("import"));
        match imports.filter_map(|line| line.split(['"', '\'']).nth(1)).find(|path| !is_path(path)) {
            Some(path) if said == "invalid group name" => {
                wrong(format!("the import `{path}` is no path from the folder of the schemas"))
            }
            _ => error,
        }
    })?;
    if document.text.len() <= MAX_PLACED {
        return Ok(file);
    }
    let mut proto = FileDescriptorProto::from(file);
    proto.source_code_info = None;
    Ok(File::from_file_descriptor_proto(proto))
}

/// Whether a file can be imported by it.
fn is_path(path: &str) -> bool {
    !path.contains('\\') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// A descriptor under the name that it is imported by, without what only its compiler has use for.
fn descriptor(name: &str, base64: &str) -> Result<File, String> {
    let bytes = BASE64.decode(base64.trim().as_bytes()).map_err(|_| "it is neither a text nor base64")?;
    let wrong = |error: DecodeError| format!("it is no descriptor: {error}");
    // Dynamic, since options that extensions define are kept so.
    let file = DynamicMessage::decode(FileDescriptorProto::default().descriptor(), &bytes[..]);
    let mut file = file.map_err(wrong)?;
    options::drop_uninterpreted(&mut file, MAX_NESTING)?;
    file.set_field_by_name("name", Value::String(name.to_owned()));
    file.clear_field_by_name("source_code_info");
    File::decode_file_descriptor_proto(&file.encode_to_vec()[..]).map_err(wrong)
}

/// One line of what the compiler says, with the place where it has one.
fn said(error: &protox::Error) -> String {
    let text = format!("{error:?}");
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { error.to_string() } else { line.to_owned() }
}

/// What is wrong with a file before it is compiled.
#[derive(thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

/// What [`said`] shows.
impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
