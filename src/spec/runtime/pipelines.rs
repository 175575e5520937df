//! `pipelines` of weir.yaml: a folder, or a branch of a git repository that is followed.

use std::path::{Component, Path as FilePath, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::build::Builder;
use crate::settings::{Followed, References, Resolved, Signers};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::form::{TextOrBlock, text_or_block};
use crate::spec::tree::Path;
use crate::spec::units;

/// Where pipelines come from: `pipelines: DIR`, or a block with `git`.
#[derive(Debug, Clone, PartialEq)]
pub enum Pipelines {
    /// A folder.
    Folder(String),
    /// A branch or a tag of a repository.
    Git(Box<Git>),
}

/// A branch or a tag of a repository that is followed.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PipelinesOfGit")]
pub struct Git {
    /// `https://`, `ssh://`, `git@host:path`, or the path of a repository on this machine. A password or a token as `${secret:NAME}`:
    /// `https://weir:${secret:git_token}@git.internal/shop/flows.git`.
    pub url: String,
    /// A branch or a tag. Default `main`.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The folder of the pipelines in the repository. Default `.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How often the repository is asked for a new commit, 1s at least. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<units::Duration>,
    /// Who must have signed a commit. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

/// Who must have signed a commit; one of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SignersOfGit")]
pub struct Verify {
    /// A file of allowed signers, as `ssh-keygen -Y verify` takes it: a line `NAME KEYTYPE KEY` for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signers: Option<String>,
    /// A file of OpenPGP public keys, as `gpg --export` writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
}

/// What is wrong with `pipelines.git`.
const GIT: &str = "W0821";
/// The folder that is read where none is named.
const FOLDER: &str = "pipelines";
const BRANCH: &str = "main";
const POLL: std::time::Duration = std::time::Duration::from_secs(30);
const SHORTEST: std::time::Duration = std::time::Duration::from_secs(1);

impl Builder<'_> {
    /// The folder of the pipelines here (that of the repository, where one is followed), and what is followed.
    pub(super) fn pipelines(
        &mut self,
        references: &References,
        written: Option<&Pipelines>,
    ) -> (PathBuf, Option<Followed>) {
        let git = match written {
            None => return (PathBuf::from(FOLDER), None),
            Some(Pipelines::Folder(folder)) => return (PathBuf::from(folder), None),
            Some(Pipelines::Git(git)) => git,
        };
        let at = |key: &str| Path::root().then("pipelines").then("git").then(key);
        let url = self.url(references, &at("url"), &git.url);
        let reference = git.reference.clone().unwrap_or_else(|| BRANCH.to_owned());
        if !is_reference(&reference) {
            let help = "name a branch or a tag: ref: main";
            self.wrong(&at("ref"), format!("`{reference}` is no name of a branch or a tag"), help);
        }
        let path = git.path.clone().unwrap_or_else(|| ".".to_owned());
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if path.is_empty() || !FilePath::new(&path).components().all(inside) {
            let help = "name a folder from the root of the repository: path: pipelines";
            self.wrong(&at("path"), format!("`{path}` is no folder of a repository"), help);
        }
        let poll = git.poll.map_or(POLL, |poll| poll.0);
        if poll < SHORTEST {
            self.wrong(
                &at("poll"),
                "a repository is asked once a second at most".to_owned(),
                "write 1s or more",
            );
        }
        let verify = git.verify.as_ref().and_then(|verify| self.signers(references, &at("verify"), verify));
        let followed = Followed { url, shown: shown(references, &git.url), reference, path, poll, verify };
        (PathBuf::from(&followed.path), Some(followed))
    }

    fn url(&mut self, references: &References, at: &Path, written: &str) -> Resolved {
        // Says what does not resolve.
        self.text(references, at, written);
        let resolved = references.resolve(written).unwrap_or_else(|_| Resolved::plain(written));
        let url = resolved.expose();
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let known = match scheme.as_deref() {
            Some("https" | "http" | "ssh" | "file") => Url::parse(url).is_ok(),
            Some(_) => false,
            None => !url.is_empty() && !url.starts_with('-') && !url.contains("::"),
        };
        if !known || url.contains(char::is_control) {
            let help =
                "write https://host/path, ssh://user@host/path, git@host:path, or a path on this machine";
            self.wrong(at, "this is no address of a repository that Weir follows".to_owned(), help);
        }
        let has_password = Url::parse(written).is_ok_and(|url| url.password().is_some());
        if has_password && !written.contains("${") {
            let help = "write ${secret:NAME} in its place; files are shared and kept in version control";
            self.wrong(at, "credentials do not stand in the file".to_owned(), help);
        }
        resolved
    }

    fn signers(&mut self, references: &References, at: &Path, written: &Verify) -> Option<Signers> {
        let mut file = |key: &str, name: &str| {
            let at = at.then(key);
            let path = PathBuf::from(self.text(references, &at, name));
            if !path.is_file() {
                let message = format!("`{}` is no file that can be read", path.display());
                self.wrong(&at, message, "name a file of public keys; docs/git.md shows how to make one");
            }
            // Git runs elsewhere.
            std::path::absolute(&path).unwrap_or(path)
        };
        match (&written.signers, &written.keyring) {
            (Some(name), None) => Some(Signers::Ssh(file("signers", name))),
            (None, Some(name)) => Some(Signers::OpenPgp(file("keyring", name))),
            (None, None) | (Some(_), Some(_)) => {
                let message = "`verify` takes either `signers` or `keyring`".to_owned();
                self.wrong(
                    at,
                    message,
                    "write verify: { signers: FILE } for keys of SSH, keyring for OpenPGP",
                );
                None
            }
        }
    }

    fn wrong(&mut self, at: &Path, message: String, help: &str) {
        let label = self.document.label(at, "");
        self.findings.push(Diagnostic::error(GIT, message, label).with_help(help));
    }
}

/// The address as it may be printed: without user and password.
fn shown(references: &References, written: &str) -> String {
    let shown = references.shown(written);
    let Some((scheme, rest)) = shown.split_once("://") else { return shown };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Whether a name can be that of a branch or a tag, by the rules of git-check-ref-format that matter here.
fn is_reference(name: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !["..", "@{", "//"].iter().any(|odd| name.contains(odd))
        && !name.contains(odd)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PipelinesBlock")]
pub(crate) struct Block {
    /// A branch or a tag of a repository that is followed.
    git: Git,
}

impl TextOrBlock for Pipelines {
    type Block = Block;
    const EXPECTED: &'static str = "a folder, or a block with `git`";

    fn of_text<E>(folder: &str) -> Result<Pipelines, E> {
        Ok(Pipelines::Folder(folder.to_owned()))
    }

    fn of_block<E>(block: Block) -> Result<Pipelines, E> {
        Ok(Pipelines::Git(Box::new(block.git)))
    }
}

impl<'de> Deserialize<'de> for Pipelines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl Serialize for Pipelines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Pipelines::Folder(folder) => serializer.serialize_str(folder),
            Pipelines::Git(git) => serializer.collect_map([("git", git)]),
        }
    }
}

impl JsonSchema for Pipelines {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pipelines".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<Block>();
        json_schema!({ "anyOf": [{ "type": "string" }, block] })
    }
}
