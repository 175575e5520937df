//! From the runtime file, variables and flags to `Settings`: every default settled, every reference resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::overlay::{self, Override};
use super::{OAuth2, Registry, Spec};
use crate::handler::egress;
use crate::settings::{self, References, Resolved, Settings};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::span::Source;
use crate::spec::tree::{Document, Path, read};
use crate::spec::{later, misplaced, units};

/// What a process runs with.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where webhooks may go.
    pub egress: egress::Spec,
    /// Where each cluster's tokens for OAUTHBEARER come from, by the cluster's name; references not resolved.
    pub oauth2: BTreeMap<String, OAuth2>,
    /// The schema registry; references not resolved.
    pub registry: Option<Registry>,
    /// The tree, which places later findings (`egress`).
    pub document: Document,
}

/// Settles what the process runs with: `file` (weir.yaml; `None` where there is none), then `WEIR_*` of `environment`, then
/// `flags`. What is wrong goes to `findings`; run only where there is no error. `None` where nothing can be made of it.
/// Reads the secret files.
pub fn load(
    file: Option<&Arc<Source>>,
    environment: &BTreeMap<String, String>,
    flags: &[Override],
    findings: &mut Vec<Diagnostic>,
) -> Option<Loaded> {
    let empty = Source::new("weir.yaml", "");
    let mut document = Document::parse(file.unwrap_or(&empty), findings)?;
    let root = Path::root();
    let prefix = document.at(&root.then("secrets").then("env")).and_then(|node| node.text());
    let prefix = prefix.unwrap_or(settings::SECRET_PREFIX).to_owned();
    let mut overrides = overlay::of_environment(environment, &prefix, findings);
    overrides.extend_from_slice(flags);
    overlay::apply(&mut document, &overrides);
    later::settings(&mut document, findings);
    let before = findings.len();
    let spec = read(&mut document, findings);
    misplaced::say(findings.get_mut(before..).unwrap_or_default(), || schemars::schema_for!(Spec).to_value());
    let spec: Spec = spec?;
    let builder = Builder { document: &document, spec: &spec, findings };
    let settings = builder.settings(environment);
    let oauth2 =
        spec.kafka.all().filter_map(|(name, cluster)| Some((name.to_owned(), cluster.sasl?.oauth2?)));
    let oauth2 = oauth2.collect();
    Some(Loaded { settings, egress: spec.egress, oauth2, registry: spec.registry, document })
}

pub(super) struct Builder<'a> {
    pub(super) document: &'a Document,
    spec: &'a Spec,
    pub(super) findings: &'a mut Vec<Diagnostic>,
}

