//! A YAML file as a tree of nodes that know where they were written. Typed values are read from it (`read`); `plan` places
//! its findings with it, down to a character inside of a block scalar (`Node::locate`).

mod build;
mod de;
mod locate;
mod path;
mod read;
mod same;
mod scalar;
mod trap;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Label};
use super::span::{Source, Span};

pub use path::{Path, Segment};
pub use read::read;
pub use scalar::{Style, Word};

/// The largest file that is read.
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting that is read.
pub const MAX_DEPTH: usize = 64;
/// The most nodes that a file may have, what aliases repeat included.
pub const MAX_NODES: usize = 100_000;
/// How many findings of one kind of reading (YAML, values, references, programs) a file may have before it ends: each
/// costs a look at its line.
pub const MAX_FINDINGS: usize = 100;

/// One value of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Names the node within its document. Copies that an alias made share it.
    pub(crate) id: u32,
    /// Where it is written. Of a block scalar: its first line of text up to its last.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A key without a value, `~` or `null`. Not the same as an absent key.
    Null,
    /// A text as it reads after quotes, escapes and folding; what it means is decided by who asks for it.
    Scalar(String, Style),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file; keys are unique.
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key is written.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value of a key; `None` where this is no mapping or has no such key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of a mapping; none where this is no mapping.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            Kind::Null | Kind::Scalar(..) | Kind::List(_) => &[],
        }
    }

    /// The items of a list; none where this is no list.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Null | Kind::Scalar(..) | Kind::Map(_) => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text, _) => Some(text),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Where a part of a scalar's text (a range of bytes of [`Node::text`]) is written in the file, whatever its style:
    /// indentation, folding and escapes are counted back. The whole node where it is no scalar.
    pub fn locate(&self, source: &Source, part: Range<usize>) -> Span {
        match &self.kind {
            Kind::Scalar(text, style) => locate::locate(source, self.span, text, *style, part),
            Kind::Null | Kind::List(_) | Kind::Map(_) => self.span,
        }
    }
}

/// A file that was read: its text, its tree, and which nodes are already known to be wrong.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file.
    pub source: Arc<Source>,
    /// The whole of it; an empty mapping where the file is empty.
    pub root: Node,
    /// Nodes with a finding of their own: typed reading passes over them.
    pub(crate) skip: HashSet<u32>,
    /// Values that were put in from elsewhere, and where they come from.
    pub(crate) from_elsewhere: Vec<(Path, Arc<Source>)>,
}

impl Document {
    /// Reads the text into a tree; what is wrong goes to `findings`, all of it that can be told apart. `None` where
    /// nothing can be made of the text. Time and memory are bounded by [`MAX_BYTES`], [`MAX_DEPTH`], [`MAX_NODES`].
    pub fn parse(source: &Arc<Source>, findings: &mut Vec<Diagnostic>) -> Option<Document> {
        build::parse(source, findings)
    }

    /// The node at a path. An index into what is not a list is passed over, so that `publish[0]` finds the one route that
    /// was written without a list.
    pub fn at(&self, path: &Path) -> Option<&Node> {
        path.segments().iter().try_fold(&self.root, |node, segment| step(node, segment))
    }

    /// The node at a path, or the nearest above it that exists: shorthands have less nodes than what they stand for.
    pub fn nearest(&self, path: &Path) -> &Node {
        let mut node = &self.root;
        for segment in path.segments() {
            let Some(next) = step(node, segment) else { break };
            node = next;
        }
        node
    }

