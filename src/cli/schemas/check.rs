//! `weir schemas check`: whether the files of a change may follow what is registered, or what another git revision has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{connect, open, show};
use crate::cli::exit::{CliError, Exit};
use crate::cli::registry::Registry;
use crate::cli::terminal::Terminal;
use crate::cli::{Global, Output};
use crate::handler::egress::Egress;
use crate::plan;
use crate::publish::route::Route;
use crate::registry::compat::{self, Level};
use crate::registry::parsed::Parsed;
use crate::registry::server::{Ordered, SeedFile, ordered, seed_files};
use crate::registry::{Client, Method, Request, segment};
use crate::spec::PipelineFile;
use crate::spec::diagnostic::{Diagnostic, Label, github};
use crate::spec::runtime;
use crate::spec::span::Source;

/// What files are checked against.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Files of the folder `schemas`. Default: all of them.
    files: Vec<PathBuf>,
    /// `registry`, or a git revision: a branch, a tag, a commit.
    #[arg(long, value_name = "registry|REF", default_value = "registry")]
    against: String,
    /// The level to check by. Default: that of the subject; against a revision FULL_TRANSITIVE.
    #[arg(long, value_parser = super::level)]
    mode: Option<Level>,
}

/// What a file came to.
struct Checked {
    path: String,
    subject: String,
    outcome: Outcome,
}

enum Outcome {
    /// Nothing is there under its subject.
    New,
    /// It is the latest version already.
    Same,
    /// It may follow, by this level.
    Compatible(Level),
    /// It may not: why.
    Incompatible(Level, Vec<String>),
    /// It is no schema.
    Broken(String),
}

/// A version that is there.
struct Before {
    version: u32,
    parsed: Parsed,
}

pub(super) fn run(
    args: &Args,
    loaded: &runtime::Loaded,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let folder = &loaded.settings.schemas;
    let (sorted, broken) = ordered(seed_files(folder));
    if sorted.is_empty() && broken.is_empty() {
        return Err(CliError::new(Exit::No, format!("there is no schema in {}", folder.display())));
    }
    let wanted = |path: &str| args.files.is_empty() || args.files.iter().any(|file| is(file, folder, path));
    for file in &args.files {
        let known = sorted.iter().map(|one| &one.file.path).chain(broken.iter().map(|(path, _)| path));
        if !known.into_iter().any(|path| is(file, folder, path)) {
            let shown = (file.display(), folder.display());
            return Err(CliError::new(Exit::Usage, format!("{} is no schema of {}", shown.0, shown.1)));
        }
    }
    let mut checked: Vec<Checked> = broken
        .into_iter()
        .filter(|(path, _)| wanted(path))
        .map(|(path, why)| {
            let subject = SeedFile::new(&path, String::new())
                .map_or_else(String::new, |file| file.subject().to_owned());
            Checked { path, subject, outcome: Outcome::Broken(why) }
        })
        .collect();
    let chosen = sorted.into_iter().filter(|one| wanted(&one.file.path));
    if args.against == "registry" {
        let registry = connect(loaded, terminal)?;
        let published = published(loaded, &registry);
        let done = async {
            open(&registry).await?;
            for one in chosen {
                let published = published.iter().filter(|(_, text)| *text == one.file.text);
                let subjects: BTreeSet<&str> =
                    published.map(|(subject, _)| subject.as_str()).chain([one.file.subject()]).collect();
                let several = subjects.len() > 1;
                for subject in subjects {
                    let (before, level) = of_registry(&registry.client, subject, args.mode).await?;
                    // One that pipelines publish need not be registered under the name of its file.
                    if several && before.is_empty() && subject == one.file.subject() {
                        continue;
                    }
                    checked.push(judge(&one, subject, level, &before));
                }
            }
            Ok::<_, CliError>(())
        };
        crate::cli::run::block_on(done)??;
    } else {
        let (then, unread) = ordered(of_revision(folder, &args.against)?);
        if let Some((path, why)) = unread.first() {
            let what = format!("{path} of {} is no schema: {why}", args.against);
            return Err(CliError::new(Exit::No, what));
        }
        let level = args.mode.unwrap_or_default();
        for one in chosen {
            let before = then.iter().find(|before| before.file.path == one.file.path);
            let before = before.map(|before| parse(before).map(|parsed| vec![Before { version: 1, parsed }]));
            let before = before.transpose().map_err(|why| CliError::new(Exit::No, why))?;
            checked.push(judge(&one, one.file.subject(), level, &before.unwrap_or_default()));
        }
    }
    checked.sort_by(|a, b| a.path.cmp(&b.path));
    print(&checked, folder, global.output, terminal)?;
    let bad = |one: &Checked| matches!(one.outcome, Outcome::Incompatible(..) | Outcome::Broken(_));
    Ok(if checked.iter().any(bad) { Exit::No } else { Exit::Yes })
}

