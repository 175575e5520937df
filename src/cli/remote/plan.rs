//! `weir plan`: what files would do in a running instance. Nothing is changed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use super::{Client, Server, against, json};
use crate::api::answers::{ChangeAnswer, LookedAnswer, PlanAnswer, PlanRequest, PlannedChange};
use crate::cli::exit::{CliError, Exit};
use crate::cli::terminal::Terminal;
use crate::cli::{Global, Output, check};
use crate::settings::environment;
use crate::spec::files;

/// Options of `weir plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the pipelines. Default: that of weir.yaml, else `pipelines`.
    pub path: Option<PathBuf>,
    /// The instance.
    #[command(flatten)]
    pub server: Server,
    /// Compare with the files of a branch, a tag or a commit, in place of an instance.
    #[arg(long, value_name = "REF", conflicts_with_all = ["server", "look_back"])]
    pub against: Option<String>,
    /// Also tell how so many of the newest records of each altered pipeline would have fared. Nothing is sent.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub look_back: u32,
    /// Exit 1 if anything would change.
    #[arg(long)]
    pub exit_code: bool,
}

/// Prints what the files would do. Bad configuration where one is broken; with `--exit-code` no where anything would change.
pub(in crate::cli) fn run(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let folder = match &args.path {
        Some(path) => path.clone(),
        None => check::settings(global.config.as_deref(), &environment(), &mut Vec::new())
            .map(|loaded| loaded.settings.pipelines)
            .ok_or_else(|| CliError::new(Exit::BadConfig, "weir.yaml has errors: `weir check` shows them"))?,
    };
    let unread = |error: &dyn std::fmt::Display| {
        CliError::new(Exit::Usage, format!("reading {}: {error}", folder.display()))
    };
    let mut texts = BTreeMap::new();
    for source in files::pipelines(&folder).map_err(|error| unread(&error))? {
        let source = source.map_err(|finding| unread(&finding.message))?;
        texts.insert(source.name().to_owned(), source.text().to_owned());
    }
    let (plan, with) = match &args.against {
        Some(reference) => (against::plan(&folder, reference, &texts, global)?, reference.clone()),
        None => {
            let client = Client::of(&args.server, global, terminal)?;
            let request = PlanRequest { files: Some(texts), look_back: args.look_back };
            (client.post::<PlanAnswer>("/api/plan", &request, &[])?.body, client.shown)
        }
    };
    match global.output {
        Output::Json => json("weir.plan/v1", &plan, terminal)?,
        Output::Markdown => markdown(&plan, &with, terminal)?,
        _ => human(&plan, &format!("{} with {with}", folder.display()), terminal)?,
    }
    let count = |action: &str| plan.counts.get(action).copied().unwrap_or_default();
    let changes = plan.changes.len() - count("keep");
    Ok(match (count("broken"), changes, args.exit_code) {
        (1.., _, _) => Exit::BadConfig,
        (0, 1.., true) => Exit::No,
        _ => Exit::Yes,
    })
}

/// One line of what is done with a stage.
pub(super) fn line(change: &ChangeAnswer) -> String {
    let mark = match change.action.as_str() {
        "start" => '+',
        "stop" => '-',
        "broken" | "renamed" => '!',
        "keep" => ' ',
        _ => '~',
    };
    let revisions = match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("{from} -> {to}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => String::new(),
    };
    let because = match (change.why.as_str(), change.action.as_str()) {
        ("", _) => String::new(),
        (why, "restart") => format!("because of {why}"),
        (why, _) => why.to_owned(),
    };
    let text = format!("{mark} {:<24} {:<8} {revisions:<18} {because}", change.name, change.action);
    text.trim_end().to_owned()
}

/// What a change means for the records that are there.
fn consequence(one: &PlannedChange) -> Option<String> {
    let change = &one.change;
    let records = |count: u64| if count == 1 { "1 record".to_owned() } else { format!("{count} records") };
    let from = change.from.as_deref().unwrap_or("the former revision");
    match change.action.as_str() {
        "swap" => {
            let flying = match one.in_flight {
                0 => "nothing is in flight".to_owned(),
                count => format!("{} in flight end under {from}", records(count)),
            };
            let waiting = match one.retries_waiting {
                0 => String::new(),
                count => format!(", {} that wait are tried again under the new one", records(count)),
            };
            Some(format!("No rebalance: {flying}{waiting}."))
        }
        "restart" => Some(format!(
            "Drains first: {} in flight, {} waiting for a retry; offsets stay.",
            one.in_flight, one.retries_waiting
        )),
        "stop" => Some(format!(
            "Drains first; {} without an outcome stay in the topic, and the empty group keeps its offsets for as long as the broker does.",
            records(one.lag)
        )),
        _ => None,
    }
}

