//! What a consumer is told: assignments, pauses, commits; and what its group committed.

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka_sys as sys;

use super::{Queue, check, failed, slice};
use crate::kafka::{KafkaError, Partition};

/// A list of partitions to hand to librdkafka.
pub(super) struct List(pub(super) NonNull<sys::rd_kafka_topic_partition_list_t>);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) }
    }
}

impl List {
    pub(super) fn new<'a>(partitions: impl IntoIterator<Item = (&'a Partition, i64)>) -> List {
        // SAFETY: the constructor returns a list or aborts; names are NUL-terminated for the call and copied by it.
        unsafe {
            let list = NonNull::new(sys::rd_kafka_topic_partition_list_new(8));
            #[expect(clippy::expect_used, reason = "librdkafka aborts where it cannot allocate")]
            let list = List(list.expect("a list"));
            for (partition, offset) in partitions {
                let name = CString::new(&*partition.topic).unwrap_or_default();
                let element =
                    sys::rd_kafka_topic_partition_list_add(list.0.as_ptr(), name.as_ptr(), partition.number);
                (*element).offset = offset;
            }
            list
        }
    }

    fn elements_mut(&mut self) -> &mut [sys::rd_kafka_topic_partition_t] {
        // SAFETY: the list is alive and has `cnt` elements.
        unsafe {
            let list = self.0.as_ref();
            if list.elems.is_null() {
                return &mut [];
            }
            std::slice::from_raw_parts_mut(list.elems, usize::try_from(list.cnt).unwrap_or(0))
        }
    }

    /// The first error among the elements (P13, P18).
    fn first_error(&mut self) -> Option<KafkaError> {
        self.elements_mut().iter().find_map(|element| failed(element.err))
    }
}

/// Adds partitions to the assignment, each from an explicit offset. librdkafka takes it for the answer to what a rebalance
/// asks at that moment, whether that was polled or not (`rebalance::Asks`).
pub(crate) fn incremental_assign<C: ClientContext>(
    client: &Client<C>,
    starts: &[(Partition, i64)],
) -> Result<(), KafkaError> {
    let list = List::new(starts.iter().map(|(p, o)| (p, *o)));
    // SAFETY: client and list are alive; the call copies the list.
    check(unsafe { sys::rd_kafka_incremental_assign(client.native_ptr(), list.0.as_ptr()) })
}

/// Takes partitions out of the assignment. As above.
pub(crate) fn incremental_unassign<C: ClientContext>(
    client: &Client<C>,
    partitions: &[Partition],
) -> Result<(), KafkaError> {
    let list = List::new(partitions.iter().map(|p| (p, 0)));
    // SAFETY: as above.
    check(unsafe { sys::rd_kafka_incremental_unassign(client.native_ptr(), list.0.as_ptr()) })
}

/// Pauses or resumes partitions; the first error of any of them.
pub(crate) fn set_paused<C: ClientContext>(
    client: &Client<C>,
    partitions: &[Partition],
    paused: bool,
) -> Result<(), KafkaError> {
    let mut list = List::new(partitions.iter().map(|p| (p, 0)));
    // SAFETY: client and list are alive.
    let errno = unsafe {
        if paused {
            sys::rd_kafka_pause_partitions(client.native_ptr(), list.0.as_ptr())
        } else {
            sys::rd_kafka_resume_partitions(client.native_ptr(), list.0.as_ptr())
        }
    };
    failed(errno).or_else(|| list.first_error()).map_or(Ok(()), Err)
}

/// Ends a consumer that has failed for good. Its destructor would wait for ever: librdkafka refuses to close such a one, and
/// then waits for the close. Leaks the queue and the context that belong to it: a few hundred bytes. Blocks.
pub(crate) fn destroy_failed<C: ConsumerContext>(consumer: BaseConsumer<C>) {
    let client = consumer.client().native_ptr();
    // Destroyed below, by the one call that does not close it first.
    std::mem::forget(consumer);
    let flags = sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE;
    // SAFETY: the client was alive, was ours alone, and is not used after this.
    unsafe { sys::rd_kafka_destroy_flags(client, flags) }
}

