//! The life of one record, one pass: decode, transform, one handler attempt, publish; or what an earlier pass still owes.
//! Straight from top to bottom; what failed is judged, and a dead letter is acknowledged before the verdict says so.

use std::sync::Arc;

use tracing::{debug, warn};

use super::engine::{Engine, Job};
use crate::deliver::dead_letter;
use crate::deliver::judge::{Failed, Judgement};
use crate::event::{Body, Event, webhook_id};
use crate::handler::Call;
use crate::kafka::KafkaError;
use crate::outcome::{Answer, Code, Failure, Filter, HoldCause, Outcome, Owed, Progress, Reason, Verdict};
use crate::plan::{OnTombstone, Stage};
use crate::telemetry::clock::{self, both as now};
use crate::telemetry::metrics::AttemptResult;
use crate::transform::Emit;

/// What one pass came to.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) verdict: Verdict,
    /// Whether the handler accepted: what closes a breaker and ends a hold.
    pub(super) accepted: bool,
    pub(super) attempts: u32,
    pub(super) published: u32,
}

impl Pass {
    pub(super) fn abandoned() -> Pass {
        Pass { verdict: Verdict::Abandoned, accepted: false, attempts: 0, published: 0 }
    }

    fn done(outcome: Outcome, attempts: u32) -> Pass {
        Pass { verdict: Verdict::Done(outcome), accepted: false, attempts, published: 0 }
    }
}

/// Does what the record needs next.
pub(super) async fn run(engine: &Engine, stage: &Arc<Stage>, job: &Job) -> Pass {
    let progress = job.work.progress.clone();
    match &progress.owed {
        Owed::DeadLetter { reason, code, failure } => {
            let failure = failure.clone();
            dead_letter(engine, stage, job, &progress, *reason, *code, failure).await
        }
        Owed::Publish(answer) => {
            let answer = Answer::clone(answer);
            match prepare(stage, &job.work) {
                Ok(Prepared::Events(events)) => {
                    publish(engine, stage, job, progress, &events, &[Some(answer)]).await
                }
                Ok(Prepared::Ended(outcome)) => Pass::done(outcome, progress.attempts),
                Err(failure) => after_failure(engine, stage, job, failed(progress, false, failure)).await,
            }
        }
        Owed::Attempt => attempt(engine, stage, job, progress).await,
    }
}

async fn attempt(engine: &Engine, stage: &Arc<Stage>, job: &Job, mut progress: Progress) -> Pass {
    let events = match prepare(stage, &job.work) {
        Ok(Prepared::Events(events)) => events,
        Ok(Prepared::Ended(outcome)) => return Pass::done(outcome, progress.attempts),
        Err(failure) => return after_failure(engine, stage, job, failed(progress, false, failure)).await,
    };
    let mut answers = vec![None; events.len()];
    if let Some(handler) = &stage.handler {
        let first_try = *progress.first_try.get_or_insert_with(|| now().wall);
        progress.attempts += 1;
        let give_up_at = stage.policy.retry.give_up_at(first_try);
        for (event, answer) in events.iter().zip(&mut answers) {
            let call = [Call { event, attempt: progress.attempts, give_up_at }];
            let started = clock::now();
            let result = handler.attempt(&call).await.pop().unwrap_or_else(|| {
                Err(Failure::retry(Code::Other, "calling the handler: it gave no answer"))
            });
            engine
                .metrics()
                .attempted(attempt_result(&result), clock::now().saturating_duration_since(started));
            match result {
                Ok(good) => *answer = Some(good),
                Err(failure) => {
                    return after_failure(engine, stage, job, failed(progress, true, failure)).await;
                }
            }
        }
    }
    publish(engine, stage, job, progress, &events, &answers).await
}

fn attempt_result(result: &Result<Answer, Failure>) -> AttemptResult {
    match result {
        Ok(_) => AttemptResult::Ok,
        Err(failure) => {
            AttemptResult::of_failure(failure.code, failure.answer.as_ref().map(|answer| answer.status))
        }
    }
}

/// What transforms made of a record.
enum Prepared {
    Events(Vec<Event>),
    Ended(Outcome),
}

/// Decodes where something looks into the payload, and applies the transforms.
fn prepare(stage: &Stage, work: &super::Work) -> Result<Prepared, Failure> {
    let mut event = Event::clone(&work.event);
    if event.is_tombstone() {
        match stage.source.on_tombstone {
            OnTombstone::Skip => return Ok(Prepared::Ended(Outcome::Filtered(Filter::Tombstone))),
            OnTombstone::Dlq => {
                return Err(Failure::invalid(Code::Tombstone, "reading the record: its value is null"));
            }
            OnTombstone::Deliver => {}
        }
    }
    if stage.looks_into_payload
        && let Body::Raw(raw) = &event.body
    {
        event.body = Body::Value(stage.source.format.decode(raw.as_ref())?);
    }
    Ok(match stage.transform(event, work.progress.attempts, None)? {
        Emit::One(event) => Prepared::Events(vec![event]),
        Emit::Many(events) => Prepared::Events(events),
        Emit::Filtered(filter) => Prepared::Ended(Outcome::Filtered(filter)),
    })
}

