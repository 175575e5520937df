//! New revisions that are watched (`rollout`): where one fails more than the file allows, and more than the former one did, the
//! former is put back. Pure: counts and times come in.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::plan::Revision;
use crate::runtime::change::Wanted;
use crate::runtime::status::{PipelineStatus, StageStatus};
use crate::spec::pipeline::Rollout;

/// How many passes of records a judgement needs at least.
const ENOUGH: u64 = 10;
/// How many counts are kept of the time before a change.
const SAMPLES: u32 = 60;

/// What a pipeline has done, as far as it tells how well it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Passes of records: attempts, and records that needed none.
    all: u64,
    /// Attempts that failed, and records that the steps could not take.
    failed: u64,
}

impl Tally {
    /// Of all stages of a pipeline since the process began.
    pub(super) fn of(status: &PipelineStatus) -> Tally {
        let one = |stage: &StageStatus| {
            let counts = &stage.counts;
            let failed = counts.failed_attempts + counts.invalid;
            // Without a handler a delivered record is no attempt.
            let accepted = counts.attempts.saturating_sub(counts.failed_attempts);
            let without = counts.delivered.saturating_sub(accepted);
            (failed + accepted + without + counts.filtered, failed)
        };
        let sum = |(all, failed): (u64, u64), (more, more_failed)| (all + more, failed + more_failed);
        let (all, failed) = status.stages.iter().map(one).fold((0, 0), sum);
        Tally { all, failed }
    }

    fn since(self, before: Tally) -> Tally {
        Tally { all: self.all.saturating_sub(before.all), failed: self.failed.saturating_sub(before.failed) }
    }

    /// The share that failed; `None` where there was nothing.
    fn ratio(self) -> Option<f64> {
        // Counts of a few minutes are far from where this rounds.
        #[expect(clippy::cast_precision_loss, reason = "counts of a few minutes")]
        (self.all > 0).then(|| self.failed as f64 / self.all as f64)
    }
}

/// A new revision that is watched.
#[derive(Debug, Clone)]
struct Watch {
    former: Revision,
    rollout: Rollout,
    begun: Instant,
    at: Tally,
    /// The share that failed under the former one.
    before: f64,
}

/// A revision that is to be put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PutBack {
    pub(super) pipeline: String,
    pub(super) former: Revision,
    pub(super) why: String,
}

/// All revisions that are watched.
#[derive(Debug, Default)]
pub(super) struct Guard {
    watches: BTreeMap<String, Watch>,
    /// What each pipeline with a `rollout` has done, over the time that it watches.
    samples: BTreeMap<String, VecDeque<(Instant, Tally)>>,
}

fn rollout(wanted: &Wanted) -> Option<Rollout> {
    wanted.pipeline.spec()?.rollout
}

impl Guard {
    /// Whether there is anything to look at.
    pub(super) fn is_idle(&self, wanted: &BTreeMap<String, Wanted>) -> bool {
        self.watches.is_empty() && !wanted.values().any(|one| rollout(one).is_some())
    }

    /// What runs is other than before: new revisions are watched from now on, and what is pinned or gone is not any more.
    pub(super) fn changed(
        &mut self,
        before: &BTreeMap<String, Wanted>,
        after: &BTreeMap<String, Wanted>,
        done: &BTreeMap<String, Tally>,
        now: Instant,
    ) {
        self.watches.retain(|name, _| after.contains_key(name));
        self.samples.retain(|name, _| after.get(name).is_some_and(|one| rollout(one).is_some()));
        for (name, new) in after {
            let Some(old) = before.get(name) else { continue };
            let (was, is) = (&old.pipeline.plan.revision, &new.pipeline.plan.revision);
            if was == is {
                continue;
            }
            self.watches.remove(name);
            let Some(rollout) = rollout(new).filter(|_| new.pin.is_none()) else { continue };
            let at = done.get(name).copied().unwrap_or_default();
            let earlier = self.samples.get(name).and_then(|samples| samples.front());
            let before = earlier.and_then(|(_, earlier)| at.since(*earlier).ratio()).unwrap_or_default();
            let watch = Watch { former: was.clone(), rollout, begun: now, at, before };
            self.watches.insert(name.clone(), watch);
        }
    }

    /// What the pipelines have done by now: which revisions are to be put back. Those whose time is over are not watched any
    /// more.
    pub(super) fn look(
        &mut self,
        wanted: &BTreeMap<String, Wanted>,
        done: &BTreeMap<String, Tally>,
        now: Instant,
    ) -> Vec<PutBack> {
        for (name, one) in wanted {
            if let (Some(rollout), Some(tally)) = (rollout(one), done.get(name)) {
                self.sample(name, rollout.watch.0, *tally, now);
            }
        }
        let mut back = Vec::new();
        self.watches.retain(|name, watch| {
            let tally = done.get(name).copied().unwrap_or_default().since(watch.at);
            if let Some(why) = watch.fails(tally, now) {
                back.push(PutBack { pipeline: name.clone(), former: watch.former.clone(), why });
                return false;
            }
            now.saturating_duration_since(watch.begun) < watch.rollout.watch.0
        });
        back
    }

