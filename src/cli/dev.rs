//! `weir dev`: the same as `run` on a broker inside of this process, so that nothing has to be installed.

use std::collections::{BTreeMap, BTreeSet};

use super::Global;
use super::demo;
use super::exit::{CliError, Exit};
use super::load;
use super::run;
use super::terminal::Terminal;
use crate::kafka::embedded::{Embedded, LIMITS};
use crate::runtime::load::From;
use crate::runtime::{ClusterConfig, EMBEDDED_PARTITIONS};
use crate::settings::DEFAULT_CLUSTER;
use crate::spec::{runtime, units};

/// Options of `weir dev`.
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// Run the sample pipelines in place of yours, with a scripted receiver and a trickle of events.
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
    let mut settled = load::runtime_file(global, &args.run.overrides(), terminal)?;
    settled.registry.get_or_insert(runtime::Registry::Embedded);
    load::logs(&settled.settings, global, terminal)?;
    let from = From::Folder(settled.settings.pipelines.clone());
    let (loaded, loader) = load::pipelines(from, settled, terminal)?;
    run::refuse(&loaded, &args.run)?;
    // The topics that pipelines read are made when they start.
    let names = loaded.settings.clusters.keys().map(String::as_str);
    let brokers = names.map(|name| Ok((name, start(&BTreeSet::new())?)));
    let brokers: Vec<(&str, Embedded)> = brokers.collect::<Result<_, CliError>>()?;
    let named = || brokers.iter().map(|(name, embedded)| (*name, embedded));
    banner(named(), global, terminal)?;
    let config = run::config(&loaded, config(named()));
    run::block_on(run::until_stopped(
        config,
        &loaded,
        loader,
        (run::Keep::Passing, args.run.allow_empty),
        terminal.err_color,
    ))?
}

/// An embedded broker that has these topics.
pub(super) fn start(topics: &BTreeSet<String>) -> Result<Embedded, CliError> {
    let failed = |error| CliError::new(Exit::Unreachable, format!("starting the embedded broker: {error}"));
    let embedded = Embedded::start().map_err(failed)?;
    for topic in topics {
        embedded.create_topic(topic, EMBEDDED_PARTITIONS).map_err(failed)?;
    }
    Ok(embedded)
}

/// How the runtime reaches embedded brokers, each by the name of its cluster.
pub(super) fn config<'a>(
    brokers: impl IntoIterator<Item = (&'a str, &'a Embedded)>,
) -> BTreeMap<String, ClusterConfig> {
    let brokers = brokers.into_iter();
    brokers.map(|(name, embedded)| (name.to_owned(), ClusterConfig::embedded(embedded))).collect()
}

/// What such a broker is not, said before anybody relies on it.
pub(super) fn banner<'a>(
    brokers: impl IntoIterator<Item = (&'a str, &'a Embedded)>,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    for (name, embedded) in brokers.into_iter().filter(|_| !global.quiet) {
        let at = embedded.cluster().brokers;
        let which = if name == DEFAULT_CLUSTER { String::new() } else { format!(" `{name}`") };
        writeln!(terminal.err, "Kafka{which}: an embedded broker on {at}, for trying out: {LIMITS}.")?;
    }
    Ok(())
}
