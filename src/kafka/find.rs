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

/// What a look-up found.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The partitions that are there. All others went between their assignment and the look.
    pub(crate) found: Vec<Found>,
    /// The topics that do not exist.
    pub(crate) missing: Vec<Arc<str>>,
}

/// Looks everything up. The first error ends it; the caller tries again.
pub(crate) fn find<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[Partition],
    beginning: Beginning<'_>,
    epoch: u64,
    known_count: &dyn Fn(&[u8]) -> Option<u32>,
) -> Result<Looked, KafkaError> {
    let names: BTreeSet<&Arc<str>> = partitions.iter().map(|p| &p.topic).collect();
    let names: Vec<Arc<str>> = names.into_iter().cloned().collect();
    let topics = topics(consumer, &names)?;
    let missing = names.into_iter().filter(|name| !topics.contains_key(name)).collect();
    let is_there = |partition: &&Partition| {
        let count = topics.get(&partition.topic).map_or(0, |(_, count)| *count);
        u32::try_from(partition.number).is_ok_and(|number| number < count)
    };
    let partitions: Vec<Partition> = partitions.iter().filter(is_there).cloned().collect();
    let mut looked = Looked { found: Vec::with_capacity(partitions.len()), missing };
    if partitions.is_empty() {
        return Ok(looked);
    }
    let committed = raw::committed(consumer.client(), &partitions, TIMEOUT)?;
    let mut new = NewPartitions { consumer, known_count, seen: BTreeMap::new() };
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
        looked.found.push(Found {
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
    Ok(looked)
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
    let seen = raw::topic_ids(client, broker, &names, true, TIMEOUT)?;
    let partitions = with_leaders(&names, &seen, partitions)?;
    raw::group_allowed(client, group, TIMEOUT)?;
    if raw::log_ends(client, &partitions, TIMEOUT)?.len() < partitions.len() {
        return Err(KafkaError::timed_out("asking the leaders").into());
    }
    // An answer about all topics is the only one that a group takes for news.
    consumer.fetch_metadata(None, TIMEOUT).map_err(KafkaError::from)?;
    Ok(())
}

/// The partitions whose leaders have to answer. Of a topic that is gone none does, for as long as the group has not noticed.
fn with_leaders(
    topics: &[Arc<str>],
    seen: &[raw::TopicSeen],
    partitions: &[Partition],
) -> Result<Vec<Partition>, NotAllowed> {
    let mut there = partitions.to_vec();
    for (topic, seen) in topics.iter().zip(seen) {
        match seen {
            raw::TopicSeen::There(_) => {}
            raw::TopicSeen::Missing => there.retain(|partition| partition.topic != *topic),
            raw::TopicSeen::Refused => {
                return Err(NotAllowed { error: refused(), topic: Some(Arc::clone(topic)) });
            }
        }
    }
    Ok(there)
}

fn refused() -> KafkaError {
    let code = RDKafkaErrorCode::TopicAuthorizationFailed;
    KafkaError { code, message: code.to_string(), fatal: false }
}

type Topics = BTreeMap<Arc<str>, (Arc<Topic>, u32)>;

/// Those of the topics that exist, with the number of their partitions.
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
    let seen = match raw::topic_ids(client, broker, names, false, TIMEOUT) {
        // Brokers older than 2.8 give no ids; anything else is passing, and another identity must not come of it.
        Err(error) if error.code == RDKafkaErrorCode::UnsupportedFeature => {
            let there = |count: &usize| match count {
                0 => raw::TopicSeen::Missing,
                _ => raw::TopicSeen::There(None),
            };
            counts.iter().map(there).collect()
        }
        other => other?,
    };
    let mut topics = Topics::new();
    for ((name, seen), count) in names.iter().zip(seen).zip(counts) {
        let id = match seen {
            raw::TopicSeen::Missing => continue,
            // Neither is it missing, nor is known how many partitions it has.
            raw::TopicSeen::Refused => return Err(refused()),
            raw::TopicSeen::There(_) if count == 0 => {
                return Err(KafkaError::timed_out("asking for partitions"));
            }
            raw::TopicSeen::There(id) => id,
        };
        let topic = Topic { cluster: cluster.clone(), name: name.to_string(), id };
        topics.insert(Arc::clone(name), (Arc::new(topic), u32::try_from(count).unwrap_or(u32::MAX)));
    }
    Ok(topics)
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
    /// `committed`: for each partition below `count` that has an offset, the count that its metadata names, if any.
    fn of(committed: &[Option<Option<u32>>], count: u32) -> Seen {
        let known = committed.iter().copied().flatten().flatten().max();
        let complete = committed.iter().all(Option::is_some);
        Seen { known, write: known.filter(|_| !complete).unwrap_or(count) }
    }

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
        let named = |c: &Option<Committed>| c.as_ref().map(|c| (self.known_count)(&c.metadata));
        let seen = Seen::of(&committed.iter().map(named).collect::<Vec<_>>(), count);
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

#[cfg(test)]
mod tests {
    use super::*;
    use raw::TopicSeen::{Missing, Refused, There};

    /// Else a refusal would not end while a topic is gone that the group still counts as assigned.
    #[test]
    fn the_leaders_of_a_topic_that_is_gone_are_not_waited_for() {
        let topics: Vec<Arc<str>> = ["a", "gone"].map(Arc::from).into();
        let of = |topic: usize, number| Partition { topic: Arc::clone(&topics[topic]), number };
        let all = [of(0, 0), of(1, 0), of(0, 1), of(1, 1)];
        let asked = |seen: [raw::TopicSeen; 2]| with_leaders(&topics, &seen, &all);
        assert_eq!(asked([There(None), Missing]).unwrap(), [of(0, 0), of(0, 1)]);
        assert_eq!(asked([There(None), There(None)]).unwrap(), all);
        assert_eq!(asked([There(None), Refused]).unwrap_err().topic, Some(Arc::clone(&topics[1])));
    }

    /// H33: whichever of their owners comes first, partitions that were added are new to all of them.
    #[test]
    fn an_added_partition_is_new_to_a_slow_owner_too() {
        let order = |by: [usize; 3]| {
            let mut committed: Vec<Option<Option<u32>>> = vec![Some(Some(6)); 6];
            committed.extend([None; 3]);
            for number in by {
                let seen = Seen::of(&committed, 9);
                let partition = Partition { topic: Arc::from("a"), number: i32::try_from(number).unwrap() };
                assert!(seen.is_new(&partition), "{number} of {by:?}: {seen:?}");
                committed[number] = Some(Some(seen.write));
            }
            let seen = Seen::of(&committed, 9);
            assert_eq!((seen.known, seen.write), (Some(6), 9), "now that all have one");
        };
        for by in [[6, 7, 8], [6, 8, 7], [7, 6, 8], [7, 8, 6], [8, 6, 7], [8, 7, 6]] {
            order(by);
        }
        let first = Seen::of(&[None, None], 2);
        assert_eq!((first.known, first.write), (None, 2));
        assert!(!first.is_new(&Partition { topic: Arc::from("a"), number: 1 }), "`start` says where");
    }
}
