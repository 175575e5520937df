//! `format` and `schema`: from files and subjects that are named to a codec.

use super::compile::Compiler;
use crate::codec::wire::{Picked, ReadBy, SubjectBy, Wire, WriteBy};
use crate::codec::{Avro, Codec, Document, Format, Framing, JsonSchema, Register, SchemaSpec, SubjectName};
use crate::registry::{Named, SchemaType, Version};
use crate::settings::{below, read_below};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::tree::Path;

mod protobuf;

/// A schema that is missing, cannot be read, or is none.
const SCHEMA: &str = "W0311";
/// A registry is needed and there is none.
const REGISTRY: &str = "W0701";

/// What a block says of how its values are written.
pub(super) struct Asked<'a> {
    pub(super) format: Format,
    pub(super) schema: Option<&'a SchemaSpec>,
    /// What a `publish` says beside.
    pub(super) publishes: Option<Publishes>,
}

/// How a `publish` finds the subject of its schema.
#[derive(Clone, Copy)]
pub(super) struct Publishes {
    pub(super) register: Option<Register>,
    pub(super) subject_name: Option<SubjectName>,
}

/// A schema of a file, and those that it refers to.
struct FileSchema {
    codec: Codec,
    main: Document,
    references: Vec<Document>,
}

impl Compiler<'_, '_> {
    /// What a `format` and what stands beside it come to; `at` is the block that has them.
    pub(super) fn codec(&mut self, asked: &Asked<'_>, at: &Path) -> Option<Codec> {
        let is_skipped = |key: &str| {
            self.document.at(&at.then(key)).is_some_and(|node| self.document.skip.contains(&node.id))
        };
        if is_skipped("format") || is_skipped("schema") {
            // One that is not available yet has been answered.
            return None;
        }
        let none = SchemaSpec::default();
        let schema = asked.schema.unwrap_or(&none);
        if schema.message.is_some() && asked.format != Format::Protobuf {
            let message = format!("`format: {}` has no use for a message", asked.format.as_str());
            let help = "write `format: protobuf`, or take `message` out";
            return self.wrong_key(&at.then("schema").then("message"), message, help);
        }
        match asked.format {
            Format::Text | Format::Bytes => self.plain(asked, at),
            Format::Json if asked.schema.is_none() && !asked.registers() => Some(Codec::Json),
            Format::Json | Format::Avro | Format::Protobuf => match asked.publishes {
                None => self.read_by(asked.format, schema, at),
                Some(publishes) => self.write_by(asked.format, schema, publishes, at),
            },
        }
    }

    fn plain(&mut self, asked: &Asked<'_>, at: &Path) -> Option<Codec> {
        if asked.schema.is_some() {
            let message = format!("`format: {}` has no use for a schema", asked.format.as_str());
            let help = "write `format: json`, `avro` or `protobuf`, or take `schema` out";
            return self.wrong_key(&at.then("schema"), message, help);
        }
        Some(if asked.format == Format::Text { Codec::Text } else { Codec::Bytes })
    }

    /// What a source's values are read by. Values that are passed on are written with the latest version of their own topic's
    /// subject.
    fn read_by(&mut self, format: Format, schema: &SchemaSpec, at: &Path) -> Option<Codec> {
        let base = at.then("schema");
        let read = match (&schema.file, &schema.subject) {
            (Some(_), Some(_)) => {
                let message = "values are read by one schema, and here are two";
                let help =
                    "take `file` or `subject` out; a file's schema is registered where it is published";
                return self.wrong_key(&base.then("subject"), message.to_owned(), help);
            }
            (Some(_), None) => {
                let file = self.file(format, schema, &base)?;
                if schema.framing != Some(Framing::Confluent) {
                    return Some(file.codec);
                }
                ReadBy::File(file.codec)
            }
            (None, Some(subject)) => {
                let subject = self.resolve(subject, &base.then("subject"))?;
                ReadBy::Subject(subject, picked(schema))
            }
            // A block that says nothing has a mistake in it, which is told.
            (None, None) if schema.framing.is_none() && self.document.at(&base).is_some() => return None,
            (None, None) => ReadBy::Writer,
        };
        self.misused(schema, &base)?;
        self.wire(format, read, WriteBy::Subject(SubjectBy::Topic, Picked::default()), at)
    }

