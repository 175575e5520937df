//! `plugins` of weir.yaml: where they lie, and what is granted to them. What is not granted is not there for a plugin.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::build::Builder;
use crate::settings::{References, below};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::form::{TextOrBlock, text_or_block};
use crate::spec::tree::Path;

/// Where plugins lie, and what is granted to them; `plugins: DIR` is short for a block with `folder`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Plugins {
    /// Their folder. Default `plugins`.
    pub folder: Option<String>,
    /// What a plugin may do besides computing, by its file below the folder.
    pub grants: IndexMap<String, Grant>,
}

/// What a plugin may do besides computing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "PluginGrant")]
pub struct Grant {
    /// Folders that it may read, and where it sees them: `/var/lib/geo: /geo`. Only with WASI.
    pub files: IndexMap<String, String>,
    /// Hosts that it may reach. Not available yet.
    pub hosts: Vec<String>,
}

/// A grant that cannot be given.
const GRANT: &str = "W0812";

impl Builder<'_> {
    /// The folder, and the folders that plugins may read.
    pub(super) fn plugins(
        &mut self,
        references: &References,
        written: Option<&Plugins>,
    ) -> (PathBuf, BTreeMap<String, BTreeMap<PathBuf, String>>) {
        let written = written.cloned().unwrap_or_default();
        let folder = PathBuf::from(written.folder.as_deref().unwrap_or("plugins"));
        let mut grants = BTreeMap::new();
        for (file, grant) in &written.grants {
            let base = Path::root().then("plugins").then("grants").then(file.as_str());
            if !grant.hosts.is_empty() {
                let message = "no plugin has the network in this version of Weir";
                let help = "take `hosts` out, and let a `handler` ask what the plugin would ask";
                self.grant(&base.then("hosts"), message, help);
            }
            let mut files = BTreeMap::new();
            for (host, guest) in &grant.files {
                let at = base.then("files").then(host.as_str());
                if !guest.starts_with('/') {
                    let help = "write a path that begins with /: files: { /var/lib/geo: /geo }";
                    self.grant(&at, "a plugin sees a folder under an absolute path", help);
                }
                files.insert(PathBuf::from(self.text(references, &at, host)), guest.clone());
            }
            grants.insert(below(&folder, file).to_owned(), files);
        }
        (folder, grants)
    }

    fn grant(&mut self, at: &Path, message: &str, help: &str) {
        let label = self.document.label(at, "");
        self.findings.push(Diagnostic::error(GRANT, message, label).with_help(help));
    }
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "PluginsBlock")]
pub(crate) struct Block {
    /// Their folder. Default `plugins`.
    folder: Option<String>,
    /// What a plugin may do besides computing, by its file below the folder.
    grants: IndexMap<String, Grant>,
}

impl TextOrBlock for Plugins {
    type Block = Block;
    const EXPECTED: &'static str = "a folder, or a block with `folder` and `grants`";

    fn of_text<E>(folder: &str) -> Result<Plugins, E> {
        Ok(Plugins { folder: Some(folder.to_owned()), grants: IndexMap::new() })
    }

    fn of_block<E>(Block { folder, grants }: Block) -> Result<Plugins, E> {
        Ok(Plugins { folder, grants })
    }
}

impl<'de> Deserialize<'de> for Plugins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for Plugins {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Plugins".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<Block>();
        json_schema!({ "anyOf": [{ "type": "string" }, block] })
    }
}
