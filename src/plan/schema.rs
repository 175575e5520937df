//! `schema`: from the files that are named to a codec.

use std::path::{Component, Path as FilePath};

use super::compile::Compiler;
use crate::codec::{Avro, Codec, Format, SchemaSpec};
use crate::settings::read_below;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::tree::Path;

/// A schema that is missing, cannot be read, or is none.
const SCHEMA: &str = "W0311";
/// The largest file of a schema.
const MOST: u64 = 1 << 20;

impl Compiler<'_, '_> {
    /// What a `format` and the `schema` beside it come to; `at` is the block that has them.
    pub(super) fn codec(&mut self, format: Format, schema: Option<&SchemaSpec>, at: &Path) -> Option<Codec> {
        let codec = match (format, schema) {
            (Format::Avro, Some(schema)) => return self.avro(schema, &at.then("schema")).map(Codec::Avro),
            (Format::Avro, None) => {
                // One that is not available yet has been answered.
                if self.document.at(&at.then("schema")).is_none() {
                    let label = self.document.label(&at.then("format"), "");
                    let finding = Diagnostic::error(SCHEMA, "`format: avro` needs a schema", label);
                    let help = "name one: schema: { file: schemas/order.avsc }";
                    self.findings.push(finding.with_help(help));
                }
                return None;
            }
            (Format::Json, _) => Codec::Json,
            (Format::Text, _) => Codec::Text,
            (Format::Bytes, _) => Codec::Bytes,
        };
        if schema.is_some() {
            let label = self.document.key_label(&at.then("schema"), "");
            let message = format!("`format: {}` has no use for a schema yet", format.as_str());
            let finding = Diagnostic::error(SCHEMA, message, label);
            self.findings.push(finding.with_help("write `format: avro`, or take `schema` out"));
            return None;
        }
        Some(codec)
    }

    fn avro(&mut self, schema: &SchemaSpec, at: &Path) -> Option<Avro> {
        let file = at.then("file");
        let text = self.schema_file(&schema.file, &file);
        let mut references = Vec::new();
        for (index, written) in schema.references.iter().enumerate() {
            references.push(self.schema_file(written, &at.then("references").then(index)));
        }
        let references: Option<Vec<String>> = references.into_iter().collect();
        match Avro::new(text?, references?) {
            Ok(avro) => Some(avro),
            Err(why) => {
                let label = self.document.label(&file, "");
                let finding = Diagnostic::error(SCHEMA, format!("this is no Avro schema: {why}"), label);
                let help = "types of other files are found where `references` names these files";
                self.findings.push(finding.with_help(help));
                None
            }
        }
    }

    /// The text of a schema file: below the folder of the schemas, with or without the folder's own name.
    fn schema_file(&mut self, written: &str, at: &Path) -> Option<String> {
        let written = self.resolve(written, at)?;
        let folder = self.environment.schemas;
        let below = match (folder.file_name(), FilePath::new(&written).components().next()) {
            (Some(name), Some(Component::Normal(first))) if name == first => {
                FilePath::new(&written).strip_prefix(first).ok().and_then(FilePath::to_str)
            }
            _ => None,
        };
        match read_below(folder, below.unwrap_or(&written), MOST) {
            Ok(text) => Some(text),
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