    /// What is published is written with.
    fn write_by(
        &mut self,
        format: Format,
        schema: &SchemaSpec,
        publishes: Publishes,
        at: &Path,
    ) -> Option<Codec> {
        let base = at.then("schema");
        let file = match &schema.file {
            Some(_) => Some(self.file(format, schema, &base)?),
            None => None,
        };
        let framed = schema.subject.is_some()
            || publishes.register.is_some()
            || publishes.subject_name.is_some()
            || schema.framing == Some(Framing::Confluent);
        if let Some(file) = file.as_ref().filter(|_| !framed) {
            return Some(file.codec.clone());
        }
        self.misused(schema, &base)?;
        if publishes.register.is_some() && file.is_none() {
            let message = "there is no schema here that could be registered";
            let help = "name its file: schema: { file: schemas/order.avsc }, or take `register` out";
            return self.wrong_key(&at.then("register"), message.to_owned(), help);
        }
        let subject = self.subject(schema, publishes, file.as_ref(), at)?;
        let write = match file {
            Some(FileSchema { codec, main, references }) => WriteBy::File {
                subject,
                kind: kind(format),
                text: main.text,
                references: references.into_iter().map(|document| named(format, document)).collect(),
                codec,
                register: publishes.register == Some(Register::IfCompatible),
            },
            None => WriteBy::Subject(subject, picked(schema)),
        };
        self.wire(format, ReadBy::Writer, write, at)
    }

    /// How the subject is called that values are written with.
    fn subject(
        &mut self,
        schema: &SchemaSpec,
        publishes: Publishes,
        file: Option<&FileSchema>,
        at: &Path,
    ) -> Option<SubjectBy> {
        let by = publishes.subject_name;
        if let Some(subject) = &schema.subject {
            if by.is_some() {
                let message = "the subject has its name already";
                return self.wrong_key(
                    &at.then("subject_name"),
                    message.to_owned(),
                    "take it or `schema.subject` out",
                );
            }
            return self.resolve(subject, &at.then("schema").then("subject")).map(SubjectBy::Name);
        }
        let by = by.unwrap_or_default();
        if by == SubjectName::Topic {
            return Some(SubjectBy::Topic);
        }
        match file.and_then(|file| file.codec.record_name()) {
            Some(name) if by == SubjectName::Record => Some(SubjectBy::Name(name)),
            Some(name) => Some(SubjectBy::TopicRecord(name)),
            None => {
                let message = "the subject would be called as its schema, which has no name here";
                let help = "name the file of an Avro record, a Protobuf message or a JSON Schema with a `title`; or write `subject_name: topic`";
                self.wrong_key(&at.then("subject_name"), message.to_owned(), help)
            }
        }
    }

    fn wire(&mut self, format: Format, read: ReadBy, write: WriteBy, at: &Path) -> Option<Codec> {
        let Some(registry) = self.environment.registry.clone() else {
            let key = ["schema", "register", "format"]
                .into_iter()
                .find(|key| self.document.at(&at.then(*key)).is_some());
            let label = self.document.key_label(&at.then(key.unwrap_or("format")), "");
            let what = match key {
                Some("schema") => "this `schema`".to_owned(),
                Some("register") => "`register`".to_owned(),
                _ => format!("`format: {}` without a file", format.as_str()),
            };
            let message = format!("{what} needs a schema registry, and none is configured");
            let finding = Diagnostic::error(REGISTRY, message, label);
            self.findings.push(finding.with_help(
                "name one in weir.yaml (registry: { url: https://registry.internal }, or embedded), or a file: schema: { file: schemas/order.avsc }",
            ));
            return None;
        };
        Some(Codec::Wire(Wire::new(format, registry, read, write)))
    }

