//! `weir receive`: a webhook receiver that answers by a script, to try pipelines without writing a server.

mod script;
mod seen;
mod server;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::signals::Stop;
use super::terminal::Terminal;
use super::{CliError, Exit, Global, Output, check, run};
use crate::handler::webhook::Verifier;
use crate::settings::{References, environment};
use crate::spec::diagnostic::{self, Diagnostic};
use crate::spec::files;
use crate::spec::tree::{Document, read};
pub use script::Script;
use seen::{Hidden, Seen};
use server::Receiver;

/// How many requests may wait to be shown; beyond, their answers do.
const LINES: usize = 1024;
/// What a script looks like, for `--help`.
const EXAMPLE: &str = "\
A script is a YAML file; the first of its answers that fits a request is given, else 200:

  seed: 7                                  # what chances are drawn from
  verify: \"${secret:shop_webhook}\"         # check Standard Webhooks signatures; a bad one gets 400
  answers:
    - on: { path: /v1/*, first: 2 }        # the first two requests of each record
      status: 503
      headers: { retry-after: \"2\" }
    - on: { contains: XBT }                # also: method, chance: 5%
      status: 422
      body: { error: unknown currency }
    - on: { chance: 1% }
      instead: reset                       # or close, hang
    - after: 20ms                          # before the answer; slow: 100B sends so much a second
      status: 202";

/// Options of `weir receive`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The port; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub bind: IpAddr,
    /// The script; without one every request is answered with 200.
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
}

/// Answers until a signal; one line for each request on stdout.
pub(super) fn receive(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut findings = Vec::new();
    let loaded = check::settings(global.config.as_deref(), &environment(), &mut findings);
    let references = loaded.map(|loaded| loaded.settings.references);
    let script = references.as_ref().and_then(|references| load(args, references, &mut findings));
    let refused = findings.iter().any(Diagnostic::is_error);
    diagnostic::sort(&mut findings);
    for finding in &findings {
        writeln!(terminal.err, "{}", diagnostic::human(finding, terminal.err_color))?;
    }
    let hidden = Hidden::of(references.iter().flat_map(|references| references.secrets.values()));
    let Some((script, verifier)) = script.filter(|_| !refused) else {
        return Err(CliError::new(Exit::BadConfig, "the script has errors; nothing was started"));
    };
    run::block_on(Box::pin(answer(args, (script, verifier, hidden), global, terminal)))?
}

fn load(
    args: &Args,
    references: &References,
    findings: &mut Vec<Diagnostic>,
) -> Option<(Script, Option<Verifier>)> {
    let Some(path) = &args.script else { return Some((Script::default(), None)) };
    let source = files::source(path).map_err(|finding| findings.push(*finding)).ok()?;
    let mut document = Document::parse(&source, findings)?;
    let script: Script = read(&mut document, findings)?;
    let Some(secrets) = &script.verify else { return Some((script, None)) };
    match Verifier::new(&secrets.0, references) {
        Ok(verifier) => Some((script, Some(verifier))),
        Err(problems) => {
            let at = crate::spec::tree::Path::root().then("verify");
            for (_, message) in problems {
                findings.push(Diagnostic::error("W0801", message, document.label(&at, "")));
            }
            None
        }
    }
}

async fn answer(
    args: &Args,
    (script, verifier, hidden): (Script, Option<Verifier>, Hidden),
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let address = SocketAddr::new(args.bind, args.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        CliError::new(Exit::Unreachable, format!("listening on {address}: {error}; choose another --port"))
    })?;
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let stop = Stop::on_signals(&tasks, ended.clone())?;
    if !global.quiet {
        writeln!(terminal.err, "Receiving on http://{}; stop with Ctrl-C", listener.local_addr()?)?;
    }
    let (told, mut lines) = mpsc::channel::<Seen>(LINES);
    let receiver = Receiver { script, verifier, hidden, told, counts: std::sync::Mutex::default() };
    tasks.spawn(server::serve(listener, Arc::new(receiver), stop.graceful.clone()));
    let json = !matches!(global.output, Output::Human | Output::Short);
    // Ends with the server, which holds the other end.
    while let Some(seen) = lines.recv().await {
        seen.print(json, &mut terminal.out)?;
        terminal.out.flush()?;
    }
    ended.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(stop.exit(true))
}
