//! `weir dev`: the same as `run` on a broker inside of this process, so that nothing has to be installed.

use std::collections::BTreeSet;

use super::Global;
use super::demo;
use super::exit::{CliError, Exit};
use super::load::{self, Loaded};
use super::run;
use super::terminal::Terminal;
use crate::kafka::embedded::{Embedded, LIMITS};
use crate::spec::units;

/// Partitions of a topic that a pipeline reads.
const PARTITIONS: u32 = 3;

/// Options of `weir dev`.
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// Add sample pipelines, a scripted receiver and a trickle of events.
    #[arg(long)]
    pub demo: bool,
    /// Stop the demo's events after this long, finish what was produced, print a summary.
    #[arg(long = "for", value_name = "TIME", requires = "demo")]
    pub duration: Option<units::Duration>,
    /// The seed of the demo's events and answers.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "demo")]
    pub seed: u64,
    /// What `run` takes as well.
    #[command(flatten)]
    pub run: run::RunArgs,
}

/// Runs on the embedded broker until a signal; the demo also until its time is over.
pub(super) fn dev(args: &DevArgs, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    if args.demo {
        return demo::demo(args, global, terminal);
    }
    let settled = load::runtime_file(global, &args.run.overrides(), terminal)?;
    load::logs(&settled.settings, global, terminal)?;
    let sources = load::sources(&settled.settings.pipelines)?;
    let loaded = load::pipelines(sources, settled, terminal)?;
    run::refuse(&loaded, &args.run)?;
    let embedded = start(&topics(&loaded))?;
    banner(&embedded, global, terminal)?;
    let config = run::config(&loaded, embedded.cluster(), Some(embedded.clone()));
    run::block_on(run::until_stopped(config, &loaded))?
}

/// An embedded broker that has these topics.
pub(super) fn start(topics: &BTreeSet<String>) -> Result<Embedded, CliError> {
    let failed = |error| CliError::new(Exit::Unreachable, format!("starting the embedded broker: {error}"));
    let embedded = Embedded::start().map_err(failed)?;
    for topic in topics {
        embedded.create_topic(topic, PARTITIONS).map_err(failed)?;
    }
    Ok(embedded)
}

/// What the broker is not, said before anybody relies on it.
pub(super) fn banner(embedded: &Embedded, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
    if !global.quiet {
        let brokers = embedded.cluster().brokers;
        writeln!(terminal.err, "Kafka: an embedded broker on {brokers}, for trying out: {LIMITS}.")?;
    }
    Ok(())
}

/// The topics that the pipelines read.
pub(super) fn topics(loaded: &Loaded) -> BTreeSet<String> {
    let stages = loaded.pipelines.iter().flat_map(|one| &one.plan.stages);
    stages.flat_map(|stage| stage.source.topics.iter().cloned()).collect()
}
