//! The graph as an SVG that needs nothing else: no script, no font, light and dark.

use super::layout::{Layout, Place, layout};
use super::model::{Graph, Kind};
use super::text::label;

/// The width of a character in the drawing's font, and what a node has around its name.
const CHARACTER: f64 = 7.3;
const AROUND: f64 = 28.0;

const STYLE: &str = "\
svg{color:#1f2328;background:#fff;font:12px ui-monospace,monospace}\
rect,polygon{fill:#f6f8fa;stroke:currentColor}\
.stage{fill:#ddf4ff}.handler{fill:#dafbe1}.dead_letters{fill:#ffebe9;stroke-dasharray:4 3}\
text{fill:currentColor;text-anchor:middle;dominant-baseline:central}\
path{fill:none;stroke:currentColor;opacity:.7}.dashed{stroke-dasharray:5 4}.label{font-size:10px;opacity:.8}\
@media(prefers-color-scheme:dark){svg{color:#e6edf3;background:#0d1117}rect,polygon{fill:#161b22}\
.stage{fill:#0c2d6b}.handler{fill:#033a16}.dead_letters{fill:#490202}}";

pub(super) fn svg(graph: &Graph) -> String {
    let width =
        |name: &str| f64::from(u32::try_from(name.chars().count()).unwrap_or(u32::MAX)) * CHARACTER + AROUND;
    let widths: Vec<f64> = graph.nodes.iter().map(|node| width(&node.name)).collect();
    let drawn = layout(graph, &widths);
    let (w, h) = (drawn.width.max(1.0), drawn.height.max(1.0));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w:.0} {h:.0}\" width=\"{w:.0}\" height=\"{h:.0}\" role=\"img\">\n\
         <title>Weir pipelines</title>\n<style>{STYLE}</style>\n\
         <marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
         <path d=\"M0 0 8 4 0 8\" style=\"fill:none\"/></marker>\n"
    );
    edges(graph, &drawn, &mut out);
    for (node, place) in graph.nodes.iter().zip(&drawn.nodes) {
        let (class, name) = (node.kind.as_str(), escaped(&node.name));
        out.push_str(&format!("<g>{}", shape(node.kind, *place, class)));
        let (x, y) = (place.x + place.width / 2.0, place.y + place.height / 2.0);
        out.push_str(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\">{name}</text></g>\n"));
    }
    out.push_str("</svg>\n");
    out
}

fn edges(graph: &Graph, drawn: &Layout, out: &mut String) {
    for (edge, points) in graph.edges.iter().zip(&drawn.edges) {
        let class = if edge.way.dashed() { " class=\"dashed\"" } else { "" };
        let mut path = String::new();
        for pair in points.windows(2) {
            let [(x1, y1), (x2, y2)] = *pair else { continue };
            if path.is_empty() {
                path = format!("M{x1:.1} {y1:.1}");
            }
            // A way back bows out below.
            let (bend, below) = if x2 > x1 { ((x2 - x1) / 2.0, 0.0) } else { (50.0, 50.0) };
            let (a, b) = ((x1 + bend, y1 + below), (x2 - bend, y2 + below));
            path.push_str(&format!("C{:.1} {:.1} {:.1} {:.1} {x2:.1} {y2:.1}", a.0, a.1, b.0, b.1));
        }
        out.push_str(&format!("<path{class} d=\"{path}\" marker-end=\"url(#a)\"/>\n"));
        if let (Some(text), [(x1, y1), (x2, y2), ..]) = (label(edge.way), &points[..]) {
            let (x, y) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0 - 6.0);
            out.push_str(&format!("<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n"));
        }
    }
}

fn shape(kind: Kind, place: Place, class: &str) -> String {
    let Place { x, y, width, height } = place;
    let (right, bottom, middle) = (x + width, y + height, y + height / 2.0);
    if kind == Kind::Handler {
        let (inner, outer) = (x + 10.0, right - 10.0);
        return format!(
            "<polygon class=\"{class}\" points=\"{x:.1},{middle:.1} {inner:.1},{y:.1} {outer:.1},{y:.1} {right:.1},{middle:.1} \
             {outer:.1},{bottom:.1} {inner:.1},{bottom:.1}\"/>"
        );
    }
    let round = if kind == Kind::Stage { 4.0 } else { height / 2.0 };
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round:.1}\"/>"
    )
}

/// Text of an XML document: control characters are none.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::model::graph_of;
    use super::*;

    #[test]
    fn everything_is_drawn_and_no_name_is_markup() {
        let drawn = svg(&graph_of(&[
            "pipeline: a\nsource: \"in<script>&\\u0001\"\nhandler: https://x.example/v1\npublish: { topic: \"in<script>&\\u0001\" }\ndlq: dead\n",
        ]));
        assert_eq!(drawn.matches("<g>").count(), 4);
        assert_eq!(drawn.matches("marker-end").count(), 4);
        assert!(
            drawn.contains("in&lt;script&gt;&amp;\u{fffd}</text>") && !drawn.contains("<script"),
            "{drawn}"
        );
        assert!(drawn.contains("class=\"dead_letters\"") && drawn.contains(">dlq</text>"), "{drawn}");
        let open = drawn.matches('<').count() - drawn.matches("</").count() - drawn.matches("/>").count();
        assert_eq!(open, drawn.matches("</").count(), "each element is closed");
    }
}
