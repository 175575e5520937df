//! From the parser's events to the tree, within bounds. Collects what is wrong and goes on: a value that is no YAML is
//! blanked in a copy of the text, so that the rest of the file is still read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, StructureStyle, options};

use super::scalar::{self, Style};
use super::{Document, Entry, Kind, MAX_BYTES, MAX_DEPTH, MAX_FINDINGS, MAX_NODES, Node, trap};
use crate::spec::diagnostic::{Diagnostic, Label};
use crate::spec::span::{Source, Span};

/// How many values that are no YAML are reported before reading ends.
const MAX_REPAIRS: usize = 20;
/// How much text aliases may repeat.
const MAX_COPIED_BYTES: usize = 4 * MAX_BYTES;

pub(super) fn parse(source: &Arc<Source>, findings: &mut Vec<Diagnostic>) -> Option<Document> {
    if let Some(finding) = unreadable(source) {
        findings.push(finding);
        return None;
    }
    let mut text = source.text().to_owned();
    let mut blanked: Vec<Span> = Vec::new();
    loop {
        let mut builder = Builder::new(source, &text, &blanked);
        let result = builder.document();
        let (found, skip) = (std::mem::take(&mut builder.findings), std::mem::take(&mut builder.skip));
        match result {
            Ok(root) => {
                findings.extend(found);
                return Some(Document { source: Arc::clone(source), root, skip, from_elsewhere: Vec::new() });
            }
            Err(Stop::Limit(finding)) => {
                findings.extend(found);
                findings.push(*finding);
                return None;
            }
            Err(Stop::Syntax(error)) => {
                let at = error.marker().byte_offset().unwrap_or(text.len());
                // An error inside or right behind a blanked value follows from the blanking.
                let fresh = blanked.last().is_none_or(|last| at > last.end + 1);
                if fresh {
                    findings.push(trap::syntax(source, at, &error));
                }
                let region = trap::region(source, at).filter(|r| fresh && r.end > r.start);
                let Some(region) = region.filter(|_| blanked.len() < MAX_REPAIRS) else {
                    findings.extend(found);
                    return None;
                };
                text.replace_range(region.start..region.end, &"_".repeat(region.end - region.start));
                blanked.push(region);
            }
        }
    }
}

fn unreadable(source: &Arc<Source>) -> Option<Diagnostic> {
    let text = source.text();
    if text.len() > MAX_BYTES {
        let nowhere = Label::new(&Source::new(source.name(), ""), Span::default(), "");
        return Some(Diagnostic::error("W0102", "the file is larger than 1 MiB", nowhere));
    }
    let at = text.find(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))?;
    let message = format!(
        "the file has a control character (U+{:04X})",
        text[at..].chars().next().map_or(0, u32::from)
    );
    Some(
        Diagnostic::error("W0102", message, Label::new(source, Span::new(at, at + 1), ""))
            .with_help("write it as an escape in double quotes, such as \"\\0\", or take it out"),
    )
}

enum Stop {
    Syntax(ScanError),
    Limit(Box<Diagnostic>),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Stop {
        Stop::Syntax(error)
    }
}

struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

struct Builder<'t> {
    source: &'t Arc<Source>,
    blanked: &'t [Span],
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Anchored>,
    /// Where anchors are written, until an alias uses them.
    unused: BTreeMap<usize, Span>,
    nodes: usize,
    copied: usize,
    last_id: u32,
    findings: Vec<Diagnostic>,
    skip: HashSet<u32>,
}

type Read<'t> = (Event<'t>, granit_parser::Span);

