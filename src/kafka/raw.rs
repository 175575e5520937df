//! The one file with `unsafe`: what rdkafka does not wrap, or wraps with a panic (non-UTF-8 header names and metadata,
//! rules P1, P2), with a discarded result (P4, P13) or with a leak (P3). Everything that leaves here is owned and safe.
#![expect(unsafe_code, reason = "librdkafka calls that rdkafka wraps unsafely for us, or not at all")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rdkafka::client::{Client, ClientContext};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::util::IntoOpaque;
use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Errno;

use super::{KafkaError, Partition};
use crate::event::{Header, Outgoing, TopicId};

/// A queue of librdkafka, with a reference of its own. Usable from any thread.
pub(crate) struct Queue(NonNull<sys::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues are locked inside; the reference is counted and dropped once.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a `get` or `new` call that gave this reference.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// A record as it was polled, copied out of librdkafka's buffers (M5).
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: Option<i64>,
    pub(crate) leader_epoch: i32,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<Header>,
    pub(crate) bytes: usize,
}

/// What a poll of the consumer's queue brought.
#[derive(Debug)]
pub(crate) enum Polled {
    Message(Message),
    Assign(Vec<Partition>),
    Revoke { partitions: Vec<Partition>, lost: bool },
    Committed { error: Option<KafkaError>, partitions: Vec<(Partition, Option<KafkaError>)> },
    EndOfPartition { partition: Partition, offset: i64 },
    Error { error: KafkaError, partition: Option<Partition> },
    Other,
}

impl Queue {
    /// The queue that a consumer's records, rebalances and errors arrive at.
    pub(crate) fn of_consumer<C: ClientContext>(client: &Client<C>) -> Option<Queue> {
        // SAFETY: the client is alive; the call returns a new reference or null.
        NonNull::new(unsafe { sys::rd_kafka_queue_get_consumer(client.native_ptr()) }).map(Queue)
    }

    fn temporary<C: ClientContext>(client: &Client<C>) -> Option<Queue> {
        // SAFETY: as above.
        NonNull::new(unsafe { sys::rd_kafka_queue_new(client.native_ptr()) }).map(Queue)
    }

    /// Makes a poll that waits return at once with nothing.
    pub(crate) fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_yield(self.0.as_ptr()) }
    }

    /// Waits at most `timeout` for one thing. `lost` is asked for on a revoke, while it is valid (G2).
    pub(crate) fn poll(
        &self,
        timeout: Duration,
        names: &mut Names,
        lost: impl Fn() -> bool,
    ) -> Option<Polled> {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; the event is owned by us and destroyed below.
        let event = Event(NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.0.as_ptr(), millis) })?);
        Some(event.read(names, lost))
    }
}

struct Event(NonNull<sys::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: owned; nothing that was read from it outlives it.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

impl Event {
    fn read(&self, names: &mut Names, lost: impl Fn() -> bool) -> Polled {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive, as in all calls on it here; lists and messages that it returns belong to it and are
        // copied before it is destroyed.
        let (kind, errno) = unsafe { (sys::rd_kafka_event_type(event), sys::rd_kafka_event_error(event)) };
        match kind {
            sys::RD_KAFKA_EVENT_FETCH => {
                // SAFETY: see above.
                match unsafe { sys::rd_kafka_event_message_next(event).as_ref() } {
                    Some(message) => read_message(message, names),
                    None => Polled::Other,
                }
            }
            sys::RD_KAFKA_EVENT_REBALANCE => {
                let partitions = self.partitions().into_iter().map(|(partition, _)| partition).collect();
                match errno {
                    Errno::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Polled::Assign(partitions),
                    Errno::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                        Polled::Revoke { partitions, lost: lost() }
                    }
                    other => Polled::Error { error: KafkaError::from_errno(other, None), partition: None },
                }
            }
            sys::RD_KAFKA_EVENT_OFFSET_COMMIT => {
                Polled::Committed { error: failed(errno), partitions: self.partitions() }
            }
            sys::RD_KAFKA_EVENT_ERROR => self.read_error(errno),
            _ => Polled::Other,
        }
    }

    fn partitions(&self) -> Vec<(Partition, Option<KafkaError>)> {
        // SAFETY: the list belongs to the event, which is alive.
        let list = unsafe { sys::rd_kafka_event_topic_partition_list(self.0.as_ptr()) };
        // SAFETY: as above.
        unsafe { elements(list) }.iter().map(|e| (partition_of(e), failed(e.err))).collect()
    }

    fn read_error(&self, errno: Errno) -> Polled {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive; the partition is ours to destroy; its strings are copied first.
        let (place, text, fatal) = unsafe {
            let raw = sys::rd_kafka_event_topic_partition(event);
            let place = raw.as_ref().map(|p| (partition_of(p), p.offset));
            if !raw.is_null() {
                sys::rd_kafka_topic_partition_destroy(raw);
            }
            (
                place,
                text(sys::rd_kafka_event_error_string(event)),
                sys::rd_kafka_event_error_is_fatal(event) != 0,
            )
        };
        match (errno, place) {
            (Errno::RD_KAFKA_RESP_ERR__PARTITION_EOF, Some((partition, offset))) => {
                Polled::EndOfPartition { partition, offset }
            }
            (_, place) => {
                let mut error = KafkaError::from_errno(errno, Some(text));
                error.fatal = fatal;
                Polled::Error { error, partition: place.map(|(partition, _)| partition) }
            }
        }
    }
}

