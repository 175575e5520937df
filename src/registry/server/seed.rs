//! The registry's first schemas: the files of a folder, each under a subject of its own name.

use super::{Refusal, Server};
use crate::registry::parsed::Parsed;
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
    fn name(&self) -> String {
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

/// A file that is registered.
struct Placed {
    kind: SchemaType,
    named: Named,
    reference: Reference,
}

impl Server {
    /// Registers files, those first that others use. Gives what was refused, by the file's path.
    pub async fn seed(&self, mut files: Vec<SeedFile>) -> Vec<(String, Refusal)> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let (mut placed, mut refused): (Vec<Placed>, Vec<(String, Refusal)>) = (Vec::new(), Vec::new());
        loop {
            let mut left = Vec::new();
            let before = placed.len();
            refused.clear();
            for file in files {
                match self.place(&file, &placed).await {
                    Ok(one) => placed.push(one),
                    Err(refusal) => {
                        refused.push((file.path.clone(), refusal));
                        left.push(file);
                    }
                }
            }
            // What is refused may use one that was placed after it.
            if left.is_empty() || placed.len() == before {
                return refused;
            }
            files = left;
        }
    }

    async fn place(&self, file: &SeedFile, placed: &[Placed]) -> Result<Placed, Refusal> {
        let others = placed.iter().filter(|one| one.kind == file.kind);
        let all: Vec<(Named, Reference)> =
            others.map(|one| (one.named.clone(), one.reference.clone())).collect();
        let (kind, text) = (file.kind, file.text.clone());
        let used = tokio::task::spawn_blocking(move || used(kind, &text, all)).await.unwrap_or_default();
        let body = SchemaText { schema: file.text.clone(), kind: file.kind, references: used };
        self.register(file.subject(), &body).await?;
        let shown = self.look_up(file.subject(), &body, super::Deleted::No).await?;
        let version = i64::from(shown.version.unwrap_or_default());
        let reference = Reference { name: file.name(), subject: file.subject().to_owned(), version };
        let named = Named { name: file.name(), text: file.text.clone() };
        Ok(Placed { kind: file.kind, named, reference })
    }
}

/// Which of the others a schema cannot do without.
fn used(kind: SchemaType, text: &str, mut all: Vec<(Named, Reference)>) -> Vec<Reference> {
    let works = |some: &[(Named, Reference)]| {
        let texts: Vec<Named> = some.iter().map(|(named, _)| named.clone()).collect();
        Parsed::new(kind, text, &texts, &[]).is_ok()
    };
    if works(&[]) || !works(&all) {
        return Vec::new();
    }
    let mut at = 0;
    while at < all.len() {
        let one = all.remove(at);
        if !works(&all) {
            all.insert(at, one);
            at += 1;
        }
    }
    all.into_iter().map(|(_, reference)| reference).collect()
}
