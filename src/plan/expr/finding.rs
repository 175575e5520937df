//! What is wrong with an expression or a template: text and a byte span inside the source. Where the source stands in a
//! file is added by who knows the file.

use std::ops::Range;

use vrl::diagnostic::{Diagnostic, DiagnosticList, Note};

use super::functions;
use crate::spec::diagnostic::did_you_mean;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `W03xx`, or `W0207` for a reference inside a program.
    pub code: &'static str,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where, as bytes of the source.
    pub span: Range<usize>,
    /// What is known about why.
    pub cause: Option<String>,
    /// One action.
    pub help: Option<String>,
    /// VRL's own error number, as in `E100`.
    pub vrl: Option<usize>,
}

/// Not valid VRL.
pub const SYNTAX: &str = "W0301";
/// It can fail at run time and does not say what happens then.
pub const FALLIBLE: &str = "W0302";
/// A condition that is not true or false.
pub const NOT_BOOLEAN: &str = "W0303";
/// It writes where it may only read.
pub const READ_ONLY: &str = "W0304";
/// An unknown function or variable, or one that is not allowed.
pub const UNKNOWN_NAME: &str = "W0305";
/// VRL's type check or another of its rules.
pub const INVALID: &str = "W0306";
/// Not a valid template.
pub const TEMPLATE: &str = "W0307";
/// `%` has no such name.
pub const UNKNOWN_METADATA: &str = "W0308";
/// Not a valid path.
pub const PATH: &str = "W0309";
/// Longer or deeper than a program may be.
pub const TOO_LARGE: &str = "W0310";
/// A key of an encryption or a signature that is none.
pub const KEY: &str = "W0312";
/// A path that the value never has.
pub const ABSENT: &str = "W0313";
/// A value that never fits its schema.
pub const MISFIT: &str = "W0314";
/// A name that is almost that of a declared field.
pub const NEAR: &str = "W0509";
/// `${..}` that does not resolve.
pub const UNRESOLVED: &str = "W0201";
/// `${` that is no reference.
pub const MALFORMED: &str = "W0209";
/// `${..}` inside a program.
pub const REFERENCE: &str = "W0207";

impl Finding {
    /// A finding without cause and help.
    pub fn new(code: &'static str, message: impl Into<String>, span: Range<usize>) -> Finding {
        Finding { code, message: message.into(), span, cause: None, help: None, vrl: None }
    }

    /// The same with one action to take.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Finding {
        self.help = Some(help.into());
        self
    }

    /// The same with what is known about why.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Finding {
        self.cause = Some(cause.into());
        self
    }
}

/// What VRL's compiler said about `source`. `predicate`: the source is a condition.
pub(super) fn from_vrl(source: &str, list: DiagnosticList, predicate: bool) -> Vec<Finding> {
    let mut out: Vec<Finding> = Vec::new();
    for diagnostic in list.into_iter().filter(Diagnostic::is_problem) {
        let finding = one(source, &diagnostic, predicate);
        if !out.iter().any(|other| other.code == finding.code && other.span == finding.span) {
            out.push(finding);
        }
    }
    out
}

fn one(source: &str, diagnostic: &Diagnostic, predicate: bool) -> Finding {
    let label = diagnostic.labels.iter().find(|l| l.primary).or(diagnostic.labels.first());
    let span = label.map_or(0..source.len(), |l| clamp(source, l.span.range()));
    let text = source.get(span.clone()).unwrap_or("").trim();
    let line = source.get(span.start..).unwrap_or("").lines().next().unwrap_or("").trim();
    let number = diagnostic.code;
    let said = said(diagnostic);
    let mut finding = match number {
        200..=211 => syntax(source, said, span),
        100 | 103 | 630 | 631 => fallible(text, &said, span),
        102 => not_boolean(text, span),
        660 => not_boolean(line.trim_start_matches('!').trim(), span.start..span.start + line.len()),
        110 => wrong_type(source, said, span),
        315 if predicate => Finding::new(
            READ_ONLY,
            "a condition may not write to the record",
            span.start..span.start + line.len(),
        )
        .help(comparison_help(line)),
        315 => Finding::new(READ_ONLY, "`%` can be read, not written", span)
            .help("write to a path of the value, such as `.id`"),
        610 if said.contains("E315") => {
            let what = if predicate {
                "a condition may not delete from the record"
            } else {
                "`%` can be read, not deleted"
            };
            Finding::new(READ_ONLY, what, span).help("delete in a `remap` or `remove`")
        }
        105 => unknown_function(text, &said, span),
        106..=108 => wrong_call(text, said, span),
        701 => unknown_variable(source, text, span),
        _ => Finding::new(INVALID, said, span),
    };
    if finding.help.is_none() {
        finding.help = notes(&diagnostic.notes);
    }
    finding.vrl = Some(number);
    finding.message = format!("{} (VRL E{number})", finding.message.trim_end_matches('.'));
    finding
}

