//! `schema`: from the files that are named to a codec.

use super::compile::Compiler;
use crate::codec::{Avro, Codec, Document, Format, JsonSchema, SchemaSpec};
use crate::settings::{below, read_below};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::tree::Path;

/// A schema that is missing, cannot be read, or is none.
const SCHEMA: &str = "W0311";

impl Compiler<'_, '_> {
    /// What a `format` and the `schema` beside it come to; `at` is the block that has them.
    pub(super) fn codec(&mut self, format: Format, schema: Option<&SchemaSpec>, at: &Path) -> Option<Codec> {
        let written = self.document.at(&at.then("format"));
        if written.is_some_and(|node| self.document.skip.contains(&node.id)) {
            // One that is not available yet has been answered.
            return None;
        }
        let codec = match (format, schema) {
            (Format::Avro | Format::Json, Some(schema)) => {
                return self.schema(format, schema, &at.then("schema"));
            }
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
            (Format::Json, None) => Codec::Json,
            (Format::Text, _) => Codec::Text,
            (Format::Bytes, _) => Codec::Bytes,
        };
        if schema.is_some() {
            let label = self.document.key_label(&at.then("schema"), "");
            let message = format!("`format: {}` has no use for a schema", format.as_str());
            let finding = Diagnostic::error(SCHEMA, message, label);
            self.findings
                .push(finding.with_help("write `format: json` or `format: avro`, or take `schema` out"));
            return None;
        }
        Some(codec)
    }

    fn schema(&mut self, format: Format, schema: &SchemaSpec, at: &Path) -> Option<Codec> {
        let file = at.then("file");
        let main = self.document(&schema.file, &file);
        let mut references = Vec::new();
        for (index, written) in schema.references.iter().enumerate() {
            references.push(self.document(written, &at.then("references").then(index)));
        }
        let (main, references) = (main?, references.into_iter().collect::<Option<Vec<Document>>>()?);
        let made = if format == Format::Avro {
            let references = references.into_iter().map(|document| document.text).collect();
            Avro::new(main.text, references).map(Codec::Avro)
        } else {
            JsonSchema::new(main, references).map(Codec::JsonSchema)
        };
        match made {
            Ok(codec) => Some(codec),
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
