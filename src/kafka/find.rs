//! Looking up what a newly assigned partition needs before its first record: topic ids, committed offsets with their
//! metadata, where to begin. Blocks, so it runs on a thread of its own and never on the poll thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::raw::{self, Committed};
use super::{Found, KafkaError, Partition};
use crate::event::Topic;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a group begins that never committed (`source.start`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At the beginning of the log.
    Earliest,
    /// At its end.
    Latest,
    /// At the first record at or after this time, in milliseconds since 1970.
    At(i64),
}

/// Where the partitions of a group begin that have no offset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beginning<'a> {
    pub(crate) begin: Begin,
    /// The topics that were there when it began, where topics come and go: all others begin at their beginning.
    pub(crate) first: Option<&'a BTreeSet<String>>,
}

/// Looks everything up. The first error ends it; the caller tries again.
pub(crate) fn find<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[Partition],
    beginning: Beginning<'_>,
    epoch: u64,
    known_count: &dyn Fn(&[u8]) -> Option<u32>,
) -> Result<Vec<Found>, KafkaError> {
    let names: BTreeSet<&Arc<str>> = partitions.iter().map(|p| &p.topic).collect();
    let names: Vec<Arc<str>> = names.into_iter().cloned().collect();
    let topics = topics(consumer, &names)?;
    let committed = raw::committed(consumer.client(), partitions, TIMEOUT)?;
    let mut new = NewPartitions { consumer, known_count, seen: BTreeMap::new() };
    let mut found = Vec::with_capacity(partitions.len());
    for (partition, committed) in partitions.iter().zip(committed) {
        let Some((topic, count)) = topics.get(&partition.topic) else { continue };
        let (log_start, log_end) = consumer
            .fetch_watermarks(&partition.topic, partition.number, TIMEOUT)
            .map_err(KafkaError::from)?;
        let mut partitions = *count;
        let start = match &committed {
            Some(committed) => committed.next,
            None => {
                let seen = new.look(partition, *count)?;
                partitions = seen.write;
                let later = beginning.first.is_some_and(|first| !first.contains(&*partition.topic));
                if later || seen.is_new(partition) {
                    log_start
                } else {
                    resolve(consumer, partition, beginning.begin, log_start, log_end)?
                }
            }
        };
        found.push(Found {
            partition: partition.clone(),
            topic: Arc::clone(topic),
            epoch,
            partitions,
            again: false,
            committed,
            start,
            log_start,
            log_end,
        });
    }
    Ok(found)
}

/// What a look found.
#[derive(Debug)]
pub(crate) struct NotAllowed {
    pub(crate) error: KafkaError,
    /// The topic that is refused.
    pub(crate) topic: Option<Arc<str>>,
}

impl From<KafkaError> for NotAllowed {
    fn from(error: KafkaError) -> NotAllowed {
        NotAllowed { error, topic: None }
    }
}

/// Whether Kafka lets a consumer do all that it has to: read its topics, be in its group, and reach the leaders of its
/// partitions. Where it does, the group is told of topics that it could not see. Blocks.
pub(crate) fn allowed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    topics: &[String],
    partitions: &[Partition],
) -> Result<(), NotAllowed> {
    let (client, first) = (consumer.client(), topics.first().map(String::as_str));
    let broker = consumer.fetch_metadata(first, TIMEOUT).map_err(KafkaError::from)?.orig_broker_id();
    let names: Vec<Arc<str>> = topics.iter().map(|topic| Arc::from(topic.as_str())).collect();
    for (topic, seen) in names.iter().zip(raw::topic_ids(client, broker, &names, true, TIMEOUT)?) {
        if seen == raw::TopicSeen::Refused {
            let code = RDKafkaErrorCode::TopicAuthorizationFailed;
            let error = KafkaError { code, message: code.to_string(), fatal: false };
            return Err(NotAllowed { error, topic: Some(Arc::clone(topic)) });
        }
    }
    raw::group_allowed(client, group, TIMEOUT)?;
    if raw::log_ends(client, partitions, TIMEOUT)?.len() < partitions.len() {
        return Err(KafkaError::timed_out("asking the leaders").into());
    }
    // An answer about all topics is the only one that a group takes for news.
    consumer.fetch_metadata(None, TIMEOUT).map_err(KafkaError::from)?;
    Ok(())
}