fn failed(errno: Errno) -> Option<KafkaError> {
    (errno != Errno::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| KafkaError::from_errno(errno, None))
}

fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's strings end with NUL and live as long as what they were read from.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// # Safety
/// `list` is null or a live list.
unsafe fn elements<'a>(
    list: *const sys::rd_kafka_topic_partition_list_t,
) -> &'a [sys::rd_kafka_topic_partition_t] {
    // SAFETY: by the caller.
    match unsafe { list.as_ref() } {
        Some(list) if !list.elems.is_null() => {
            // SAFETY: a live list has `cnt` elements.
            unsafe { std::slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or(0)) }
        }
        _ => &[],
    }
}

fn partition_of(element: &sys::rd_kafka_topic_partition_t) -> Partition {
    Partition { topic: Arc::from(text(element.topic)), number: element.partition }
}

/// # Safety
/// `pointer` is null or has `length` readable bytes.
unsafe fn slice<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

/// The topic names seen by one consumer, so that a record costs no allocation for its own.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<Arc<str>>);

impl Names {
    fn of(&mut self, message: &sys::rd_kafka_message_t) -> Arc<str> {
        if message.rkt.is_null() {
            return Arc::from("");
        }
        // SAFETY: the message holds a reference to its topic, whose name ends with NUL.
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(message.rkt)) };
        if let Some(known) = self.0.iter().find(|known| known.as_bytes() == name.to_bytes()) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(name.to_string_lossy());
        self.0.push(Arc::clone(&new));
        new
    }
}

fn read_message(message: &sys::rd_kafka_message_t, names: &mut Names) -> Polled {
    let topic = names.of(message);
    if message.err != Errno::RD_KAFKA_RESP_ERR_NO_ERROR {
        let partition = Partition { topic, number: message.partition };
        if message.err == Errno::RD_KAFKA_RESP_ERR__PARTITION_EOF {
            return Polled::EndOfPartition { partition, offset: message.offset };
        }
        return Polled::Error {
            error: KafkaError::from_errno(message.err, None),
            partition: Some(partition),
        };
    }
    // SAFETY: the message is alive and its lengths are librdkafka's.
    let (key, value) = unsafe { (slice(message.key, message.key_len), slice(message.payload, message.len)) };
    let raw_headers = read_headers(message);
    let size = key.map_or(0, <[u8]>::len)
        + value.map_or(0, <[u8]>::len)
        + raw_headers.iter().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len)).sum::<usize>();
    let mut buffer = BytesMut::with_capacity(size);
    let mut copy = |part: &[u8]| -> Bytes {
        buffer.extend_from_slice(part);
        buffer.split().freeze()
    };
    let (key, value) = (key.map(&mut copy), value.map(&mut copy));
    let headers = raw_headers
        .iter()
        .map(|(name, value)| Header { name: copy(name), value: value.map(&mut copy) })
        .collect::<Vec<_>>();
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive.
    let (timestamp, leader_epoch) = unsafe {
        (sys::rd_kafka_message_timestamp(message, &mut kind), sys::rd_kafka_message_leader_epoch(message))
    };
    Polled::Message(Message {
        topic,
        partition: message.partition,
        offset: message.offset,
        timestamp: (timestamp != -1).then_some(timestamp),
        leader_epoch,
        key,
        value,
        headers,
        bytes: size,
    })
}

