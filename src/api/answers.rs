//! What the API takes and gives about pipelines, as types: one for the endpoints, the OpenAPI document and the command line.
//! What stands here may only grow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::git::Commit;
use crate::plan::Revision;
use crate::runtime::change::Change;
use crate::runtime::history::{Kept, Line};
use crate::runtime::plan::{Difference, Planned};
use crate::runtime::reload::Repinned;
use crate::spec::diagnostic::Diagnostic;

/// What was done with a stage, or would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangeAnswer {
    /// The stage's service; the pipeline, or the file, that is broken or waits.
    pub name: String,
    /// `keep`, `swap`, `restart`, `start`, `stop`, `broken` or `renamed`.
    pub action: String,
    /// What asks for a restart, what is broken, or what it waits for; else empty.
    pub why: String,
    /// The revision before, 7 digits.
    pub from: Option<String>,
    /// The revision after, 7 digits.
    pub to: Option<String>,
    /// The commit that changed its file last, and whether the file differs from it; null where git does not know.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub commit: Option<serde_json::Value>,
}

impl From<&Change> for ChangeAnswer {
    fn from(change: &Change) -> ChangeAnswer {
        let short = |revision: &Option<Revision>| revision.as_ref().map(|one| one.short().to_owned());
        ChangeAnswer {
            name: change.name.clone(),
            action: change.action.as_str().to_owned(),
            why: change.why.clone(),
            from: short(&change.from),
            to: short(&change.to),
            commit: change.standing.as_deref().and_then(|standing| serde_json::to_value(standing).ok()),
        }
    }
}

/// What a reload is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadRequest {
    /// Pipelines that begin anew, although they look like others that have stopped.
    pub fresh: Vec<String>,
}

/// What a reload has done.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReloadAnswer {
    /// Each stage, and each file that is broken.
    pub changes: Vec<ChangeAnswer>,
}

/// Files, and what to say of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlanRequest {
    /// Their texts by name, all that would be read; without them the instance's own as they are now.
    pub files: Option<BTreeMap<String, String>>,
    /// How many of the newest records of each altered pipeline are tried under both revisions; nothing is sent. 0: none.
    pub look_back: u32,
}

/// What files would do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanAnswer {
    /// Each stage, and each file that is broken or would wait.
    pub changes: Vec<PlannedChange>,
    /// What is to be said of the files.
    pub findings: Vec<FindingAnswer>,
    /// How many of each action.
    pub counts: BTreeMap<String, usize>,
    /// How recent records of the altered pipelines would have fared, where that was asked for.
    #[serde(default)]
    pub look_back: BTreeMap<String, LookedAnswer>,
}

/// How recent records of a pipeline would have fared.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct LookedAnswer {
    /// How many were looked at.
    pub looked_at: usize,
    /// How many there were: more, where the time was over.
    pub found: usize,
    /// How many would fare differently.
    pub differ: usize,
    /// Which, at most 20 of them.
    pub different: Vec<FaresAnswer>,
    /// Why it cannot be told.
    pub problem: Option<String>,
}

/// A record that would fare differently.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct FaresAnswer {
    /// `topic/partition/offset`.
    pub position: String,
    /// What becomes of it now.
    pub was: String,
    /// What would become of it.
    pub now: String,
    /// Which places of requests and published records differ, without their values.
    pub places: Vec<String>,
}

/// What would become of a stage.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedChange {
    /// What.
    #[serde(flatten)]
    pub change: ChangeAnswer,
    /// What is written differently, at the first stage of its pipeline.
    pub differences: Vec<DifferenceAnswer>,
    /// Records that are worked on now.
    pub in_flight: u64,
    /// Records that wait for their retry now.
    pub retries_waiting: u64,
    /// Records without an outcome now, those not yet read included.
    pub lag: u64,
}

/// A key that has another value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DifferenceAnswer {
    /// Where.
    pub path: String,
    /// The value before.
    pub from: Option<String>,
    /// The value after.
    pub to: Option<String>,
}

impl From<&Difference> for DifferenceAnswer {
    fn from(one: &Difference) -> DifferenceAnswer {
        DifferenceAnswer { path: one.path.clone(), from: one.from.clone(), to: one.to.clone() }
    }
}

/// Something that is to be said of a file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingAnswer {
    /// `W0302`.
    pub code: String,
    /// `error` or `warning`.
    pub severity: String,
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl From<&Diagnostic> for FindingAnswer {
    fn from(found: &Diagnostic) -> FindingAnswer {
        let at = found.primary.source.position(found.primary.span.start);
        FindingAnswer {
            code: found.code.to_owned(),
            severity: if found.is_error() { "error" } else { "warning" }.to_owned(),
            message: found.message.clone(),
            help: found.help.clone(),
            file: found.primary.source.name().to_owned(),
            line: at.line,
            column: at.column,
        }
    }
}