impl<'t> Builder<'t> {
    fn new(source: &'t Arc<Source>, text: &'t str, blanked: &'t [Span]) -> Builder<'t> {
        let options = options! {
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
            emit_anchor_events: true,
        };
        Builder {
            source,
            blanked,
            parser: Parser::new_from_str_with_options(text, options),
            anchors: HashMap::new(),
            unused: BTreeMap::new(),
            nodes: 0,
            copied: 0,
            last_id: 0,
            findings: Vec::new(),
            skip: HashSet::new(),
        }
    }

    fn next(&mut self) -> Result<Read<'t>, Stop> {
        loop {
            match self.parser.next() {
                None => return Ok((Event::StreamEnd, granit_parser::Span::default())),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok((Event::Anchor(anchor, _), at))) => {
                    self.unused.insert(anchor, span_of(&at));
                }
                Some(Ok(read)) => return Ok(read),
            }
        }
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    let label = Label::new(self.source, span_of(&at), "a second document begins here");
                    let finding = Diagnostic::error("W0113", "this file holds several YAML documents", label)
                        .with_help(
                            "write one pipeline per file: move what follows `---` to a file of its own",
                        );
                    return Err(Stop::Limit(Box::new(finding)));
                }
                Event::DocumentStart(..) => {}
                other => root = Some(self.node((other, at), 1)?),
            }
        }
        let unused = std::mem::take(&mut self.unused);
        let room = MAX_FINDINGS.saturating_sub(self.findings.len());
        let unused = unused.into_values().take(room);
        self.findings.extend(unused.map(|at| trap::unused_anchor(self.source, at)));
        let empty = || Node { id: 0, span: Span::default(), kind: Kind::Map(Vec::new()) };
        Ok(root.filter(|root| root.kind != Kind::Null || self.skip.contains(&root.id)).unwrap_or_else(empty))
    }

    fn node(&mut self, read: Read<'t>, depth: usize) -> Result<Node, Stop> {
        let (event, at) = read;
        let span = span_of(&at);
        self.bound(span, depth)?;
        self.last_id += 1;
        let id = self.last_id;
        let (kind, span, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let (kind, span) = self.scalar(id, text.into_owned(), style, span);
                (kind, span, anchor, tag.is_some())
            }
            Event::SequenceStart(style, anchor, tag) => {
                let (kind, span) = self.list(id, style, span, depth)?;
                (kind, span, anchor, tag.is_some())
            }
            Event::MappingStart(style, anchor, tag) => {
                let (kind, span) = self.map(id, style, span, depth)?;
                (kind, span, anchor, tag.is_some())
            }
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            _ => (Kind::Null, span, 0, false),
        };
        if tag {
            let tag_span = at.tag_span().map_or(span, |t| span_of(&t));
            self.findings.push(trap::tag(self.source, tag_span));
            self.skip.insert(id);
        }
        let node = Node { id, span, kind };
        if anchor > 0 {
            let (nodes, bytes, deep) = weigh(&node);
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, bytes, depth: deep });
            self.count(span, nodes, bytes)?;
        }
        Ok(node)
    }

    /// Nodes of the file itself.
    fn bound(&mut self, span: Span, depth: usize) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(self.limit(span, "this is nested more than 64 deep"));
        }
        self.count(span, 1, 0)
    }

    fn count(&mut self, span: Span, nodes: usize, bytes: usize) -> Result<(), Stop> {
        self.nodes += nodes;
        self.copied += bytes;
        if self.findings.len() >= MAX_FINDINGS {
            return Err(self.limit(span, "the file has more than 100 mistakes; what follows is not read"));
        }
        if self.nodes > MAX_NODES || self.copied > MAX_COPIED_BYTES {
            return Err(
                self.limit(span, "the file has more than 100,000 values, with what its aliases repeat")
            );
        }
        Ok(())
    }

    fn limit(&self, span: Span, message: &str) -> Stop {
        let label = Label::new(self.source, span, "the limit is reached here");
        Stop::Limit(Box::new(Diagnostic::told("W0110", message, label)))
    }

    fn alias(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Node, Stop> {
        let Some((node, nodes, bytes, deep)) =
            self.anchors.get(&anchor).map(|a| (a.node.clone(), a.nodes, a.bytes, a.depth))
        else {
            return Err(self.limit(span, "this alias stands inside of what it repeats"));
        };
        self.unused.remove(&anchor);
        self.count(span, nodes, bytes)?;
        if depth + deep > MAX_DEPTH {
            return Err(self.limit(span, "this is nested more than 64 deep"));
        }
        Ok(node)
    }

    fn scalar(&mut self, id: u32, text: String, style: ScalarStyle, span: Span) -> (Kind, Span) {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        if let Some(region) = self.blanked.iter().find(|region| region.contains(span)) {
            self.skip.insert(id);
            return (Kind::Scalar(self.source.slice(*region).to_owned(), Style::Plain), *region);
        }
        let written = self.source.slice(span);
        let span = match style {
            Style::Literal | Style::Folded => Span::new(span.start, span.start + written.trim_end().len()),
            Style::Plain | Style::Single | Style::Double => span,
        };
        if style == Style::Plain && (span.start == span.end || scalar::is_null(&text)) {
            return (Kind::Null, span);
        }
        if style == Style::Plain
            && let Some(finding) = trap::cut_at_hash(self.source, span)
        {
            self.findings.push(finding);
            self.skip.insert(id);
        }
        (Kind::Scalar(text, style), span)
    }

    fn list(&mut self, id: u32, style: StructureStyle, at: Span, depth: usize) -> Result<(Kind, Span), Stop> {
        let mut items: Vec<Node> = Vec::new();
        let mut torn = false;
        loop {
            let (event, at_item) = self.next()?;
            if event == Event::SequenceEnd {
                let end = span_of(&at_item);
                let span = whole(at, items.first().map(|n| n.span), items.last().map(|n| n.span), style, end);
                return Ok((Kind::List(items), span));
            }
            let item = self.node((event, at_item), depth + 1)?;
            if torn {
                torn = !trap::has_odd_quotes(&item);
                continue;
            }
            torn = style == StructureStyle::Flow && self.torn(&item);
            if torn {
                self.skip.insert(id);
            }
            items.push(item);
        }
    }

    /// Whether a comma inside of an expression's quotes has cut this value in two; says so.
    fn torn(&mut self, value: &Node) -> bool {
        let finding = trap::torn_at_comma(self.source, value);
        let torn = finding.is_some();
        if torn {
            self.skip.insert(value.id);
        }
        self.findings.extend(finding);
        torn
    }

    fn map(&mut self, id: u32, style: StructureStyle, at: Span, depth: usize) -> Result<(Kind, Span), Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut known = HashMap::new();
        let mut merged: Vec<Node> = Vec::new();
        let mut torn = false;
        let mut odd_key: Option<Span> = None;
        let mut last = None;
        loop {
            let (event, at_key) = self.next()?;
            if event == Event::MappingEnd {
                let end = span_of(&at_key);
                let span = whole(at, entries.first().map(|e| e.key_span), last, style, end);
                if let Some(key) = odd_key {
                    self.findings.push(trap::key_is_no_text(self.source, span, key));
                    self.skip.insert(id);
                }
                self.merge(&mut entries, &mut known, merged);
                return Ok((Kind::Map(entries), span));
            }
            let plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let key = self.node((event, at_key), depth + 1)?;
            let read = self.next()?;
            let value = self.node(read, depth + 1)?;
            last = Some(if value.span.start >= key.span.end { value.span } else { key.span });
            if torn {
                torn = !(trap::has_odd_quotes(&key) || trap::has_odd_quotes(&value));
                continue;
            }
            let text = match key.kind {
                Kind::Scalar(text, _) => text,
                Kind::Null => self.source.slice(key.span).to_owned(),
                Kind::List(_) | Kind::Map(_) => {
                    odd_key.get_or_insert(key.span);
                    continue;
                }
            };
            if plain && text == "<<" {
                merged.push(value);
                continue;
            }
            torn = style == StructureStyle::Flow && self.torn(&value);
            self.entry(&mut entries, &mut known, Entry { key: text, key_span: key.span, value });
        }
    }

    fn entry(&mut self, entries: &mut Vec<Entry>, known: &mut HashMap<String, usize>, entry: Entry) {
        let Some(first) = known.get(&entry.key).and_then(|at| entries.get(*at)) else {
            known.insert(entry.key.clone(), entries.len());
            entries.push(entry);
            return;
        };
        let again = Label::new(self.source, entry.key_span, "here again");
        let finding = Diagnostic::error("W0103", format!("the key `{}` is there twice", entry.key), again)
            .with_label(Label::new(self.source, first.key_span, "first here"))
            .with_help("keep one of the two");
        self.findings.push(finding);
    }

    /// `<<: *other`: what the mapping does not say itself.
    fn merge(&mut self, entries: &mut Vec<Entry>, known: &mut HashMap<String, usize>, merged: Vec<Node>) {
        let sources = merged.into_iter().flat_map(|node| match node.kind {
            Kind::List(items) => items,
            Kind::Null | Kind::Scalar(..) | Kind::Map(_) => vec![node],
        });
        for node in sources {
            let Kind::Map(more) = node.kind else {
                let label = Label::new(self.source, node.span, "not a mapping");
                self.findings.push(Diagnostic::error("W0106", "`<<` takes an alias of a mapping", label));
                continue;
            };
            for entry in more {
                if !known.contains_key(&entry.key) {
                    known.insert(entry.key.clone(), entries.len());
                    entries.push(entry);
                }
            }
        }
    }
}

