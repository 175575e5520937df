//! Commits of a poll thread: each an explicit one of offset and metadata, one outstanding at a time (O8, O9).

use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::{COMMIT_EVERY, Poller};
use crate::kafka::raw::{self, CommitEntry};
use crate::kafka::{Intake, KafkaError, Mark, Partition};
use rdkafka::consumer::Consumer;

/// How long a refused commit waits before it is made again, and where somebody has to act first.
const AGAIN: Duration = Duration::from_millis(250);
const NOT_ALLOWED_AGAIN: Duration = Duration::from_secs(1);

impl<I: Intake> Poller<I> {
    pub(super) fn serve_commits(&mut self, now: Instant) {
        if self.outstanding.is_some() || now < self.commit_again_at {
            return;
        }
        if let Some(marks) = self.next_alone(None, now) {
            return self.send_commit(marks, now);
        }
        if now.duration_since(self.committed_at) >= COMMIT_EVERY || self.intake.commit_at_once() {
            let marks = self.intake.commits(now, None);
            self.send_commit(marks, now);
        }
    }

    /// The next commit of one partition alone, of those that wait for theirs; with `only`, of these.
    pub(super) fn next_alone(&mut self, only: Option<&[Partition]>, now: Instant) -> Option<Vec<Mark>> {
        while let Some(partition) = self.singly.pop() {
            if only.is_none_or(|only| only.contains(&partition)) {
                let marks = self.intake.commits(now, Some(std::slice::from_ref(&partition)));
                if !marks.is_empty() {
                    return Some(marks);
                }
            }
        }
        None
    }

    /// Sends one commit of all that changed; one is outstanding at a time (O9).
    pub(super) fn send_commit(&mut self, marks: Vec<Mark>, now: Instant) {
        self.committed_at = now;
        if marks.is_empty() {
            return;
        }
        let leader_epoch = |p: &Partition| self.parts.get(p).map_or(-1, |part| part.leader_epoch);
        let entries: Vec<CommitEntry<'_>> = marks
            .iter()
            .map(|mark| CommitEntry {
                partition: &mark.partition,
                next: mark.next,
                metadata: &mark.metadata,
                leader_epoch: leader_epoch(&mark.partition),
            })
            .collect();
        match raw::commit(self.client.consumer.client(), &entries, &self.client.queue) {
            Ok(()) => self.outstanding = Some(marks),
            Err(error) => {
                self.commit_again_at = now + AGAIN;
                let answers: Vec<_> = marks.into_iter().map(|mark| (mark, Some(error.clone()))).collect();
                self.intake.committed(&answers, now);
            }
        }
    }

    pub(super) fn commit_answered(
        &mut self,
        error: Option<&KafkaError>,
        partitions: &[(Partition, Option<KafkaError>)],
        now: Instant,
    ) {
        let Some(marks) = self.outstanding.take() else { return };
        let answers: Vec<(Mark, Option<KafkaError>)> = marks
            .into_iter()
            .map(|mark| {
                let own = partitions.iter().find(|(p, _)| *p == mark.partition).and_then(|(_, e)| e.clone());
                let refused = own.or_else(|| error.cloned());
                (mark, refused)
            })
            .collect();
        let refusal = answers.iter().find_map(|(mark, refused)| Some((&mark.partition, refused.as_ref()?)));
        if let Some((partition, error)) = refusal {
            let again = if self.refuse(error, Some(partition), now) { NOT_ALLOWED_AGAIN } else { AGAIN };
            self.commit_again_at = now + again;
            if self.commits_said.is_new(&error.message, now) {
                warn!(group = self.options.consumer.group, %partition, %error, "commit refused; trying again");
            }
            // librdkafka says of all what the broker said of one: alone, the others are accepted.
            let one =
                answers.iter().flat_map(|(_, refused)| refused).any(KafkaError::means_partition_at_fault);
            if one && answers.len() > 1 {
                self.singly = answers.iter().map(|(mark, _)| mark.partition.clone()).collect();
            }
        }
        if answers.iter().all(|(_, refused)| refused.is_none()) {
            self.commits_said.settled();
        }
        for (mark, refused) in &answers {
            match refused {
                None => debug!(partition = %mark.partition, next = mark.next, "committed"),
                Some(error) => {
                    debug!(partition = %mark.partition, next = mark.next, %error, "commit refused")
                }
            }
        }
        self.intake.committed(&answers, now);
    }
}
