//! `weir dev`: the same as `run` on a broker inside of this process, so that nothing has to be installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use super::Global;
use super::demo;
use super::exit::{CliError, Exit};
use super::load;
use super::run;
use super::terminal::Terminal;
use super::test;
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
    /// Run the tests beside the pipelines at the start and each time that a file was saved.
    #[arg(long, conflicts_with = "demo")]
    pub test: bool,
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
    let tester =
        args.test.then(|| Tester::start(global.clone(), loaded.settings.pipelines.clone())).transpose()?;
    let again = tester.as_ref().map(|tester| tester.again.clone());
    let how = run::How { keep: run::Keep::Passing, allow_empty: args.run.allow_empty, again };
    let ended = run::block_on(run::until_stopped(config, &loaded, loader, how, terminal.err_color))?;
    tester.into_iter().for_each(Tester::stop);
    ended
}

/// Runs the tests on a thread of its own, whenever it is told to.
struct Tester {
    again: Sender<()>,
    thread: JoinHandle<()>,
}

impl Tester {
    /// Starts it, and has it run them once.
    fn start(global: Global, pipelines: PathBuf) -> Result<Tester, CliError> {
        let (again, asked) = std::sync::mpsc::channel::<()>();
        // Nobody hears less than this thread: it is there.
        again.send(()).ok();
        let args = test::Args { paths: vec![pipelines], allow_none: true, ..test::Args::default() };
        let runs = move || {
            while asked.recv().is_ok() {
                // Whatever was saved by now is tested by this run.
                while asked.try_recv().is_ok() {}
                let mut terminal = Terminal::of_process(global.color);
                if let Err(error) = test::test(&args, &global, &mut terminal) {
                    writeln!(terminal.err, "tests: {error}").ok();
                }
            }
        };
        let thread = std::thread::Builder::new().name("weir-tests".to_owned()).spawn(runs);
        let failed = |error| CliError::new(Exit::Unreachable, format!("starting a thread: {error}"));
        Ok(Tester { again, thread: thread.map_err(failed)? })
    }

    /// Ends it behind the run under way.
    fn stop(self) {
        drop(self.again);
        // A test that panics has said so.
        self.thread.join().ok();
    }
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
