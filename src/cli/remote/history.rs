//! `weir history`: what pipelines have run, and how two revisions differ.

use std::io::Write as _;

use super::{Client, Server, json, segment};
use crate::api::answers::{DiffAnswer, HistoryAnswer};
use crate::cli::exit::{CliError, Exit};
use crate::cli::terminal::Terminal;
use crate::cli::{Global, Output};

/// Options of `weir history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline; without it what was done to all of them.
    pub pipeline: Option<String>,
    /// How two revisions of it differ, each by its beginning or that of its commit.
    #[arg(long, num_args = 2, value_names = ["REV", "REV"], requires = "pipeline")]
    pub diff: Vec<String>,
    /// At most so many lines.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// The instance.
    #[command(flatten)]
    pub server: Server,
}

/// Prints it. With `--diff` no where the two differ, as `diff` does.
pub(in crate::cli) fn run(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = Client::of(&args.server, global, terminal)?;
    let is_json = global.output == Output::Json;
    if let (Some(name), [from, to]) = (&args.pipeline, args.diff.as_slice()) {
        let path =
            format!("/api/pipelines/{}/revisions/{}/diff/{}", segment(name), segment(from), segment(to));
        let diff: DiffAnswer = client.get(&path)?;
        if is_json {
            json("weir.diff/v1", &diff, terminal)?;
        } else {
            differ(&diff, terminal)?;
        }
        return Ok(if diff.from == diff.to { Exit::Yes } else { Exit::No });
    }
    let path = match &args.pipeline {
        Some(name) => format!("/api/pipelines/{}/revisions?limit={}", segment(name), args.limit),
        None => format!("/api/history?limit={}", args.limit),
    };
    let history: HistoryAnswer = client.get(&path)?;
    if is_json {
        json("weir.history/v1", &history, terminal)?;
        return Ok(Exit::Yes);
    }
    let out = &mut terminal.out;
    for one in &history.revisions {
        let short = |text: &str| text.get(..7).unwrap_or(text).to_owned();
        let mark = if one.running { '*' } else { ' ' };
        let commit =
            if one.commit.is_empty() { String::new() } else { format!("commit {}", short(&one.commit)) };
        let by = [commit.as_str(), &one.author, &one.subject];
        let by: Vec<&str> = by.into_iter().filter(|text| !text.is_empty()).collect();
        let line = format!("{mark} {}  {}  {}", short(&one.revision), one.at, by.join(", "));
        writeln!(out, "{}", line.trim_end())?;
    }
    if !history.revisions.is_empty() {
        writeln!(out)?;
    }
    for line in &history.items {
        let by = if line.actor.is_empty() { String::new() } else { format!(" by {}", line.actor) };
        let why = if line.reason.is_empty() { String::new() } else { format!(": {}", line.reason) };
        let text =
            format!("{}  {:<24} {:<8} {:<7}{by}{why}", line.at, line.pipeline, line.action, line.revision);
        writeln!(out, "{}", text.trim_end())?;
    }
    if history.items.is_empty() {
        writeln!(out, "nothing has run yet")?;
    }
    Ok(Exit::Yes)
}

fn differ(diff: &DiffAnswer, terminal: &mut Terminal) -> Result<(), CliError> {
    write!(terminal.out, "{}", diff.yaml)?;
    if diff.from == diff.to {
        writeln!(terminal.out, "the same")?;
        return Ok(());
    }
    writeln!(terminal.out, "\nIn effect:")?;
    if diff.differences.is_empty() {
        writeln!(terminal.out, "  the same: only comments and form differ")?;
    }
    let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "(not there)".to_owned());
    for one in &diff.differences {
        writeln!(terminal.out, "  {}  {} -> {}", one.path, side(&one.from), side(&one.to))?;
    }
    Ok(())
}