/// Moves the consumer in partitions that it reads. What was fetched before is not polled any more once this was called, also
/// where it fails. Blocks for at most `timeout`.
pub(crate) fn seek<C: ClientContext>(
    client: &Client<C>,
    partitions: &[(Partition, i64)],
    timeout: Duration,
) -> Result<(), KafkaError> {
    let mut list = List::new(partitions.iter().map(|(partition, offset)| (partition, *offset)));
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: client and list are alive.
    check(unsafe { sys::rd_kafka_seek_partitions(client.native_ptr(), list.0.as_ptr(), millis) })?;
    list.first_error().map_or(Ok(()), Err)
}

/// Whether the assignment was lost; valid only between a revoke event and the answer to it.
pub(crate) fn assignment_lost<C: ClientContext>(client: &Client<C>) -> bool {
    // SAFETY: the client is alive.
    unsafe { sys::rd_kafka_assignment_lost(client.native_ptr()) != 0 }
}

/// One partition's commit: next offset, metadata, leader epoch of the last record read (O14; -1 where unknown).
#[derive(Debug, Clone)]
pub(crate) struct CommitEntry<'a> {
    pub(crate) partition: &'a Partition,
    pub(crate) next: i64,
    pub(crate) metadata: &'a str,
    pub(crate) leader_epoch: i32,
}

/// Sends one commit; its answer arrives at `answer_to` as `Polled::Committed`.
pub(crate) fn commit<C: ClientContext>(
    client: &Client<C>,
    entries: &[CommitEntry<'_>],
    answer_to: &Queue,
) -> Result<(), KafkaError> {
    let mut list = List::new(entries.iter().map(|e| (e.partition, e.next)));
    for (element, entry) in list.elements_mut().iter_mut().zip(entries) {
        // SAFETY: the element is alive and has no metadata yet (P3). librdkafka frees it, so it comes from its allocator.
        unsafe {
            let size = entry.metadata.len();
            let copy = sys::rd_kafka_mem_malloc(client.native_ptr(), size.max(1));
            if !copy.is_null() {
                ptr::copy_nonoverlapping(entry.metadata.as_ptr(), copy.cast::<u8>(), size);
                element.metadata = copy;
                element.metadata_size = size;
            }
            if entry.leader_epoch >= 0 {
                sys::rd_kafka_topic_partition_set_leader_epoch(element, entry.leader_epoch);
            }
        }
    }
    // SAFETY: client, list and queue are alive; the call copies the list; no callback and no opaque is given.
    let errno = unsafe {
        sys::rd_kafka_commit_queue(
            client.native_ptr(),
            list.0.as_ptr(),
            answer_to.0.as_ptr(),
            None,
            ptr::null_mut(),
        )
    };
    failed(errno).map_or(Ok(()), Err)
}

/// A committed offset with the bytes of its metadata, whatever they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub next: i64,
    /// The metadata's bytes; empty where there is none.
    pub metadata: Vec<u8>,
}

/// Fetches committed offsets from the broker. Blocks (P10). `None` where a partition has none.
pub(crate) fn committed<C: ClientContext>(
    client: &Client<C>,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<Vec<Option<Committed>>, KafkaError> {
    let mut list = List::new(partitions.iter().map(|p| (p, i64::from(sys::RD_KAFKA_OFFSET_INVALID))));
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: client and list are alive.
    let errno = unsafe { sys::rd_kafka_committed(client.native_ptr(), list.0.as_ptr(), millis) };
    if let Some(error) = failed(errno).or_else(|| list.first_error()) {
        return Err(error);
    }
    let read = |element: &mut sys::rd_kafka_topic_partition_t| {
        (element.offset >= 0).then(|| Committed {
            next: element.offset,
            // SAFETY: the element is alive and its metadata has that size.
            metadata: unsafe { slice(element.metadata, element.metadata_size) }.unwrap_or_default().to_vec(),
        })
    };
    Ok(list.elements_mut().iter_mut().map(read).collect())
}
