//! `weir plugin check FILE`: what a plugin is, whether it can be used, and what it answers to one event.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::load;
use super::terminal::Terminal;
use super::{CliError, Exit, Global, Output};
use crate::plugin::{self, Called, Fault, Guest, Limits, Refused, Wanted};
use crate::settings::read_bytes_below;
use crate::spec::units;
use crate::telemetry::clock;

/// What to do with a plugin.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with a plugin.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Say what a plugin is and whether it can be used; with --event, call it.
    Check(CheckArgs),
}

/// Which plugin, and what to call it with.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// The WebAssembly file.
    pub file: PathBuf,
    /// The exported function. Default: `transform`, else `filter`, whichever it has.
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
    /// An event as the plugin is given it, `{"value": ..}`, to call it with; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub event: Option<PathBuf>,
    /// How often to call it with the event; says how many calls a second that was.
    #[arg(long, value_name = "TIMES", default_value_t = 1, requires = "event")]
    pub repeat: u32,
    /// A value of its configuration; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// How long a call may take.
    #[arg(long, value_name = "TIME", default_value = "100ms")]
    pub timeout: units::Duration,
    /// How much memory it may have.
    #[arg(long, value_name = "SIZE", default_value = "32MiB")]
    pub memory: units::Size,
    /// How long an answer may be.
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    pub max_output: units::Size,
}

/// The largest event that is read.
const MAX_EVENT: u64 = 64 << 20;

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs the command: no where the plugin cannot be used or its call fails, wrong use for a file that cannot be read.
pub(super) fn plugin(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let Action::Check(args) = &args.action;
    let settings = load::runtime_file(global, &[], terminal)?.settings;
    let event = args.event.as_deref().map(event).transpose()?;
    let bytes = bytes(&args.file)?;
    let began = clock::now();
    let function = args.function.as_deref();
    // A grant is by the path below the plugins' folder, wherever this command was called.
    let folder = std::fs::canonicalize(&settings.plugins).ok();
    let whole = std::fs::canonicalize(&args.file).ok();
    let inside =
        folder.zip(whole).and_then(|(folder, whole)| Some(whole.strip_prefix(folder).ok()?.to_owned()));
    let name = inside.as_deref().unwrap_or(&args.file).display().to_string();
    let plugins = crate::runtime::load::plugins(&settings);
    let limits = Limits {
        timeout: args.timeout.0,
        memory: args.memory.0,
        max_output: usize::try_from(args.max_output.0).unwrap_or(usize::MAX),
    };
    let load = |function: &str| {
        let config: BTreeMap<String, String> = args.set.iter().cloned().collect();
        plugins.load_bytes(
            &name,
            &bytes,
            &Wanted { file: &name, function, config, secrets: Vec::new(), limits },
        )
    };
    let loaded = match load(function.unwrap_or("transform")) {
        Err(refused) if refused.function && function.is_none() => {
            load("filter").map(|guest| (guest, "filter")).map_err(|_| refused)
        }
        other => other.map(|guest| (guest, function.unwrap_or("transform"))),
    };
    let (guest, function) = match loaded {
        Ok(loaded) => loaded,
        Err(refused) => return cannot_be_used(&name, &refused, global.output, terminal),
    };
    let compiled = clock::now().saturating_duration_since(began);
    let call = event.map(|event| call(&guest, function, &event, args.repeat));
    let report = Report { name, guest: &guest, function, compiled, call };
    match global.output {
        Output::Json => writeln!(terminal.out, "{}", report.json())?,
        _ => report.human(&mut terminal.out)?,
    }
    Ok(if report.call.is_none_or(|call| call.result.is_ok()) { Exit::Yes } else { Exit::No })
}

/// The last of some calls, and how long one of them took.
struct Call {
    result: Result<Called, Fault>,
    took: Duration,
}

