//! Producing with headers of any name and values that may be null.

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};

use bytes::Bytes;
use rdkafka::client::{Client, ClientContext};
use rdkafka::util::IntoOpaque;
use rdkafka_sys as sys;

use super::check;
use crate::event::Outgoing;
use crate::kafka::KafkaError;

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
