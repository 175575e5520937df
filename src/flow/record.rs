//! The life of one record, one pass: decode, transform, one handler attempt, publish; or what an earlier pass still owes.
//! Straight from top to bottom; what failed is judged, and a dead letter is acknowledged before the verdict says so.

use std::sync::Arc;

use tracing::{debug, warn};
use vrl::value::Value;

use super::engine::{Engine, Job};
use super::fetch::{FETCHES, Without};
use crate::codec::Trouble;
use crate::deliver::dead_letter;
use crate::deliver::judge::{Failed, Judgement};
use crate::event::{Body, Event, Outgoing, event_id, webhook_id};
use crate::handler::{Call, Handler, Notes};
use crate::kafka::KafkaError;
use crate::kafka::producer::Written;
use crate::outcome::{
    Answer, Code, Failure, Filter, HoldCause, Outcome, Owed, Parts, Progress, Reason, Verdict,
};
use crate::plan::{OnTombstone, Stage};
use crate::publish::route::{self, Inputs, Route};
use crate::telemetry::clock::{self, both as now};
use crate::telemetry::metrics::{Anomaly, AttemptResult};
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

/// A pass under way: who works, under which plan, on which record.
pub(super) struct Turn<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) stage: &'a Arc<Stage>,
    pub(super) job: &'a Job,
}

/// One event of a record, on its way.
#[derive(Clone, Copy)]
struct Part<'a> {
    event: &'a Event,
    /// The record's event id as it was before the transforms, where something asks for it.
    id: Option<&'a str>,
    /// Whether nothing of the record comes after it, and nothing before it has failed.
    closes: bool,
}

/// A record for the producer: its place in what the event publishes, and what became of it.
type Sent<'o> = (usize, &'o Outgoing, Result<Written, KafkaError>);

/// How one event of a record came out.
enum Ended {
    /// The handler accepted and every publish was acknowledged: so many.
    Delivered(u32),
    /// It is to be dead-lettered.
    Failed(Reason, Code, Box<Failure>),
    /// The record is not finished, or not to be delivered.
    Record(Verdict),
}

