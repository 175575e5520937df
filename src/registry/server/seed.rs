//! The registry's first schemas: the files of a folder, each under a subject of its own name.

use super::{Refusal, Server};
use crate::registry::parsed::Parsed;
use crate::registry::references::mentions;
use crate::registry::words::{Named, Reference, SchemaText, SchemaType};

/// A file to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Its path below the folder, which is how JSON Schemas and `.proto` files refer to it.
    pub path: String,
    /// Its language.
    pub kind: SchemaType,
    /// Its text.
    pub text: String,
}

impl SeedFile {
    /// Of a path that is called as schemas are: `.avsc`, `.json`, `.proto`.
    pub fn new(path: &str, text: String) -> Option<SeedFile> {
        let kind = match path.rsplit_once('.')?.1 {
            "avsc" => SchemaType::Avro,
            "json" => SchemaType::Json,
            "proto" => SchemaType::Protobuf,
            _ => return None,
        };
        Some(SeedFile { path: path.to_owned(), kind, text })
    }

    /// The subject: the path without its ending, `orders-value` of `orders-value.avsc`.
    pub fn subject(&self) -> &str {
        self.path.rsplit_once('.').map_or(&*self.path, |(subject, _)| subject)
    }

    /// The name by which others refer to it.
    pub fn name(&self) -> String {
        let full = || {
            let json: serde_json::Value = serde_json::from_str(&self.text).ok()?;
            let name = json.get("name")?.as_str()?.to_owned();
            match json.get("namespace").and_then(serde_json::Value::as_str) {
                Some(space) if !name.contains('.') && !space.is_empty() => Some(format!("{space}.{name}")),
                _ => Some(name),
            }
        };
        let own = if self.kind == SchemaType::Avro { full() } else { None };
        own.unwrap_or_else(|| self.path.clone())
    }
}

/// A file, and the others that it cannot do without, each after those that it uses itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The file.
    pub file: SeedFile,
    /// The others, by the names by which they are referred to.
    pub uses: Vec<Named>,
    /// What it is compared by.
    pub hash: String,
}

/// Files in an order in which each one uses only those before it; and those that are no schemas, with the reason. May take its
/// time.
pub fn ordered(mut files: Vec<SeedFile>) -> (Vec<Ordered>, Vec<(String, String)>) {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut ordered: Vec<Ordered> = Vec::new();
    loop {
        let (mut left, mut wrong) = (Vec::new(), Vec::new());
        let before = ordered.len();
        for file in files {
            match used(&file, &ordered) {
                Ok((uses, hash)) => ordered.push(Ordered { file, uses, hash }),
                Err(why) => {
                    wrong.push((file.path.clone(), why));
                    left.push(file);
                }
            }
        }
        // What is wrong may use one that came after it.
        if left.is_empty() || ordered.len() == before {
            return (ordered, wrong);
        }
        files = left;
    }
}

/// The others that a schema refers to, and what these use. Fails with what is wrong with it.
fn used(file: &SeedFile, others: &[Ordered]) -> Result<(Vec<Named>, String), String> {
    let mut uses: Vec<Named> = Vec::new();
    let referred = others.iter().filter(|one| {
        let name = one.file.name();
        one.file.kind == file.kind && mentions(&file.text, &name)
    });
    for one in referred {
        let own = Named { name: one.file.name(), text: one.file.text.clone() };
        for named in one.uses.iter().cloned().chain([own]) {
            if uses.iter().all(|known| known.name != named.name) {
                uses.push(named);
            }
        }
    }
    let parsed = |uses: &[Named]| Parsed::new(file.kind, &file.text, uses, &[]).map(|parsed| parsed.hash);
    // A name in quotes may also be no reference.
    match parsed(&[]) {
        Ok(hash) => Ok((Vec::new(), hash)),
        Err(why) if uses.is_empty() => Err(why),
        Err(_) => parsed(&uses).map(|hash| (uses, hash)),
    }
}

impl Server {
    /// Registers files, those first that others use. Gives what was refused, by the file's path, and why.
    pub async fn seed(&self, files: Vec<SeedFile>) -> Vec<(String, String)> {
        let sorted = tokio::task::spawn_blocking(move || ordered(files)).await;
        let (ordered, mut refused) = sorted.unwrap_or_default();
        let mut placed: Vec<Reference> = Vec::new();
        for Ordered { file, uses, .. } in ordered {
            let is_used = |one: &&Reference| {
                uses.iter().any(|used| used.name == one.name) && mentions(&file.text, &one.name)
            };
            let references = placed.iter().filter(is_used);
            let body = SchemaText {
                schema: file.text.clone(),
                kind: file.kind,
                references: references.cloned().collect(),
                ..SchemaText::default()
            };
            match self.place(&file, &body).await {
                Ok(version) => {
                    let subject = file.subject().to_owned();
                    placed.push(Reference { name: file.name(), subject, version: i64::from(version) });
                }
                Err(refusal) => refused.push((file.path, refusal.message)),
            }
        }
        refused
    }

    async fn place(&self, file: &SeedFile, body: &SchemaText) -> Result<u32, Refusal> {
        self.register(file.subject(), body).await?;
        let shown = self.look_up(file.subject(), body, super::Deleted::No).await?;
        Ok(shown.version.unwrap_or_default())
    }
}