type Topics = BTreeMap<Arc<str>, (Arc<Topic>, u32)>;

fn topics<C: ConsumerContext>(consumer: &BaseConsumer<C>, names: &[Arc<str>]) -> Result<Topics, KafkaError> {
    let client = consumer.client();
    let cluster = client.fetch_cluster_id(TIMEOUT).unwrap_or_default();
    let mut counts = Vec::with_capacity(names.len());
    let mut broker = 0;
    for name in names {
        let metadata = consumer.fetch_metadata(Some(name), TIMEOUT).map_err(KafkaError::from)?;
        broker = metadata.orig_broker_id();
        counts.push(metadata.topics().first().map_or(0, |topic| topic.partitions().len()));
    }
    let ids = match raw::topic_ids(client, broker, names, false, TIMEOUT) {
        // Brokers older than 2.8 give no ids; anything else is passing, and another identity must not come of it.
        Err(error) if error.code == RDKafkaErrorCode::UnsupportedFeature => vec![None; names.len()],
        other => other?.into_iter().map(raw::TopicSeen::id).collect(),
    };
    let all = names.iter().zip(ids).zip(counts);
    Ok(all
        .map(|((name, id), count)| {
            let topic = Topic { cluster: cluster.clone(), name: name.to_string(), id };
            (Arc::clone(name), (Arc::new(topic), u32::try_from(count).unwrap_or(u32::MAX)))
        })
        .collect())
}

/// What the group's commits say of a topic's partition count (K7).
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The largest count that a commit names; `None` where none does.
    known: Option<u32>,
    /// The count to write: a larger one than is known only once every partition below it has an offset, so that a slow
    /// owner's new partition is still new.
    write: u32,
}

impl Seen {
    /// Whether a partition without an offset is new, and so begins at its beginning.
    fn is_new(self, partition: &Partition) -> bool {
        self.known.is_some_and(|known| u32::try_from(partition.number).is_ok_and(|number| number >= known))
    }
}

struct NewPartitions<'a, C: ConsumerContext> {
    consumer: &'a BaseConsumer<C>,
    known_count: &'a dyn Fn(&[u8]) -> Option<u32>,
    seen: BTreeMap<Arc<str>, Seen>,
}

impl<C: ConsumerContext> NewPartitions<'_, C> {
    fn look(&mut self, partition: &Partition, count: u32) -> Result<Seen, KafkaError> {
        if let Some(seen) = self.seen.get(&partition.topic) {
            return Ok(*seen);
        }
        let all: Vec<Partition> = (0..i32::try_from(count).unwrap_or(i32::MAX))
            .map(|number| Partition { topic: Arc::clone(&partition.topic), number })
            .collect();
        let committed = raw::committed(self.consumer.client(), &all, TIMEOUT)?;
        let known =
            committed.iter().flatten().filter_map(|c: &Committed| (self.known_count)(&c.metadata)).max();
        let complete = committed.iter().all(Option::is_some);
        let write = known.filter(|_| !complete).unwrap_or(count);
        let seen = Seen { known, write };
        self.seen.insert(Arc::clone(&partition.topic), seen);
        Ok(seen)
    }
}

fn resolve<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partition: &Partition,
    begin: Begin,
    log_start: i64,
    log_end: i64,
) -> Result<i64, KafkaError> {
    let time = match begin {
        Begin::Earliest => return Ok(log_start),
        Begin::Latest => return Ok(log_end),
        Begin::At(time) => time,
    };
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(time))
        .map_err(KafkaError::from)?;
    let answer = consumer.offsets_for_times(list, TIMEOUT).map_err(KafkaError::from)?;
    let offset = answer.elements().first().and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    });
    Ok(offset.unwrap_or(log_end))
}
