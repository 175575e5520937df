//! `weir export`: files for editors and other programs.

use schemars::generate::SchemaSettings;

use super::terminal::Terminal;
use super::{CliError, Exit};
use crate::spec::pipeline::Pipeline;

/// What to export.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to print.
    #[arg(value_enum)]
    pub what: What,
}

/// A thing that can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// The JSON Schema (draft-07) of a pipeline file, for editors.
    PipelineSchema,
    /// The JSON Schema (draft-07) of a file of tests, for editors.
    TestSchema,
    /// The JSON Schema (draft-07) of weir.yaml, for editors.
    RuntimeSchema,
}

/// The schema of a pipeline file: draft-07, which the YAML language server reads.
pub fn pipeline_schema() -> serde_json::Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<Pipeline>().to_value()
}

/// The schema of a file of tests: draft-07.
pub fn test_schema() -> serde_json::Value {
    SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<crate::spec::testfile::Tests>()
        .to_value()
}

/// The schema of the runtime file: draft-07.
pub fn runtime_schema() -> serde_json::Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<crate::spec::runtime::Spec>().to_value()
}

/// Prints it.
pub fn run(args: &Args, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let schema = match args.what {
        What::PipelineSchema => pipeline_schema(),
        What::TestSchema => test_schema(),
        What::RuntimeSchema => runtime_schema(),
    };
    writeln!(terminal.out, "{schema:#}")?;
    Ok(Exit::Yes)
}
