//! The demo's arithmetic: what was produced for each stage, and what became of it. Produced comes from the broker, consumed
//! from the consumer, the rest from the outcomes, so that a record that one of them forgot shows.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::outcome::Outcome;
use crate::runtime::status::Finished;

/// The counts of one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct StageSummary {
    /// Records in its source topics, as the broker counts them.
    pub(crate) produced: u64,
    /// Records that it read.
    pub(crate) consumed: u64,
    pub(crate) delivered: u64,
    pub(crate) filtered: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) discarded: u64,
    /// Records that it published.
    pub(crate) published: u64,
    /// Attempts of its handler.
    pub(crate) attempts: u64,
}

impl StageSummary {
    /// Records with a final outcome.
    pub(crate) fn finished(&self) -> u64 {
        self.delivered + self.filtered + self.dead_lettered + self.discarded
    }

    /// Counts one outcome.
    pub(crate) fn add(&mut self, finished: &Finished) {
        let count = match finished.outcome {
            Outcome::Delivered => &mut self.delivered,
            Outcome::Filtered(_) => &mut self.filtered,
            Outcome::DeadLettered(..) => &mut self.dead_lettered,
            Outcome::Discarded(_) => &mut self.discarded,
        };
        *count += 1;
        self.published += u64::from(finished.published);
        self.attempts += u64::from(finished.attempts);
    }

    /// Whether nothing is missing and nothing was counted twice.
    pub(crate) fn adds_up(&self) -> bool {
        self.produced == self.consumed && self.consumed == self.finished()
    }
}

/// The last thing that the demo says: `weir.demo/v1`. It may only grow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) schema: &'static str,
    /// The seed of events and answers: `--seed` repeats them.
    pub(crate) seed: u64,
    /// Whether each stage's numbers add up.
    pub(crate) adds_up: bool,
    /// By service name.
    pub(crate) stages: BTreeMap<String, StageSummary>,
}

impl Summary {
    pub(crate) fn new(seed: u64, stages: BTreeMap<String, StageSummary>) -> Summary {
        let adds_up = !stages.is_empty() && stages.values().all(StageSummary::adds_up);
        Summary { schema: "weir.demo/v1", seed, adds_up, stages }
    }

    /// The summary as a table for people.
    pub(crate) fn table(&self) -> String {
        let head = [
            "stage",
            "produced",
            "consumed",
            "delivered",
            "filtered",
            "dead",
            "discarded",
            "published",
            "attempts",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        for (service, s) in &self.stages {
            let numbers = [
                s.produced,
                s.consumed,
                s.delivered,
                s.filtered,
                s.dead_lettered,
                s.discarded,
                s.published,
                s.attempts,
            ];
            let mut row = head.map(|_| String::new());
            for (cell, text) in
                row.iter_mut().zip(std::iter::once(service.clone()).chain(numbers.map(|n| n.to_string())))
            {
                *cell = text;
            }
            rows.push(row);
        }
        let mut widths = head.map(str::len);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        let mut text = String::new();
        for row in rows {
            for (place, (cell, width)) in row.iter().zip(widths).enumerate() {
                let line = if place == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
                text.push_str(&line);
            }
            text.push('\n');
        }
        text.push_str(if self.adds_up {
            "Every record that was produced has one outcome.\n"
        } else {
            "The numbers do not add up: some records have no outcome.\n"
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Code, Filter, Reason};

    fn finished(outcome: Outcome, attempts: u32, published: u32) -> Finished {
        let position = "t/0/1".to_owned();
        Finished { service: "s".to_owned(), position, key: None, outcome, attempts, published }
    }

    fn stage() -> StageSummary {
        let mut stage = StageSummary { produced: 4, consumed: 4, ..StageSummary::default() };
        stage.add(&finished(Outcome::Delivered, 3, 1));
        stage.add(&finished(Outcome::Filtered(Filter::Condition), 0, 0));
        stage.add(&finished(Outcome::DeadLettered(Reason::Rejected, Code::Status), 1, 0));
        stage.add(&finished(Outcome::Discarded(Code::Decode), 0, 0));
        stage
    }

    #[test]
    fn the_numbers_add_up_only_when_each_record_has_one_outcome() {
        let good = stage();
        assert!(good.adds_up());
        assert_eq!((good.finished(), good.attempts, good.published), (4, 4, 1));
        assert!(!StageSummary { consumed: 5, ..good }.adds_up(), "one without an outcome");
        assert!(!StageSummary { produced: 5, ..good }.adds_up(), "one that was never read");
        assert!(!StageSummary { delivered: 2, ..good }.adds_up(), "one counted twice");
        assert!(!Summary::new(1, BTreeMap::new()).adds_up, "no stages at all");
    }

    #[test]
    fn the_json_has_the_names_of_the_contract() {
        let summary = Summary::new(1, BTreeMap::from([("order-billing".to_owned(), stage())]));
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["schema"], "weir.demo/v1");
        let expected = serde_json::json!({
            "produced": 4, "consumed": 4, "delivered": 1, "filtered": 1, "dead_lettered": 1, "discarded": 1,
            "published": 1, "attempts": 4,
        });
        assert_eq!(json["stages"]["order-billing"], expected);
    }

    #[test]
    fn the_table_is_aligned() {
        let stages = BTreeMap::from([("order-billing".to_owned(), stage()), ("a".to_owned(), stage())]);
        let expected = "\
stage          produced  consumed  delivered  filtered  dead  discarded  published  attempts
a                     4         4          1         1     1          1          1         4
order-billing         4         4          1         1     1          1          1         4
Every record that was produced has one outcome.
";
        assert_eq!(Summary::new(1, stages).table(), expected);
    }
}
