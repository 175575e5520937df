//! `weir reload`: has a running instance read its files now.

use super::{Client, Server, json, plan};
use crate::api::answers::{ReloadAnswer, ReloadRequest};
use crate::cli::exit::{CliError, Exit};
use crate::cli::terminal::Terminal;
use crate::cli::{Global, Output};

/// Options of `weir reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The instance.
    #[command(flatten)]
    pub server: Server,
    /// A pipeline that begins anew, although it looks like one that has stopped under another name.
    #[arg(long, value_name = "PIPELINE")]
    pub fresh: Vec<String>,
}

/// Reads the files again, and prints what that did. No where one is broken or waits.
pub(in crate::cli) fn run(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = Client::of(&args.server, global, terminal)?;
    let request = ReloadRequest { fresh: args.fresh.clone() };
    let answered = client.post::<ReloadAnswer>("/api/reload", &request, &[422])?;
    if global.output == Output::Json {
        json("weir.reload/v1", &answered.body, terminal)?;
    } else {
        let changed: Vec<_> = answered.body.changes.iter().filter(|one| one.action != "keep").collect();
        for change in &changed {
            writeln!(terminal.out, "{}", plan::line(change))?;
        }
        let kept = answered.body.changes.len() - changed.len();
        writeln!(terminal.out, "{} changed, {kept} kept", changed.len())?;
    }
    Ok(if answered.status == 422 { Exit::No } else { Exit::Yes })
}
