//! One record at a position, read by an assignment of its own: no group and no offset is touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::options::{self, Cluster, ConsumerOptions};
use super::{KafkaError, Partition};
use crate::event::{Body, Event, Header, Origin, Topic};
use crate::telemetry::clock;

/// One wait for what comes.
const POLL: Duration = Duration::from_millis(250);

/// The record at an offset; `None` where there is none within that time, as behind the end of the log or where it was compacted.
/// Blocks.
pub fn read(
    cluster: &Cluster,
    partition: &Partition,
    offset: i64,
    within: Duration,
) -> Result<Option<Event>, KafkaError> {
    let wanted = ConsumerOptions::new("weir-reader", "weir-reader");
    let consumer: BaseConsumer = options::consumer(cluster, &wanted).create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))?;
    consumer.assign(&assignment)?;
    let until = clock::now() + within;
    while clock::now() < until {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) if message.offset() == offset => return Ok(Some(event(&message))),
            Some(Ok(_)) => return Ok(None),
            // It lies outside of the log, or the log ends there.
            Some(Err(RdKafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(RdKafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                return Ok(None);
            }
            Some(Err(error)) => {
                let error = KafkaError::from(error);
                // A broker that is away may come back within the time.
                if !error.means_unreachable() {
                    return Err(error);
                }
            }
        }
    }
    Ok(None)
}

/// The newest records of topics, so many of each at most, the older ones first in each partition. What does not come within that
/// time is left out. Blocks.
///
/// # Errors
/// A topic whose partitions are not told.
pub fn newest(
    cluster: &Cluster,
    topics: &[String],
    count: usize,
    within: Duration,
) -> Result<Vec<Event>, KafkaError> {
    let wanted = ConsumerOptions::new("weir-reader", "weir-reader");
    let consumer: BaseConsumer = options::consumer(cluster, &wanted).create()?;
    let until = clock::now() + within;
    let mut assignment = TopicPartitionList::new();
    let mut open = BTreeMap::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), within)?;
        let partitions: Vec<i32> =
            metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|one| one.id()).collect();
        let each = i64::try_from(count.div_ceil(partitions.len().max(1))).unwrap_or(i64::MAX);
        for number in partitions {
            let (low, high) = consumer.fetch_watermarks(topic, number, within)?;
            let from = high.saturating_sub(each).max(low);
            if from < high {
                assignment.add_partition_offset(topic, number, Offset::Offset(from))?;
                open.insert((topic.clone(), number), high);
            }
        }
    }
    consumer.assign(&assignment)?;
    let mut events = Vec::new();
    while !open.is_empty() && clock::now() < until && events.len() < count.saturating_mul(topics.len()) {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                let place = (message.topic().to_owned(), message.partition());
                if open.get(&place).is_some_and(|high| message.offset() + 1 >= *high) {
                    open.remove(&place);
                }
                events.push(event(&message));
            }
            // Markers of transactions stand at the end of a log too: what is read is all there is.
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(number))) => {
                open.retain(|(_, one), _| *one != number)
            }
            Some(Err(error)) => {
                let error = KafkaError::from(error);
                if !error.means_unreachable() {
                    return Err(error);
                }
            }
        }
    }
    Ok(events)
}

fn event(message: &BorrowedMessage<'_>) -> Event {
    let topic = Topic { cluster: String::new(), name: message.topic().to_owned(), id: None };
    let headers = message.headers().map(|headers| headers.iter().collect::<Vec<_>>()).unwrap_or_default();
    let header = |header: rdkafka::message::Header<'_, &[u8]>| Header {
        name: Bytes::copy_from_slice(header.key.as_bytes()),
        value: header.value.map(Bytes::copy_from_slice),
    };
    Event {
        origin: Origin {
            topic: Arc::new(topic),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
        },
        key: message.key().map(Bytes::copy_from_slice),
        headers: headers.into_iter().map(header).collect(),
        body: Body::Raw(message.payload().map(Bytes::copy_from_slice)),
        part: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outgoing;
    use crate::kafka::embedded::Embedded;
    use crate::kafka::producer::Producer;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_record_of_an_offset_is_read_and_none_behind_the_end() {
        let broker = Embedded::start().unwrap();
        broker.create_topic("orders", 1).unwrap();
        let producer = Producer::build(&broker.cluster(), "test").unwrap();
        let header = Header { name: Bytes::from_static(b"x-a"), value: Some(Bytes::from_static(b"1")) };
        for value in ["first", "second"] {
            let record = Outgoing {
                topic: "orders".into(),
                partition: None,
                key: Some(Bytes::from_static(b"k")),
                value: Some(value.into()),
                headers: vec![header.clone()],
                timestamp: Some(1_000),
            };
            producer.send(&record).await.unwrap();
        }
        let partition = Partition { topic: "orders".into(), number: 0 };
        let cluster = broker.cluster();
        let read =
            move |offset, seconds| read(&cluster, &partition, offset, Duration::from_secs(seconds)).unwrap();
        let read =
            tokio::task::spawn_blocking(move || (read(1, 30), read(7, 30), read(2, 30))).await.unwrap();
        let event = read.0.unwrap();
        assert_eq!(event.body, Body::Raw(Some(Bytes::from_static(b"second"))));
        assert_eq!((event.key, event.headers), (Some(Bytes::from_static(b"k")), vec![header]));
        assert_eq!((event.origin.offset, event.origin.timestamp), (1, Some(1_000)));
        assert_eq!((read.1, read.2), (None, None), "outside of the log, and at its end");
    }
}