/// The subjects under which pipelines register the texts of files. A pipeline with errors says nothing here: `weir check` does.
fn published(loaded: &runtime::Loaded, registry: &Registry) -> Vec<(String, String)> {
    let Ok(sources) = crate::spec::files::pipelines(&loaded.settings.pipelines) else { return Vec::new() };
    let mut findings = Vec::new();
    let files = sources.into_iter().flatten().map(|source| PipelineFile::parse(&source, &mut findings));
    let files: Vec<PipelineFile> = files.collect();
    let Ok(egress) = Egress::new(&loaded.egress, &[]) else { return Vec::new() };
    let plugins = crate::runtime::load::plugins(&loaded.settings);
    let environment = plan::Environment {
        references: &loaded.settings.references,
        egress: Arc::new(egress),
        schemas: &loaded.settings.schemas,
        registry: Some(registry.client.clone()),
        plugins: &plugins,
        transport: None,
    };
    let plans: Vec<_> =
        files.iter().filter_map(|file| plan::compile(file, &environment, &mut Vec::new())).collect();
    let routes = plans.iter().flat_map(|plan| &plan.stages).flat_map(|stage| &stage.publish);
    routes.filter_map(Route::registers).collect()
}

/// Whether a file that was named is this one of the folder.
fn is(file: &Path, folder: &Path, path: &str) -> bool {
    file == folder.join(path)
        || file == Path::new(path)
        || file.strip_prefix("./").is_ok_and(|file| file == folder.join(path))
}

fn parse(one: &Ordered) -> Result<Parsed, String> {
    Parsed::new(one.file.kind, &one.file.text, &one.uses, &[])
}

fn judge(one: &Ordered, subject: &str, level: Level, before: &[Before]) -> Checked {
    let outcome = match (parse(one), before.last()) {
        (Err(why), _) => Outcome::Broken(why),
        (Ok(_), None) => Outcome::New,
        (Ok(new), Some(last)) if last.parsed.hash == new.hash => Outcome::Same,
        (Ok(new), Some(_)) => {
            let old: Vec<_> = before.iter().map(|one| (one.version, &one.parsed)).collect();
            match compat::obstacles(level, &new, &old) {
                obstacles if obstacles.is_empty() => Outcome::Compatible(level),
                obstacles => Outcome::Incompatible(level, obstacles),
            }
        }
    };
    Checked { path: one.file.path.clone(), subject: subject.to_owned(), outcome }
}

/// What a registry has under a subject, and the level that it follows.
async fn of_registry(
    client: &Client,
    subject: &str,
    mode: Option<Level>,
) -> Result<(Vec<Before>, Level), CliError> {
    let mut before = Vec::new();
    for (version, schema) in show::registered(client, subject).await? {
        let parsed = Parsed::new(schema.kind, &schema.text, &schema.references, &[]).map_err(|why| {
            CliError::new(Exit::No, format!("version {version} of subject {subject} cannot be read: {why}"))
        })?;
        before.push(Before { version, parsed });
    }
    if let Some(mode) = mode {
        return Ok((before, mode));
    }
    let path = format!("/config/{}?defaultToGlobal=true", segment(subject));
    let config: Value = client
        .ask(Request { method: Method::Get, path, body: None })
        .await
        .map_err(|error| super::failed(&error))?;
    let level = config.get("compatibilityLevel").and_then(Value::as_str).and_then(Level::read);
    Ok((before, level.unwrap_or_default()))
}

