//! A missing DLQ topic is created at start: with the source's partition count and 7 days of retention. Where that is
//! refused there is a warning, and only a record that needs the DLQ waits.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::kafka::KafkaError;
use crate::kafka::admin::Admin;
use crate::kafka::embedded::Embedded;
use crate::plan::Stage;

const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often it is tried again while Kafka does not answer.
const AGAIN: Duration = Duration::from_secs(30);

/// Creates the stage's DLQ topic where it is missing, as soon as Kafka answers; given up at a stop.
pub(super) async fn ensure(
    admin: Admin,
    embedded: Option<Embedded>,
    stage: std::sync::Arc<Stage>,
    stop: CancellationToken,
) {
    let Some(topic) = stage.dlq.as_ref().map(|dlq| &dlq.topic) else { return };
    let mut ticks = tokio::time::interval(AGAIN);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = false;
    loop {
        let created = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            created = async {
                ticks.tick().await;
                create(&admin, embedded.clone(), &stage, topic).await
            } => created,
        };
        match created {
            Ok(false) => return,
            Ok(true) => {
                info!(stage = stage.service, %topic, "created the DLQ topic");
                return;
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    warn!(
                        stage = stage.service,
                        %topic,
                        %error,
                        "the DLQ topic is missing and could not be created: a record that needs it will wait; create it"
                    );
                }
            }
        }
    }
}

async fn create(
    admin: &Admin,
    embedded: Option<Embedded>,
    stage: &Stage,
    topic: &str,
) -> Result<bool, KafkaError> {
    if partitions(admin, topic).await?.is_some() {
        return Ok(false);
    }
    let mut count = 1;
    let taken = match &stage.source.pattern {
        Some(pattern) => all_topics(admin).await?.into_iter().filter(|name| pattern.takes(name)).collect(),
        None => Vec::new(),
    };
    for source in stage.source.topics.iter().chain(&taken) {
        count = count.max(partitions(admin, source).await?.unwrap_or(1));
    }
    match embedded {
        Some(embedded) => embedded.create_topic(topic, count)?,
        None => admin.create_topic(topic, count, RETENTION).await?,
    }
    Ok(true)
}

async fn all_topics(admin: &Admin) -> Result<Vec<String>, KafkaError> {
    ask(admin, |admin| admin.cluster().map(|cluster| cluster.topics)).await
}

async fn partitions(admin: &Admin, topic: &str) -> Result<Option<u32>, KafkaError> {
    let topic = topic.to_owned();
    ask(admin, move |admin| admin.partitions(&topic)).await
}

/// Asks the cluster on a thread that may wait.
async fn ask<T: Send + 'static>(
    admin: &Admin,
    what: impl FnOnce(&Admin) -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    let admin = admin.clone();
    let asked = tokio::task::spawn_blocking(move || what(&admin)).await;
    asked.unwrap_or_else(|_| Err(KafkaError::timed_out("asking for a topic")))
}