fn human(plan: &PlanAnswer, what: &str, terminal: &mut Terminal) -> Result<(), CliError> {
    let out = &mut terminal.out;
    writeln!(out, "Comparing {what}\n")?;
    for one in plan.changes.iter().filter(|one| one.change.action != "keep") {
        writeln!(out, "{}", line(&one.change))?;
        for found in &one.differences {
            match (&found.from, &found.to) {
                (Some(from), Some(to)) if from.len() + to.len() > 60 || from.contains('\n') => {
                    writeln!(
                        out,
                        "    {}  {from}\n    {:>width$}  {to}",
                        found.path,
                        "->",
                        width = found.path.len()
                    )?;
                }
                (Some(from), Some(to)) => writeln!(out, "    {}  {from} -> {to}", found.path)?,
                (None, Some(to)) => writeln!(out, "    {}  + {to}", found.path)?,
                (Some(from), None) => writeln!(out, "    {}  - {from}", found.path)?,
                (None, None) => {}
            }
        }
        if let Some(text) = consequence(one) {
            writeln!(out, "    {text}")?;
        }
    }
    for (pipeline, looked) in &plan.look_back {
        writeln!(out, "\n{pipeline}: {}", fared(looked))?;
        for one in &looked.different {
            let places = one.places.join(", ");
            let line = format!("    {}  {} -> {}  {places}", one.position, one.was, one.now);
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    for found in plan.findings.iter().filter(|found| found.severity == "error") {
        writeln!(
            out,
            "\nerror[{}]: {}\n  --> {}:{}:{}",
            found.code, found.message, found.file, found.line, found.column
        )?;
        if let Some(help) = &found.help {
            writeln!(out, "  = help: {help}")?;
        }
    }
    if plan.changes.iter().any(|one| one.change.action != "keep") {
        writeln!(out)?;
    }
    writeln!(out, "{}. Nothing was changed.", counts(plan))?;
    Ok(())
}

/// How recent records would have fared, in one line.
fn fared(looked: &LookedAnswer) -> String {
    if let Some(problem) = &looked.problem {
        return format!("no look back: {problem}");
    }
    let (count, differ) = (looked.looked_at, looked.differ);
    let cut = if count < looked.found {
        format!(" (of {}: the time was over)", looked.found)
    } else {
        String::new()
    };
    format!(
        "look back: of the last {count} records{cut}, {} fare the same, {differ} would fare differently",
        count - differ
    )
}

/// `1 swap, 5 keep`.
fn counts(plan: &PlanAnswer) -> String {
    let order = ["swap", "restart", "start", "stop", "broken", "renamed", "keep"];
    let counts = order.iter().filter_map(|action| Some(format!("{} {action}", plan.counts.get(*action)?)));
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() { "no pipelines".to_owned() } else { counts.join(", ") }
}

/// For a comment of a pull request.
fn markdown(plan: &PlanAnswer, server: &str, terminal: &mut Terminal) -> Result<(), CliError> {
    let out = &mut terminal.out;
    writeln!(out, "### Weir plan: {}\n", counts(plan))?;
    writeln!(out, "Compared with {server}; nothing was changed.\n")?;
    let changed: Vec<_> = plan.changes.iter().filter(|one| one.change.action != "keep").collect();
    if !changed.is_empty() {
        writeln!(out, "| stage | action | revision | what |\n|---|---|---|---|")?;
    }
    for one in changed {
        let change = &one.change;
        let revision = match (&change.from, &change.to) {
            (Some(from), Some(to)) => format!("`{from}` → `{to}`"),
            (Some(one), None) | (None, Some(one)) => format!("`{one}`"),
            (None, None) => String::new(),
        };
        let mut what: Vec<String> =
            Some(&change.why).filter(|why| !why.is_empty()).map(|why| cell(why)).into_iter().collect();
        for found in &one.differences {
            let side = |text: &Option<String>| text.as_ref().map_or("–".to_owned(), |text| code(text));
            what.push(format!("{}: {} → {}", code(&found.path), side(&found.from), side(&found.to)));
        }
        what.extend(consequence(one));
        what.extend(plan.look_back.get(&change.name).map(fared).map(|line| cell(&line)));
        writeln!(out, "| {} | {} | {revision} | {} |", cell(&change.name), change.action, what.join("<br>"))?;
    }
    Ok(())
}

/// A text inside of a table's cell.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

/// The same as code: nothing in it is markup.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('\n', " ");
    // A fence that the text does not have.
    let fence = if text.contains('`') { "``" } else { "`" };
    format!("{fence}{text}{fence}")
}
