//! `weir try`: one event through one pipeline, step by step. Requests are shown, and with `--send` made; nothing is written to
//! Kafka.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::terminal::Terminal;
use super::{CliError, Exit, Global, Output, check, load};
use crate::kafka::options::Cluster;
use crate::kafka::{Partition, one};
use crate::rehearsal::{Bench, Step, Trial, Tried, try_out};
use crate::settings::{DEFAULT_CLUSTER, environment};
use crate::spec::diagnostic::{self, Diagnostic, did_you_mean};
use crate::spec::pipeline::Pipeline;
use crate::spec::span::Source;
use crate::spec::testfile::{Given, Reply, TestFile};
use crate::spec::tree::{Document, read};
use crate::spec::{PipelineFile, files, runtime};

/// What to try.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The pipeline: its name, or its file.
    pub pipeline: String,
    /// The event: a file of YAML or JSON, or `-` for standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "from_event", conflicts_with = "from_event")]
    pub event: Option<PathBuf>,
    /// A record that is in Kafka: `topic/partition/offset`.
    #[arg(long, value_name = "POSITION")]
    pub from_event: Option<String>,
    /// The answers to its requests, in their order: statuses. Without them the first request is shown, and that is all.
    #[arg(long, value_name = "STATUS", value_delimiter = ',', conflicts_with = "send")]
    pub reply: Vec<u16>,
    /// Really send the requests. What the pipeline publishes is shown only.
    #[arg(long)]
    pub send: bool,
    /// Write what was seen as a test of this name beside the pipeline.
    #[arg(long, value_name = "NAME", conflicts_with = "send")]
    pub save_test: Option<String>,
}

/// How long a record of Kafka may take to come.
const READ_WITHIN: Duration = Duration::from_secs(10);

const AFTER: &str = "The event is what `given` is in a file of tests (topic, key, value, headers ..; docs/testing.md), or else the value itself.
Variables and secrets are those of weir.yaml.";

/// Runs the command: yes where the event could be tried, no where the pipeline or the event cannot be used.
pub fn run(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut findings = Vec::new();
    let Some(loaded) = check::settings(global.config.as_deref(), &environment(), &mut findings) else {
        load::print(&mut findings, terminal)?;
        return Ok(Exit::BadConfig);
    };
    let path = find(&args.pipeline, &loaded.settings.pipelines)?;
    let source = match files::pipeline(&path) {
        Ok(source) => source,
        Err(finding) => {
            load::print(&mut vec![*finding], terminal)?;
            return Ok(Exit::No);
        }
    };
    // All that is wrong with the file, as `check` says it.
    let report = check::check(&[Arc::clone(&source)], &loaded, Vec::new());
    let mut errors: Vec<Diagnostic> = report.findings.into_iter().filter(Diagnostic::is_error).collect();
    if !errors.is_empty() {
        load::print(&mut errors, terminal)?;
        return Ok(Exit::No);
    }
    let pipeline = PipelineFile::parse(&source, &mut Vec::new());
    let read = match (&args.event, &args.from_event) {
        (_, Some(position)) => Ok(from_kafka(position, &pipeline, &loaded)?),
        (Some(path), None) => event(path)?,
        (None, None) => return Err(CliError::new(Exit::Usage, "there is no event to try")),
    };
    let given = match read {
        Ok(given) => given,
        Err(mut findings) => {
            load::print(&mut findings, terminal)?;
            return Ok(Exit::No);
        }
    };
    let replies = args.reply.iter().map(|status| Reply::of_status(*status)).collect();
    let trial = Trial {
        pipeline: &pipeline,
        references: &loaded.settings.references,
        given: &given,
        folder: args.event.as_deref().and_then(Path::parent).unwrap_or(Path::new(".")),
        replies: (!args.send).then_some(replies),
    };
    let tried = try_out(&trial, &Bench::new(&loaded)).map_err(|why| CliError::new(Exit::No, why))?;
    print(&tried, args, global, &mut terminal.out)?;
    if let Some(name) = &args.save_test {
        let file = save(name, &path, &pipeline, &given, args, &tried)?;
        writeln!(terminal.err, "saved `{name}` in {}", file.display())?;
    }
    Ok(Exit::Yes)
}

