//! `weir graph` as a program, over the repository's own samples.

use std::process::Command;

use serde_json::Value;

use crate::support::run::{Folder, root};

fn graph(arguments: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("graph")
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn the_samples_are_drawn_in_every_form() {
    let (code, mermaid, said) = graph(&["pipelines"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("[\"booking.payment\"]"), "{mermaid}");
    assert_eq!(graph(&["pipelines", "-o", "mermaid"]).1, mermaid);
    let (_, dot, _) = graph(&["pipelines", "-o", "dot"]);
    assert!(dot.starts_with("digraph weir {") && dot.contains("label=\"shop.orders.v1\""), "{dot}");
    let (_, svg, _) = graph(&["pipelines", "-o", "svg"]);
    assert!(svg.starts_with("<svg ") && svg.contains(">booking.dlq</text>"), "{svg}");
    let (_, json, _) = graph(&["pipelines", "-o", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], "weir.graph/v1");
    let stages = json["nodes"].as_array().unwrap().iter().filter(|node| node["kind"] == "stage").count();
    assert_eq!(stages, 12);
}

#[test]
fn an_owner_or_a_topic_narrows_it() {
    let (_, billing, _) = graph(&["pipelines", "--owner", "team-billing"]);
    assert!(billing.contains("order-billing") && !billing.contains("booking"), "{billing}");
    let (_, paid, _) = graph(&["pipelines", "--topic", "booking.paid"]);
    assert!(
        paid.contains("booking.payment") && paid.contains("booking.ticket") && !paid.contains("notification"),
        "{paid}"
    );
}

#[test]
fn a_broken_file_is_said_and_the_others_are_drawn() {
    let folder = Folder::new("graph-broken");
    std::fs::write(folder.path().join("good.yaml"), "pipeline: good\nsource: a\nhandler: log\n").unwrap();
    std::fs::write(folder.path().join("bad.yaml"), "pipeline: bad\nsource: [\n").unwrap();
    let (code, drawn, said) = graph(&[folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(drawn.contains("[\"good\"]") && said.contains("bad.yaml"), "{drawn}{said}");
    assert_eq!(graph(&["no-such-folder"]).0, Some(2));
}
