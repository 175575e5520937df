//! What is drawn: topics, stages, hosts, and what leads from one to another.

use std::collections::HashMap;

use url::Url;

use crate::handler;
use crate::settings::{DEFAULT_CLUSTER, References};
use crate::spec::pipeline::{Pipeline, Stage};

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Topic,
    /// A topic that only takes dead letters.
    DeadLetters,
    Stage,
    /// The host of a webhook, `log`, `sql`.
    Handler,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Topic => "topic",
            Kind::DeadLetters => "dead_letters",
            Kind::Stage => "stage",
            Kind::Handler => "handler",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) name: String,
}

/// What leads along an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// A stage reads it.
    Reads,
    /// A stage calls it.
    Calls,
    /// A stage writes it.
    Publishes,
    /// A stage writes it where `when` is true.
    Sometimes,
    /// Its dead letters go there.
    DeadLetters,
}

impl Way {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Way::Reads => "reads",
            Way::Calls => "calls",
            Way::Publishes => "publishes",
            Way::Sometimes => "publishes_when",
            Way::DeadLetters => "dead_letters",
        }
    }

    /// Whether not every record goes this way.
    pub(super) fn dashed(self) -> bool {
        matches!(self, Way::Sometimes | Way::DeadLetters)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) way: Way,
}

/// Nodes by number, in the order of the files, and edges between them, each once.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    topics: HashMap<String, usize>,
    hosts: HashMap<String, usize>,
}

/// Which stages are wanted; `None`: all.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) owner: Option<&'a str>,
    pub(super) topic: Option<&'a str>,
}

impl Graph {
    pub(super) fn of<'a>(
        pipelines: impl Iterator<Item = &'a Pipeline>,
        references: &References,
        wanted: &Wanted<'_>,
    ) -> Graph {
        let mut graph = Graph::default();
        for pipeline in pipelines {
            if wanted.owner.is_some_and(|owner| pipeline.owner.as_deref() != Some(owner)) {
                continue;
            }
            for (name, stage) in pipeline.stages() {
                let service = name.map_or_else(
                    || pipeline.pipeline.clone(),
                    |name| format!("{}.{name}", pipeline.pipeline),
                );
                graph.stage(service, &stage, references, wanted.topic);
            }
        }
        graph
    }

    fn stage(&mut self, service: String, stage: &Stage, references: &References, only: Option<&str>) {
        let cluster = stage.source.cluster.as_deref().map(|cluster| references.shown(cluster));
        let cluster = cluster.filter(|cluster| cluster != DEFAULT_CLUSTER);
        // A topic's name has no `/`.
        let cluster = cluster.map_or_else(String::new, |cluster| format!("{cluster}/"));
        let name = |written: &str| format!("{cluster}{}", references.shown(written));
        let pattern = stage
            .source
            .pattern
            .iter()
            .map(|pattern| format!("{cluster}pattern {}", references.shown(pattern)));
        let sources: Vec<String> =
            stage.source.topics.iter().map(|topic| name(topic)).chain(pattern).collect();
        let written: Vec<(String, Way)> = stage
            .publish
            .0
            .iter()
            .map(|route| {
                (name(&route.topic), if route.when.is_some() { Way::Sometimes } else { Way::Publishes })
            })
            .collect();
        let dead = stage.dlq.as_ref().map(|dlq| name(&dlq.topic));
        let touched = |topic: &str| {
            let all = sources.iter().chain(written.iter().map(|(name, _)| name)).chain(&dead);
            all.into_iter().any(|name| name == topic)
        };
        if only.is_some_and(|topic| !touched(topic)) {
            return;
        }
        let sources: Vec<usize> = sources.into_iter().map(|topic| self.topic(topic, Kind::Topic)).collect();
        let at = self.node(Kind::Stage, service);
        sources.into_iter().for_each(|from| self.edge(from, at, Way::Reads));
        if let Some(handler) = &stage.handler {
            let host = host(handler, references);
            let to = match self.hosts.get(&host) {
                Some(known) => *known,
                None => {
                    let to = self.node(Kind::Handler, host.clone());
                    self.hosts.insert(host, to);
                    to
                }
            };
            self.edge(at, to, Way::Calls);
        }
        for (topic, way) in written {
            let to = self.topic(topic, Kind::Topic);
            self.edge(at, to, way);
        }
        if let Some(topic) = dead {
            let to = self.topic(topic, Kind::DeadLetters);
            self.edge(at, to, Way::DeadLetters);
        }
    }

    fn node(&mut self, kind: Kind, name: String) -> usize {
        self.nodes.push(Node { kind, name });
        self.nodes.len() - 1
    }

    /// The node of a topic. Who reads it, or writes it as more than a dead letter, makes it a topic like others.
    fn topic(&mut self, name: String, kind: Kind) -> usize {
        let at = match self.topics.get(&name) {
            Some(known) => *known,
            None => {
                let at = self.node(kind, name.clone());
                self.topics.insert(name, at);
                at
            }
        };
        if let Some(node) = self.nodes.get_mut(at).filter(|_| kind == Kind::Topic) {
            node.kind = Kind::Topic;
        }
        at
    }

    fn edge(&mut self, from: usize, to: usize, way: Way) {
        let edge = Edge { from, to, way };
        if !self.edges.contains(&edge) {
            self.edges.push(edge);
        }
    }
}

