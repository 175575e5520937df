//! The task side of the engine: run a record, hand its verdict back, take the next in the same lock.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use tracing::error;

use super::board::{Board, Job};
use super::{Engine, Outputs};
use crate::deliver::gate::{Times, Try};
use crate::deliver::judge::{self, Failed, Judgement};
use crate::event::Event;
use crate::flow::Applied;
use crate::flow::record::{Pass, Turn};
use crate::flow::report::Finished;
use crate::outcome::{Code, Failure, HoldCause, Outcome, Verdict};
use crate::plan::Stage;
use crate::telemetry::clock::both as now;
use crate::telemetry::metrics::{Anomaly, StageMetrics};

/// The shortest wait before a dead letter is written again; the longest is four times it.
const DLQ_AGAIN: Duration = Duration::from_secs(1);

/// How a record ended.
#[derive(Clone, Copy)]
struct Finish {
    outcome: Outcome,
    attempts: u32,
    published: u32,
}

impl Engine {
    /// Asks whether the receiver is there, without a record. A panic counts as a no (K10).
    pub(super) async fn probe(self: Arc<Self>, tried: Try) {
        let stage = self.plan.load_full();
        let asked = async {
            let handler = stage.handler.as_ref()?;
            AssertUnwindSafe(handler.probe()?).catch_unwind().await.map_or(Some(false), Some)
        };
        let passed = tokio::select! {
            biased;
            () = self.end.cancelled() => None,
            passed = asked => passed,
        };
        let turned = self.lock().gate.bare_ended(tried, passed, now());
        self.log(turned);
        self.timer.notify_one();
    }

    pub(super) async fn work(self: Arc<Self>, mut job: Job) {
        loop {
            let stage = self.plan.load_full();
            let pass = self.run(&stage, &job).await;
            match self.finish(&stage, job, pass) {
                Some(next) => job = next,
                None => return,
            }
        }
    }

    /// One pass over a record; cut off where its assignment or the process ends. A panic fails the record, not the
    /// process (K10).
    async fn run(self: &Arc<Self>, stage: &Arc<Stage>, job: &Job) -> Pass {
        tokio::select! {
            biased;
            // Cut off: the request is indefinite, so nothing is said of the record (H7).
            () = job.cancelled.cancelled() => Pass::abandoned(),
            pass = self.run_guarded(stage, job) => pass,
        }
    }

    async fn run_guarded(self: &Arc<Self>, stage: &Arc<Stage>, job: &Job) -> Pass {
        let turn = Turn { engine: self, stage, job };
        if let Ok(pass) = AssertUnwindSafe(turn.run()).catch_unwind().await {
            return pass;
        }
        error!(stage = stage.service, position = %job.work.event.origin, "panic while working on a record");
        let failure = Failure::invalid(Code::Transform, "working on the record: internal error (panic)");
        let failed = Failed { progress: job.work.progress.clone(), called: false, failure };
        let failing = AssertUnwindSafe(turn.fail(failed)).catch_unwind().await;
        failing.unwrap_or_else(|_| Pass::abandoned())
    }

