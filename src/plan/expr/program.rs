//! VRL, compiled: conditions, expressions and programs, and one bounded run over a record.

use std::ops::{ControlFlow, Range};
use std::sync::LazyLock;

use vrl::compiler::runtime::{Runtime, Terminate};
use vrl::compiler::state::{ExternalEnv, RuntimeState};
use vrl::compiler::{CompileConfig, Target, TimeZone, compile_with_external};
use vrl::path::OwnedTargetPath;
use vrl::value::{Kind, Value};

use super::finding::{self, Finding};
use super::target::{ReadOnly, Writable};
use super::view::{Field, RESPONSE, Reads, Surroundings, View, metadata_kind};
use super::{bound, fence, functions, measure};
use crate::event::Event;
use crate::outcome::{Code, Failure};
use crate::spec::diagnostic::did_you_mean;

/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 64 * 1024;
/// How many expressions one run may evaluate: about a quarter of a second. A program of 50 expressions reaches it on a
/// list of 100,000 entries.
const MAX_STEPS: u32 = 5_000_000;

/// A condition: reads, never writes, is true or false.
#[derive(Debug, Clone)]
pub struct Predicate(Expression);

/// A value made from a record: reads, never writes.
#[derive(Debug, Clone)]
pub struct Expression(Compiled);

/// A program that changes the value. Reads `%`, writes only to `.`.
#[derive(Debug, Clone)]
pub struct Program(Compiled);

impl Predicate {
    /// Compiles a condition. Fails with all findings where it is not VRL, may fail at run time unsaid, writes, or is not
    /// known to be true or false.
    pub fn compile(source: &str) -> Result<Predicate, Vec<Finding>> {
        Predicate::of(source, Expression::compile(source)?)
    }

    /// The same where a handler has answered for certain: `%response.status < 300` cannot fail then.
    pub fn compile_answered(source: &str) -> Result<Predicate, Vec<Finding>> {
        Predicate::of(source, Compiled::new(source, true, true).map(Expression)?)
    }

    fn of(source: &str, expression: Expression) -> Result<Predicate, Vec<Finding>> {
        let result = expression.0.program.final_type_info().result;
        if !result.kind().is_boolean() {
            return Err(vec![finding::not_boolean(source.trim(), trimmed(source))]);
        }
        Ok(Predicate(expression))
    }

    /// Whether the record meets the condition. Fails with code `transform` where an expression with `!` failed.
    pub fn test(&self, view: &View<'_>) -> Result<bool, Failure> {
        match self.0.eval(view)? {
            Value::Boolean(met) => Ok(met),
            other => Err(failure(format!("the condition gave {}, not a boolean", other.kind_str()))),
        }
    }

    /// Whether `.` is read, or `%id`, which comes from the payload.
    pub fn looks_into_payload(&self) -> bool {
        self.0.looks_into_payload()
    }

    /// Whether `%response` is read.
    pub fn reads_response(&self) -> bool {
        self.0.reads_response()
    }

    /// Whether `%id` is read.
    pub fn reads_id(&self) -> bool {
        self.0.0.reads.id
    }

    /// The source as written.
    pub fn source(&self) -> &str {
        &self.0.0.source
    }

    /// The paths that it reads.
    pub fn reads(&self) -> &[OwnedTargetPath] {
        self.0.reads()
    }
}

impl Expression {
    /// Compiles an expression that gives a value. Fails with all findings.
    pub fn compile(source: &str) -> Result<Expression, Vec<Finding>> {
        Compiled::new(source, true, false).map(Expression)
    }

    /// The value for this record.
    pub fn eval(&self, view: &View<'_>) -> Result<Value, Failure> {
        let metadata = view.metadata(&self.0.reads);
        let has_loops = self.0.has_loops;
        self.0.run(&mut ReadOnly { value: view.value(), metadata: &metadata, has_loops })
    }

    /// Whether `.` is read, or `%id`, which comes from the payload.
    pub fn looks_into_payload(&self) -> bool {
        self.0.reads.payload
    }

    /// Whether `%response` is read.
    pub fn reads_response(&self) -> bool {
        self.0.reads.response
    }

