//! The command line: what was typed, decided once, and handed to one function per command. Errors are printed here and
//! nowhere else.

mod demo;
pub mod check;
pub mod explain;
pub mod export;
pub mod dev;
pub mod exit;
pub mod fmt;
pub mod graph;
mod instance;
mod load;
pub mod new;
pub mod plugin;
pub mod receive;
mod registry;
pub mod remote;
pub mod schemas;
pub mod run;
mod signals;
mod store;
pub mod terminal;
pub mod test;
pub mod trial;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use exit::{CliError, Exit};
use terminal::{Color, Terminal};

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "weir", version = VERSION_LINE, about = ABOUT, after_help = Exit::HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const ABOUT: &str = "Kafka pipelines from YAML files. Consume, transform, deliver, retry, dead-letter.";
const VERSION_LINE: &str = crate::telemetry::VERSION;

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// The runtime file; without this option `weir.yaml`, where there is one.
    #[arg(long, global = true, env = "WEIR_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to print results.
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "human")]
    pub output: Output,
    /// When to colour.
    #[arg(
        long,
        global = true,
        env = "WEIR_COLOR",
        hide_env_values = true,
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub color: Color,
    /// Only results and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for single records.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
}

/// The form of results. `json` may only grow, `human` may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Human,
    /// One line for each finding, for editors.
    Short,
    /// One JSON document.
    Json,
    /// Of `test`: JUnit XML.
    Junit,
    /// Of `receive`: one JSON object for each request.
    Jsonl,
    /// Of `check`: annotations of a GitHub workflow.
    Github,
    /// Of `check`: SARIF 2.1.0, for code scanners.
    Sarif,
    /// Of `plan`: for a comment of a pull request.
    Markdown,
    /// A flowchart in Markdown (graph).
    Mermaid,
    /// Graphviz (graph).
    Dot,
    /// A picture (graph).
    Svg,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a project: a pipeline, its test, weir.yaml, a compose file.
    Init(new::InitArgs),
    /// Add a pipeline and its test from a template.
    New(new::NewArgs),
    /// Find mistakes in pipeline files.
    Check(check::Args),
    /// Run the tests beside pipelines.
    Test(test::Args),
    /// Let one event through a pipeline, step by step.
    Try(trial::Args),
    /// Rewrite files in the standard form, comments kept.
    Fmt(fmt::Args),
    /// Draw topics, stages and handlers.
    Graph(graph::Args),
    /// Describe an error code.
    Explain(explain::Args),
    /// Print JSON Schemas for editors.
    Export(export::Args),
    /// Run pipelines until stopped.
    Run(run::RunArgs),
    /// Run on an embedded broker, with nothing installed.
    Dev(dev::DevArgs),
    /// Show what files would change in a running instance.
    Plan(remote::plan::Args),
    /// Ask a running instance to read its files again.
    Reload(remote::reload::Args),
    /// List what pipelines have run, or compare revisions.
    History(remote::history::Args),
    /// Pin a pipeline to an older revision.
    Rollback(remote::pins::RollbackArgs),
    /// End a pin.
    Release(remote::pins::ReleaseArgs),
    /// Health, and how pipelines stand to their files.
    Status(remote::status::Args),
    /// What the schema registry has, and whether files may follow it.
    Schemas(schemas::Args),
    /// Receive webhooks and answer by a script.
    Receive(receive::Args),
    /// Try a plugin without a pipeline.
    #[command(alias = "plugins")]
    Plugin(plugin::Args),
    /// Print the version, the commit and the build.
    Version,
}

/// Runs the program of this process's arguments and streams.
pub fn main() -> Exit {
    let run = || start(std::env::args_os());
    // The default hook has printed message and place by then.
    std::panic::catch_unwind(run).unwrap_or(Exit::Bug)
}

fn start(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(usage) => {
            let exit = if usage.use_stderr() { Exit::Usage } else { Exit::Yes };
            return usage.print().map_or(Exit::Unreachable, |()| exit);
        }
    };
    let mut terminal = Terminal::of_process(cli.global.color);
    let asked = cli.command.refuse(cli.global.output);
    match asked.and_then(|()| cli.command.run(&cli.global, &mut terminal)) {
        Ok(exit) => exit,
        Err(error) => {
            let paint = if terminal.err_color { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
            writeln!(terminal.err, "{}error{}: {error}", paint.0, paint.1).ok();
            error.exit
        }
    }
}