/// VRL's own words, without the long list of every token that it would have taken.
fn said(diagnostic: &Diagnostic) -> String {
    let mut parts = vec![diagnostic.message.as_str()];
    for label in &diagnostic.labels {
        let message = label.message.trim();
        let is_list = message.starts_with("expected one of: \"") && message.len() > 80;
        if !message.is_empty() && !is_list && !parts.contains(&message) {
            parts.push(message);
        }
    }
    parts.join(": ")
}

fn clamp(source: &str, span: Range<usize>) -> Range<usize> {
    let end = span.end.min(source.len());
    span.start.min(end)..end
}

fn notes(notes: &[Note]) -> Option<String> {
    let lines: Vec<String> = notes
        .iter()
        .filter(|note| matches!(note, Note::Hint(_) | Note::Example(_) | Note::CoerceValue | Note::Basic(_)))
        .map(|note| note.to_string().trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    (!lines.is_empty()).then(|| lines.join(" "))
}

fn fallible(text: &str, said: &str, span: Range<usize>) -> Finding {
    let comparison =
        [" > ", " < ", " >= ", " <= "].iter().find_map(|op| text.split_once(op).map(|(l, r)| (l, *op, r)));
    match comparison {
        Some((left, op, right)) if !text.contains('\n') => {
            let unknown = if left.starts_with(['.', '%']) { left } else { right };
            let cast = if unknown == "%timestamp" { "timestamp" } else { "int" };
            let typed = if unknown == left {
                format!("{cast}!({left}){op}{right}")
            } else {
                format!("{left}{op}{cast}!({right})")
            };
            Finding::new(
                FALLIBLE,
                format!("this comparison can fail: the type of `{unknown}` is not known"),
                span,
            )
            .help(format!("{typed} (another type is then dead-lettered as invalid) or ({text}) ?? false"))
        }
        _ => fallible_call(text, said, span),
    }
}

/// A call or a sum whose arguments may have any type.
fn fallible_call(text: &str, said: &str, span: Range<usize>) -> Finding {
    let finding = Finding::new(FALLIBLE, "this can fail, and nothing says what happens then", span);
    // VRL's own reason, of all that it says.
    let reason = said.split(": ").find(|part| part.contains("argument type is"));
    let finding = match reason {
        Some(reason) => finding.cause(reason.split(" because ").last().unwrap_or(reason)),
        None => finding.cause("the type of a part of it is not known"),
    };
    let name = text.split('(').next().unwrap_or("");
    let operators = ['+', '-', '*', '/'];
    let help = if functions::allowed().iter().any(|f| f.identifier() == name) {
        let call = text.get(name.len()..).unwrap_or("").lines().next().unwrap_or("");
        format!("{name}!{call} (a failure is then dead-lettered as invalid), or `?? VALUE` behind it")
    } else if let Some((left, right)) = text.split_once(operators).filter(|_| !text.contains('\n')) {
        let typed = |part: &str| {
            let part = part.trim();
            if part.starts_with(['.', '%']) { format!("int!({part})") } else { part.to_owned() }
        };
        let operator = text.get(left.len()..left.len() + 1).unwrap_or("+");
        let (left, right) = (typed(left), typed(right));
        format!("say the types: {left} {operator} {right} (or string!, float!), or ({text}) ?? VALUE")
    } else {
        "add `!` to the function's name (a failure is then dead-lettered as invalid), or `?? VALUE` behind it"
            .to_owned()
    };
    finding.help(help)
}

pub(super) fn not_boolean(text: &str, span: Range<usize>) -> Finding {
    if text.is_empty() {
        let span = if span.is_empty() { 0..usize::MAX } else { span };
        return Finding::new(NOT_BOOLEAN, "this condition is empty", span)
            .help("write one, such as .status == \"PAID\", or take the key out");
    }
    let finding = Finding::new(NOT_BOOLEAN, format!("`{text}` is not known to be true or false"), span);
    if text.starts_with(['.', '%']) {
        return finding.help(format!("{text} == true, or bool!({text})"));
    }
    finding.help("compare something, as in .status == \"PAID\"")
}

fn comparison_help(line: &str) -> String {
    match line.split_once('=') {
        Some((left, right)) if !right.starts_with('=') => {
            format!("compare with `==`: {} == {}", left.trim(), right.trim())
        }
        _ => "compare with `==`; what writes belongs into a `remap` or `remove`".to_owned(),
    }
}

fn wrong_type(source: &str, said: String, span: Range<usize>) -> Finding {
    let before = source.get(..span.start).unwrap_or("");
    let call = before.rfind('(').and_then(|at| before.get(..at)).unwrap_or("");
    let name = call.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
    let finding = Finding::new(INVALID, said, span);
    if functions::allowed().iter().any(|f| f.identifier() == name) {
        return finding.help(format!("{name}!(..) takes it (another type is then dead-lettered as invalid)"));
    }
    finding
}

fn unknown_function(text: &str, said: &str, span: Range<usize>) -> Finding {
    let name = text.split('(').next().unwrap_or(text).trim_end_matches('!').trim();
    if let Some(reason) = functions::why_denied(name) {
        return Finding::new(UNKNOWN_NAME, format!("`{name}` may not be called here"), span).help(reason);
    }
    let known = functions::allowed().iter().map(|f| f.identifier());
    let finding = Finding::new(UNKNOWN_NAME, format!("there is no function `{name}`"), span);
    // VRL guesses too, from further away.
    let guess = said.split("did you mean \"").nth(1).and_then(|rest| rest.split('"').next());
    match did_you_mean(name, known).or(guess.filter(|guess| functions::why_denied(guess).is_none())) {
        Some(known) => finding.help(format!("did you mean `{known}`?")),
        None => {
            finding.help("the functions are those of VRL; one that you miss is often a `remap` of two steps")
        }
    }
}

/// Arguments that are missing, too many, or of another name.
fn wrong_call(text: &str, said: String, span: Range<usize>) -> Finding {
    let name = text.split('(').next().unwrap_or("").trim_end_matches('!');
    let finding = Finding::new(INVALID, said, span);
    let Some(function) = functions::allowed().iter().find(|f| f.identifier() == name) else { return finding };
    let takes: Vec<String> = function
        .parameters()
        .iter()
        .map(|one| if one.required { one.keyword.to_owned() } else { format!("[{}]", one.keyword) })
        .collect();
    finding.help(format!("it is called as {name}({})", takes.join(", ")))
}

fn unknown_variable(source: &str, text: &str, span: Range<usize>) -> Finding {
    let name = text.trim_matches(['{', '}', ' ']);
    let finding = Finding::new(UNKNOWN_NAME, format!("there is no variable `{name}`"), span);
    if text.starts_with("{{") || (source.contains("{{") && name.starts_with(['.', '%'])) {
        return finding
            .help(format!("no templates in a program; join texts with `+`: \"..\" + string!({name})"));
    }
    finding.help(format!("a path of the value begins with a full stop: .{name}"))
}

/// A syntax error: VRL names its own tokens, which nobody wrote; what stands there says more.
fn syntax(source: &str, said: String, span: Range<usize>) -> Finding {
    let rest = source.get(span.start..).unwrap_or("");
    let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|end| *end > 0);
    let there = source.get(span.clone()).map(str::trim).filter(|text| !text.is_empty());
    let there = word.and_then(|end| rest.get(..end)).or(there).unwrap_or("");
    let bracket = said.contains("expected one of: \"\\n\", \")\"") || said.contains("\"\\n\", \"]\"");
    let said_of_text = said.contains("string literal");
    let message = if said.contains("unexpected syntax token") && !there.is_empty() && there.len() <= 40 {
        format!("syntax error: `{there}` is not expected here")
    } else if said.contains("unexpected end of program") {
        "syntax error: the program ends in the middle".to_owned()
    } else {
        said
    };
    let help = match there {
        "===" => "compare with `==`",
        "!==" => "compare with `!=`",
        "and" => "write `&&`",
        "or" => "write `||`",
        "not" => "write `!` before what is not to be",
        "?" => "write if .. { .. } else { .. }",
        _ if source.get(..span.start).is_some_and(|before| before.trim_end().ends_with("return")) => {
            "there is no value behind `return`: write if .. else .., or `abort` to refuse the record"
        }
        _ if said_of_text => "close the text with `\"`",
        _ if bracket => "close the bracket that is open above",
        _ => syntax_help(source),
    };
    Finding::new(SYNTAX, message, span).help(help)
}

fn syntax_help(source: &str) -> &'static str {
    if source.contains("{{") {
        "a template belongs into a value; an expression names the path alone: .paid == true"
    } else if source.contains('\'') {
        "VRL strings take double quotes: \"x\" (or s'x')"
    } else if source.contains("if ") && source.contains(": if") {
        "assign the result of `if` to a variable first"
    } else if source.contains('\n') {
        "one statement a line; with several lines use `|` in YAML, not `>`"
    } else {
        "a condition compares, as in .status == \"PAID\"; a program assigns, as in .a = .b"
    }
}
