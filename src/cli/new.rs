//! `weir init` and `weir new`: a project, and a pipeline with its test, to begin from. Nothing that is there is written over.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::terminal::Terminal;
use super::{CliError, Exit, Global, check, export};
use crate::settings::environment;

/// Options of `weir init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Where. Default: here.
    pub folder: Option<PathBuf>,
}

/// Options of `weir new`.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// The name of the pipeline, and of its file: `[a-z0-9-]`.
    pub name: String,
    /// What it begins as.
    #[arg(long, value_name = "TEMPLATE", default_value = "webhook")]
    pub template: Template,
    /// The topic that it reads.
    #[arg(long, value_name = "TOPIC", default_value = "shop.orders.v1")]
    pub topic: String,
    /// Where its events go.
    #[arg(long, value_name = "URL", default_value = "https://receiver.internal/v1/events")]
    pub url: String,
}

/// What a pipeline begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// Events to a webhook.
    Webhook,
    /// Events to another topic.
    Kafka,
}

impl Template {
    /// The pipeline and its test.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Template::Webhook => {
                (include_str!("templates/webhook.yaml"), include_str!("templates/webhook.test.yaml"))
            }
            Template::Kafka => {
                (include_str!("templates/kafka.yaml"), include_str!("templates/kafka.test.yaml"))
            }
        }
    }
}

/// Starts a project: a pipeline with its test, weir.yaml, a compose file with Kafka.
pub(super) fn init(args: &InitArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from("."));
    let new = NewArgs {
        name: "order-billing".to_owned(),
        template: Template::Webhook,
        topic: "shop.orders.v1".to_owned(),
        url: "https://billing.internal/v1/invoices".to_owned(),
    };
    let mut files = pipeline(&new, &folder.join("pipelines"));
    files.push((folder.join("weir.yaml"), include_str!("templates/weir.yaml").to_owned()));
    files.push((folder.join("docker-compose.yml"), include_str!("templates/compose.yaml").to_owned()));
    files.push((folder.join(".gitignore"), ".weir/\n".to_owned()));
    write(files, terminal)?;
    schemas(&folder)?;
    writeln!(
        terminal.err,
        "\nNext: weir check && weir test, then weir dev, which needs nothing installed; weir run reads the Kafka of weir.yaml."
    )?;
    Ok(Exit::Yes)
}

/// Adds a pipeline with its test to the folder of weir.yaml.
pub(super) fn new(args: &NewArgs, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if args.name.is_empty() || args.name.len() > 63 || !args.name.chars().all(legal) {
        let why = format!("`{}` is no name of a pipeline: 1 to 63 of a-z, 0-9 and -", args.name);
        return Err(CliError::new(Exit::Usage, why));
    }
    let settings = check::settings(global.config.as_deref(), &environment(), &mut Vec::new());
    let folder = settings.map_or_else(|| PathBuf::from("pipelines"), |loaded| loaded.settings.pipelines);
    write(pipeline(args, &folder), terminal)?;
    schemas(folder.parent().unwrap_or(Path::new(".")))?;
    writeln!(terminal.err, "\nNext: weir check && weir test --filter {}", args.name)?;
    Ok(Exit::Yes)
}

fn pipeline(args: &NewArgs, folder: &Path) -> Vec<(PathBuf, String)> {
    let (pipeline, test) = args.template.texts();
    // As YAML quotes a text that may have a colon or a brace in it.
    let url = serde_json::to_string(&args.url).unwrap_or_default();
    let fill = |text: &str| {
        text.replace("TOPIC", &args.topic)
            .replace("NAME", &args.name)
            .replace("handler: URL", &format!("handler: {url}"))
    };
    let file = |ending: &str| folder.join(format!("{}.{ending}", args.name));
    vec![(file("yaml"), fill(pipeline)), (file("test.yaml"), fill(test))]
}

/// Writes files, all or none: what is there is not written over.
fn write(files: Vec<(PathBuf, String)>, terminal: &mut Terminal) -> Result<(), CliError> {
    if let Some((there, _)) = files.iter().find(|(path, _)| path.exists()) {
        let why = format!("{} is there already: nothing was written", there.display());
        return Err(CliError::new(Exit::No, why));
    }
    let failed = |path: &Path, error: &std::io::Error| {
        CliError::new(Exit::Unreachable, format!("writing {}: {error}", path.display()))
    };
    for (path, text) in files {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        }
        // Also one that has come meanwhile stays.
        let made = std::fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        made.map_err(|error| failed(&path, &error))?;
        writeln!(terminal.out, "{}", path.display())?;
    }
    Ok(())
}

/// What the first line of each file names, for editors; written anew each time.
fn schemas(project: &Path) -> Result<(), CliError> {
    let folder = project.join(".weir");
    let write = |name: &str, schema: &serde_json::Value| {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), format!("{schema:#}\n"))
    };
    let written = write("pipeline.schema.json", &export::pipeline_schema())
        .and_then(|()| write("test.schema.json", &export::test_schema()));
    written
        .map_err(|error| CliError::new(Exit::Unreachable, format!("writing {}: {error}", folder.display())))
}
