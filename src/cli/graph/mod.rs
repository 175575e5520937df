//! `weir graph`: which topic leads through which stage where, over all files, as text that other tools draw or as an SVG.

mod layout;
mod model;
mod svg;
mod text;

use std::path::PathBuf;

use super::exit::{CliError, Exit};
use super::load;
use super::terminal::Terminal;
use super::{Global, Output};
use crate::spec::diagnostic::{self, Diagnostic};
use crate::spec::{PipelineFile, files};
use model::{Graph, Wanted};

/// What to draw.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Files, or folders of files. Default: the folder of weir.yaml, else `pipelines`.
    pub paths: Vec<PathBuf>,
    /// Only the pipelines of this owner.
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// Only the stages that read or write this topic.
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
}

const AFTER: &str = "Examples:
  weir graph > pipelines.mmd              Mermaid, which GitHub and GitLab draw in Markdown
  weir graph -o svg > pipelines.svg
  weir graph -o dot --owner team-billing | dot -Tpng > billing.png";

/// Draws what can be read; no where a file has errors, which go to stderr.
pub(super) fn graph(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let loaded = load::runtime_file(global, &[], terminal)?;
    let default = [loaded.settings.pipelines.clone()];
    let paths = if args.paths.is_empty() { &default[..] } else { &args.paths };
    let (mut read, mut findings) = (Vec::new(), Vec::new());
    for path in paths {
        let found = files::pipelines_at(path)
            .map_err(|error| CliError::new(Exit::Usage, format!("reading {}: {error}", path.display())))?;
        for file in found {
            match files::pipeline(&file) {
                Ok(source) => read.push(PipelineFile::parse(&source, &mut findings)),
                Err(finding) => findings.push(*finding),
            }
        }
    }
    diagnostic::sort(&mut findings);
    for finding in findings.iter().filter(|finding| finding.is_error()) {
        writeln!(terminal.err, "{}", diagnostic::human(finding, terminal.err_color))?;
    }
    let wanted = Wanted { owner: args.owner.as_deref(), topic: args.topic.as_deref() };
    let pipelines = read.iter().filter_map(|file| file.spec.as_ref());
    let graph = Graph::of(pipelines, &loaded.settings.references, &wanted);
    let text = match global.output {
        Output::Dot => text::dot(&graph),
        Output::Svg => svg::svg(&graph),
        Output::Json => format!("{}\n", text::json(&graph)),
        Output::Human
        | Output::Junit
        | Output::Mermaid
        | Output::Short
        | Output::Github
        | Output::Sarif
        | Output::Jsonl => text::mermaid(&graph),
    };
    terminal.out.write_all(text.as_bytes())?;
    Ok(if findings.iter().any(Diagnostic::is_error) { Exit::No } else { Exit::Yes })
}
