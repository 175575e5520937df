//! Bounds on what a loop in a program may copy. VRL copies a variable or a path each time it is read, and a loop runs as
//! often as the data says: `s = s + .text` over a long list would fill the memory of the process. So a program that has a
//! closure is compiled twice: once as it is, for its findings, and once with a call at the head of each closure that
//! weighs the variables which its body reads whole. What straight-line code can grow is bounded by its text.

use std::cell::RefCell;

use vrl::compiler::Function;
use vrl::compiler::prelude::*;
use vrl::parser::ast::Ident;
use vrl::value::Value;

use super::measure;

/// How many values one run may copy in loops.
const MAX_COPIED_NODES: usize = 20_000_000;
/// How many bytes of text one run may copy in loops.
const MAX_COPIED_BYTES: usize = 256 * 1024 * 1024;
const NAME: &str = "weir_fence";

struct Budget {
    nodes: usize,
    bytes: usize,
    over: Option<String>,
}

thread_local! {
    // VRL hands a function nothing of ours but the record, and a run neither waits nor leaves its thread.
    static BUDGET: RefCell<Budget> = const { RefCell::new(Budget { nodes: 0, bytes: 0, over: None }) };
}

/// Begins a run.
pub(super) fn start() {
    BUDGET.with_borrow_mut(|budget| {
        *budget = Budget { nodes: MAX_COPIED_NODES, bytes: MAX_COPIED_BYTES, over: None };
    });
}

/// Takes a copy of `value` off the budget.
pub(super) fn charge(value: &Value) {
    BUDGET.with_borrow_mut(|budget| {
        if budget.over.is_some() {
            return;
        }
        match measure::weigh(value) {
            Err(over) => budget.over = Some(over),
            Ok(weight) => {
                match (budget.nodes.checked_sub(weight.nodes), budget.bytes.checked_sub(weight.bytes)) {
                    (Some(nodes), Some(bytes)) => (budget.nodes, budget.bytes) = (nodes, bytes),
                    _ => {
                        budget.over =
                            Some("the loops of this program copy too much of this record".to_owned())
                    }
                }
            }
        }
    });
}

/// Which bound this run is over.
pub(super) fn over() -> Option<String> {
    BUDGET.with_borrow(|budget| budget.over.clone())
}

/// Whether this run is over a bound.
pub(super) fn is_over() -> bool {
    BUDGET.with_borrow(|budget| budget.over.is_some())
}

/// The same program with a call at the head of each closure. `Ok(None)` where it has no closure; an error where there is
/// one that cannot be told apart.
pub(super) fn instrument(source: &str) -> Result<Option<String>, Unclear> {
    let closures = closures(source).ok_or(Unclear)?;
    if closures.is_empty() {
        return Ok(None);
    }
    let mut out = String::with_capacity(source.len() + closures.len() * 32);
    let mut from = 0;
    for closure in &closures {
        out.push_str(source.get(from..closure.body).ok_or(Unclear)?);
        out.push_str(&format!(" {NAME}(\"{}\"); ", closure.names.join(",")));
        from = closure.body;
    }
    out.push_str(source.get(from..).ok_or(Unclear)?);
    Ok(Some(out))
}

/// A closure that is written in an unusual way.
#[derive(Debug)]
pub(super) struct Unclear;

#[derive(Debug)]
struct Closure {
    /// The byte behind its `{`.
    body: usize,
    /// Variables that it reads whole, or writes.
    names: Vec<String>,
}