    /// The paths that it reads.
    pub fn reads(&self) -> &[OwnedTargetPath] {
        &self.0.program.info().target_queries
    }
}

impl Program {
    /// Compiles a program. Fails with all findings, also where it writes to `%`.
    pub fn compile(source: &str) -> Result<Program, Vec<Finding>> {
        Compiled::new(source, false, false).map(Program)
    }

    /// What the program makes of `value`, the body of `event`. Fails with code `transform` where an expression with `!`
    /// failed, at `abort`, and where steps, size or depth are over their bounds.
    pub fn run(&self, event: &Event, mut value: Value, around: Surroundings<'_>) -> Result<Value, Failure> {
        let mut metadata = View::new(event, &value, around).metadata(&self.0.reads);
        let has_loops = self.0.has_loops;
        let mut target = Writable { value: &mut value, metadata: &mut metadata, has_loops };
        self.0.run(&mut target)?;
        measure::check(&value).map_err(failure)?;
        Ok(value)
    }

    /// Whether `%id` is read.
    pub fn reads_id(&self) -> bool {
        self.0.reads.id
    }

    /// Whether `.` is read or written, or `%id` read.
    pub fn looks_into_payload(&self) -> bool {
        self.0.reads.payload || !self.writes().is_empty()
    }

    /// The paths that it reads.
    pub fn reads(&self) -> &[OwnedTargetPath] {
        &self.0.program.info().target_queries
    }

    /// The paths that it writes.
    pub fn writes(&self) -> &[OwnedTargetPath] {
        &self.0.program.info().target_assignments
    }
}

#[derive(Debug, Clone)]
struct Compiled {
    source: String,
    program: vrl::compiler::Program,
    /// Whether what a run copies has to be counted.
    has_loops: bool,
    reads: Reads,
}

const UNBOUNDED: &str = "the loops of this program cannot be bounded";
const SHAPE: &str = "write a closure as `-> |key, value| { .. }` with at least one expression in it";

fn config(read_only: bool) -> CompileConfig {
    let mut config = CompileConfig::default();
    if read_only {
        config.set_read_only();
    } else {
        config.set_read_only_path(OwnedTargetPath::metadata_root(), true);
    }
    config
}

static UTC: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::parse("UTC").unwrap_or(TimeZone::Local));

impl Compiled {
    fn new(source: &str, read_only: bool, answered: bool) -> Result<Compiled, Vec<Finding>> {
        check_source(source)?;
        let unknown = unknown_metadata(source);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let types = ExternalEnv::new_with_kind(Kind::any(), metadata_kind(answered));
        let result = compile_with_external(source, functions::allowed(), &types, config(read_only))
            .map_err(|list| finding::from_vrl(source, list, read_only))?;
        let mut program = result.program;
        let reads = Reads::of(&program.info().target_queries);
        let unbounded = || vec![Finding::new(finding::INVALID, UNBOUNDED, trimmed(source)).help(SHAPE)];
        let fenced = fence::instrument(source).map_err(|_| unbounded())?;
        let has_loops = fenced.is_some();
        if let Some(fenced) = fenced {
            program = compile_with_external(&fenced, functions::with_fence(), &types, config(read_only))
                .map_err(|_| unbounded())?
                .program;
        }
        Ok(Compiled { source: source.to_owned(), program, has_loops, reads })
    }

