//! `schema` of `format: protobuf`: a .proto file with all that it imports, and one of its messages.

use super::{FileSchema, SCHEMA};
use crate::codec::{Codec, Document, Protobuf, SchemaSpec};
use crate::plan::compile::Compiler;
use crate::settings::read_below;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::tree::Path;

/// How many imports are followed: one more is too many, which is said where all of them are read.
const MOST_IMPORTS: usize = 200;

impl Compiler<'_, '_> {
    pub(super) fn protobuf(&mut self, schema: &SchemaSpec, at: &Path) -> Option<FileSchema> {
        let (file, message) = (at.then("file"), at.then("message"));
        if !schema.references.is_empty() {
            let label = self.document.key_label(&at.then("references"), "");
            let finding = Diagnostic::error(SCHEMA, "`format: protobuf` has no use for references", label);
            let help = "take `references` out: a .proto file says itself what it imports";
            self.findings.push(finding.with_help(help));
            return None;
        }
        let named = match &schema.message {
            Some(name) => Some(self.resolve(name, &message)?),
            None => None,
        };
        let main = self.document(schema.file.as_deref().unwrap_or_default(), &file)?;
        let imports = self.imports(&main, &file)?;
        let found = match (Protobuf::new(main.clone(), imports.clone()), &named) {
            (Ok(first), None) => Ok(first),
            (Ok(first), Some(name)) => first.of(name).map_err(|why| {
                let help = "write its name as in the file, with the package before it: shop.Order";
                (message, format!("the schema does not have this message: {why}"), help)
            }),
            (Err(why), _) => {
                let help =
                    "types of other files are found where it imports them, by their path below `schemas`";
                Err((file, format!("this is no Protobuf schema that can be used: {why}"), help))
            }
        };
        match found {
            Ok(found) => {
                Some(FileSchema { codec: Codec::Protobuf(found), main, references: ordered(imports) })
            }
            Err((at, why, help)) => {
                let label = self.document.label(&at, "");
                self.findings.push(Diagnostic::error(SCHEMA, why, label).with_help(help));
                None
            }
        }
    }

    /// The files that a .proto file and its imports import, by their paths below the folder of the schemas.
    fn imports(&mut self, main: &Document, at: &Path) -> Option<Vec<Document>> {
        let folder = self.environment.schemas;
        let mut all = Vec::new();
        let mut open = vec![main.clone()];
        while let Some(document) = open.pop() {
            // What is wrong with a file is said where all of them are read.
            for path in Protobuf::imports(&document).unwrap_or_default() {
                let known = |one: &Document| one.path == path;
                if known(main) || all.iter().any(known) || all.len() > MOST_IMPORTS {
                    continue;
                }
                match read_below(folder, &path) {
                    Ok(text) => {
                        all.push(Document { path, text });
                        open.extend(all.last().cloned());
                    }
                    Err(why) => {
                        let label = self.document.label(at, "");
                        let what = format!("the import {path} of {} {why}", document.path);
                        let help = format!("imports are found by their path below `{}`", folder.display());
                        self.findings.push(Diagnostic::error(SCHEMA, what, label).with_help(help));
                        return None;
                    }
                }
            }
        }
        Some(all)
    }
}

/// The same, each after those that it imports itself, as a registry takes them.
fn ordered(mut imports: Vec<Document>) -> Vec<Document> {
    let mut ordered: Vec<Document> = Vec::new();
    while !imports.is_empty() {
        let waits = |one: &Document, left: &[Document]| {
            let needs = Protobuf::imports(one).unwrap_or_default();
            left.iter().any(|other| other.path != one.path && needs.contains(&other.path))
        };
        let (later, now): (Vec<_>, Vec<_>) = imports.iter().cloned().partition(|one| waits(one, &imports));
        if now.is_empty() {
            // A circle: it was said where the files are read.
            ordered.extend(later);
            return ordered;
        }
        ordered.extend(now);
        imports = later;
    }
    ordered
}