impl Command {
    /// Its name, and the forms of results that it has besides `human`.
    fn forms(&self) -> (&'static str, &'static [Output]) {
        match self {
            Command::Init(_) => ("init", &[]),
            Command::New(_) => ("new", &[]),
            Command::Check(_) => ("check", &[Output::Short, Output::Json, Output::Github, Output::Sarif]),
            Command::Test(_) => ("test", &[Output::Junit, Output::Json]),
            Command::Try(_) => ("try", &[Output::Json]),
            Command::Fmt(_) => ("fmt", &[Output::Json]),
            Command::Graph(_) => ("graph", &[Output::Mermaid, Output::Dot, Output::Svg, Output::Json]),
            Command::Explain(_) => ("explain", &[]),
            Command::Export(_) => ("export", &[Output::Json]),
            Command::Run(_) => ("run", &[]),
            Command::Dev(_) => ("dev", &[Output::Json]),
            Command::Plan(_) => ("plan", &[Output::Json, Output::Markdown]),
            Command::Reload(_) => ("reload", &[Output::Json]),
            Command::History(_) => ("history", &[Output::Json]),
            Command::Rollback(_) => ("rollback", &[Output::Json]),
            Command::Release(_) => ("release", &[Output::Json]),
            Command::Status(_) => ("status", &[Output::Json]),
            Command::Schemas(args) if args.is_check() => ("schemas check", &[Output::Json, Output::Github]),
            Command::Schemas(_) => ("schemas", &[Output::Json]),
            Command::Receive(_) => ("receive", &[Output::Jsonl, Output::Json]),
            Command::Plugin(_) => ("plugin", &[Output::Json]),
            Command::Version => ("version", &[Output::Json]),
        }
    }

    /// Refuses a form that the command does not have, before anything is done.
    fn refuse(&self, form: Output) -> Result<(), CliError> {
        let (name, forms) = self.forms();
        if form == Output::Human || forms.contains(&form) {
            return Ok(());
        }
        let word = |form: &Output| {
            form.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let known: Vec<String> = std::iter::once(&Output::Human).chain(forms).map(word).collect();
        let message = format!("`weir {name}` does not print {}; it prints {}", word(&form), known.join(", "));
        Err(CliError::new(Exit::Usage, message))
    }

    fn run(self, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
        match self {
            Command::Init(args) => new::init(&args, terminal),
            Command::New(args) => new::new(&args, global, terminal),
            Command::Check(args) => check::run(&args, global, terminal),
            Command::Test(args) => test::test(&args, global, terminal),
            Command::Try(args) => trial::run(&args, global, terminal),
            Command::Fmt(args) => fmt::fmt(&args, global, terminal),
            Command::Graph(args) => graph::graph(&args, global, terminal),
            Command::Explain(args) => explain::run(&args, terminal),
            Command::Export(args) => export::run(&args, terminal),
            Command::Run(args) => run::run(&args, global, terminal),
            Command::Dev(args) => dev::dev(&args, global, terminal),
            Command::Plan(args) => remote::plan::run(&args, global, terminal),
            Command::Reload(args) => remote::reload::run(&args, global, terminal),
            Command::History(args) => remote::history::run(&args, global, terminal),
            Command::Rollback(args) => remote::pins::roll_back(&args, global, terminal),
            Command::Release(args) => remote::pins::release(&args, global, terminal),
            Command::Status(args) => remote::status::run(&args, global, terminal),
            Command::Schemas(args) => schemas::run(&args, global, terminal),
            Command::Receive(args) => receive::receive(&args, global, terminal),
            Command::Plugin(args) => plugin::plugin(&args, global, terminal),
            Command::Version => version(global, terminal),
        }
    }
}

fn version(global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let (version, commit) = (crate::telemetry::VERSION, crate::telemetry::COMMIT);
    if global.output == Output::Json {
        let document =
            serde_json::json!({ "schema": "weir.version/v1", "version": version, "commit": commit });
        writeln!(terminal.out, "{document}")?;
    } else {
        let commit = if commit.is_empty() { "unknown commit" } else { commit };
        writeln!(terminal.out, "weir {version} ({commit})")?;
    }
    Ok(Exit::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_use_is_2_and_help_is_0() {
        let of = |arguments: &[&str]| {
            start(std::iter::once("weir").chain(arguments.iter().copied()).map(OsString::from))
        };
        assert_eq!(of(&["--no-such-flag"]), Exit::Usage);
        assert_eq!(of(&[]), Exit::Usage);
        assert_eq!(of(&["-q", "-v", "version"]), Exit::Usage);
        assert_eq!(of(&["--help"]), Exit::Yes);
        assert_eq!(of(&["version", "-o", "json"]), Exit::Yes);
    }
}