    fn run(&self, target: &mut dyn Target) -> Result<Value, Failure> {
        let mut steps = 0u32;
        let has_loops = self.has_loops;
        if has_loops {
            fence::start();
        }
        let mut control = || {
            steps += 1;
            let stop = steps > MAX_STEPS || (has_loops && fence::is_over());
            if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut runtime = Runtime::new(RuntimeState::default());
        runtime.resolve_with_control(target, &self.program, &UTC, &mut control).map_err(|end| match end {
            Terminate::Interrupted => match fence::over().filter(|_| has_loops) {
                Some(over) => failure(over),
                None => failure(format!("stopped after {MAX_STEPS} steps")),
            },
            Terminate::Abort(error) | Terminate::Error(error) => failure(without_span(&error.to_string())),
        })
    }
}

/// VRL's run-time errors name bytes of the program (` at (16:32)`), which nobody can see.
fn without_span(message: &str) -> String {
    let Some((before, rest)) = message.split_once(" at (") else { return message.to_owned() };
    match rest.split_once(')') {
        Some((span, after)) if span.bytes().all(|b| b.is_ascii_digit() || b == b':') => {
            format!("{before}{after}")
        }
        _ => message.to_owned(),
    }
}

fn failure(message: impl Into<String>) -> Failure {
    Failure::invalid(Code::Transform, message)
}

fn trimmed(source: &str) -> Range<usize> {
    let start = source.len() - source.trim_start().len();
    start..start + source.trim().len()
}

/// Bounds that VRL's own parser and compiler, which recurse, do not have; and references, which are never text of a
/// program.
fn check_source(source: &str) -> Result<(), Vec<Finding>> {
    let all = 0..source.len();
    if source.len() > MAX_SOURCE {
        return Err(vec![
            Finding::new(finding::TOO_LARGE, format!("longer than {MAX_SOURCE} bytes"), all)
                .help("make several steps of it"),
        ]);
    }
    if source.trim_start().starts_with("{{") {
        return Err(vec![
            Finding::new(finding::SYNTAX, "a template stands where an expression belongs", trimmed(source))
                .help("an expression names the path alone: .paid == true"),
        ]);
    }
    for kind in ["${env:", "${var:", "${secret:"] {
        if let Some(at) = source.find(kind) {
            let end = source.get(at..).and_then(|rest| rest.find('}')).map_or(source.len(), |e| at + e + 1);
            let text = source.get(at..end).unwrap_or(kind);
            return Err(vec![
                Finding::new(finding::REFERENCE, format!("`{text}` may not stand inside a program"), at..end)
                    .help(format!("put the value into the record before: set: {{ .name: \"{text}\" }}")),
            ]);
        }
    }
    bound::check(source)
        .map_err(|over| vec![Finding::new(finding::TOO_LARGE, over.message, over.span).help(over.help)])
}

/// Every `%NAME` that does not exist. Read from the text, because VRL's compiler would first complain about its type;
/// `%` is no operator in VRL, so outside of strings and comments it begins a path.
fn unknown_metadata(source: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut quoted = false;
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            '"' => quoted = !quoted,
            '#' if !quoted => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            '%' if !quoted => {
                let rest = source.get(at + 1..).unwrap_or("");
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                let name = rest.get(..end).unwrap_or("");
                if !name.is_empty() && !Field::ALL.iter().any(|field| field.name() == name) {
                    findings.push(unknown_metadata_finding(name, at..at + 1 + end));
                }
                if name == Field::Response.name() {
                    findings.extend(unknown_in_response(rest.get(end..).unwrap_or(""), at + 1 + end));
                }
            }
            _ => {}
        }
    }
    findings
}

/// `%response.NAME` that does not exist. `rest` is what follows `%response`, `at` where that stands.
fn unknown_in_response(rest: &str, at: usize) -> Option<Finding> {
    let name = rest.strip_prefix('.')?;
    let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
    let name = name.get(..end).filter(|name| !name.is_empty() && !RESPONSE.contains(name))?;
    let message = format!("`%response.{name}` does not exist");
    let finding = Finding::new(finding::UNKNOWN_METADATA, message, at + 1..at + 1 + end);
    Some(match did_you_mean(name, RESPONSE.iter().copied()) {
        Some(known) => finding.help(format!("did you mean `%response.{known}`?")),
        None => finding.help("one of %response.status, %response.headers, %response.body"),
    })
}

/// `%NAME` that is none of the names of [`Field`].
pub(super) fn unknown_metadata_finding(name: &str, span: Range<usize>) -> Finding {
    let finding = Finding::new(finding::UNKNOWN_METADATA, format!("`%{name}` does not exist"), span);
    match did_you_mean(name, Field::ALL.iter().map(|field| field.name())) {
        Some(known) => finding.help(format!("did you mean `%{known}`?")),
        None => {
            let known: Vec<String> = Field::ALL.iter().map(|f| format!("%{}", f.name())).collect();
            finding.help(format!("one of {}", known.join(", ")))
        }
    }
}