/// The schemas of a folder as another revision has them.
fn of_revision(folder: &Path, revision: &str) -> Result<Vec<SeedFile>, CliError> {
    if revision.starts_with('-') {
        return Err(CliError::new(Exit::Usage, format!("`{revision}` is no git revision")));
    }
    // Names are relative to the folder: git runs there.
    let listed = git(folder, &["ls-tree", "-r", "-z", "--name-only", revision])?;
    let mut found = Vec::new();
    for path in listed.split('\0').filter(|path| SeedFile::new(path, String::new()).is_some()) {
        let text = git(folder, &["show", &format!("{revision}:./{path}")])?;
        found.extend(SeedFile::new(path, text));
    }
    Ok(found)
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String, CliError> {
    let ran = Command::new("git").arg("-C").arg(folder).args(arguments).stdin(Stdio::null()).output();
    let output = ran.map_err(|error| CliError::new(Exit::Unreachable, format!("running git: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it failed").to_owned();
        return Err(CliError::new(Exit::Usage, format!("git {}: {said}", arguments.first().unwrap_or(&""))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn print(
    checked: &[Checked],
    folder: &Path,
    output: Output,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    match output {
        Output::Json => {
            let list: Vec<Value> = checked.iter().map(Checked::json).collect();
            writeln!(terminal.out, "{}", json!({ "schema": "weir.schema_check/v1", "schemas": list }))?;
        }
        Output::Github => {
            for one in checked {
                let why = match &one.outcome {
                    Outcome::Incompatible(level, why) => {
                        format!("not compatible with what is registered ({level}):\n{}", why.join("\n"))
                    }
                    Outcome::Broken(why) => format!("this is no schema: {why}"),
                    Outcome::New | Outcome::Same | Outcome::Compatible(_) => continue,
                };
                let source = Source::new(folder.join(&one.path).display().to_string(), "");
                let finding = Diagnostic::error(
                    "W0703",
                    why,
                    Label::new(&source, crate::spec::span::Span::default(), ""),
                );
                write!(terminal.out, "{}", github(&finding))?;
            }
        }
        _ => {
            let wide = checked.iter().map(|one| one.path.len()).max().unwrap_or(0);
            for one in checked {
                let said = match &one.outcome {
                    Outcome::New => format!("new: nothing is registered under `{}`", one.subject),
                    Outcome::Same => "as registered".to_owned(),
                    Outcome::Compatible(level) => format!("compatible ({level})"),
                    Outcome::Incompatible(level, why) => {
                        format!("NOT compatible ({level})\n    {}", why.join("\n    "))
                    }
                    Outcome::Broken(why) => format!("NO schema: {why}"),
                };
                let under = if matches!(one.outcome, Outcome::New) || one.subject.is_empty() {
                    String::new()
                } else {
                    format!("`{}`: ", one.subject)
                };
                writeln!(terminal.out, "{:wide$}  {under}{said}", one.path)?;
            }
        }
    }
    Ok(())
}

impl Checked {
    fn json(&self) -> Value {
        let (outcome, level, messages) = match &self.outcome {
            Outcome::New => ("new", None, Vec::new()),
            Outcome::Same => ("same", None, Vec::new()),
            Outcome::Compatible(level) => ("compatible", Some(*level), Vec::new()),
            Outcome::Incompatible(level, why) => ("incompatible", Some(*level), why.clone()),
            Outcome::Broken(why) => ("broken", None, vec![why.clone()]),
        };
        json!({ "file": self.path, "subject": self.subject, "outcome": outcome,
            "compatibility": level.map(Level::as_str), "messages": messages })
    }
}
