//! The graph as text: for Mermaid, for Graphviz, for programs.

use serde_json::{Value, json};

use super::model::{Graph, Kind, Way};

/// Mermaid, which code hosts draw in Markdown.
pub(super) fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart LR\n");
    for (at, node) in graph.nodes.iter().enumerate() {
        let name = quoted_mermaid(&node.name);
        let (open, close) = match node.kind {
            Kind::Topic => ("([", "])"),
            Kind::DeadLetters => ("[(", ")]"),
            Kind::Stage => ("[", "]"),
            Kind::Handler => ("{{", "}}"),
        };
        out.push_str(&format!("  n{at}{open}\"{name}\"{close}\n"));
    }
    for edge in &graph.edges {
        let arrow = if edge.way.dashed() { "-.->" } else { "-->" };
        let label = label(edge.way).map_or_else(String::new, |label| format!("|{label}|"));
        out.push_str(&format!("  n{} {arrow}{label} n{}\n", edge.from, edge.to));
    }
    out
}

/// Graphviz.
pub(super) fn dot(graph: &Graph) -> String {
    let mut out =
        String::from("digraph weir {\n  rankdir=LR;\n  node [fontname=\"monospace\", fontsize=10];\n");
    for (at, node) in graph.nodes.iter().enumerate() {
        let shape = match node.kind {
            Kind::Topic => "box, style=rounded",
            Kind::DeadLetters => "cylinder",
            Kind::Stage => "box",
            Kind::Handler => "hexagon",
        };
        out.push_str(&format!("  n{at} [label=\"{}\", shape={shape}];\n", quoted_dot(&node.name)));
    }
    for edge in &graph.edges {
        let style = if edge.way.dashed() { "dashed" } else { "solid" };
        let label = label(edge.way).map_or_else(String::new, |label| format!(", label=\"{label}\""));
        out.push_str(&format!("  n{} -> n{} [style={style}{label}];\n", edge.from, edge.to));
    }
    out.push_str("}\n");
    out
}

/// Nodes and edges. Fields may only be added.
pub(super) fn json(graph: &Graph) -> Value {
    let nodes = graph.nodes.iter().enumerate();
    json!({
        "schema": "weir.graph/v1",
        "nodes": nodes.map(|(at, node)| json!({ "id": at, "kind": node.kind.as_str(), "name": node.name })).collect::<Vec<_>>(),
        "edges": graph.edges.iter().map(|e| json!({ "from": e.from, "to": e.to, "kind": e.way.as_str() })).collect::<Vec<_>>(),
    })
}

/// What is written on an edge; nothing where the shapes say it.
pub(super) fn label(way: Way) -> Option<&'static str> {
    match way {
        Way::Reads | Way::Calls | Way::Publishes => None,
        Way::Sometimes => Some("when"),
        Way::DeadLetters => Some("dlq"),
    }
}

/// Inside of a Mermaid string: its own entities, so that no name ends it, is Markdown or HTML.
fn quoted_mermaid(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | '-' | '_' | ':' | '/' => out.push(c),
            c if c.is_control() => out.push(' '),
            c if c.is_alphanumeric() => out.push(c),
            c => out.push_str(&format!("#{};", u32::from(c))),
        }
    }
    out
}

fn quoted_dot(name: &str) -> String {
    let visible = name.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.collect::<String>().replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::super::model::graph_of;
    use super::*;

    const FLOW: &str = "pipeline: a\nsource: in\nhandler: https://x.example/v1\npublish: { topic: out, when: .a == 1 }\n\
                        dlq: dead\n";

    #[test]
    fn mermaid_and_dot_as_they_are_drawn() {
        let graph = graph_of(&[FLOW]);
        let expected = "flowchart LR\n  n0([\"in\"])\n  n1[\"a\"]\n  n2{{\"x.example\"}}\n  n3([\"out\"])\n  \
                        n4[(\"dead\")]\n  n0 --> n1\n  n1 --> n2\n  n1 -.->|when| n3\n  n1 -.->|dlq| n4\n";
        assert_eq!(mermaid(&graph), expected);
        let dot = dot(&graph);
        assert!(dot.contains("  n2 [label=\"x.example\", shape=hexagon];\n"), "{dot}");
        assert!(dot.contains("  n1 -> n4 [style=dashed, label=\"dlq\"];\n"), "{dot}");
    }

    #[test]
    fn no_name_ends_its_quotes() {
        assert_eq!(quoted_mermaid("a\"]-->b;`<b>#1;"), "a#34;#93;--#62;b#59;#96;#60;b#62;#35;1#59;");
        assert_eq!(quoted_dot("a\"];\\\n"), "a\\\"];\\\\ ");
    }
}
