//! The one folder with `unsafe`: what rdkafka does not wrap, or wraps with a panic (non-UTF-8 header names and metadata,
//! rules P1, P2), with a discarded result (P4, P13) or with a leak (P3). Everything that leaves here is owned and safe.
#![expect(unsafe_code, reason = "librdkafka calls that rdkafka wraps unsafely for us, or not at all")]

mod admin;
mod consumer;
mod mock;
mod producer;
mod token;

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Errno;

use super::librdkafka::Line;
use super::{KafkaError, Partition};
use crate::event::Header;

pub use admin::TopicSeen;
pub(crate) use admin::{group_allowed, log_ends, topic_ids};
pub use consumer::Committed;
pub(crate) use consumer::{
    CommitEntry, assignment_lost, commit, committed, destroy_failed, incremental_assign,
    incremental_unassign, seek, set_paused,
};
pub(crate) use mock::Mock;
pub(crate) use producer::produce;
pub(crate) use token::{no_token, set_token};

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
    Log(Line),
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

    /// The answer to the one admin request that this temporary queue was made for, a second after its own time-out at the
    /// latest; `None` where there is none.
    fn answer(&self, millis: i32) -> Option<Result<Event, KafkaError>> {
        // SAFETY: the queue is alive; the event is owned by us.
        let raw = unsafe { sys::rd_kafka_queue_poll(self.0.as_ptr(), millis.saturating_add(1000)) };
        let event = Event(NonNull::new(raw)?);
        // SAFETY: the event is alive.
        let errno = unsafe { sys::rd_kafka_event_error(event.0.as_ptr()) };
        Some(failed(errno).map_or(Ok(event), Err))
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
            sys::RD_KAFKA_EVENT_LOG => self.read_log(),
            _ => Polled::Other,
        }
    }

    fn read_log(&self) -> Polled {
        let (mut facility, mut message, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is alive, and so are its texts.
        match unsafe { sys::rd_kafka_event_log(self.0.as_ptr(), &mut facility, &mut message, &mut level) } {
            0 => Polled::Log(Line { level, facility: text(facility), message: text(message) }),
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
                let mut error =
                    KafkaError::from_errno(if is_alert(errno, &text) { SSL } else { errno }, Some(text));
                error.fatal = fatal || errno == Errno::RD_KAFKA_RESP_ERR__FATAL;
                Polled::Error { error, partition: place.map(|(partition, _)| partition) }
            }
        }
    }
}

const SSL: Errno = Errno::RD_KAFKA_RESP_ERR__SSL;

/// Whether the broker refuses our certificate. In TLS 1.3 it says so after the handshake, and librdkafka takes that for a
/// broken connection: only its text, which is OpenSSL's, tells them apart.
fn is_alert(errno: Errno, text: &str) -> bool {
    errno == Errno::RD_KAFKA_RESP_ERR__TRANSPORT && text.contains("SSL alert number")
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

/// Why a client is dead, if it is (G14).
pub(crate) fn fatal_error<C: ClientContext>(client: &Client<C>) -> Option<KafkaError> {
    let mut buffer = [0_u8; 512];
    // SAFETY: the client is alive; the buffer takes as many bytes as is said, the NUL among them.
    let errno =
        unsafe { sys::rd_kafka_fatal_error(client.native_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let message = CStr::from_bytes_until_nul(&buffer).unwrap_or_default().to_string_lossy();
    let mut error = failed(errno)?;
    error.message = message.into_owned();
    error.fatal = true;
    Some(error)
}

/// Makes a client fail for good, as a test wants it.
#[cfg(test)]
pub(crate) fn make_fatal<C: ClientContext>(client: &Client<C>) {
    // SAFETY: the client is alive; the text ends with NUL.
    unsafe {
        sys::rd_kafka_test_fatal_error(
            client.native_ptr(),
            Errno::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
            c"made by a test".as_ptr(),
        );
    }
}