fn span_of(span: &granit_parser::Span) -> Span {
    let start = span.start.byte_offset().unwrap_or(0);
    Span::new(start, span.end.byte_offset().unwrap_or(start))
}

/// The span of a collection: with its brackets where it has them, else from its first part to its last.
fn whole(start: Span, first: Option<Span>, last: Option<Span>, style: StructureStyle, end: Span) -> Span {
    match style {
        StructureStyle::Flow => Span::new(start.start, end.end),
        StructureStyle::Block => {
            Span::new(first.map_or(start.start, |f| f.start), last.map_or(start.end, |l| l.end))
        }
    }
}

/// How many nodes and bytes of text a tree has, and how deep it goes.
fn weigh(node: &Node) -> (usize, usize, usize) {
    let children: Vec<(&Node, usize)> = match &node.kind {
        Kind::Null => return (1, 0, 0),
        Kind::Scalar(text, _) => return (1, text.len(), 0),
        Kind::List(items) => items.iter().map(|item| (item, 0)).collect(),
        Kind::Map(entries) => entries.iter().map(|e| (&e.value, e.key.len())).collect(),
    };
    children.into_iter().fold((1, 0, 1), |(nodes, bytes, depth), (child, key)| {
        let (n, b, d) = weigh(child);
        (nodes + n, bytes + b + key, depth.max(d + 1))
    })
}
