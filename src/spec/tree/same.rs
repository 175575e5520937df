//! Whether two files mean the same.

use super::{Kind, Node, Style};
use crate::spec::span::Span;

impl Node {
    /// Where this tree first means something else than `other`; `None` where both mean the same. What may differ: where
    /// things are written, and with which quotes. A plain word and a quoted one are not the same: `5` and `"5"`.
    pub fn first_difference(&self, other: &Node) -> Option<Span> {
        match (&self.kind, &other.kind) {
            (Kind::Null, Kind::Null) => None,
            (Kind::Scalar(text, style), Kind::Scalar(other_text, other_style)) => {
                let same = text == other_text && (*style == Style::Plain) == (*other_style == Style::Plain);
                (!same).then_some(self.span)
            }
            (Kind::List(items), Kind::List(others)) => {
                let inside = items.iter().zip(others).find_map(|(item, other)| item.first_difference(other));
                inside.or((items.len() != others.len()).then_some(self.span))
            }
            (Kind::Map(entries), Kind::Map(others)) => {
                let inside = entries.iter().zip(others).find_map(|(entry, other)| {
                    let key = (entry.key != other.key).then_some(entry.key_span);
                    key.or_else(|| entry.value.first_difference(&other.value))
                });
                inside.or((entries.len() != others.len()).then_some(self.span))
            }
            (Kind::Null | Kind::Scalar(..) | Kind::List(_) | Kind::Map(_), _) => Some(self.span),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::span::Source;
    use crate::spec::tree::Document;

    fn difference(a: &str, b: &str) -> Option<String> {
        let read = |text| Document::parse(&Source::new("a.yaml", text), &mut Vec::new()).unwrap();
        let (a, b) = (read(a), read(b));
        a.root.first_difference(&b.root).map(|span| a.source.slice(span).to_owned())
    }

    #[test]
    fn places_and_quotes_make_no_difference() {
        for (a, b) in [
            ("a: 1\nb: [x, 'y']\n", "a:   1\nb:\n  - x\n  - \"y\"\n"),
            ("a: |\n  x\n", "a: \"x\\n\"\n"),
            ("# c\na: ~\n", "a:\n"),
            ("", "{}\n"),
            ("a: &x { b: 1 }\nc: *x\n", "a: { b: 1 }\nc: { b: 1 }\n"),
        ] {
            assert_eq!(difference(a, b), None, "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_first_difference_is_found() {
        for (a, b, place) in [
            ("a: 5\n", "a: '5'\n", "5"),
            ("a: x\n", "a: y\n", "x"),
            ("a: x\nb: 1\n", "b: 1\na: x\n", "a"),
            ("a: [x, y]\n", "a: [x]\n", "[x, y]"),
            ("a: { b: 1, c: 2 }\n", "a: { b: 1 }\n", "{ b: 1, c: 2 }"),
            ("a: [x, [y, 'z ']]\n", "a: [x, [y, z]]\n", "'z '"),
            ("a: |\n  x\n", "a: |-\n  x\n", "  x"),
            ("a: {}\n", "a: []\n", "{}"),
            ("a: x\n", "a:\n", "x"),
        ] {
            let found = difference(a, b);
            assert_eq!(found.as_deref().map(str::trim), Some(place.trim()), "{a:?} {b:?}");
        }
    }
}