/// Writes what the stage publishes and waits for every acknowledgement. Kafka not taking them holds the stage with the
/// answer kept: the handler is not asked again.
async fn publish(
    engine: &Engine,
    stage: &Arc<Stage>,
    job: &Job,
    progress: Progress,
    _events: &[Event],
    answers: &[Option<Answer>],
) -> Pass {
    let accepted = stage.handler.is_some();
    let outgoing: Vec<crate::event::Outgoing> = Vec::new();
    let sends = outgoing.iter().map(|record| engine.outputs().records.send(record));
    let written = futures_util::future::join_all(sends).await;
    let count = u32::try_from(outgoing.len()).unwrap_or(u32::MAX);
    for (record, result) in outgoing.iter().zip(written) {
        let series = engine.metrics().producer(&record.topic);
        if result.is_ok() {
            series.ok.inc()
        } else {
            series.error.inc()
        }
        if let Err(error) = result {
            let mut pass = not_published(engine, stage, job, progress, &record.topic, &error, answers).await;
            pass.accepted = accepted;
            return pass;
        }
    }
    Pass {
        verdict: Verdict::Done(Outcome::Delivered),
        accepted,
        attempts: progress.attempts,
        published: count,
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the one place where a publish has failed; a struct would only rename them"
)]
async fn not_published(
    engine: &Engine,
    stage: &Arc<Stage>,
    job: &Job,
    progress: Progress,
    topic: &str,
    error: &KafkaError,
    answers: &[Option<Answer>],
) -> Pass {
    if error.means_too_large() {
        let failure =
            Failure::invalid(Code::TooLarge, format!("publishing to {topic}: the record is too large"));
        return after_failure(engine, stage, job, failed(progress, false, failure)).await;
    }
    let (cause, message) = if error.means_missing_topic() {
        (HoldCause::TopicMissing, format!("publishing to {topic}: the topic does not exist"))
    } else {
        (HoldCause::Kafka, format!("publishing to {topic}: {error}"))
    };
    let owed = match answers {
        [Some(answer)] => Owed::Publish(Box::new(answer.clone())),
        _ => Owed::Attempt,
    };
    let attempts = progress.attempts;
    let progress = Progress { owed, ..progress };
    Pass { verdict: Verdict::Hold { cause, message, progress }, accepted: false, attempts, published: 0 }
}

fn failed(progress: Progress, called: bool, failure: Failure) -> Failed {
    Failed { progress, called, failure }
}

/// Judges a failure and does what the judgement says.
pub(super) async fn after_failure(engine: &Engine, stage: &Arc<Stage>, job: &Job, failed: Failed) -> Pass {
    let attempts = failed.progress.attempts;
    let progress = failed.progress.clone();
    debug!(
        stage = stage.service,
        position = %job.work.event.origin,
        code = failed.failure.code.as_str(),
        attempts,
        message = failed.failure.message,
        "a pass failed"
    );
    let verdict = match engine.judge(stage, job, failed) {
        Judgement::Again { due, progress } => Verdict::Again { due, progress },
        Judgement::Hold { cause, message, progress } => Verdict::Hold { cause, message, progress },
        Judgement::Discard(code) => Verdict::Done(Outcome::Discarded(code)),
        Judgement::DeadLetter { reason, code, failure } => {
            return dead_letter(engine, stage, job, &progress, reason, code, Some(failure)).await;
        }
    };
    Pass { verdict, accepted: false, attempts, published: 0 }
}

/// Writes the dead letter; finished only once the DLQ has acknowledged it (D1, D2).
async fn dead_letter(
    engine: &Engine,
    stage: &Arc<Stage>,
    job: &Job,
    progress: &Progress,
    reason: Reason,
    code: Code,
    failure: Option<Box<Failure>>,
) -> Pass {
    let owed =
        Progress { owed: Owed::DeadLetter { reason, code, failure: failure.clone() }, ..progress.clone() };
    let hold = |cause, message| Pass {
        verdict: Verdict::Hold { cause, message, progress: owed.clone() },
        accepted: false,
        attempts: progress.attempts,
        published: 0,
    };
    let Some(topic) = stage.dlq.as_ref().map(|dlq| &dlq.topic) else {
        return hold(HoldCause::NoDlq, format!("no `dlq` to take a record that is {}", reason.as_str()));
    };
    let endpoint = stage.handler.as_ref().and_then(|handler| handler.endpoint(&job.work.event));
    let id = webhook_id(&job.work.event.origin, &stage.service, 0);
    let facts = dead_letter::Facts {
        pipeline: &stage.pipeline,
        stage: &stage.service,
        revision: stage.revision.short(),
        commit: None,
        event_id: None,
        webhook_id: &id,
        replays: 0,
        attempts: progress.attempts,
        first_try: progress.first_try,
        last_try: (progress.attempts > 0).then(|| now().wall),
        endpoint: endpoint.as_deref(),
        failed_parts: &[],
    };
    let mut letter = dead_letter::record(topic, &job.work.event, &facts, reason, code, failure.as_deref());
    loop {
        let error = match engine.outputs().dead_letters.send(&letter).await {
            Ok(_) => {
                return Pass::done(Outcome::DeadLettered(reason, code), progress.attempts);
            }
            Err(error) => error,
        };
        if error.means_too_large() && dead_letter::shrink(&mut letter) {
            continue;
        }
        engine.metrics().dead_letter_write_failures.inc();
        warn!(stage = stage.service, %topic, %error, "the DLQ did not take a record");
        return hold(HoldCause::Dlq, format!("writing to the DLQ {topic}: {error}"));
    }
}