    fn sample(&mut self, name: &str, over: Duration, tally: Tally, now: Instant) {
        let samples = self.samples.entry(name.to_owned()).or_default();
        let is_due = |(at, _): &(Instant, Tally)| now.saturating_duration_since(*at) >= over / SAMPLES;
        if samples.back().is_none_or(is_due) {
            samples.push_back((now, tally));
        }
        while samples.len() > 1
            && samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > over)
        {
            samples.pop_front();
        }
    }
}

impl Watch {
    /// Why the new revision is worse than is allowed and than the former one was.
    fn fails(&self, tally: Tally, now: Instant) -> Option<String> {
        let ratio = tally.ratio().filter(|_| tally.all >= ENOUGH)?;
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        (ratio > self.rollout.max_failure_ratio.0 && ratio > self.before).then(|| {
            format!(
                "rollout: {} of {} failed within {} s ({}; {} are allowed, and {} failed before)",
                tally.failed,
                tally.all,
                now.saturating_duration_since(self.begun).as_secs(),
                percent(ratio),
                percent(self.rollout.max_failure_ratio.0),
                percent(self.before)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::{Plan, fixture};
    use crate::runtime::load::Loadable;
    use crate::spec::PipelineFile;
    use crate::spec::span::Source;
    use crate::telemetry::clock;
    use crate::telemetry::metrics::PipelineFacts;

    fn runs(text: &str) -> BTreeMap<String, Wanted> {
        let written = format!(
            "pipeline: x\nsource: t\nhandler: log\nrollout: {{ watch: 60s, max_failure_ratio: 5% }}\n# {text}\n"
        );
        let read = Arc::new(PipelineFile::parse(&Source::new("x.yaml", written), &mut Vec::new()));
        let stages = vec![Arc::new(fixture::stage(None))];
        let plan = Arc::new(Plan { pipeline: "x".into(), revision: Revision::of(text), stages });
        let pipeline =
            Loadable { plan, facts: PipelineFacts::default(), file: "x.yaml".into(), standing: None, read };
        BTreeMap::from([("x".to_owned(), Wanted { pipeline, broken: None, pin: None })])
    }

    fn done(all: u64, failed: u64) -> BTreeMap<String, Tally> {
        BTreeMap::from([("x".to_owned(), Tally { all, failed })])
    }

    /// What is put back: 1,000 passes in a minute of which `before` failed, a change, and then each second so many of so many.
    fn watched(before: u64, after: &[(u64, u64)]) -> Option<(usize, PutBack)> {
        let (old, new, mut guard) = (runs("1"), runs("2"), Guard::default());
        let mut now = clock::now();
        assert!(!guard.is_idle(&old));
        assert!(guard.look(&old, &done(0, 0), now).is_empty());
        now += Duration::from_secs(59);
        let (mut all, mut failed) = (1_000, before);
        assert!(guard.look(&old, &done(all, failed), now).is_empty());
        guard.changed(&old, &new, &done(all, failed), now);
        for (second, (more, more_failed)) in after.iter().enumerate() {
            now += Duration::from_secs(1);
            (all, failed) = (all + more, failed + more_failed);
            if let Some(back) = guard.look(&new, &done(all, failed), now).pop() {
                return Some((second, back));
            }
        }
        None
    }

    #[test]
    fn a_revision_that_fails_more_is_put_back_and_one_that_does_not_stays() {
        let (second, back) = watched(0, &[(5, 5), (5, 5), (5, 5)]).unwrap();
        assert_eq!((second, &back.former), (1, &Revision::of("1")), "ten are enough");
        assert!(
            back.why.contains("10 of 10 failed within 2 s") && back.why.contains("5.0 % are allowed"),
            "{}",
            back.why
        );
        assert_eq!(watched(0, &[(100, 5); 30]), None, "as much as is allowed");
        assert_eq!(watched(500, &[(100, 50); 30]), None, "no more than before: it is the receiver's doing");
        assert!(watched(500, &[(100, 80); 30]).is_some(), "more than before");
        assert_eq!(watched(0, &[(3, 3)]), None, "too few to tell");
        // What goes wrong when its time is over is another matter.
        let mut late = vec![(100, 0); 61];
        late.push((10_000, 10_000));
        assert_eq!(watched(0, &late), None);
    }
}