/// Every closure in the order of the text: `-> |a, b| {`. `None` where an arrow is followed by something else.
fn closures(source: &str) -> Option<Vec<Closure>> {
    let bytes = source.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(b'\n');
    let mut found: Vec<Closure> = Vec::new();
    // For each `{` that is open: which closure it opens.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match byte(at) {
            b'"' => {
                let end = quoted(bytes, at + 1, b'"');
                for part in source.get(at..end).unwrap_or("").split("{{").skip(1) {
                    let name = part.split("}}").next().unwrap_or("").trim();
                    note(&mut found, &open, name);
                }
                at = end;
            }
            b's' | b'r' | b't' if byte(at + 1) == b'\'' && !word(byte(at.wrapping_sub(1))) => {
                at = quoted(bytes, at + 2, b'\'');
            }
            b'#' => at += bytes.iter().skip(at).take_while(|b| **b != b'\n').count(),
            b'-' if byte(at + 1) == b'>' => match body(bytes, at + 2) {
                Some(body) => {
                    open.push(Some(found.len()));
                    found.push(Closure { body, names: Vec::new() });
                    at = body;
                }
                None => return None,
            },
            b'{' => {
                open.push(None);
                at += 1;
            }
            b'}' => {
                open.pop();
                at += 1;
            }
            first if word(first) => {
                let end = at + bytes.iter().skip(at).take_while(|b| word(**b)).count();
                let begins = at.checked_sub(1).map_or(b'\n', byte);
                if !first.is_ascii_digit() && !matches!(begins, b'.' | b'%') && is_copied(bytes, end) {
                    note(&mut found, &open, source.get(at..end).unwrap_or(""));
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    Some(found)
}

/// Notes a variable for every closure that is open.
fn note(found: &mut [Closure], open: &[Option<usize>], name: &str) {
    if name.is_empty() || !name.bytes().all(word) {
        return;
    }
    for closure in open.iter().flatten() {
        if let Some(closure) = found.get_mut(*closure)
            && !closure.names.iter().any(|known| known == name)
        {
            closure.names.push(name.to_owned());
        }
    }
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Behind the closing quote.
fn quoted(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while let Some(byte) = bytes.get(at) {
        match *byte {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Behind the `{` of `|a, b| {`.
fn body(bytes: &[u8], from: usize) -> Option<usize> {
    let blank = |at: usize| at + bytes.iter().skip(at).take_while(|b| b.is_ascii_whitespace()).count();
    let at = blank(from);
    (bytes.get(at) == Some(&b'|')).then_some(())?;
    let names = bytes.iter().skip(at + 1).take_while(|b| **b != b'|').count();
    let at = blank(at + 1 + names + 1);
    (bytes.get(at) == Some(&b'{')).then_some(at + 1)
}

/// Whether the name that ends at `end` is a variable that is read whole, or written: no call, and no path behind it
/// unless that is assigned to.
fn is_copied(bytes: &[u8], end: usize) -> bool {
    let next = |at: usize| bytes.get(at).copied().unwrap_or(b'\n');
    match next(end) {
        b'(' => false,
        b'!' => next(end + 1) != b'(',
        b'.' | b'[' => {
            let rest = bytes.iter().skip(end);
            let path = rest.take_while(|b| !b.is_ascii_whitespace() && !b"=,;)}+-*/<>&|".contains(b)).count();
            let at = end + path;
            let at = at + bytes.iter().skip(at).take_while(|b| matches!(b, b' ' | b'\t' | b'|')).count();
            next(at) == b'=' && next(at + 1) != b'='
        }
        _ => true,
    }
}

/// The call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fence;

impl Function for Fence {
    fn identifier(&self) -> &'static str {
        NAME
    }

    fn usage(&self) -> &'static str {
        "Weighs variables."
    }

    fn category(&self) -> &'static str {
        Category::System.as_ref()
    }

    fn return_kind(&self) -> u16 {
        kind::NULL
    }

    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[Parameter::required("names", kind::BYTES, "Their names.")];
        PARAMETERS
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn compile(
        &self,
        state: &state::TypeState,
        _: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let names = arguments.required_literal("names", state)?;
        let names = names.to_str().unwrap_or("").split(',').filter(|name| !name.is_empty());
        Ok(Weigh { names: names.map(Ident::new).collect() }.as_expr())
    }
}

#[derive(Debug, Clone)]
struct Weigh {
    names: Vec<Ident>,
}

impl FunctionExpression for Weigh {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        for name in &self.names {
            if let Some(value) = ctx.state().variable(name) {
                charge(value);
            }
        }
        ctx.checkpoint()?;
        Ok(Value::Null)
    }

    fn type_def(&self, _: &state::TypeState) -> TypeDef {
        TypeDef::null().infallible()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<String> {
        closures(source).unwrap().iter().map(|closure| closure.names.join(",")).collect()
    }

    #[test]
    fn closures_and_what_they_copy_are_found() {
        assert_eq!(names(".a = 1\nb = \"-> |x| {\" # -> |y| {\nr'-> |z| {'"), Vec::<String>::new());
        assert_eq!(names("for_each(.a) -> |_i, v| { s = s + v.x + .t }"), ["s"]);
        let body = "for_each(x) -> |i,v|\n{ y.k[0] = upcase!(v) + z[i]\n if q.r == w { t }; \"s\" }";
        assert_eq!(names(body), ["y,v,i,if,w,t"]);
        assert_eq!(names("map_values(.) -> |v| { \"{{ big }}-{{v}}\" }"), ["big,v"]);
        assert!(closures("for_each(.) -> # |v| {\n|v| { v }").is_none());
        assert_eq!(names("map_values(.) -> |v| { map_keys(v) -> |k| { k } }"), ["v,k", "k"]);
    }
}
