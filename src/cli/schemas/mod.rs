//! `weir schemas`: what a schema registry has, whichever it is, and whether the files of a change may follow it.

mod check;
mod show;

use std::path::PathBuf;

use super::exit::{CliError, Exit};
use super::load;
use super::registry::{self, Registry};
use super::terminal::Terminal;
use super::{Global, Output};
use crate::registry::Error;
use crate::registry::compat::Level;
use crate::spec::runtime;

/// What to do with schemas.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

const AFTER: &str =
    "The registry is that of weir.yaml: `registry: { url: .. }`, or `embedded`, whose store is opened here.

Examples:
  weir schemas check                      are the files of schemas/ compatible with what is registered?
  weir schemas check --against main       the same with another git revision, without a registry
  weir schemas register orders-value schemas/order.avsc
  weir schemas compat --subject orders-value FULL_TRANSITIVE";

#[derive(Debug, Clone, clap::Subcommand)]
enum What {
    /// Subjects, their versions and levels.
    #[command(visible_alias = "ls")]
    List {
        /// Deleted ones as well.
        #[arg(long)]
        deleted: bool,
    },
    /// Print a schema.
    Show {
        /// The subject.
        subject: String,
        /// The version. Default: the latest.
        #[arg(long)]
        version: Option<u32>,
    },
    /// The versions of a subject.
    Versions {
        /// The subject.
        subject: String,
    },
    /// Register a file.
    Register {
        /// The subject.
        subject: String,
        /// The file: .avsc, .json or .proto.
        file: PathBuf,
        /// What it uses: `NAME=SUBJECT:VERSION`, once for each.
        #[arg(long = "reference", value_name = "NAME=SUBJECT:VERSION")]
        references: Vec<String>,
    },
    /// Whether files may follow what is registered: the gate in CI.
    Check(check::Args),
    /// Print or set how much a subject may change.
    Compat {
        /// The subject; without one, what holds where a subject says nothing.
        #[arg(long)]
        subject: Option<String>,
        /// The new level.
        #[arg(value_parser = level)]
        level: Option<Level>,
    },
    /// Delete a subject or a version: softly, or for good what is deleted already.
    Delete {
        /// The subject.
        subject: String,
        /// This version alone.
        #[arg(long)]
        version: Option<u32>,
        /// For good.
        #[arg(long)]
        permanent: bool,
    },
    /// Write every latest version into files of a folder.
    Export {
        /// The folder; it is made where it is not there.
        folder: PathBuf,
    },
}

/// A level, in any case of letters.
fn level(word: &str) -> Result<Level, String> {
    let words = || Level::ALL.iter().map(|level| level.as_str()).collect::<Vec<_>>().join(", ");
    Level::read(word).ok_or_else(|| format!("levels are {}", words()))
}

impl Args {
    /// Whether it prints annotations of a GitHub workflow.
    pub(super) fn is_check(&self) -> bool {
        matches!(self.what, What::Check(_))
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let loaded = load::runtime_file(global, &[], terminal)?;
    if let What::Check(args) = &args.what {
        return check::run(args, &loaded, global, terminal);
    }
    let registry = connect(&loaded, terminal)?;
    let done = async {
        open(&registry).await?;
        show::run(&args.what, &registry.client, global.output == Output::Json, terminal).await
    };
    super::run::block_on(done)?
}

/// The registry of the runtime file.
fn connect(loaded: &runtime::Loaded, terminal: &mut Terminal) -> Result<Registry, CliError> {
    match registry::connect(loaded) {
        Ok(Some(registry)) => Ok(registry),
        Ok(None) => Err(CliError::new(
            Exit::BadConfig,
            "no schema registry is configured: set `registry` in weir.yaml or WEIR_REGISTRY: a URL, or `embedded`",
        )),
        Err(mut findings) => {
            load::print(&mut findings, terminal)?;
            Err(CliError::new(Exit::BadConfig, "`registry` has errors"))
        }
    }
}

/// Opens the store of an embedded one.
async fn open(registry: &Registry) -> Result<(), CliError> {
    match &registry.embedded {
        Some(embedded) => embedded.open_as_it_is().await.map(drop),
        None => Ok(()),
    }
}

/// What a registry did not do.
fn failed(error: &Error) -> CliError {
    let exit = match error {
        Error::Unavailable(_) => Exit::Unreachable,
        Error::Unknown { .. } | Error::Refused { .. } | Error::Unusable(_) => Exit::No,
    };
    CliError::new(exit, error.to_string())
}
