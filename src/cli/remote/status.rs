//! `weir status`: how the pipelines of an instance are doing, and how they stand to their files.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use super::{Client, Server, json};
use crate::cli::exit::{CliError, Exit};
use crate::cli::terminal::Terminal;
use crate::cli::{Global, Output};

/// Options of `weir status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipelines; default all.
    pub pipelines: Vec<String>,
    /// Exit 1 if one fails, or does not run what its file says.
    #[arg(long)]
    pub exit_code: bool,
    /// The instance.
    #[command(flatten)]
    pub server: Server,
}

/// What is shown of an instance.
#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    items: Vec<Pipeline>,
    broken: Vec<String>,
    #[serde(default)]
    restart_for: Vec<String>,
}

/// What is shown of a pipeline.
#[derive(Debug, Serialize, Deserialize)]
struct Pipeline {
    pipeline: String,
    revision: String,
    sync: String,
    why: Option<String>,
    health: String,
    stages: Vec<Stage>,
    /// Whatever else is known of it.
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stage {
    stage: String,
    health: String,
    holds: Vec<Hold>,
    partitions: Vec<Partition>,
    in_flight: u64,
    retries_waiting: u64,
    counts: Counts,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hold {
    cause: String,
    message: String,
    since: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Partition {
    lag: u64,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Counts {
    delivered: u64,
    dead_lettered: u64,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

impl Pipeline {
    fn is_well(&self) -> bool {
        self.health != "failing" && matches!(self.sync.as_str(), "synced" | "out_of_sync" | "pinned")
    }

    fn lag(&self) -> u64 {
        self.stages.iter().flat_map(|stage| &stage.partitions).map(|partition| partition.lag).sum()
    }

    /// How much it needs somebody: the sick first.
    fn mark(&self) -> char {
        match (self.health.as_str(), self.sync.as_str()) {
            ("failing", _) => 'x',
            ("degraded", _) | (_, "broken" | "renamed" | "pinned") => '!',
            ("paused", _) => '=',
            _ => ' ',
        }
    }
}

/// Prints it.
pub(in crate::cli) fn run(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = Client::of(&args.server, global, terminal)?;
    let mut shown: Shown = client.get("/api/pipelines")?;
    let missing = args.pipelines.iter().find(|name| !shown.items.iter().any(|one| one.pipeline == **name));
    if let Some(name) = missing {
        return Err(CliError::new(Exit::No, format!("no pipeline `{name}` is to run there")));
    }
    if !args.pipelines.is_empty() {
        shown.items.retain(|one| args.pipelines.contains(&one.pipeline));
    }
    if global.output == Output::Json {
        json("weir.status/v1", &shown, terminal)?;
    } else {
        human(&shown, &client.shown, terminal)?;
    }
    let well = shown.broken.is_empty() && shown.items.iter().all(Pipeline::is_well);
    Ok(if args.exit_code && !well { Exit::No } else { Exit::Yes })
}

fn human(shown: &Shown, server: &str, terminal: &mut Terminal) -> Result<(), CliError> {
    let out = &mut terminal.out;
    let count = shown.items.len();
    writeln!(out, "{server}: {count} pipeline{}\n", if count == 1 { "" } else { "s" })?;
    let (head, sync) = ("PIPELINE", "SYNC");
    writeln!(
        out,
        "  {head:<24} {:<10} {sync:<18} {:>8} {:>9} {:>12} {:>12}",
        "HEALTH", "LAG", "IN FLIGHT", "DELIVERED", "DEAD LETTERS"
    )?;
    let mut items: Vec<&Pipeline> = shown.items.iter().collect();
    let order = |one: &Pipeline| ["x", "!", "=", " "].iter().position(|mark| mark.starts_with(one.mark()));
    items.sort_by_key(|one| (order(one), one.pipeline.clone()));
    for one in &items {
        let sum = |of: fn(&Stage) -> u64| one.stages.iter().map(of).sum::<u64>();
        writeln!(
            out,
            "{} {:<24} {:<10} {:<18} {:>8} {:>9} {:>12} {:>12}",
            one.mark(),
            one.pipeline,
            one.health,
            format!("{} {}", one.sync, one.revision),
            one.lag(),
            sum(|stage| stage.in_flight),
            sum(|stage| stage.counts.delivered),
            sum(|stage| stage.counts.dead_lettered),
        )?;
    }
    let mut said = false;
    for one in &items {
        let holds = one.stages.iter().flat_map(|stage| stage.holds.iter().map(move |hold| (stage, hold)));
        let holds =
            holds.map(|(stage, hold)| format!("{}: holds, {}: {}", stage.stage, hold.cause, hold.message));
        let why = one.why.iter().map(|why| format!("{}: {}: {why}", one.pipeline, one.sync));
        for line in holds.chain(why) {
            if !std::mem::replace(&mut said, true) {
                writeln!(out)?;
            }
            writeln!(out, "{} {line}", one.mark())?;
        }
    }
    let known = |why: &&String| !shown.items.iter().any(|one| one.why.as_ref() == Some(*why));
    for why in shown.broken.iter().filter(known) {
        writeln!(out, "! broken, and nothing of it runs: {why}")?;
    }
    if !shown.restart_for.is_empty() {
        writeln!(
            out,
            "! weir.yaml has changed; this holds from the next start: {}",
            shown.restart_for.join(", ")
        )?;
    }
    Ok(())
}