fn read_headers(message: &sys::rd_kafka_message_t) -> Vec<(&[u8], Option<&[u8]>)> {
    let mut headers = ptr::null_mut();
    let mut read = Vec::new();
    // SAFETY: the headers belong to the message, which outlives the slices; the loop ends at the first error.
    unsafe {
        if sys::rd_kafka_message_headers(message, &mut headers) != Errno::RD_KAFKA_RESP_ERR_NO_ERROR {
            return read;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        while sys::rd_kafka_header_get_all(headers, read.len(), &mut name, &mut value, &mut size)
            == Errno::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            read.push((CStr::from_ptr(name).to_bytes(), slice(value, size)));
        }
    }
    read
}

/// A list of partitions to hand to librdkafka.
struct List(NonNull<sys::rd_kafka_topic_partition_list_t>);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) }
    }
}

impl List {
    fn new<'a>(partitions: impl IntoIterator<Item = (&'a Partition, i64)>) -> List {
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

fn check(error: *mut sys::rd_kafka_error_t) -> Result<(), KafkaError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null error is ours to read and destroy.
    unsafe {
        let mut result = KafkaError::from_errno(
            sys::rd_kafka_error_code(error),
            Some(text(sys::rd_kafka_error_string(error))),
        );
        result.fatal = sys::rd_kafka_error_is_fatal(error) != 0;
        sys::rd_kafka_error_destroy(error);
        Err(result)
    }
}

/// Adds partitions to the assignment, each from an explicit offset.
pub(crate) fn incremental_assign<C: ClientContext>(
    client: &Client<C>,
    starts: &[(Partition, i64)],
) -> Result<(), KafkaError> {
    let list = List::new(starts.iter().map(|(p, o)| (p, *o)));
    // SAFETY: client and list are alive; the call copies the list.
    check(unsafe { sys::rd_kafka_incremental_assign(client.native_ptr(), list.0.as_ptr()) })
}

/// Takes partitions out of the assignment.
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