/// What is planned, as an answer.
pub fn planned(planned: &Planned, of: impl Fn(&str) -> (u64, u64, u64)) -> PlanAnswer {
    let mut told = std::collections::BTreeSet::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let changes = planned.changes.iter().map(|change| {
        *counts.entry(change.action.as_str().to_owned()).or_default() += 1;
        let pipeline = Planned::pipeline_of(&change.name);
        let differences = planned.differences.get(pipeline).filter(|_| told.insert(pipeline.to_owned()));
        let (in_flight, retries_waiting, lag) = of(&change.name);
        PlannedChange {
            change: ChangeAnswer::from(change),
            differences: differences.into_iter().flatten().map(DifferenceAnswer::from).collect(),
            in_flight,
            retries_waiting,
            lag,
        }
    });
    let changes = changes.collect();
    let findings = planned.findings.iter().map(FindingAnswer::from).collect();
    PlanAnswer { changes, findings, counts, look_back: BTreeMap::new() }
}

/// A content that a pipeline had.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevisionAnswer {
    /// The content hash: 64 digits, of which 7 are shown.
    pub revision: String,
    /// Whether it runs now.
    pub running: bool,
    /// The commit that brought it; empty where unknown.
    pub commit: String,
    /// Its author.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// The file that it was in.
    pub file: String,
    /// When it last began to run (RFC 3339).
    pub at: String,
}

/// Something that was done to a pipeline.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LineAnswer {
    /// When (RFC 3339).
    pub at: String,
    /// The instance that did it.
    pub instance: String,
    /// The pipeline.
    pub pipeline: String,
    /// The revision from then on, 7 digits; empty where nothing runs.
    pub revision: String,
    /// `start`, `change`, `stop`, `broken`, `fresh`, `rollback`, `passed` or `release`.
    pub action: String,
    /// Who; empty for what follows from files.
    pub actor: String,
    /// Why; empty where nobody said.
    pub reason: String,
}

/// The contents that a pipeline had, and what was done to it, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryAnswer {
    /// Its contents; empty where no pipeline was named.
    pub revisions: Vec<RevisionAnswer>,
    /// What was done.
    pub items: Vec<LineAnswer>,
}

/// Two contents of a pipeline, and how they differ.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiffAnswer {
    /// The first revision, 64 digits.
    pub from: String,
    /// The second revision, 64 digits.
    pub to: String,
    /// What is written differently, as a unified diff.
    pub yaml: String,
    /// What differs in effect, with the file's defaults in each stage.
    pub differences: Vec<DifferenceAnswer>,
}

/// Which older revision is to be held.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The beginning of a revision or of a commit, 4 characters at least.
    pub to: String,
    /// Why. Required: whoever finds the pin asks.
    pub reason: String,
    /// `change` (default): until the file says something else that can run. `release`: until somebody releases it.
    #[serde(default)]
    pub until: UntilRequest,
    /// Who says so.
    #[serde(default)]
    pub actor: String,
}

/// How long a revision is held.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UntilRequest {
    /// Until the file says something else that can run.
    #[default]
    Change,
    /// Until somebody releases it.
    Release,
}

/// Which pin is to be taken back.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReleaseRequest {
    /// Why.
    pub reason: String,
    /// Who says so.
    pub actor: String,
}

/// What became of a pin.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RepinnedAnswer {
    /// The revision before, 7 digits.
    pub from: String,
    /// The revision from now on, 7 digits.
    pub to: String,
    /// Whether nothing was done: it was only asked for what would be.
    pub dry_run: bool,
    /// What was done with each stage, or would be.
    pub changes: Vec<ChangeAnswer>,
}

impl RepinnedAnswer {
    pub(super) fn of(done: &Repinned, dry_run: bool) -> RepinnedAnswer {
        RepinnedAnswer {
            from: done.from.short().to_owned(),
            to: done.to.short().to_owned(),
            dry_run,
            changes: done.changes.iter().map(ChangeAnswer::from).collect(),
        }
    }
}

impl RevisionAnswer {
    pub(super) fn of(kept: &Kept, running: bool) -> RevisionAnswer {
        let commit = |of: fn(&Commit) -> &String| kept.commit.as_ref().map(of).cloned().unwrap_or_default();
        RevisionAnswer {
            revision: (*kept.revision).to_owned(),
            running,
            commit: commit(|commit| &commit.id),
            author: commit(|commit| &commit.author),
            subject: commit(|commit| &commit.subject),
            file: kept.file.clone(),
            at: time(kept.at),
        }
    }
}

impl From<&Line> for LineAnswer {
    fn from(line: &Line) -> LineAnswer {
        LineAnswer {
            at: time(line.at),
            instance: line.instance.clone(),
            pipeline: line.pipeline.clone(),
            revision: line.revision.as_ref().map(|one| one.short().to_owned()).unwrap_or_default(),
            action: line.action.clone(),
            actor: line.actor.clone(),
            reason: line.reason.clone(),
        }
    }
}

/// A time in UTC, to the millisecond.
fn time(at: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}
