//! A poll thread's answers to rebalances: new partitions are looked up and then assigned, revoked ones drained and then
//! unassigned. Lost ones are given up at once (G2, G3).

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use rdkafka::consumer::Consumer;
use tracing::{info, warn};

use super::{IDLE, Part, Poller, Unanswered, join};
use crate::kafka::find::find;
use crate::kafka::rebalance::{DrainStep, Draining, Finding, LAST_COMMIT, Rebalance};
use crate::kafka::{Found, Intake, Partition, Trouble, raw};

impl<I: Intake> Poller<I> {
    pub(super) fn serve_rebalance(&mut self, now: Instant) {
        match std::mem::replace(&mut self.rebalance, Rebalance::Steady) {
            Rebalance::Steady => self.look_up_anew(now),
            Rebalance::Finding(finding) => self.serve_finding(finding, now),
            Rebalance::Draining(draining) => self.serve_draining(draining, now),
        }
    }

    /// Partitions of these topics end as if they were lost, and are looked up anew.
    fn look_up_anew(&mut self, now: Instant) {
        let topics =
            self.handle.stale.lock().map(|mut topics| std::mem::take(&mut *topics)).unwrap_or_default();
        if topics.is_empty() || self.stopping {
            return;
        }
        let of_them = |p: &&Partition| topics.iter().any(|topic| **topic == *p.topic);
        let partitions: Vec<Partition> = self.parts.keys().filter(of_them).cloned().collect();
        warn!(group = self.options.consumer.group, ?topics, "looking partitions up anew");
        self.intake.lost(&partitions);
        self.shut(&partitions);
        self.rebalance =
            Rebalance::Finding(Finding { partitions, answer: None, again_at: now, assigned: true });
    }

    /// A rebalance comes before partitions that are being looked up anew: their topics are, once it is answered.
    fn put_look_up_off(&self) {
        if let Rebalance::Finding(Finding { assigned: true, partitions, .. }) = &self.rebalance {
            partitions.iter().for_each(|partition| self.handle.look_up_again(&partition.topic));
        }
    }

    pub(super) fn assign_event(&mut self, partitions: Vec<Partition>, now: Instant) {
        info!(group = self.options.consumer.group, partitions = %join(&partitions), "assigned");
        self.put_look_up_off();
        self.unanswered = Some(Unanswered::Assign(partitions.clone()));
        if self.stopping {
            return self.answer();
        }
        self.rebalance =
            Rebalance::Finding(Finding { partitions, answer: None, again_at: now, assigned: false });
    }

    pub(super) fn revoke_event(&mut self, partitions: Vec<Partition>, lost: bool, now: Instant) {
        info!(group = self.options.consumer.group, partitions = %join(&partitions), lost, "revoked");
        self.put_look_up_off();
        self.unanswered = Some(Unanswered::Revoke(partitions.clone()));
        if lost {
            self.intake.lost(&partitions);
            self.forget(&partitions);
            self.answer();
            match &mut self.rebalance {
                Rebalance::Draining(draining) if draining.stopping => {
                    draining.partitions.retain(|p| !partitions.contains(p));
                }
                state => *state = Rebalance::Steady,
            }
            return;
        }
        if self.stopping {
            // All partitions end anyway; the answer is given before the consumer closes.
            return;
        }
        self.intake.revoke(&partitions);
        self.shut(&partitions);
        let deadline = now + self.options.drain_deadline;
        self.rebalance =
            Rebalance::Draining(Draining { partitions, deadline, step: DrainStep::Working, stopping: false });
    }

    /// Answers the rebalance that librdkafka waits for, where there is one: what was to be assigned is assigned unread.
    pub(super) fn answer(&mut self) {
        match self.unanswered.take() {
            None => {}
            Some(Unanswered::Assign(partitions)) => {
                let unread: Vec<(Partition, i64)> = partitions.into_iter().map(|p| (p, 0)).collect();
                self.report(
                    "assigning partitions",
                    raw::incremental_assign(self.client.consumer.client(), &unread),
                );
            }
            Some(Unanswered::Revoke(partitions)) => {
                self.report(
                    "unassigning",
                    raw::incremental_unassign(self.client.consumer.client(), &partitions),
                );
            }
        }
    }