/// The file of a pipeline: named itself, or by its name in the folder of the pipelines.
fn find(named: &str, folder: &Path) -> Result<PathBuf, CliError> {
    let path = PathBuf::from(named);
    if path.is_file() {
        return Ok(path);
    }
    let known = files::pipelines_at(folder).unwrap_or_default();
    let stem = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    if let Some(found) = known.iter().find(|path| stem(path) == named) {
        return Ok(found.clone());
    }
    let names: Vec<String> = known.iter().map(|path| stem(path)).collect();
    let near = did_you_mean(named, names.iter().map(String::as_str));
    let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(CliError::new(Exit::Usage, format!("there is no pipeline `{named}` in {}{help}", folder.display())))
}

/// The event of a file: in the form of `given`, else its value. Fails with what is wrong with it.
fn event(path: &Path) -> Result<Result<Given, Vec<Diagnostic>>, CliError> {
    let mut bytes = Vec::new();
    let unreadable =
        |error: std::io::Error| CliError::new(Exit::Usage, format!("reading {}: {error}", path.display()));
    if path == Path::new("-") {
        std::io::stdin().lock().take(16 << 20).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        bytes = std::fs::read(path).map_err(unreadable)?;
    }
    let Ok(text) = String::from_utf8(bytes) else {
        let message = "the event is no text; write raw_base64: or file: in a file of YAML";
        return Err(CliError::new(Exit::No, message));
    };
    let source = Source::new(path.display().to_string(), text);
    let mut findings = Vec::new();
    let Some(mut document) = Document::parse(&source, &mut findings) else { return Ok(Err(findings)) };
    let forms = ["value", "raw", "raw_base64", "file"];
    if forms.iter().any(|key| document.root.get(key).is_some()) {
        let given = read::<Given>(&mut document, &mut findings);
        return Ok(given.filter(|_| findings.is_empty()).ok_or(findings));
    }
    let value = read::<Json>(&mut document, &mut findings);
    Ok(match value.filter(|_| findings.is_empty()) {
        Some(value) => Ok(Given { value: Some(value), ..Given::default() }),
        None => Err(findings),
    })
}

/// A record of a topic that the pipeline reads, from the cluster that it reads it in.
fn from_kafka(position: &str, pipeline: &PipelineFile, loaded: &runtime::Loaded) -> Result<Given, CliError> {
    let wrong =
        || CliError::new(Exit::Usage, format!("`{position}` is no position; write topic/partition/offset"));
    let mut parts = position.rsplitn(3, '/');
    let offset: i64 = parts.next().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let number: i32 = parts.next().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let topic = parts.next().filter(|topic| !topic.is_empty()).ok_or_else(wrong)?;
    let settings = &loaded.settings;
    let stages = pipeline.spec.as_ref().map(Pipeline::stages).unwrap_or_default();
    let source = stages
        .iter()
        .map(|(_, stage)| &stage.source)
        .find(|source| source.topics.iter().any(|one| one == topic));
    let name = source.and_then(|source| source.cluster.as_deref()).unwrap_or(DEFAULT_CLUSTER);
    let name = settings.references.shown(name);
    let cluster = settings.clusters.get(&name).filter(|cluster| !cluster.brokers.is_empty());
    let Some(cluster) = cluster else {
        let message = format!("the Kafka cluster `{name}` is not configured: its brokers stand in weir.yaml");
        return Err(CliError::new(Exit::BadConfig, message));
    };
    let (brokers, properties) = (cluster.brokers.join(","), cluster.properties.clone());
    let partition = Partition { topic: topic.into(), number };
    let read = one::read(&Cluster { brokers, properties, tokens: None }, &partition, offset, READ_WITHIN);
    let read =
        read.map_err(|error| CliError::new(Exit::Unreachable, format!("reading {position}: {error}")))?;
    let Some(event) = read else {
        let message = format!("there is no record at {position}, or it did not come within 10s");
        return Err(CliError::new(Exit::No, message));
    };
    Ok(Given::of_event(&event))
}