/// Calls until one fails. The first call of an instance also lays out its memory, and is not among those that are timed.
fn call(guest: &Guest, function: &str, event: &[u8], times: u32) -> Call {
    let mut began = clock::now();
    let mut result = guest.call(function, event);
    let mut timed = 0;
    if result.is_ok() {
        began = clock::now();
        while timed < times.max(1) && result.is_ok() {
            result = guest.call(function, event);
            timed += 1;
        }
    }
    Call { result, took: clock::now().saturating_duration_since(began) / timed.max(1) }
}

fn cannot_be_used(
    name: &str,
    refused: &Refused,
    form: Output,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    if form == Output::Json {
        let document = json!({
            "schema": "weir.plugin_check/v1", "file": name, "usable": false,
            "message": refused.message, "help": refused.help,
        });
        writeln!(terminal.out, "{document}")?;
    } else {
        writeln!(terminal.out, "{name} cannot be used: {}\n  help: {}", refused.message, refused.help)?;
    }
    Ok(Exit::No)
}

struct Report<'a> {
    name: String,
    guest: &'a Guest,
    function: &'a str,
    compiled: Duration,
    call: Option<Call>,
}

impl Report<'_> {
    fn json(&self) -> Value {
        let about = self.guest.about();
        let mut document = json!({
            "schema": "weir.plugin_check/v1",
            "file": self.name,
            "usable": true,
            "bytes": about.size,
            "functions": about.functions,
            "imports": about.imports.iter().map(|(module, name)| format!("{module} {name}")).collect::<Vec<_>>(),
            "wasi": about.wasi,
            "memory": about.memory,
            "compiled_seconds": self.compiled.as_secs_f64(),
        });
        if let (Some(call), Some(fields)) = (&self.call, document.as_object_mut()) {
            let said = match &call.result {
                Ok(called) => json!({
                    "function": self.function,
                    "seconds": call.took.as_secs_f64(),
                    "output": String::from_utf8_lossy(&called.output),
                    "counts": called.counts.iter().cloned().collect::<BTreeMap<_, _>>(),
                }),
                Err(fault) => json!({
                    "function": self.function, "seconds": call.took.as_secs_f64(), "error": fault.to_string(),
                }),
            };
            fields.insert("call".to_owned(), said);
        }
        document
    }

    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let about = self.guest.about();
        writeln!(
            out,
            "{}: {} bytes, compiled in {:.1} s",
            self.name,
            about.size,
            self.compiled.as_secs_f64()
        )?;
        writeln!(out, "  functions  {}", about.functions.join(", "))?;
        let mut modules = BTreeMap::<&str, usize>::new();
        about.imports.iter().for_each(|(module, _)| *modules.entry(module).or_default() += 1);
        let imports: Vec<_> = modules.iter().map(|(module, count)| format!("{module} ({count})")).collect();
        writeln!(
            out,
            "  imports    {}",
            if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") }
        )?;
        writeln!(out, "  memory     {} KiB at its start", about.memory >> 10)?;
        let Some(Call { result, took }) = &self.call else { return Ok(()) };
        match result {
            Ok(called) => {
                let (micros, bytes) = (took.as_secs_f64() * 1e6, called.output.len());
                let rate = took.as_secs_f64().max(1e-9).recip();
                writeln!(
                    out,
                    "  {} answered {bytes} bytes in {micros:.1} µs: {rate:.0} calls a second",
                    self.function
                )?;
                for (name, by) in &called.counts {
                    writeln!(out, "  counted    {name} {by}")?;
                }
                writeln!(out, "{}", String::from_utf8_lossy(&called.output))
            }
            Err(fault) => writeln!(out, "  {} failed: {fault}", self.function),
        }
    }
}

/// The event to call it with.
fn event(path: &Path) -> Result<Vec<u8>, CliError> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().take(MAX_EVENT).read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::File::open(path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MAX_EVENT).read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    read.map_err(|error| CliError::new(Exit::Usage, format!("reading {}: {error}", path.display())))
}

/// The file's bytes. Whether they are a module is a finding; whether they can be read is not.
fn bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    read_bytes_below(folder, &name, plugin::MAX_FILE)
        .map_err(|why| CliError::new(Exit::Usage, format!("reading {}: it {why}", path.display())))
}