    /// Keys that mean nothing without others.
    fn misused(&mut self, schema: &SchemaSpec, base: &Path) -> Option<()> {
        if schema.version.is_some() && (schema.subject.is_none() || schema.file.is_some()) {
            let help = "name the subject: schema: { subject: orders-value, version: 3 }";
            return self.wrong_key(&base.then("version"), "a version is one of a `subject`".to_owned(), help);
        }
        if !schema.references.is_empty() && schema.file.is_none() {
            let help = "take `references` out: a registry knows what its schemas refer to";
            let message = "`references` belongs to a `file`".to_owned();
            return self.wrong_key(&base.then("references"), message, help);
        }
        if schema.framing == Some(Framing::None) && schema.file.is_none() {
            let help = "name a file: schema: { file: schemas/order.avsc }, or take `framing` out";
            let message = "without the wire format nothing says the schema of a value".to_owned();
            return self.wrong_key(&base.then("framing"), message, help);
        }
        Some(())
    }

    fn wrong_key<T>(&mut self, at: &Path, message: String, help: &str) -> Option<T> {
        let label = self.document.key_label(at, "");
        self.findings.push(Diagnostic::error(SCHEMA, message, label).with_help(help));
        None
    }

    fn file(&mut self, format: Format, schema: &SchemaSpec, at: &Path) -> Option<FileSchema> {
        self.misused(&SchemaSpec { subject: None, ..schema.clone() }, at)?;
        if format == Format::Protobuf {
            return self.protobuf(schema, at);
        }
        let file = at.then("file");
        let main = self.document(schema.file.as_deref().unwrap_or_default(), &file);
        let mut references = Vec::new();
        for (index, written) in schema.references.iter().enumerate() {
            references.push(self.document(written, &at.then("references").then(index)));
        }
        let (main, references) = (main?, references.into_iter().collect::<Option<Vec<Document>>>()?);
        let made = if format == Format::Avro {
            let texts = references.iter().map(|document| document.text.clone()).collect();
            Avro::new(main.text.clone(), texts).map(Codec::Avro)
        } else {
            JsonSchema::new(main.clone(), references.clone()).map(Codec::JsonSchema)
        };
        match made {
            Ok(codec) => Some(FileSchema { codec, main, references }),
            Err(why) => {
                let label = self.document.label(&file, "");
                let kind = if format == Format::Avro { "Avro schema" } else { "JSON Schema" };
                let finding =
                    Diagnostic::error(SCHEMA, format!("this is no {kind} that can be used: {why}"), label);
                let help = "what lies in other files is found where `references` names them";
                self.findings.push(finding.with_help(help));
                None
            }
        }
    }

    /// A schema file: below the folder of the schemas, with or without the folder's own name.
    fn document(&mut self, written: &str, at: &Path) -> Option<Document> {
        let written = self.resolve(written, at)?;
        let folder = self.environment.schemas;
        let path = below(folder, &written);
        match read_below(folder, path) {
            Ok(text) => Some(Document { path: path.to_owned(), text }),
            Err(why) => {
                let label = self.document.label(at, "");
                let finding = Diagnostic::error(SCHEMA, format!("the schema {written} {why}"), label);
                let help = format!("schemas lie below `{}` (`schemas` of weir.yaml)", folder.display());
                self.findings.push(finding.with_help(help));
                None
            }
        }
    }
}

impl Asked<'_> {
    fn registers(&self) -> bool {
        self.publishes.is_some_and(|one| one.register.is_some() || one.subject_name.is_some())
    }
}

fn picked(schema: &SchemaSpec) -> Picked {
    let version = schema.version.map_or(Version::Latest, |version| Version::Number(version.get()));
    Picked { version, message: schema.message.clone() }
}

fn kind(format: Format) -> SchemaType {
    match format {
        Format::Protobuf => SchemaType::Protobuf,
        Format::Json => SchemaType::Json,
        Format::Avro | Format::Text | Format::Bytes => SchemaType::Avro,
    }
}

/// A schema that another one refers to, by the name by which it does.
fn named(format: Format, document: Document) -> Named {
    let Document { path, text } = document;
    let own = if format == Format::Avro { Avro::name_of(&text) } else { None };
    Named { name: own.unwrap_or(path), text }
}