fn print(tried: &Tried, args: &Args, global: &Global, out: &mut dyn Write) -> std::io::Result<()> {
    if global.output == Output::Json {
        let step = |one: &Step| {
            let changes = one.changes.iter();
            let changes: Vec<Json> = changes
                .map(|one| json!({ "at": one.label, "before": one.expected, "after": one.got }))
                .collect();
            json!({ "stage": one.stage, "step": one.name, "did": one.did, "changes": changes })
        };
        let document = json!({
            "schema": "weir.try/v1",
            "sent": args.send,
            "steps": tried.steps.iter().map(step).collect::<Vec<_>>(),
            "requests": tried.requests,
            "published": tried.published,
            "dead_letters": tried.dead_letters,
            "outcomes": tried.outcomes,
        });
        return writeln!(out, "{document}");
    }
    for step in &tried.steps {
        writeln!(out, "{:<24} {:<16} {}", step.stage, step.name, step.did)?;
        for one in &step.changes {
            let (sign, shown) = match (one.expected.as_str(), one.got.as_str()) {
                ("nothing", got) => ("+", got.to_owned()),
                (before, "nothing") => ("-", before.to_owned()),
                (before, got) => ("~", format!("{before} -> {got}")),
            };
            writeln!(out, "    {sign} {}  {shown}", one.label)?;
        }
    }
    for request in &tried.requests {
        writeln!(out, "\n{} {}", text(request, "method"), text(request, "url"))?;
        for (name, value) in request.get("headers").and_then(Json::as_object).into_iter().flatten() {
            writeln!(out, "    {name}: {}", value.as_str().unwrap_or_default())?;
        }
        writeln!(out, "    {}", request.get("body").unwrap_or(&Json::Null))?;
    }
    for (what, list) in [("publishes to", &tried.published), ("dead-letters to", &tried.dead_letters)] {
        for one in list {
            let key = one.get("key").and_then(Json::as_str).unwrap_or("no key");
            writeln!(out, "\n{what} {}   key {key}", text(one, "topic"))?;
            writeln!(out, "    {}", one.get("value").unwrap_or(&Json::Null))?;
            if let Some(error) = one.get("error").and_then(Json::as_str) {
                writeln!(out, "    {} ({}): {error}", text(one, "reason"), text(one, "code"))?;
            }
        }
    }
    writeln!(out)?;
    if tried.unanswered {
        let help = "not sent: --send sends it, --reply 201 goes on as if that were the answer";
        return writeln!(out, "{help}");
    }
    for one in &tried.outcomes {
        let attempts = one.get("attempts").and_then(Json::as_u64).unwrap_or(0);
        writeln!(out, "{}: {}, {attempts} attempts", text(one, "stage"), text(one, "outcome"))?;
    }
    Ok(())
}

fn text<'a>(of: &'a Json, key: &str) -> &'a str {
    of.get(key).and_then(Json::as_str).unwrap_or_default()
}