impl Builder<'_> {
    fn settings(mut self, environment: &BTreeMap<String, String>) -> Settings {
        let spec = self.spec;
        let references = self.references(environment);
        let instance = match &spec.instance {
            Some(instance) => self.text(&references, &Path::root().then("instance"), instance),
            None => settings::host_name(environment),
        };
        self.name(&instance);
        let listen = spec.listen.clone().unwrap_or_else(|| "127.0.0.1:7070".to_owned());
        self.listen(&listen);
        let or = |given: Option<units::Duration>, default: u64| {
            given.map_or(Duration::from_secs(default), |d| d.0)
        };
        let folder =
            |given: &Option<String>, default: &str| PathBuf::from(given.as_deref().unwrap_or(default));
        let drain_deadline = or(spec.drain_deadline, 10);
        let store = self.store(&references);
        let (pipelines, followed) = self.pipelines(&references, spec.pipelines.as_ref());
        let (plugins, plugin_grants) = self.plugins(&references, spec.plugins.as_ref());
        let clusters = self.clusters(&references, &spec.kafka, drain_deadline);
        Settings {
            instance,
            run_labels: spec.run.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            listen,
            pipelines,
            followed,
            schemas: folder(&spec.schemas, "schemas"),
            plugins,
            plugin_grants,
            store,
            clusters,
            drain_deadline,
            shutdown_grace: or(spec.shutdown_grace, 30),
            memory: spec.limits.memory.map_or(512 << 20, |size| size.0),
            body: spec.limits.body.map_or(1 << 20, |size| size.0),
            uncommitted: or(spec.limits.uncommitted, 5),
            log_json: spec.telemetry.log == super::LogFormat::Json,
            partition_metrics: spec.telemetry.partition_metrics,
            references,
        }
    }

    fn references(&mut self, environment: &BTreeMap<String, String>) -> References {
        let files = self.spec.secrets.files.as_ref().map(PathBuf::from);
        let prefix = self.spec.secrets.env.as_deref().unwrap_or(settings::SECRET_PREFIX);
        let secrets = settings::secrets(files.as_deref(), prefix, environment).unwrap_or_else(|message| {
            let path = Path::root().then("secrets").then("files");
            let finding = Diagnostic::error("W0102", message, self.document.label(&path, ""));
            self.findings
                .push(finding.with_help("name a folder with a file for each secret, or take `files` out"));
            BTreeMap::new()
        });
        let of_env = References { env: environment.clone(), ..References::default() };
        let mut vars = BTreeMap::new();
        for (name, value) in &self.spec.vars {
            let path = Path::root().then("vars").then(name.as_str());
            if value.contains("${secret:") || value.contains("${var:") {
                let label = self.document.label(&path, "");
                let message = "a var may refer to `${env:NAME}` only";
                self.findings.push(
                    Diagnostic::error("W0209", message, label)
                        .with_cause("vars are shown in plans and logs, secrets never are")
                        .with_help("write ${secret:NAME} where it is needed, in the pipeline"),
                );
                continue;
            }
            let value = self.text(&of_env, &path, value);
            vars.insert(name.clone(), value);
        }
        References { env: environment.clone(), vars, secrets, given_by: None }
    }

    /// Where rows are kept.
    fn store(&mut self, references: &References) -> Resolved {
        let written = self.spec.store.as_deref().unwrap_or(settings::DEFAULT_STORE);
        let path = Path::root().then("store");
        let resolved = references.resolve(written).unwrap_or_else(|_| {
            // Says why.
            self.text(references, &path, written);
            Resolved::plain(written)
        });
        let schemes = ["sqlite:", "postgres://", "postgresql://"];
        if !schemes.iter().any(|scheme| resolved.expose().starts_with(scheme)) {
            let label = self.document.label(&path, "");
            let finding = Diagnostic::error("W1001", "`store` is neither SQLite nor Postgres", label);
            self.findings.push(
                finding.with_help("write sqlite:PATH, or postgres://USER:${secret:NAME}@HOST/DATABASE"),
            );
        }
        resolved
    }

    /// A text with its references resolved; itself, and a finding, where one does not resolve.
    pub(super) fn text(&mut self, references: &References, path: &Path, text: &str) -> String {
        match references.resolve(text) {
            Ok(resolved) => resolved.expose().to_owned(),
            Err(error) => {
                let label = self.document.label(path, "");
                let missing = matches!(error, settings::ReferenceError::Missing { .. });
                let code = if missing { "W0201" } else { "W0209" };
                self.findings.push(Diagnostic::error(code, error.to_string(), label).with_help(error.help()));
                text.to_owned()
            }
        }
    }

    fn name(&mut self, instance: &str) {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if instance.is_empty() || instance.len() > 128 || !instance.chars().all(legal) {
            let label = self.document.label(&Path::root().then("instance"), "");
            let message = format!("`{instance}` is no instance name");
            let help = "use 1 to 128 letters, digits, `.`, `_` and `-`";
            self.findings.push(Diagnostic::error("W0106", message, label).with_help(help));
        }
    }

    fn listen(&mut self, listen: &str) {
        let port =
            listen.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            let label = self.document.label(&Path::root().then("listen"), "");
            let message = format!("`{listen}` is no address to listen on");
            self.findings.push(
                Diagnostic::error("W0106", message, label)
                    .with_help("write host:port, such as 127.0.0.1:7070"),
            );
        }
    }
}