/// The host alone: what follows it may say more than a drawing should.
fn host(handler: &handler::Spec, references: &References) -> String {
    let written = match handler {
        handler::Spec::Webhook(webhook) => &webhook.url,
        handler::Spec::Log(_) => return "log".to_owned(),
        handler::Spec::Sql(_) => return "sql".to_owned(),
    };
    let url = references.shown(written);
    // What a record puts into the path is none of a host's.
    let begins = url.split("{{").next().unwrap_or(&url);
    if let Some(host) = Url::parse(begins).ok().as_ref().and_then(Url::host_str) {
        return host.to_owned();
    }
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority).to_owned()
}

#[cfg(test)]
pub(super) fn graph_of(files: &[&str]) -> Graph {
    let read: Vec<Pipeline> =
        files.iter().map(|text| crate::spec::from_yaml(text).expect("a pipeline")).collect();
    let mut references = References::default();
    references
        .vars
        .insert("billing".to_owned(), "https://user:pw@billing.internal:8443/base?key=1".to_owned());
    references.secrets.insert("host".to_owned(), "hunter2".to_owned());
    Graph::of(read.iter(), &references, &Wanted::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(graph: &Graph) -> Vec<String> {
        let name = |at: usize| &graph.nodes[at].name;
        graph.edges.iter().map(|e| format!("{} {} {}", name(e.from), e.way.as_str(), name(e.to))).collect()
    }

    #[test]
    fn a_topic_joins_the_stages_of_two_files_and_dead_letters_that_somebody_reads_are_a_topic() {
        let graph = graph_of(&[
            "pipeline: a\nsource: { topics: [in, in2] }\nhandler: ${var:billing}/v1\npublish: [{topic: mid}, \
             {topic: mid}, {topic: out, when: .a == 1}]\ndlq: dead\n",
            "pipeline: b\nstages:\n  x: { source: mid, handler: log, dlq: lost }\n  y: { source: dead, handler: log }\n",
        ]);
        let expected = [
            "in reads a",
            "in2 reads a",
            "a calls billing.internal",
            "a publishes mid",
            "a publishes_when out",
            "a dead_letters dead",
            "mid reads b.x",
            "b.x calls log",
            "b.x dead_letters lost",
            "dead reads b.y",
            "b.y calls log",
        ];
        assert_eq!(lines(&graph), expected);
        let kind = |name: &str| graph.nodes.iter().find(|node| node.name == name).unwrap().kind;
        assert_eq!(
            (kind("dead"), kind("lost"), kind("billing.internal")),
            (Kind::Topic, Kind::DeadLetters, Kind::Handler)
        );
    }

    #[test]
    fn topics_of_one_name_in_two_clusters_are_two() {
        let graph = graph_of(&[
            "pipeline: a\nsource: { topic: in, cluster: eu }\nhandler: log\npublish: {topic: out}\ndlq: dead\n",
            "pipeline: b\nsource: { pattern: i., cluster: default }\nhandler: log\ndlq: dead\n",
            "pipeline: c\nsource: { pattern: o.., cluster: eu }\nhandler: log\n",
        ]);
        let expected = [
            "eu/in reads a",
            "a calls log",
            "a publishes eu/out",
            "a dead_letters eu/dead",
            "pattern i. reads b",
            "b calls log",
            "b dead_letters dead",
            "eu/pattern o.. reads c",
            "c calls log",
        ];
        assert_eq!(lines(&graph), expected);
    }

    #[test]
    fn a_handler_is_its_host_alone_whatever_its_url_holds() {
        for (url, expected) in [
            ("https://a.example:8443/x?token=1", "a.example"),
            ("https://u:p@a.example/{{ .id }}", "a.example"),
            ("${var:unset}/v1", "${var:unset}"),
            ("https://${secret:host}/v1", "${secret:host}"),
            ("https://u:p@{{ .host }}/v1", "{{ .host }}"),
        ] {
            let graph = graph_of(&[&format!(
                "pipeline: a\nsource: t\nhandler: {{ webhook: {{ url: \"{url}\" }} }}\n"
            )]);
            let handler = graph.nodes.iter().find(|node| node.kind == Kind::Handler).unwrap();
            assert_eq!(handler.name, expected, "{url}");
        }
    }
}
