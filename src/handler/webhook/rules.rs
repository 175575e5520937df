//! `rules`: what an answer means, by condition, before `accept` and the table are asked. The first that is true decides.
//!
//! Source: http-contract, section 6.

use super::spec::{Rule, Then};
use crate::event::Event;
use crate::handler::{Notes, Problem};
use crate::outcome::Answer;
use crate::plan::expr::{Predicate, Surroundings, View};
use crate::telemetry::metrics::Anomaly;

/// The rules of a handler, in order.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<(Predicate, Then)>);

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ruled {
    /// Which one, from 0.
    pub(super) index: usize,
    /// What then.
    pub(super) then: Then,
}

/// The event that was answered; of a batch its first.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) event: &'a Event,
    /// The number of the attempt.
    pub(super) attempt: u32,
    /// The event id as it was before the transforms.
    pub(super) id: Option<&'a str>,
}

impl Rules {
    /// Compiles the conditions. Every problem at once, each at `<index>.when`.
    pub(super) fn compile(written: &[Rule]) -> Result<Rules, Vec<Problem>> {
        let (mut rules, mut problems) = (Vec::new(), Vec::new());
        for (index, rule) in written.iter().enumerate() {
            match Predicate::compile_answered(&rule.when) {
                Ok(when) => rules.push((when, rule.then)),
                Err(findings) => problems.extend(findings.into_iter().map(|finding| {
                    Problem {
                        path: format!("{index}.when"),
                        message: finding.message,
                        // A rule that fails does not match, and no schema types an answer.
                        help: finding
                            .help
                            .map(|help| help.replace(" (another type is then dead-lettered as invalid)", "")),
                    }
                })),
            }
        }
        if problems.is_empty() { Ok(Rules(rules)) } else { Err(problems) }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a condition reads the value.
    pub(super) fn look_into_payload(&self) -> bool {
        self.0.iter().any(|(when, _)| when.looks_into_payload())
    }

    /// Whether a condition reads `%id`.
    pub(super) fn read_id(&self) -> bool {
        self.0.iter().any(|(when, _)| when.reads_id())
    }

    /// What the first true one says; `None` where none is. One that fails is not true, and is noted.
    pub(super) fn decide(&self, about: About<'_>, answer: &Answer, notes: &Notes) -> Option<Ruled> {
        if self.0.is_empty() {
            return None;
        }
        let About { event, attempt, id } = about;
        let attempts = attempt.saturating_sub(1);
        let view = View::of(event, Surroundings { attempts, id, answer: Some(answer) });
        self.0.iter().enumerate().find_map(|(index, (when, then))| match when.test(&view) {
            Ok(met) => met.then_some(Ruled { index, then: *then }),
            Err(_) => {
                notes.add(Anomaly::RuleFailed);
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::handler::webhook::testing::event;
    use crate::outcome::BodyEnd;

    fn rules(written: &[(&str, Then)]) -> Result<Rules, Vec<Problem>> {
        let rule = |(when, then): &(&str, Then)| Rule { when: (*when).to_owned(), then: *then };
        Rules::compile(&written.iter().map(rule).collect::<Vec<_>>())
    }

    /// What the rules say to an answer, and what is noted.
    fn decided(
        rules: &Rules,
        status: u16,
        body: &serde_json::Value,
    ) -> (Option<(usize, Then)>, Vec<Anomaly>) {
        let headers = vec![("content-type".to_owned(), Bytes::from_static(b"application/json"))];
        let body = Bytes::from(body.to_string());
        let answer = Answer { status, headers, body, body_end: BodyEnd::Complete };
        let event = event(b"{}", &[]);
        let (about, notes) = (About { event: &event, attempt: 1, id: None }, Notes::default());
        let ruled = rules.decide(about, &answer, &notes);
        (ruled.map(|ruled| (ruled.index, ruled.then)), notes.iter().collect())
    }

    #[test]
    fn the_first_true_rule_decides() {
        let rules = rules(&[
            ("%response.status == 200 && exists(%response.body.error)", Then::Retry),
            ("%response.status == 200 && %response.body.done == false", Then::Hold),
            ("%response.status < 300", Then::Dlq),
            ("%response.status == 404", Then::Ok),
        ])
        .unwrap();
        let of = |status, body| decided(&rules, status, &body).0;
        assert_eq!(of(200, json!({"error": "x", "done": false})), Some((0, Then::Retry)));
        assert_eq!(of(200, json!({"done": false})), Some((1, Then::Hold)));
        assert_eq!(of(200, json!({"done": true})), Some((2, Then::Dlq)));
        assert_eq!(of(404, json!(null)), Some((3, Then::Ok)));
        assert_eq!(of(500, json!({})), None);
    }

    #[test]
    fn a_rule_that_fails_does_not_match_and_is_noted() {
        let rules =
            rules(&[("to_int!(%response.body.code) > 0", Then::Dlq), ("%response.status == 200", Then::Ok)]);
        let rules = rules.unwrap();
        let (ruled, noted) = decided(&rules, 200, &json!({"code": "none"}));
        assert_eq!((ruled, noted), (Some((1, Then::Ok)), vec![Anomaly::RuleFailed]));
        let (ruled, noted) = decided(&rules, 200, &json!({"code": "7"}));
        assert_eq!((ruled, noted), (Some((0, Then::Dlq)), vec![]));
    }

    #[test]
    fn every_rule_that_does_not_compile_is_named() {
        let problems = rules(&[
            ("%response.status ==", Then::Ok),
            ("true", Then::Ok),
            ("%response.stats == 200", Then::Ok),
            ("1", Then::Ok),
        ]);
        let at: Vec<String> = problems.unwrap_err().into_iter().map(|problem| problem.path).collect();
        assert_eq!(at, ["0.when", "2.when", "3.when"]);
    }
}
