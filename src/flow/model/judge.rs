//! Judges one commit, and a change of the order, against all that the model knows.

use super::{Knowledge, Mutant, TOPIC, World};
use crate::flow::metadata::{self, Decoded, Phase, Restored};
use crate::flow::{Commit, NextOffset, Order};
use crate::outcome::{Code, Reason};

impl World {
    /// Checks a commit, and returns what it should be remembered for.
    pub(super) fn judge(&mut self, commit: Commit, open: bool) -> Result<(Commit, Knowledge), String> {
        let commit = self.mutate(commit);
        let next = commit.next.0;
        let lowest =
            self.log.keys().find(|o| **o >= self.stored.next.0.min(next) && !self.knows.done.contains(o));
        check!(lowest.is_none_or(|lowest| next <= *lowest), "commit {next} passes {lowest:?}");
        match lowest.filter(|lowest| **lowest < self.position) {
            Some(lowest) => check!(self.compacted || next == *lowest, "commit {next}, lowest open {lowest}"),
            None => check!(self.compacted || next >= self.position, "commit {next} < {}", self.position),
        }
        check!(commit.metadata.len() <= self.limits.metadata, "{} characters", commit.metadata.len());
        let read = match metadata::decode(commit.metadata.as_bytes(), commit.next, TOPIC) {
            Decoded::Restored(read) => read,
            other => return Err(format!("{other:?}: {commit:?}")),
        };
        check!(read.open == open, "open: {}", read.open);
        let named = |offset: i64| read.done.iter().any(|range| range.contains(&offset));
        for offset in self.log.range(next + 1..).map(|(offset, _)| *offset) {
            let done = self.knows.done.contains(&offset);
            check!(done || !named(offset), "{offset} is called done and is not");
            check!(!done || named(offset) || commit.cut.done > 0, "{offset} is done and not called so");
        }
        let mut knew = self.knows.clone();
        for entry in &read.retries {
            let known = knew.tried.entry(entry.offset).or_default();
            let lone = u32::from(matches!(entry.phase, Phase::FirstLone | Phase::SecondLone));
            let same = entry.attempts == known.attempts + lone;
            check!(same, "{} has {} attempts, expected {known:?}", entry.offset, entry.attempts);
            known.attempts += lone;
            known.dead_letter = match entry.phase {
                Phase::DeadLetter(reason, code) => Some((reason, code)),
                Phase::SecondLone => Some((Reason::Invalid, Code::Crashed)),
                Phase::Try | Phase::Row | Phase::Publish | Phase::FirstLone => None,
            };
        }
        for offset in self.knows.tried.keys().filter(|offset| self.log.contains_key(offset)) {
            let kept = commit.cut.retries > 0 || read.retries.iter().any(|entry| entry.offset == *offset);
            check!(kept, "the attempts of {offset} are missing");
        }
        if commit.cut.done > 0 {
            knew.done.retain(|offset| *offset < next || named(*offset));
        }
        knew.tried.retain(|offset, _| read.retries.iter().any(|entry| entry.offset == *offset));
        Ok((commit, knew))
    }

    fn mutate(&mut self, commit: Commit) -> Commit {
        let before = self.before.replace(commit.clone());
        let encode = |restored: &Restored, next: NextOffset| {
            let done: Vec<_> = restored.done.iter().filter(|range| range.start > next.0).cloned().collect();
            let retries: Vec<_> =
                restored.retries.iter().filter(|retry| retry.offset >= next.0).copied().collect();
            let view = metadata::View {
                topic: TOPIC,
                base: next.0,
                partitions: restored.partitions,
                crashes: restored.crashes,
                open: restored.open,
                clock: restored.clock,
                done: &done,
                retries: &retries,
            };
            Commit { next, metadata: view.encode(4096).0, ..commit.clone() }
        };
        let decode = |commit: &Commit| match metadata::decode(commit.metadata.as_bytes(), commit.next, TOPIC)
        {
            Decoded::Restored(restored) => Some(restored),
            Decoded::Empty(_) | Decoded::OtherTopic => None,
        };
        let Some(mut said) = decode(&commit) else { return commit };
        match self.mutant {
            Mutant::CommitsHighestSeen => encode(&said, NextOffset(self.position.max(commit.next.0))),
            Mutant::TwoMoments => {
                match before.filter(|before| before.epoch == commit.epoch).and_then(|c| decode(&c)) {
                    Some(before) => encode(&Restored { open: said.open, ..before }, commit.next),
                    None => commit,
                }
            }
            Mutant::ForgetsAttempts => {
                said.retries.clear();
                encode(&said, commit.next)
            }
            Mutant::None | Mutant::AdmitsOldEpoch | Mutant::WaitsForNoTask | Mutant::ReordersAtOnce => commit,
        }
    }

    /// Another order holds as soon as no task is out.
    pub(super) fn reorder(&mut self, order: Order) -> Result<(), String> {
        let complete = self.tracker.counts().bodiless == 0;
        // That bug is to be seen where it harms.
        let forgotten = self.mutant == Mutant::WaitsForNoTask;
        let idle = complete
            && self.works.is_empty()
            && self.orphans.is_empty()
            && (forgotten || self.old.is_empty());
        if self.mutant == Mutant::ReordersAtOnce {
            // Its lanes forget who is at work.
            self.tracker.line_all_up(order);
            self.order = order;
            return Ok(());
        }
        let changes = order != self.order;
        let done = self.tracker.reorder(order);
        check!(done == (idle || !changes), "{order:?} after {:?}: {done}, idle: {idle}", self.order);
        if done && changes {
            self.order = order;
            self.seen.insert("reordered");
        }
        Ok(())
    }
}
