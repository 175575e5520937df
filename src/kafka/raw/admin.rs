//! What rdkafka does not ask: topic ids, what this user may do, and where the logs of many partitions end.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Errno;

use super::consumer::List;
use super::{Queue, check, failed, partition_of, text};
use crate::event::TopicId;
use crate::kafka::{KafkaError, Partition};

/// What a broker says of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicSeen {
    /// It does not exist.
    Missing,
    /// This user may not read it, or not even know whether it exists (ACL).
    Refused,
    /// It does, with its id where the broker gives one (2.8 and newer).
    There(Option<TopicId>),
}

impl TopicSeen {
    /// The id, where there is one.
    pub fn id(self) -> Option<TopicId> {
        match self {
            TopicSeen::Missing | TopicSeen::Refused => None,
            TopicSeen::There(id) => id,
        }
    }
}

/// Topics by name from the broker. Blocks. `broker` is asked, since librdkafka would ask the controller, and the in-process
/// broker names one that does not exist. With `rights`, one that may be seen and not read is `Refused` too.
pub(crate) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    broker: i32,
    topics: &[Arc<str>],
    rights: bool,
    timeout: Duration,
) -> Result<Vec<TopicSeen>, KafkaError> {
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
        let asked = if rights { ask_for_rights(options) } else { Ok(()) };
        sys::rd_kafka_DescribeTopics(client.native_ptr(), collection, options, queue.0.as_ptr());
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(collection);
        let event = queue.answer(millis).unwrap_or_else(|| Err(timed_out()))?;
        asked?;
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
            let Some(found) = found else { return Ok(TopicSeen::Missing) };
            let error = sys::rd_kafka_TopicDescription_error(*found);
            let code = if error.is_null() {
                Errno::RD_KAFKA_RESP_ERR_NO_ERROR
            } else {
                sys::rd_kafka_error_code(error)
            };
            match failed(code) {
                None => {
                    let mut count = 0;
                    let may = sys::rd_kafka_TopicDescription_authorized_operations(*found, &mut count);
                    if rights && !may_read(may, count) {
                        return Ok(TopicSeen::Refused);
                    }
                    Ok(TopicSeen::There(uuid(sys::rd_kafka_TopicDescription_topic_id(*found))))
                }
                Some(error) if error.means_missing_topic() => Ok(TopicSeen::Missing),
                Some(error) if error.means_refused() => Ok(TopicSeen::Refused),
                Some(error) => Err(error),
            }
        };
        topics.iter().map(id_of).collect()
    }
}

/// Whether this user may commit for a group and be its member, as its coordinator says. Blocks.
pub(crate) fn group_allowed<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    timeout: Duration,
) -> Result<(), KafkaError> {
    let name = CString::new(group).unwrap_or_default();
    let mut names = [name.as_ptr()];
    let timed_out = || KafkaError::timed_out("describing the group");
    let queue = Queue::temporary(client).ok_or_else(timed_out)?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: client, name and queue are alive; options are destroyed once; results are read while the event lives.
    unsafe {
        let options = sys::rd_kafka_AdminOptions_new(
            client.native_ptr(),
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
        );
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let asked = ask_for_rights(options);
        if asked.is_ok() {
            sys::rd_kafka_DescribeConsumerGroups(
                client.native_ptr(),
                names.as_mut_ptr(),
                names.len(),
                options,
                queue.0.as_ptr(),
            );
        }
        sys::rd_kafka_AdminOptions_destroy(options);
        asked?;
        let event = queue.answer(millis).unwrap_or_else(|| Err(timed_out()))?;
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.0.as_ptr());
        if result.is_null() {
            return Err(timed_out());
        }
        let mut count = 0;
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        let groups = if groups.is_null() { &[][..] } else { std::slice::from_raw_parts(groups, count) };
        let Some(found) = groups.first() else { return Err(timed_out()) };
        let error = sys::rd_kafka_ConsumerGroupDescription_error(*found);
        if !error.is_null()
            && let Some(error) = failed(sys::rd_kafka_error_code(error))
        {
            return Err(error);
        }
        let mut count = 0;
        let may = sys::rd_kafka_ConsumerGroupDescription_authorized_operations(*found, &mut count);
        let refused = Errno::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
        if may_read(may, count) { Ok(()) } else { Err(KafkaError::from_errno(refused, None)) }
    }
}

/// # Safety
/// `options` are alive.
unsafe fn ask_for_rights(options: *mut sys::rd_kafka_AdminOptions_t) -> Result<(), KafkaError> {
    // SAFETY: by the caller.
    check(unsafe { sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1) })
}

/// Whether reading is among what a user may do; where the broker does not say, it is.
///
/// # Safety
/// `operations` is null or has `count` of them.
unsafe fn may_read(operations: *const sys::rd_kafka_AclOperation_t, count: usize) -> bool {
    if operations.is_null() {
        return true;
    }
    // SAFETY: by the caller.
    let operations = unsafe { std::slice::from_raw_parts(operations, count) };
    operations.contains(&sys::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ)
}

/// Of each partition one above the last record that a `read_committed` consumer may read now. A partition is left out whose
/// leader did not say. Blocks; librdkafka sends one request to each broker that leads some of them.
pub(crate) fn log_ends<C: ClientContext>(
    client: &Client<C>,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<Vec<(Partition, i64)>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let timed_out = || KafkaError::timed_out("asking where logs end");
    let queue = Queue::temporary(client).ok_or_else(timed_out)?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let latest = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
    let list = List::new(partitions.iter().map(|partition| (partition, latest)));
    // SAFETY: client, list and queue are alive; the call copies the list and the options, which are destroyed once; results
    // are read while the event lives.
    unsafe {
        let options = sys::rd_kafka_AdminOptions_new(
            client.native_ptr(),
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
        );
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let isolation = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
        let committed = check(sys::rd_kafka_AdminOptions_set_isolation_level(options, isolation));
        if committed.is_ok() {
            sys::rd_kafka_ListOffsets(client.native_ptr(), list.0.as_ptr(), options, queue.0.as_ptr());
        }
        sys::rd_kafka_AdminOptions_destroy(options);
        committed?;
        let event = queue.answer(millis).unwrap_or_else(|| Err(timed_out()))?;
        let result = sys::rd_kafka_event_ListOffsets_result(event.0.as_ptr());
        if result.is_null() {
            return Err(timed_out());
        }
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
        let infos = if infos.is_null() { &[][..] } else { std::slice::from_raw_parts(infos, count) };
        let ends = infos.iter().filter_map(|info| {
            let element = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info).as_ref()?;
            let known = failed(element.err).is_none() && element.offset >= 0;
            known.then(|| (partition_of(element), element.offset))
        });
        Ok(ends.collect())
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
