//! A poll thread's answers to rebalances: new partitions are looked up and then assigned, revoked ones drained and then
//! unassigned. Lost ones are given up at once (G2, G3).

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use tracing::{info, warn};

use super::{IDLE, Part, Poller, join};
use crate::kafka::find::{Beginning, Looked, find};
use crate::kafka::rebalance::{Answer, Ask, DrainStep, Draining, Finding, LAST_COMMIT, Rebalance};
use crate::kafka::{Intake, Partition, Trouble, raw};

/// When to look again for a partition that its topic does not have: the broker that was asked may have learned of it late.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl<I: Intake> Poller<I> {
    pub(super) fn serve_rebalance(&mut self, now: Instant) {
        match std::mem::replace(&mut self.rebalance, Rebalance::Steady) {
            Rebalance::Steady => match self.asks.begin().filter(|_| !self.stopping) {
                Some(ask) => self.begin(ask, now),
                None => self.look_up_anew(now),
            },
            Rebalance::Finding(finding) => self.serve_finding(finding, now),
            Rebalance::Draining(draining) => self.serve_draining(draining, now),
        }
    }

    /// Partitions of these topics end as if they were lost, and are looked up anew. Those that were not there before are looked
    /// up only.
    fn look_up_anew(&mut self, now: Instant) {
        if self.look_again_at.take_if(|at| now >= *at).is_some() {
            self.asks.aside().for_each(|partition| self.handle.look_up_missing(&partition.topic));
        }
        let Ok(mut stale) = self.handle.stale.lock() else { return };
        if stale.is_empty() || self.stopping {
            return;
        }
        let all_of = |p: &&Partition| stale.iter().any(|one| !one.missing_only && *one.topic == *p.topic);
        let some_of = |p: &&Partition| stale.iter().any(|one| *one.topic == *p.topic);
        let whole = self.parts.keys().filter(all_of);
        let partitions: BTreeSet<&Partition> = whole.chain(self.asks.aside().filter(some_of)).collect();
        let partitions: Vec<Partition> = partitions.into_iter().cloned().collect();
        if !partitions.is_empty() && !self.asks.is_quiet() {
            drop(stale);
            return self.hush(true);
        }
        let topics = std::mem::take(&mut *stale);
        drop(stale);
        if partitions.is_empty() {
            return self.hush(false);
        }
        warn!(group = self.options.consumer.group, ?topics, "looking partitions up anew");
        self.intake.lost(&partitions);
        self.shut(&partitions);
        // librdkafka reads from elsewhere only after an assignment, where it has stopped at an offset that is not in the log.
        let assigned = self.asks.set_aside(&partitions);
        if !assigned.is_empty() {
            self.unassign(&assigned);
        }
        self.rebalance = Rebalance::Finding(Finding { partitions, answer: None, again_at: now, again: true });
    }

    /// A rebalance asks for something. What is lost ends at once; all else has its turn.
    pub(super) fn asked(&mut self, ask: Ask) {
        let group = &self.options.consumer.group;
        match &ask {
            Ask::Assign(partitions) => info!(group, partitions = %join(partitions), "assigned"),
            Ask::Revoke { partitions, lost } => {
                info!(group, partitions = %join(partitions), lost, "revoked");
                if *lost {
                    self.intake.lost(partitions);
                    self.forget(partitions);
                }
            }
        }
        // It comes before partitions that are being looked up anew: their topics are, once it is answered.
        if let Rebalance::Finding(Finding { again: true, partitions, .. }) = &self.rebalance {
            partitions.iter().for_each(|partition| self.handle.look_up_again(&partition.topic));
            self.rebalance = Rebalance::Steady;
        }
        self.hush(false);
        let waits = matches!(ask, Ask::Revoke { lost: false, .. });
        if let (Ask::Revoke { partitions, .. }, Rebalance::Draining(draining)) = (&ask, &mut self.rebalance)
            && !waits
        {
            draining.partitions.retain(|partition| !partitions.contains(partition));
        }
        self.asks.push(ask);
        if self.stopping && !waits && self.asks.len() == 1 {
            // All partitions end anyway. What is revoked by and by is answered before the consumer closes.
            self.answer();
        }
    }

    fn begin(&mut self, ask: Ask, now: Instant) {
        match ask {
            Ask::Assign(partitions) => {
                self.rebalance =
                    Rebalance::Finding(Finding { partitions, answer: None, again_at: now, again: false });
            }
            Ask::Revoke { partitions, lost: true } => {
                // Also what was assigned after it was lost, by an answer that took longer.
                self.intake.lost(&partitions);
                self.forget(&partitions);
                self.answer();
            }
            Ask::Revoke { partitions, lost: false } => {
                self.intake.revoke(&partitions);
                self.shut(&partitions);
                let deadline = now + self.options.drain_deadline;
                let step = DrainStep::Working;
                self.rebalance =
                    Rebalance::Draining(Draining { partitions, deadline, step, stopping: false });
            }
        }
    }

    /// Answers what was begun: what was to be assigned is assigned unread.
    pub(super) fn answer(&mut self) {
        match self.asks.answer() {
            None => {}
            Some(Answer::Assign(partitions)) => {
                let unread: Vec<(Partition, i64)> = partitions.into_iter().map(|p| (p, 0)).collect();
                self.assign(&unread);
            }
            Some(Answer::Unassign(partitions)) => self.unassign(&partitions),
        }
    }

    fn assign(&self, starts: &[(Partition, i64)]) {
        self.report("assigning partitions", raw::incremental_assign(self.client.consumer.client(), starts));
    }

    fn unassign(&self, partitions: &[Partition]) {
        self.report("unassigning", raw::incremental_unassign(self.client.consumer.client(), partitions));
    }

    /// The same for all that was asked: closing hangs on what is not answered (G3).
    pub(super) fn answer_all(&mut self) {
        while self.asks.len() > 0 {
            self.answer();
        }
    }

    /// Pauses everything, so that what is asked shows behind no record: or not any more.
    fn hush(&mut self, hushed: bool) {
        if self.hushed != hushed {
            self.hushed = hushed;
            self.apply_pauses();
        }
    }

    fn serve_finding(&mut self, mut finding: Finding, now: Instant) {
        if let Some(receiver) = finding.answer.take() {
            match receiver.try_recv() {
                Err(mpsc::TryRecvError::Empty) => finding.answer = Some(receiver),
                Err(mpsc::TryRecvError::Disconnected) => finding.again_at = now + IDLE,
                Ok(Ok(looked)) => return self.found(&finding, looked, now),
                Ok(Err(error)) => {
                    if self.look_ups_said.is_new(&error.message, now) {
                        warn!(group = self.options.consumer.group, %error, "looking up assigned partitions; trying again");
                    }
                    if !self.refuse(&error, None, now) {
                        self.intake.trouble(Trouble::Other(error), now);
                    }
                    finding.again_at = now + IDLE;
                }
            }
        } else if finding.again && !self.asks.is_quiet() {
            self.hush(true);
        } else if now >= finding.again_at {
            self.hush(false);
            self.epoch += 1;
            let (sender, receiver) = mpsc::channel();
            let (consumer, queue) = (Arc::clone(&self.client.consumer), Arc::clone(&self.client.queue));
            let (partitions, epoch) = (finding.partitions.clone(), self.epoch);
            let (begin, known) = (self.options.begin, self.options.known_count);
            let first = self.first_topics.clone();
            let thread = std::thread::Builder::new().name("kafka-find".into()).spawn(move || {
                let found =
                    find(&consumer, &partitions, Beginning { begin, first: first.as_deref() }, epoch, &known);
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

    fn found(&mut self, finding: &Finding, looked: Looked, now: Instant) {
        self.look_ups_said.settled();
        let Looked { mut found, missing } = looked;
        // What was not there before was never ours to read.
        found.iter_mut().for_each(|one| one.again = finding.again && self.parts.contains_key(&one.partition));
        let (there, gone): (Vec<Partition>, Vec<Partition>) =
            finding.partitions.iter().cloned().partition(|p| found.iter().any(|one| one.partition == *p));
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
        for partition in &there {
            if !starts.iter().any(|(p, _)| p == partition) {
                // Held: it belongs to us, but nothing of it is read.
                starts.push((partition.clone(), 0));
                if let Some(part) = self.parts.get_mut(partition) {
                    part.shut = true;
                }
            }
        }
        self.gone(&gone, &missing, now);
        // A topic is there of which others were not: they may be by now.
        if self.asks.aside().any(|aside| there.iter().any(|partition| partition.topic == aside.topic)) {
            self.look_again_at.get_or_insert(now + LOOK_AGAIN);
        }
        if !finding.again {
            self.assign(&starts);
            self.asks.answer();
        } else if !starts.is_empty() {
            self.assign(&starts);
            self.asks.returned(&there);
        }
        self.rebalance = Rebalance::Steady;
        self.apply_pauses();
    }

    /// Partitions went between their assignment and the look (B4). They stay ours, unassigned, until the group takes them back or
    /// somebody asks to look again: of a topic that is missing, who sees that it is there.
    fn gone(&mut self, partitions: &[Partition], missing: &[Arc<str>], now: Instant) {
        self.asks.not_there(partitions);
        if partitions.iter().any(|partition| !missing.contains(&partition.topic)) {
            warn!(group = self.options.consumer.group, partitions = %join(partitions), "assigned and not there; looking again");
            self.look_again_at.get_or_insert(now + LOOK_AGAIN);
        }
        for topic in missing {
            self.intake.trouble(Trouble::TopicMissing(Arc::clone(topic)), now);
        }
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