/// Topic ids by name from the broker; `None` where the topic does not exist or the broker gives no ids. Blocks. `broker`
/// is asked, since librdkafka would ask the controller, and the in-process broker names one that does not exist.
pub(crate) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    broker: i32,
    topics: &[Arc<str>],
    timeout: Duration,
) -> Result<Vec<Option<TopicId>>, KafkaError> {
    let names: Vec<CString> = topics.iter().map(|t| CString::new(&**t).unwrap_or_default()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
    let timed_out = || KafkaError::timed_out("describing topics");
    let queue = Queue::temporary(client).ok_or_else(timed_out)?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: names outlive the calls; collection and options are destroyed once; results are read while the event
    // lives.
    unsafe {
        let collection = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options = sys::rd_kafka_AdminOptions_new(
            client.native_ptr(),
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        sys::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
        sys::rd_kafka_DescribeTopics(client.native_ptr(), collection, options, queue.0.as_ptr());
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(collection);
        let raw = sys::rd_kafka_queue_poll(queue.0.as_ptr(), millis.saturating_add(1000));
        let event = Event(NonNull::new(raw).ok_or_else(timed_out)?);
        if let Some(error) = failed(sys::rd_kafka_event_error(event.0.as_ptr())) {
            return Err(error);
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
        if result.is_null() {
            return Err(timed_out());
        }
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let described =
            if described.is_null() { &[][..] } else { std::slice::from_raw_parts(described, count) };
        let id_of = |name: &Arc<str>| {
            let found = described.iter().find(|d| text(sys::rd_kafka_TopicDescription_name(**d)) == **name);
            let Some(found) = found else { return Ok(None) };
            let error = sys::rd_kafka_TopicDescription_error(*found);
            let code = if error.is_null() {
                Errno::RD_KAFKA_RESP_ERR_NO_ERROR
            } else {
                sys::rd_kafka_error_code(error)
            };
            match failed(code) {
                None => Ok(uuid(sys::rd_kafka_TopicDescription_topic_id(*found))),
                Some(error) if error.means_missing_topic() => Ok(None),
                Some(error) => Err(error),
            }
        };
        topics.iter().map(id_of).collect()
    }
}

/// # Safety
/// `id` is null or alive.
unsafe fn uuid(id: *const sys::rd_kafka_Uuid_t) -> Option<TopicId> {
    if id.is_null() {
        return None;
    }
    // SAFETY: by the caller.
    let (high, low) = unsafe {
        (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id))
    };
    let mut bytes = [0; 16];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&high.to_be_bytes());
    second.copy_from_slice(&low.to_be_bytes());
    (bytes != [0; 16]).then_some(TopicId(bytes))
}

/// Hands a record to a producer. `completion` comes back in its delivery report; on an error here, at once.
pub(crate) fn produce<C: ClientContext, T: Send + Sync>(
    client: &Client<C>,
    record: &Outgoing,
    completion: Box<T>,
) -> Result<(), (KafkaError, Box<T>)> {
    let opaque = completion.into_ptr();
    enqueue(client, record, opaque).map_err(|error| {
        // SAFETY: the pointer is the one made above, and a record that was not enqueued has no delivery report.
        (error, unsafe { Box::<T>::from_ptr(opaque) })
    })
}

fn enqueue<C: ClientContext>(
    client: &Client<C>,
    record: &Outgoing,
    opaque: *mut c_void,
) -> Result<(), KafkaError> {
    let topic = CString::new(&*record.topic).unwrap_or_default();
    let value = |bytes: Option<&Bytes>| match bytes {
        // A pointer that is not null, also for an empty value: null means "no value" (a tombstone).
        Some(bytes) => sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
            ptr: if bytes.is_empty() {
                NonNull::<u8>::dangling().as_ptr()
            } else {
                bytes.as_ptr().cast_mut()
            }
            .cast(),
            size: bytes.len(),
        },
        None => sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr::null_mut(), size: 0 },
    };
    use sys::rd_kafka_vtype_t as Kind;
    use sys::rd_kafka_vu_s__bindgen_ty_1 as Of;
    let arg = |vtype, u| sys::rd_kafka_vu_s { vtype, u };
    let mut args = vec![
        arg(Kind::RD_KAFKA_VTYPE_TOPIC, Of { cstr: topic.as_ptr() }),
        arg(Kind::RD_KAFKA_VTYPE_PARTITION, Of { i32_: record.partition.unwrap_or(-1) }),
        arg(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Of { i: sys::RD_KAFKA_MSG_F_COPY }),
        arg(Kind::RD_KAFKA_VTYPE_VALUE, Of { mem: value(record.value.as_ref()) }),
        arg(Kind::RD_KAFKA_VTYPE_KEY, Of { mem: value(record.key.as_ref()) }),
        arg(Kind::RD_KAFKA_VTYPE_TIMESTAMP, Of { i64_: record.timestamp.unwrap_or(0) }),
        arg(Kind::RD_KAFKA_VTYPE_OPAQUE, Of { ptr: opaque }),
    ];
    // SAFETY: everything that the arguments point to outlives the call, which copies it; the headers belong to
    // librdkafka once the call has succeeded, and to us where it failed.
    unsafe {
        let mut headers = ptr::null_mut();
        if !record.headers.is_empty() {
            headers = sys::rd_kafka_headers_new(record.headers.len());
            for header in &record.headers {
                let of = value(header.value.as_ref());
                sys::rd_kafka_header_add(
                    headers,
                    header.name.as_ptr().cast(),
                    isize::try_from(header.name.len()).unwrap_or(0),
                    of.ptr,
                    isize::try_from(of.size).unwrap_or(0),
                );
            }
            args.push(arg(Kind::RD_KAFKA_VTYPE_HEADERS, Of { headers }));
        }
        let result = check(sys::rd_kafka_produceva(client.native_ptr(), args.as_ptr(), args.len()));
        if result.is_err() && !headers.is_null() {
            sys::rd_kafka_headers_destroy(headers);
        }
        result
    }
}

/// librdkafka's in-process broker.
pub(crate) struct Mock(MockCluster<'static, DefaultProducerContext>);

// SAFETY: librdkafka's mock cluster runs on a thread of its own; every call locks it or hands an operation to that thread.
unsafe impl Send for Mock {}
// SAFETY: as above.
unsafe impl Sync for Mock {}

impl std::fmt::Debug for Mock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mock({})", self.0.bootstrap_servers())
    }
}

impl Mock {
    pub(crate) fn start() -> Result<Mock, KafkaError> {
        Ok(Mock(MockCluster::new(1)?))
    }

    pub(crate) fn brokers(&self) -> String {
        self.0.bootstrap_servers()
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), KafkaError> {
        Ok(self.0.create_topic(topic, partitions, 1)?)
    }
}
