//! The standard form of a YAML file, with its comments: what `weir fmt` writes. Where the form would change what the file
//! means, or lose a comment, there is none: the file is then left as it is, and the finding says where.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use pretty_yaml::config::{FormatOptions, LanguageOptions, LayoutOptions, LineBreak};
use yaml_parser::SyntaxKind;

use super::diagnostic::{Diagnostic, Label};
use super::span::{Source, Span};
use super::tree::Document;

/// The comment that keeps what stands below it as it is written.
pub const IGNORE: &str = "weir-fmt-ignore";
/// How wide a line becomes before a `{ }` or `[ ]` is broken up.
pub const WIDTH: usize = 110;

/// A file that has no standard form.
const NO_FORM: &str = "W0118";
/// How often a form is laid out again until it stays the same.
const ROUNDS: usize = 4;

/// The standard form of a file. Fails with what is wrong with its YAML, or with the place that keeps the form from meaning
/// the same; wrong keys and values of Weir's grammar are no hindrance.
pub fn layout(source: &Arc<Source>) -> Result<String, Vec<Diagnostic>> {
    let mut findings = Vec::new();
    let document = Document::parse(source, &mut findings);
    findings.retain(Diagnostic::is_error);
    let Some(document) = document.filter(|_| findings.is_empty()) else { return Err(findings) };
    let text = source.text().trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let form = settle(text).map_err(|why| vec![no_form(source, &why)])?;
    check(&document, text, &form).map_err(|finding| vec![*finding])?;
    Ok(form)
}

/// Why there is no form, and where in the text.
struct Hindrance {
    message: &'static str,
    at: usize,
}

/// Lays out until nothing changes any more: a form that is laid out again is the same.
fn settle(text: &str) -> Result<String, Hindrance> {
    let options = if text.contains("\r\n") { &*CRLF } else { &*LF };
    let mut before = text.to_owned();
    for _ in 0..ROUNDS {
        let formatted = catch_unwind(AssertUnwindSafe(|| pretty_yaml::format_text(&before, options)));
        let form = match formatted {
            Ok(Ok(form)) => form,
            Ok(Err(error)) => {
                // Of a later round the place is one of the form, which nobody sees.
                let at = if before == text { error.offset() } else { 0 };
                return Err(Hindrance { message: "the formatter does not read this", at });
            }
            Err(_) => return Err(Hindrance { message: "the formatter fails at this file", at: 0 }),
        };
        if form == before {
            return Ok(form);
        }
        before = form;
    }
    Err(Hindrance { message: "the form of this file does not settle", at: 0 })
}

static LF: LazyLock<FormatOptions> = LazyLock::new(|| options(LineBreak::Lf));
static CRLF: LazyLock<FormatOptions> = LazyLock::new(|| options(LineBreak::Crlf));

fn options(line_break: LineBreak) -> FormatOptions {
    FormatOptions {
        layout: LayoutOptions { print_width: WIDTH, indent_width: 2, line_break },
        language: LanguageOptions {
            // In a `|` block they are part of the text.
            trim_trailing_whitespaces: false,
            ignore_comment_directive: IGNORE.to_owned(),
            ..LanguageOptions::default()
        },
    }
}

/// That the form says what the file says, and has its comments.
fn check(document: &Document, text: &str, form: &str) -> Result<(), Box<Diagnostic>> {
    let source = &document.source;
    let mut findings = Vec::new();
    let laid_out = Document::parse(&Source::new(source.name(), form), &mut findings);
    let differs = |span: Span| {
        let label = Label::new(source, span, "this would be another value");
        let message = "the standard form of this file would not mean the same";
        let spaces = source.slice(span).lines().any(|line| line.ends_with([' ', '\t']));
        let help =
            if spaces { "take the spaces at the end of a line out" } else { "write this in another way" };
        Err(Box::new(
            Diagnostic::error(NO_FORM, message, label)
                .with_cause("the file is left as it is")
                .with_help(format!("{help}, or write `# {IGNORE}` above the key")),
        ))
    };
    let Some(laid_out) = laid_out.filter(|_| !findings.iter().any(Diagnostic::is_error)) else {
        return differs(document.root.span);
    };
    if let Some(span) = document.root.first_difference(&laid_out.root) {
        return differs(span);
    }
    let (before, after) = (comments(text), comments(form));
    let lost =
        before.iter().enumerate().find(|(n, (_, comment))| after.get(*n).map(|(_, c)| c) != Some(comment));
    if let Some((_, (at, comment))) = lost {
        let start = source.text().len() - text.len() + at;
        let label =
            Label::new(source, Span::new(start, start + comment.len()), "this would be lost or moved");
        let message = "the standard form of this file would not have all of its comments";
        return Err(Box::new(
            Diagnostic::error(NO_FORM, message, label)
                .with_cause("the file is left as it is")
                .with_help("put the comment on a line of its own, above what it is about"),
        ));
    }
    Ok(())
}

/// The comments of a text in their order, each with the byte at which it begins.
fn comments(text: &str) -> Vec<(usize, String)> {
    let Ok(tree) = yaml_parser::parse(text) else { return Vec::new() };
    tree.descendants_with_tokens()
        .filter_map(|element| element.into_token())
        .filter(|token| token.kind() == SyntaxKind::COMMENT)
        .map(|token| (usize::from(token.text_range().start()), token.text().trim_end().to_owned()))
        .collect()
}

fn no_form(source: &Arc<Source>, why: &Hindrance) -> Diagnostic {
    let at = source.text().len() - source.text().trim_start_matches('\u{feff}').len() + why.at;
    Diagnostic::error(NO_FORM, why.message, Label::new(source, Span::new(at, at), ""))
        .with_cause("the file is right, and is left as it is")
        .with_help("write this place more plainly: one key a line, without `?`, tags and anchors")
}

#[cfg(test)]
mod tests;
