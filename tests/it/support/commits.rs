//! L5: a thread that reads what a group has committed, ten times a second, offset and metadata.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;

use crate::support::kafka::{Kafka, committed};
use crate::support::ledger::Sample;
use crate::support::run::Run;

/// The sampler of one group on one topic.
#[derive(Debug)]
pub(crate) struct Commits {
    stop: SyncSender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Commits {
    /// Starts to sample.
    pub(crate) fn watch(kafka: &Kafka, run: &Run, group: &str, topic: &str, partitions: i32) -> Commits {
        let reader: BaseConsumer = kafka.client().set("group.id", group).create().unwrap();
        let (stop, stopped) = sync_channel(1);
        let (run, topic) = (run.clone(), topic.to_owned());
        let sample = move || {
            let mut samples = Vec::new();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(100)) {
                // An error is a broker that is down or a coordinator that moves: the next sample will tell.
                samples.extend(committed(&reader, &run, &topic, partitions).unwrap_or_default());
            }
            samples.extend(committed(&reader, &run, &topic, partitions).unwrap_or_default());
            samples
        };
        let thread = std::thread::Builder::new().name("commits".into()).spawn(sample).unwrap();
        Commits { stop, thread }
    }

    /// Takes a last sample, stops, and returns L5.
    pub(crate) fn stop(self) -> Vec<Sample> {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}
