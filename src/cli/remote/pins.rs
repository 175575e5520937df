//! `weir rollback` and `weir release`: an older revision held against the files, and let go.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::{Client, Server, actor, json, plan, segment};
use crate::api::answers::{ReleaseRequest, RepinnedAnswer, RollbackRequest, UntilRequest};
use crate::cli::exit::{CliError, Exit};
use crate::cli::terminal::Terminal;
use crate::cli::{Global, Output};

/// Options of `weir rollback`.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The pipeline.
    pub pipeline: String,
    /// The beginning of the revision or of the commit: `weir history PIPELINE` shows them.
    #[arg(long, value_name = "REV|COMMIT")]
    pub to: String,
    /// Why: whoever finds it pinned asks.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Hold it until `weir release`, whatever the file says meanwhile. Default: until the file says something else that can run.
    #[arg(long)]
    pub until_release: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// The instance.
    #[command(flatten)]
    pub server: Server,
}

/// Options of `weir release`.
#[derive(Debug, clap::Args)]
pub struct ReleaseArgs {
    /// The pipeline.
    pub pipeline: String,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// The instance.
    #[command(flatten)]
    pub server: Server,
}

/// Shows what a rollback would do, asks, and does it. No where the question is answered so.
pub(in crate::cli) fn roll_back(
    args: &RollbackArgs,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    if !args.yes && !args.dry_run && !std::io::stdin().is_terminal() {
        return Err(CliError::new(Exit::Usage, "nobody can be asked here: say --yes, or --dry-run"));
    }
    let client = Client::of(&args.server, global, terminal)?;
    let until = if args.until_release { UntilRequest::Release } else { UntilRequest::Change };
    let request = RollbackRequest { to: args.to.clone(), reason: args.reason.clone(), until, actor: actor() };
    let path = format!("/api/pipelines/{}/rollback", segment(&args.pipeline));
    if args.dry_run || !args.yes {
        let would: RepinnedAnswer = client.post(&format!("{path}?dry_run=true"), &request, &[])?.body;
        if args.dry_run {
            show(&args.pipeline, &would, "weir.rollback/v1", global, terminal)?;
            return Ok(Exit::Yes);
        }
        let held =
            if args.until_release { "until it is released" } else { "until its file says something else" };
        writeln!(terminal.err, "{} goes from {} to {}, {held}.", args.pipeline, would.from, would.to)?;
        write!(terminal.err, "Roll back? [y/N] ")?;
        terminal.err.flush()?;
        let mut said = String::new();
        std::io::stdin().lock().read_line(&mut said)?;
        if !matches!(said.trim(), "y" | "Y" | "yes") {
            writeln!(terminal.err, "Nothing was done.")?;
            return Ok(Exit::No);
        }
    }
    let done: RepinnedAnswer = client.post(&path, &request, &[])?.body;
    show(&args.pipeline, &done, "weir.rollback/v1", global, terminal)?;
    if global.output == Output::Human && !global.quiet {
        writeln!(terminal.err, "Take it back with: weir release {}", args.pipeline)?;
    }
    Ok(Exit::Yes)
}

/// Lets a pipeline run what its file says.
pub(in crate::cli) fn release(
    args: &ReleaseArgs,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let client = Client::of(&args.server, global, terminal)?;
    let dry = if args.dry_run { "?dry_run=true" } else { "" };
    let path = format!("/api/pipelines/{}/release{dry}", segment(&args.pipeline));
    let request = ReleaseRequest { reason: args.reason.clone(), actor: actor() };
    let done: RepinnedAnswer = client.post(&path, &request, &[])?.body;
    show(&args.pipeline, &done, "weir.release/v1", global, terminal)?;
    Ok(Exit::Yes)
}

fn show(
    pipeline: &str,
    done: &RepinnedAnswer,
    form: &str,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    if global.output == Output::Json {
        return json(form, done, terminal);
    }
    let would = if done.dry_run { " (a dry run: nothing was done)" } else { "" };
    writeln!(terminal.out, "{pipeline}: {} -> {}{would}", done.from, done.to)?;
    for change in done.changes.iter().filter(|change| change.action != "keep") {
        writeln!(terminal.out, "{}", plan::line(change))?;
    }
    Ok(())
}