/// Adds a test to the file beside the pipeline, or begins one.
fn save(
    name: &str,
    path: &Path,
    pipeline: &PipelineFile,
    given: &Given,
    args: &Args,
    tried: &Tried,
) -> Result<PathBuf, CliError> {
    let failed = |why: String| CliError::new(Exit::No, format!("saving the test: {why}"));
    if tried.unanswered {
        return Err(failed("a request has no answer; say which with --reply".to_owned()));
    }
    let spec = pipeline.spec.as_ref().ok_or_else(|| failed("the pipeline has errors".to_owned()))?;
    let services: Vec<(String, String)> = spec
        .stages()
        .iter()
        .map(|(stage, _)| match stage {
            Some(stage) => ((*stage).to_owned(), format!("{}.{stage}", spec.pipeline)),
            None => (spec.pipeline.clone(), spec.pipeline.clone()),
        })
        .collect();
    let test = saved_test(name, given, args, tried, &services, spec.stages.is_some());
    let file = path.with_extension("test.yaml");
    let before = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(_) => format!("pipeline: {}\ntests:\n", spec.pipeline),
    };
    let item = serde_json::to_string(&test).map_err(|error| failed(error.to_string()))?;
    let after = format!("{}\n  - {item}\n", before.trim_end());
    let source = Source::new(file.display().to_string(), after);
    let mut findings = Vec::new();
    let parsed = TestFile::parse(&source, &mut findings).spec.filter(|_| findings.is_empty());
    if parsed.is_none_or(|spec| spec.tests.last().is_none_or(|test| test.name != name)) {
        let why = findings
            .first()
            .map_or_else(|| "`tests` is not the last key of the file".to_owned(), diagnostic::short);
        return Err(failed(why));
    }
    let form = crate::spec::layout::layout(&source).unwrap_or_else(|_| source.text().to_owned());
    std::fs::write(&file, form).map_err(|error| failed(error.to_string()))?;
    Ok(file)
}

fn saved_test(
    name: &str,
    given: &Given,
    args: &Args,
    tried: &Tried,
    services: &[(String, String)],
    has_stages: bool,
) -> Json {
    let mut expect = serde_json::Map::new();
    let outcome = |service: &str| {
        let found = tried.outcomes.iter().find(|one| text(one, "stage") == service);
        found.map(|one| text(one, "outcome").split(' ').next().unwrap_or_default().to_owned())
    };
    if has_stages {
        let stages: IndexMap<&String, String> =
            services.iter().filter_map(|(stage, service)| Some((stage, outcome(service)?))).collect();
        expect.insert("stages".to_owned(), json!(stages));
    } else if let Some(outcome) = services.first().and_then(|(_, service)| outcome(service)) {
        expect.insert("outcome".to_owned(), json!(outcome));
    }
    let pick = |one: &Json, keys: &[&str]| -> Json {
        keys.iter()
            .filter_map(|key| Some(((*key).to_owned(), one.get(*key)?.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let requests = |service: &str| -> Vec<Json> {
        let of_stage = tried.requests.iter().filter(|one| text(one, "stage") == service);
        of_stage.map(|one| pick(one, &["method", "url", "body"])).collect()
    };
    let replies =
        |service: &str| -> Vec<u16> { args.reply.iter().copied().take(requests(service).len()).collect() };
    let mut test =
        serde_json::Map::from_iter([("name".to_owned(), json!(name)), ("given".to_owned(), given.to_json())]);
    let asked: Vec<&(String, String)> =
        services.iter().filter(|(_, service)| !requests(service).is_empty()).collect();
    if has_stages {
        let each = |of: &dyn Fn(&str) -> Json| -> Json {
            asked
                .iter()
                .map(|(stage, service)| (stage.clone(), of(service)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        if !asked.is_empty() {
            test.insert("replies".to_owned(), each(&|service| json!(replies(service))));
            expect.insert("requests".to_owned(), each(&|service| json!(requests(service))));
        }
    } else if let Some((_, service)) = services.first() {
        if !asked.is_empty() {
            test.insert("replies".to_owned(), json!(replies(service)));
        }
        expect.insert("requests".to_owned(), json!(requests(service)));
    }
    let published: Vec<Json> =
        tried.published.iter().map(|one| pick(one, &["topic", "key", "value"])).collect();
    if !published.is_empty() {
        expect.insert("published".to_owned(), json!(published));
    }
    if let [letter] = tried.dead_letters.as_slice() {
        expect.insert("dlq".to_owned(), pick(letter, &["topic", "reason", "code"]));
    }
    test.insert("expect".to_owned(), Json::Object(expect));
    Json::Object(test)
}
