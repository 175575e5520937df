//! Making series: constant labels, every label value set to 0, registered and taken out again as a group.

use std::collections::HashMap;
use std::sync::Mutex;

use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge};
use prometheus::{GaugeVec, IntGaugeVec, Opts, Registry};

use super::lock;

/// Why the constructors below cannot fail.
const CONSTANT: &str = "names and labels are constants, and the golden test builds every one of them";

/// A group of series with the same constant labels: made together, taken out together.
pub(super) struct Group {
    registry: Registry,
    labels: HashMap<String, String>,
    collectors: Mutex<Vec<Box<dyn Collector>>>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl Group {
    /// A group in `registry`. No other group may have the same labels and names at the same time.
    pub(super) fn new(registry: &Registry, labels: &[(&'static str, &str)]) -> Group {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Group { registry: registry.clone(), labels, collectors: Mutex::new(Vec::new()) }
    }

    /// One counter.
    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(self.opts(name, help)).expect(CONSTANT))
    }

    /// Counters by one or more labels; [`zero`] sets the known values.
    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(self.opts(name, help), labels).expect(CONSTANT))
    }

    /// One gauge of whole numbers.
    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(self.opts(name, help)).expect(CONSTANT))
    }

    /// Gauges of whole numbers by one label.
    pub(super) fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.add(IntGaugeVec::new(self.opts(name, help), &[label]).expect(CONSTANT))
    }

    /// One gauge of seconds or a share.
    pub(super) fn real(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(self.opts(name, help)).expect(CONSTANT))
    }

    /// Gauges of seconds or shares by one label.
    pub(super) fn reals(&self, name: &str, help: &str, label: &str) -> GaugeVec {
        self.add(GaugeVec::new(self.opts(name, help), &[label]).expect(CONSTANT))
    }

    /// One histogram of seconds.
    pub(super) fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(self.histogram_opts(name, help, bounds)).expect(CONSTANT))
    }

    /// Histograms of seconds by one label.
    pub(super) fn histograms(&self, name: &str, help: &str, label: &str, bounds: &[f64]) -> HistogramVec {
        self.add(HistogramVec::new(self.histogram_opts(name, help, bounds), &[label]).expect(CONSTANT))
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).const_labels(self.labels.clone())
    }

    fn histogram_opts(&self, name: &str, help: &str, bounds: &[f64]) -> HistogramOpts {
        HistogramOpts::new(name, help).const_labels(self.labels.clone()).buckets(bounds.to_vec())
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        let registered = self.registry.register(Box::new(collector.clone()));
        debug_assert!(registered.is_ok(), "{:?}: {registered:?}", self.labels);
        lock(&self.collectors).push(Box::new(collector.clone()));
        collector
    }

    /// Takes every series out. Those who still hold one count on unseen.
    pub(super) fn unregister(&self) {
        for collector in lock(&self.collectors).drain(..) {
            let gone = self.registry.unregister(collector);
            debug_assert!(gone.is_ok(), "{:?}: {gone:?}", self.labels);
        }
    }
}
