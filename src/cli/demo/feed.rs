//! Outcomes as they come: counted for the summary, shown as lines. The engine's threads only count and hand over; a slow
//! terminal loses lines, never counts.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::line::line;
use super::summary::StageSummary;
use crate::runtime::status::{Finished, OnFinished};
use crate::telemetry::clock;

/// How many lines may wait for the terminal.
const LINES: usize = 1024;

/// Counts by service.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    stages: Mutex<BTreeMap<String, StageSummary>>,
    changed: Notify,
}

/// Lines that wait for the terminal.
pub(crate) type Lines = mpsc::Receiver<Finished>;

impl Tally {
    /// A tally, what the engine calls, and the lines.
    pub(crate) fn new() -> (Arc<Tally>, OnFinished, Lines) {
        let tally = Arc::new(Tally::default());
        let (sender, lines) = mpsc::channel(LINES);
        let counting = Arc::clone(&tally);
        let on_finished: OnFinished = Arc::new(move |finished: Finished| {
            counting.lock().entry(finished.service.clone()).or_default().add(&finished);
            counting.changed.notify_one();
            // Full: this line is not shown.
            sender.try_send(finished).ok();
        });
        (tally, on_finished, lines)
    }

    /// The counts of a stage.
    pub(crate) fn of(&self, service: &str) -> StageSummary {
        self.lock().get(service).copied().unwrap_or_default()
    }

    /// Returns after the next outcome.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, StageSummary>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes lines until the engine is gone, then gives the stream back. One that is closed is written to no more.
pub(crate) async fn show(
    mut lines: Lines,
    mut to: Box<dyn Write + Send>,
    color: bool,
    quiet: bool,
) -> Box<dyn Write + Send> {
    let mut open = !quiet;
    while let Some(finished) = lines.recv().await {
        if open {
            let text = line(&finished, clock::wall(), color);
            open = writeln!(to, "{text}").and_then(|()| to.flush()).is_ok();
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    #[tokio::test]
    async fn every_outcome_counts_although_lines_are_lost() {
        let (tally, on_finished, lines) = Tally::new();
        let total = LINES + 100;
        for number in 0..total {
            on_finished(Finished {
                service: "s".into(),
                position: format!("t/0/{number}"),
                key: None,
                outcome: Outcome::Delivered,
                attempts: 1,
                published: 0,
            });
        }
        drop(on_finished);
        assert_eq!(tally.of("s").delivered, u64::try_from(total).unwrap());
        assert_eq!(tally.of("other"), StageSummary::default());
        tally.changed().await;
        show(lines, Box::new(std::io::sink()), false, false).await;
    }
}