    /// Puts a text in at a path of keys, over what the file says; it is read as a plain word, `[..]` and `{..}` as YAML. Its
    /// findings point at `origin`.
    pub(crate) fn put(&mut self, path: &Path, text: &str, origin: Arc<Source>) {
        let flow = text.starts_with(['[', '{']);
        let parsed = flow.then(|| build::parse(&Source::new(origin.name(), text), &mut Vec::new())).flatten();
        let kind =
            parsed.map_or_else(|| Kind::Scalar(text.to_owned(), Style::Plain), |document| document.root.kind);
        // Above every id of the parser, which makes no more than MAX_NODES.
        let id = u32::MAX - u32::try_from(self.from_elsewhere.len()).unwrap_or(0);
        let mut node = &mut self.root;
        for segment in path.segments() {
            let Segment::Key(key) = segment else { return };
            if !matches!(node.kind, Kind::Map(_)) {
                node.kind = Kind::Map(Vec::new());
            }
            let Kind::Map(entries) = &mut node.kind else { return };
            let at = entries.iter().position(|entry| entry.key == *key).unwrap_or(entries.len());
            if at == entries.len() {
                let value = Node { id, span: Span::default(), kind: Kind::Null };
                entries.push(Entry { key: key.clone(), key_span: Span::default(), value });
            }
            let Some(entry) = entries.get_mut(at) else { return };
            node = &mut entry.value;
        }
        *node = Node { id, span: Span::default(), kind };
        self.from_elsewhere.push((path.clone(), origin));
    }

    fn elsewhere(&self, path: &Path) -> Option<&Arc<Source>> {
        let above = |put: &Path| path.segments().starts_with(put.segments());
        self.from_elsewhere.iter().rev().find(|(put, _)| above(put)).map(|(_, origin)| origin)
    }

    /// Whether the value of a path stands in the file itself, and was not put over it.
    pub fn is_written(&self, path: &Path) -> bool {
        self.elsewhere(path).is_none()
    }

    /// A label at the value of a path, or at the nearest above it that exists.
    pub fn label(&self, path: &Path, text: impl Into<String>) -> Label {
        if let Some(origin) = self.elsewhere(path) {
            return Label::new(origin, Span::default(), text);
        }
        let node = self.nearest(path);
        let span = match node.kind {
            Kind::Map(_) | Kind::List(_) | Kind::Null => {
                self.key_span(path).unwrap_or_else(|| self.head(node))
            }
            Kind::Scalar(..) => node.span,
        };
        Label::new(&self.source, span, text)
    }

    /// A label at the key of a path, where the path ends in a key that exists; else like [`Document::label`].
    pub fn key_label(&self, path: &Path, text: impl Into<String>) -> Label {
        match self.key_span(path).filter(|_| self.elsewhere(path).is_none()) {
            Some(span) => Label::new(&self.source, span, text),
            None => self.label(path, text),
        }
    }

    /// A label at a part (a range of bytes) of the text at a path.
    pub fn label_in(&self, path: &Path, part: Range<usize>, text: impl Into<String>) -> Label {
        Label::new(&self.source, self.nearest(path).locate(&self.source, part), text)
    }

    fn key_span(&self, path: &Path) -> Option<Span> {
        let (last, above) = path.segments().split_last()?;
        let parent = above.iter().try_fold(&self.root, |node, segment| step(node, segment))?;
        match last {
            Segment::Key(key) => parent.entries().iter().find(|e| e.key == *key).map(|e| e.key_span),
            Segment::Index(_) => None,
        }
    }

    /// The beginning of a node: its first key or item, so that carets stay short.
    fn head(&self, node: &Node) -> Span {
        match &node.kind {
            Kind::Map(entries) => entries.first().map_or(node.span, |entry| entry.key_span),
            Kind::List(items) => items.first().map_or(node.span, |item| self.head(item)),
            Kind::Null | Kind::Scalar(..) => node.span,
        }
    }
}

fn step<'a>(node: &'a Node, segment: &Segment) -> Option<&'a Node> {
    match (segment, &node.kind) {
        (Segment::Key(key), _) => node.get(key),
        (Segment::Index(at), Kind::List(items)) => items.get(*at),
        (Segment::Index(at), _) => (*at == 0).then_some(node),
    }
}