impl Turn<'_> {
    /// Does what the record needs next.
    pub(super) async fn run(&self) -> Pass {
        let progress = self.job.work.progress.clone();
        if let Owed::DeadLetter { reason, code, failure } = &progress.owed {
            let failure = failure.clone();
            return self.dead_letter(&progress, *reason, *code, failure).await;
        }
        // What the handler has accepted in part or whole was verified then, perhaps by keys that are replaced since.
        let is_begun = matches!(progress.owed, Owed::Publish(_)) || progress.parts.is_some();
        if !is_begun && let Err(failure) = self.verify() {
            return self.fail(Failed { progress, called: false, failure }).await;
        }
        if self.is_untouched() {
            return self.deliver(std::slice::from_ref(&*self.job.work.event), None, progress).await;
        }
        match self.prepare_fetching(&progress).await {
            Ok((Emit::One(event), id)) => {
                self.deliver(std::slice::from_ref(&event), id.as_deref(), progress).await
            }
            Ok((Emit::Many(events), id)) => self.deliver(&events, id.as_deref(), progress).await,
            Ok((Emit::Filtered(filter), _)) => Pass::done(Outcome::Filtered(filter), progress.attempts),
            Err(without) => without.into_pass(self, progress.attempts).await,
        }
    }

    /// The same as [`Turn::prepare`]; what it lacks is fetched.
    async fn prepare_fetching(&self, progress: &Progress) -> Result<(Emit, Option<String>), Without> {
        let failed = |failure| {
            Without::Failed(Box::new(Failed { progress: progress.clone(), called: false, failure }))
        };
        for _ in 0..FETCHES {
            match self.prepare_seated().await {
                Ok(prepared) => return Ok(prepared),
                Err(Trouble::Failed(failure)) => return Err(failed(failure)),
                Err(Trouble::Missing(missing)) => self.fetch(&missing, progress).await?,
            }
        }
        Err(Without::later(progress))
    }

    /// The wait before the first attempt, where the file asks for one and it has not been waited yet. A probe, and the lone
    /// record of a suspect partition, is what others wait for: it does not.
    fn wait_first(&self, progress: &Progress) -> Option<Pass> {
        let is_first = !progress.waited && progress.attempts == 0 && self.stage.handler.is_some();
        if !is_first || self.job.tried.is_some() || self.job.work.lone {
            return None;
        }
        let wait = self.stage.policy.retry.before_first(&mut fastrand::Rng::with_seed(self.job.work.key))?;
        let progress = Progress { waited: true, ..progress.clone() };
        let due = clock::now().checked_add(wait)?;
        let verdict = Verdict::Again { due, progress };
        Some(Pass { verdict, accepted: false, attempts: 0, published: 0 })
    }

    /// The same as [`Turn::prepare`]. A slow plugin keeps few threads: who wants in waits here, which keeps none.
    async fn prepare_seated(&self) -> Result<(Emit, Option<String>), Trouble> {
        // Nobody closes it.
        let seat = match &self.stage.seats {
            Some(seats) => seats.acquire().await.ok(),
            None => None,
        };
        let prepared = self.prepare();
        if seat.is_some() {
            for counted in self.stage.counted() {
                self.engine.metrics().plugin_counted(&counted.plugin, &counted.name, counted.by);
            }
        }
        prepared
    }

    /// Whether somebody has signed the record whom the source names: before anything looks into it, and also where nothing does.
    fn verify(&self) -> Result<(), Failure> {
        let Some(verifier) = &self.stage.source.verify else { return Ok(()) };
        let verified = verifier.verify(&self.job.work.event);
        verified.map_err(|why| Failure::invalid(Code::Signature, format!("verifying the record: {why}")))
    }

    /// Whether the record is delivered as it came: nothing looks into it, nothing changes it.
    fn is_untouched(&self) -> bool {
        let stage = self.stage;
        let looked_into = stage.looks_into_payload || stage.source.codec.validates();
        stage.steps.is_empty() && !looked_into && !self.job.work.event.is_tombstone()
    }

    /// Decodes where something looks into the payload, and applies the transforms. Also gives the event id as it was before
    /// them, where something asks for it.
    fn prepare(&self) -> Result<(Emit, Option<String>), Trouble> {
        let (stage, work) = (self.stage, &self.job.work);
        let mut event = Event::clone(&work.event);
        if event.is_tombstone() {
            match stage.source.on_tombstone {
                OnTombstone::Skip => return Ok((Emit::Filtered(Filter::Tombstone), None)),
                OnTombstone::Dlq => {
                    let failure = Failure::invalid(Code::Tombstone, "reading the record: its value is null");
                    return Err(failure.into());
                }
                OnTombstone::Deliver => {}
            }
        }
        let codec = &stage.source.codec;
        if let Body::Raw(raw) = &event.body
            && (stage.looks_into_payload || codec.validates())
        {
            let value = codec.decode(raw.as_ref(), &event.headers, stage.source.wide_integers)?;
            // Where nothing looks into it, it goes on as it came.
            if stage.looks_into_payload {
                event.body = Body::Value(value);
            }
        }
        let id = match &event.body {
            Body::Value(value) if stage.needs_id => Some(event_id(&event, value)),
            Body::Value(_) | Body::Raw(_) => None,
        };
        match stage.transform(event, work.progress.attempts, id.as_deref()) {
            Ok(emit) => Ok((emit, id)),
            Err(failed) => {
                if let Some(step) = stage.steps.get(failed.step) {
                    self.engine.metrics().transform_errors(&step.name, failed.kind).inc();
                }
                Err(failed.failure.into())
            }
        }
    }

    /// Delivers the events of the record, one after the other; those that ended in an earlier pass are left out.
    async fn deliver(&self, events: &[Event], id: Option<&str>, mut progress: Progress) -> Pass {
        if let Some(pass) = self.wait_first(&progress) {
            return pass;
        }
        // Before the handler is asked: what it has accepted and Kafka has not is asked again by another process.
        for missing in self.stage.publish.iter().filter_map(Route::missing) {
            if let Err(without) = self.fetch(&missing, &progress).await {
                return without.into_pass(self, progress.attempts).await;
            }
        }
        let first = progress.parts.as_ref().map_or(0, |parts| parts.next);
        let (mut accepted, mut published) = (false, 0);
        if self.stage.handler.is_some() && !matches!(progress.owed, Owed::Publish(_)) {
            progress.first_try.get_or_insert_with(clock::wall);
            progress.attempts += 1;
        }
        for (index, event) in events.iter().enumerate().skip(first) {
            let fails = progress.parts.as_ref().is_some_and(|parts| parts.why.is_some());
            let part = Part { event, id, closes: index + 1 == events.len() && !fails };
            let ended = self.deliver_one(part, &mut progress, &mut accepted).await;
            let failed = match ended {
                Ended::Delivered(count) => {
                    published += count;
                    None
                }
                Ended::Failed(reason, code, failure) if events.len() == 1 => {
                    let pass = self.dead_letter(&progress, reason, code, Some(failure)).await;
                    return Pass { accepted, published, ..pass };
                }
                Ended::Failed(reason, code, failure) => Some((reason, code, failure)),
                Ended::Record(verdict) => {
                    return Pass { verdict, accepted, attempts: progress.attempts, published };
                }
            };
            if events.len() > 1 {
                let parts = progress.parts.get_or_insert_with(Box::<Parts>::default);
                parts.next = index + 1;
                if let Some(why) = failed {
                    parts.failed.push(event.part);
                    parts.why = Some(why);
                }
            }
        }
        let why = progress.parts.as_mut().and_then(|parts| parts.why.take());
        if let Some((reason, code, failure)) = why {
            let pass = self.dead_letter(&progress, reason, code, Some(failure)).await;
            return Pass { accepted, published, ..pass };
        }
        let verdict = Verdict::Done(Outcome::Delivered);
        Pass { verdict, accepted, attempts: progress.attempts, published }
    }

    /// One event: the handler, unless it has accepted already, and then what is published.
    async fn deliver_one(&self, part: Part<'_>, progress: &mut Progress, accepted: &mut bool) -> Ended {
        let answer = match std::mem::replace(&mut progress.owed, Owed::Attempt) {
            Owed::Publish(answer) => Some(*answer),
            Owed::Attempt | Owed::DeadLetter { .. } => match &self.stage.handler {
                None => None,
                Some(handler) => match self.call(handler, part, progress).await {
                    Ok(answer) => {
                        *accepted = true;
                        Some(answer)
                    }
                    Err(failure) => {
                        let failed = Failed { progress: progress.clone(), called: true, failure };
                        return self.judge(failed);
                    }
                },
            },
        };
        self.publish(part, progress, answer).await
    }

    async fn call(
        &self,
        handler: &Arc<dyn Handler>,
        part: Part<'_>,
        progress: &Progress,
    ) -> Result<Answer, Failure> {
        let first_try = progress.first_try.unwrap_or_else(clock::wall);
        let give_up_at = self.stage.policy.retry.give_up_at(first_try);
        let Part { event, id, .. } = part;
        let alone = self.job.work.lone || self.job.tried.is_some();
        let notes = Notes::default();
        let call = [Call { event, attempt: progress.attempts, id, give_up_at, alone, notes }];
        let started = clock::now();
        let result = handler.attempt(&call).await.pop();
        let result = result
            .unwrap_or_else(|| Err(Failure::retry(Code::Other, "calling the handler: it gave no answer")));
        let took = clock::now().saturating_duration_since(started);
        self.engine.metrics().attempted(attempt_result(&result), took);
        call.iter().flat_map(|call| call.notes.iter()).for_each(|kind| self.engine.metrics().anomaly(kind));
        result
    }

    /// Writes what the stage publishes and waits for every acknowledgement. Kafka not taking it holds the stage with the
    /// answer kept: the handler is not asked again.
    async fn publish(&self, part: Part<'_>, progress: &mut Progress, answer: Option<Answer>) -> Ended {
        let Part { event, id, .. } = part;
        if self.stage.publish.is_empty() {
            return Ended::Delivered(0);
        }
        let webhook_id = webhook_id(&event.origin, &self.stage.identity, event.part);
        let attempts = progress.attempts.saturating_sub(u32::from(self.stage.handler.is_some()));
        let inputs = Inputs { attempts, event_id: id, webhook_id: &webhook_id, answer: answer.as_ref() };
        let outgoing = match self.render(event, &inputs, progress).await {
            Ok(outgoing) => outgoing,
            Err(Without::Failed(failed)) => return self.judge(*failed),
            // The handler is not asked again.
            Err(Without::Verdict(verdict)) => return Ended::Record(verdict.owing(answer)),
        };
        let started = clock::now();
        let written = self.write(&outgoing, part, progress).await;
        let took = clock::now().saturating_duration_since(started);
        let mut refused = None;
        for (index, record, result) in written {
            let series = self.engine.metrics().producer(&record.topic);
            match result {
                Ok(_) => {
                    progress.set_acked(index);
                    series.ok.inc();
                    self.engine.metrics().produced(took);
                }
                Err(error) => {
                    series.error.inc();
                    refused.get_or_insert((record, error));
                }
            }
        }
        match refused {
            None => {
                (progress.acked, progress.alone) = (0, false);
                Ended::Delivered(u32::try_from(outgoing.len()).unwrap_or(u32::MAX))
            }
            Some((record, error)) => self.not_published(record, &error, part, progress, answer),
        }
    }

    /// What is published; a schema that is not at hand is fetched.
    async fn render(
        &self,
        event: &Event,
        inputs: &Inputs<'_>,
        progress: &Progress,
    ) -> Result<Vec<Outgoing>, Without> {
        let failed = |failure| {
            Without::Failed(Box::new(Failed { progress: progress.clone(), called: false, failure }))
        };
        for _ in 0..FETCHES {
            match route::render(&self.stage.publish, event, inputs) {
                Ok(outgoing) => return Ok(outgoing),
                Err(Trouble::Failed(failure)) => return Err(failed(failure)),
                Err(Trouble::Missing(missing)) => self.fetch(&missing, progress).await?,
            }
        }
        Err(Without::later(progress))
    }

    /// Writes what no earlier pass has written, and waits for every acknowledgement. In a stage without a handler the next
    /// record of the lane is begun meanwhile (K12).
    async fn write<'o>(
        &self,
        outgoing: &'o [Outgoing],
        part: Part<'_>,
        progress: &Progress,
    ) -> Vec<Sent<'o>> {
        let owed = outgoing.iter().enumerate().filter(|(index, _)| !progress.is_acked(*index));
        let producer = &self.engine.outputs().records;
        if !self.hands_over(part, progress) {
            let sends = owed.map(async |(index, record)| (index, record, producer.send(record).await));
            return futures_util::future::join_all(sends).await;
        }
        let mut begun = Vec::with_capacity(outgoing.len());
        for (index, record) in owed {
            begun.push((index, record, producer.begin(record).await));
        }
        if begun.iter().all(|(_, _, sending)| sending.is_ok()) {
            self.engine.handed_over(self.job);
        }
        let written = begun.into_iter().map(async |(index, record, sending)| match sending {
            Ok(sending) => (index, record, sending.written().await),
            Err(error) => (index, record, Err(error)),
        });
        futures_util::future::join_all(written).await
    }

    /// Whether the next record of the lane may be begun while this one's acknowledgement is awaited. Not where a handler
    /// decides, where parts of the record are still to come or have failed, and where it is written alone.
    fn hands_over(&self, part: Part<'_>, progress: &Progress) -> bool {
        self.stage.handler.is_none() && part.closes && !progress.alone
    }

    fn not_published(
        &self,
        record: &Outgoing,
        error: &KafkaError,
        part: Part<'_>,
        progress: &Progress,
        answer: Option<Answer>,
    ) -> Ended {
        let topic = &record.topic;
        if self.hands_over(part, progress) {
            self.engine.metrics().anomaly(Anomaly::ProduceRepeated);
            if error.means_too_large() {
                // The broker means the whole batch: alone, and with nothing of its lane behind it (D11).
                let progress = Progress { alone: true, ..progress.clone() };
                return Ended::Record(Verdict::Again { due: clock::now(), progress });
            }
        }
        if error.means_too_large() {
            let mut failure =
                Failure::invalid(Code::TooLarge, format!("publishing to {topic}: the record is too large"));
            failure.answer = answer.map(Box::new);
            return self.judge(Failed { progress: progress.clone(), called: false, failure });
        }
        let (cause, message) = if error.means_missing_topic() {
            (HoldCause::TopicMissing, format!("publishing to {topic}: the topic does not exist; create it"))
        } else {
            (HoldCause::Kafka, format!("publishing to {topic}: {error}"))
        };
        let verdict = Verdict::Hold { cause, message, progress: progress.clone() };
        Ended::Record(verdict.owing(answer))
    }

    fn judge(&self, failed: Failed) -> Ended {
        debug!(
            stage = self.stage.service,
            position = %self.job.work.event.origin,
            code = failed.failure.code.as_str(),
            attempts = failed.progress.attempts,
            message = failed.failure.message,
            "a pass failed"
        );
        match self.engine.judge(self.stage, self.job, failed) {
            Judgement::Again { due, progress } => Ended::Record(Verdict::Again { due, progress }),
            Judgement::Hold { cause, message, progress } => {
                Ended::Record(Verdict::Hold { cause, message, progress })
            }
            Judgement::Discard(code) => Ended::Record(Verdict::Done(Outcome::Discarded(code))),
            Judgement::DeadLetter { reason, code, failure } => Ended::Failed(reason, code, failure),
        }
    }

    /// The record itself failed, before any of its events was delivered.
    pub(super) async fn fail(&self, failed: Failed) -> Pass {
        let progress = failed.progress.clone();
        match self.judge(failed) {
            Ended::Failed(reason, code, failure) => {
                self.dead_letter(&progress, reason, code, Some(failure)).await
            }
            Ended::Record(verdict) => {
                Pass { verdict, accepted: false, attempts: progress.attempts, published: 0 }
            }
            Ended::Delivered(_) => Pass::done(Outcome::Delivered, progress.attempts),
        }
    }

    /// The event id for a dead letter. The payload of a record that failed is looked into for it, also where nothing else
    /// does; not where it may be what kills the process.
    fn event_id(&self, code: Code) -> Option<String> {
        if code == Code::Crashed {
            return None;
        }
        let (event, codec) = (&self.job.work.event, &self.stage.source.codec);
        // Where decoding is what panicked, it does so again.
        let id = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match &event.body {
            Body::Raw(raw) => event_id(
                event,
                &codec
                    .decode(raw.as_ref(), &event.headers, self.stage.source.wide_integers)
                    .unwrap_or(Value::Null),
            ),
            Body::Value(value) => event_id(event, value),
        }));
        id.ok()
    }

    /// Writes the dead letter; finished only once the DLQ has acknowledged it (D1, D2).
    async fn dead_letter(
        &self,
        progress: &Progress,
        reason: Reason,
        code: Code,
        failure: Option<Box<Failure>>,
    ) -> Pass {
        let (stage, event) = (self.stage, &self.job.work.event);
        let owed = |failure| {
            let owed = Owed::DeadLetter { reason, code, failure };
            Progress { owed, ..progress.clone() }
        };
        let pass = |verdict| Pass { verdict, accepted: false, attempts: progress.attempts, published: 0 };
        let Some(topic) = stage.dlq.as_ref().map(|dlq| &dlq.topic) else {
            let message = format!("no `dlq` to take a record that is {}", reason.as_str());
            return pass(Verdict::Hold { cause: HoldCause::NoDlq, message, progress: owed(failure) });
        };
        let event_id = self.event_id(code);
        let endpoint =
            stage.handler.as_ref().and_then(|handler| handler.endpoint(event, event_id.as_deref()));
        let id = webhook_id(&event.origin, &stage.identity, 0);
        let commit = stage.in_git.get().map(|standing| standing.id());
        let facts = dead_letter::Facts {
            pipeline: &stage.pipeline,
            stage: &stage.service,
            revision: stage.revision.short(),
            commit: commit.as_deref(),
            event_id: event_id.as_deref(),
            webhook_id: &id,
            replays: 0,
            attempts: progress.attempts,
            first_try: progress.first_try,
            last_try: (progress.attempts > 0).then(|| now().wall),
            endpoint: endpoint.as_deref(),
            failed_parts: progress.parts.as_ref().map_or(&[], |parts| &parts.failed),
        };
        let mut letter = dead_letter::record(topic, event, &facts, reason, code, failure.as_deref());
        loop {
            let Err(error) = self.engine.outputs().dead_letters.send(&letter).await else {
                self.engine.dlq_took();
                return Pass::done(Outcome::DeadLettered(reason, code), progress.attempts);
            };
            if error.means_too_large() && dead_letter::shrink(&mut letter) {
                continue;
            }
            self.engine.metrics().dead_letter_write_failures.inc();
            warn!(stage = stage.service, %topic, %error, "the DLQ did not take a record");
            // The record waits, and what is behind it in its lane; the others go on (D2).
            let due = self.engine.dlq_refused(self.job, &format!("writing to the DLQ {topic}: {error}"));
            return pass(Verdict::Again { due, progress: owed(failure) });
        }
    }
}

fn attempt_result(result: &Result<Answer, Failure>) -> AttemptResult {
    match result {
        Ok(_) => AttemptResult::Ok,
        Err(failure) => {
            AttemptResult::of_failure(failure.code, failure.answer.as_ref().map(|answer| answer.status))
        }
    }
}