    /// Applies the verdict and takes the next record.
    fn finish(self: &Arc<Self>, stage: &Arc<Stage>, job: Job, pass: Pass) -> Option<Job> {
        let now = now();
        let Job { work, slot, tried, begun, .. } = job;
        let (event, raiser) = (Arc::clone(&work.event), Board::raiser(slot, &work));
        let first_try = work.progress.first_try.unwrap_or(now.wall);
        let mut turned = Vec::new();
        let (applied, next, room, shut, reordered) = {
            let mut board = self.lock();
            if pass.accepted {
                let times = Times { first_try, begun };
                turned.extend(board.gate.accepted(raiser.key, times, tried.is_some(), now));
            }
            if let Verdict::Hold { cause, message, .. } = &pass.verdict {
                turned.extend(board.gate.raise(*cause, message, raiser, now));
            }
            let done = match &pass.verdict {
                Verdict::Done(_) => true,
                // The registry was not what it waited for in the end.
                Verdict::Again { .. } => tried == Some(Try::Hold(HoldCause::Registry)),
                Verdict::Hold { cause, .. } => {
                    tried == Some(Try::Hold(HoldCause::Registry)) && *cause != HoldCause::Registry
                }
                Verdict::Abandoned => false,
            };
            if let Some(tried) = tried {
                turned.extend(board.gate.ended(tried, done, now.mono));
            }
            let applied = board.complete(slot, work, pass.verdict);
            let next = board.take(now, &mut turned);
            let room = board.gives_room(slot) || (next.is_none() && board.commit_is_urgent());
            let reordered = board.take_reordered();
            (applied, next, room, board.gate.is_shut(), reordered)
        };
        let look_again = !turned.is_empty()
            || reordered
            || (shut && next.is_none())
            || !matches!(applied, Applied::Terminal(_) | Applied::Stale);
        self.log(turned);
        if applied == Applied::Repeated {
            self.metrics.anomaly(Anomaly::ProduceRepeated);
        }
        if let Applied::Terminal(outcome) = applied {
            self.tell(
                stage,
                &event,
                now.wall,
                Finish { outcome, attempts: pass.attempts, published: pass.published },
            );
        }
        if look_again {
            self.timer.notify_one();
        }
        if room {
            self.room.notify_all();
            self.wake_poll();
        }
        next
    }

    fn tell(&self, stage: &Stage, event: &Event, at: SystemTime, finish: Finish) {
        let age = event.origin.timestamp.and_then(|millis| {
            let since = UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).ok()?);
            at.duration_since(since).ok()
        });
        self.metrics.finished(finish.outcome, age);
        let Some(on_finished) = &self.on_finished else { return };
        on_finished(Finished {
            service: stage.service.clone(),
            position: event.origin.to_string(),
            key: event.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()),
            outcome: finish.outcome,
            attempts: finish.attempts,
            published: finish.published,
        });
    }

    /// The record of this job is with the producer, which keeps the order: the next of its lane is started (K12).
    pub(in crate::flow) fn handed_over(self: &Arc<Self>, job: &Job) {
        let mut turned = Vec::new();
        let next = {
            let mut board = self.lock();
            if board.hand_over(job) { board.take(now(), &mut turned) } else { None }
        };
        self.log(turned);
        if let Some(next) = next {
            self.tasks.spawn_on(Arc::clone(self).work(next), &self.workers);
        }
    }

    /// A DLQ did not take a record: the stage says so until one is taken. When to try again.
    pub(in crate::flow) fn dlq_refused(&self, job: &Job, message: &str) -> Instant {
        let now = now();
        let raiser = Board::raiser(job.slot, &job.work);
        let (due, turned) = {
            let mut board = self.lock();
            let wait = DLQ_AGAIN + DLQ_AGAIN.mul_f64(3.0 * board.rng.f64());
            (now.mono + wait, board.gate.raise(HoldCause::Dlq, message, raiser, now))
        };
        self.log(turned);
        due
    }

    /// A DLQ took a record.
    pub(in crate::flow) fn dlq_took(&self) {
        let turned = self.lock().gate.dlq_took();
        self.log(turned);
    }

    /// The registry has given what was wanted of it.
    pub(in crate::flow) fn registry_answered(&self) {
        let turned = self.lock().gate.registry_answered();
        let ended = turned.is_some();
        self.log(turned);
        if ended {
            self.timer.notify_one();
        }
    }

    /// Judges a failed pass, asking breaker and holds.
    pub(in crate::flow) fn judge(&self, stage: &Stage, job: &Job, failed: Failed) -> Judgement {
        let now = now();
        let raiser = Board::raiser(job.slot, &job.work);
        let (judgement, turned) = {
            let mut board = self.lock();
            let others_wait = board.others_wait(raiser.key);
            let retry = &stage.policy.retry;
            let (standing, turned) = board.gate.failed(&failed, raiser, retry, job.tried, others_wait, now);
            (judge::judge(&stage.policy, failed, standing, now, &mut board.rng), turned)
        };
        self.log(turned);
        judgement
    }

    pub(in crate::flow) fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    pub(in crate::flow) fn metrics(&self) -> &StageMetrics {
        &self.metrics
    }
}