    fn serve_finding(&mut self, mut finding: Finding, now: Instant) {
        if let Some(receiver) = finding.answer.take() {
            match receiver.try_recv() {
                Err(mpsc::TryRecvError::Empty) => finding.answer = Some(receiver),
                Err(mpsc::TryRecvError::Disconnected) => finding.again_at = now + IDLE,
                Ok(Ok(found)) => return self.found(&finding, found, now),
                Ok(Err(error)) => {
                    warn!(group = self.options.consumer.group, %error, "looking up assigned partitions");
                    self.intake.trouble(Trouble::Other(error), now);
                    finding.again_at = now + IDLE;
                }
            }
        } else if now >= finding.again_at {
            self.epoch += 1;
            let (sender, receiver) = mpsc::channel();
            let (consumer, queue) = (Arc::clone(&self.client.consumer), Arc::clone(&self.client.queue));
            let (partitions, epoch) = (finding.partitions.clone(), self.epoch);
            let (begin, known) = (self.options.begin, self.options.known_count);
            let thread = std::thread::Builder::new().name("kafka-find".into()).spawn(move || {
                let found = find(&consumer, &partitions, begin, epoch, &known);
                // The receiver is gone where the assignment ended meanwhile.
                sender.send(found).ok();
                queue.wake();
            });
            match thread {
                Ok(thread) => {
                    self.others.retain(|other| !other.is_finished());
                    self.others.push(thread);
                    finding.answer = Some(receiver);
                }
                Err(_) => finding.again_at = now + IDLE,
            }
        }
        self.rebalance = Rebalance::Finding(finding);
    }

    fn found(&mut self, finding: &Finding, mut found: Vec<Found>, now: Instant) {
        found.iter_mut().for_each(|one| one.again = finding.assigned);
        for one in &found {
            let part = Part {
                epoch: one.epoch,
                topic: Arc::clone(&one.topic),
                // Looked up anew while it is ours: it still is as it was.
                paused: self.parts.get(&one.partition).is_some_and(|old| old.paused),
                shut: false,
                crowding: self.no_room,
                overflow: VecDeque::new(),
                overflows_since: None,
                leader_epoch: -1,
            };
            self.parts.insert(one.partition.clone(), part);
        }
        let mut starts = self.intake.assigned(found, now);
        for partition in &finding.partitions {
            if !starts.iter().any(|(p, _)| p == partition) {
                // Held: it belongs to us, but nothing of it is read.
                starts.push((partition.clone(), 0));
                if let Some(part) = self.parts.get_mut(partition) {
                    part.shut = true;
                }
            }
        }
        self.unanswered = None;
        if finding.assigned {
            self.report(
                "unassigning",
                raw::incremental_unassign(self.client.consumer.client(), &finding.partitions),
            );
        }
        self.report("assigning partitions", raw::incremental_assign(self.client.consumer.client(), &starts));
        self.rebalance = Rebalance::Steady;
        self.apply_pauses();
    }

    fn serve_draining(&mut self, mut draining: Draining, now: Instant) {
        let drained = self.intake.drained(&draining.partitions);
        let mut covered = false;
        let may_commit = self.outstanding.is_none() && now >= self.commit_again_at;
        if matches!(draining.step, DrainStep::LastCommit(_)) && may_commit {
            // What was refused, as by a generation that has moved on meanwhile, is committed once more.
            let marks = self.next_alone(Some(&draining.partitions), now);
            let marks = marks.unwrap_or_else(|| self.intake.commits(now, Some(&draining.partitions)));
            covered = marks.is_empty();
            self.send_commit(marks, now);
        }
        draining.step = draining.next(drained, covered, now);
        if draining.step == DrainStep::Closing {
            self.close_draining(&mut draining, drained, now);
        }
        if draining.step != DrainStep::Done {
            self.rebalance = Rebalance::Draining(draining);
            return;
        }
        if !covered {
            warn!(group = self.options.consumer.group, "the last commit was not accepted in time");
            self.clean &= !draining.stopping;
        }
        self.intake.ended(&draining.partitions);
        self.forget(&draining.partitions);
        if !draining.stopping {
            self.answer();
        }
    }

    /// All has ended, or is cut off now: the last commit follows as soon as no other is outstanding.
    fn close_draining(&mut self, draining: &mut Draining, drained: bool, now: Instant) {
        if self.outstanding.is_none() {
            if !drained {
                warn!(
                    group = self.options.consumer.group,
                    "the drain deadline has passed: requests are cut off"
                );
                self.clean = false;
            }
            self.intake.close(&draining.partitions);
            let marks = self.intake.commits(now, Some(&draining.partitions));
            self.send_commit(marks, now);
            draining.step = DrainStep::LastCommit(now + LAST_COMMIT);
        } else if now >= draining.deadline + LAST_COMMIT {
            draining.step = DrainStep::Done;
        }
    }

    /// Forgets partitions that are ours no more. librdkafka keeps a partition's pause over unassign and assign: it is taken
    /// back here, else the partition would never be read again when it returns.
    pub(super) fn forget(&mut self, partitions: &[Partition]) {
        let is_paused = |p: &&Partition| self.parts.get(*p).is_some_and(|part| part.paused);
        let paused: Vec<Partition> = partitions.iter().filter(is_paused).cloned().collect();
        if !paused.is_empty() {
            self.report("resuming", raw::set_paused(self.client.consumer.client(), &paused, false));
        }
        for partition in partitions {
            self.parts.remove(partition);
        }
        if !paused.is_empty() {
            self.tell_paused();
        }
    }
}
