//! A token for a client that signs on by OAUTHBEARER; rdkafka gives it only from within a poll.

use std::ffi::{CString, c_char};
use std::ptr;
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;

use super::failed;
use crate::kafka::KafkaError;

/// The principal's name: brokers take it from the token, librdkafka wants one.
const PRINCIPAL: &std::ffi::CStr = c"weir";

/// Gives a client its token. librdkafka's own words on a token that it does not take hold the token: they are left out.
pub(crate) fn set_token<C: ClientContext>(
    client: &Client<C>,
    value: &str,
    until: SystemTime,
) -> Result<(), KafkaError> {
    let value = CString::new(value).unwrap_or_default();
    let until = until.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut buffer = [0_u8; 512];
    // SAFETY: client and texts are alive and copied by the call; there are no extensions; the buffer has that size.
    let errno = unsafe {
        sys::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            i64::try_from(until.as_millis()).unwrap_or(i64::MAX),
            PRINCIPAL.as_ptr(),
            ptr::null_mut(),
            0,
            buffer.as_mut_ptr().cast::<c_char>(),
            buffer.len(),
        )
    };
    failed(errno).map_or(Ok(()), Err)
}

/// Tells a client why there is no token: it raises that as an authentication error, once.
pub(crate) fn no_token<C: ClientContext>(client: &Client<C>, why: &str) -> Result<(), KafkaError> {
    let why = CString::new(why).unwrap_or_default();
    // SAFETY: client and text are alive; the call copies the text.
    failed(unsafe { sys::rd_kafka_oauthbearer_set_token_failure(client.native_ptr(), why.as_ptr()) })
        .map_or(Ok(()), Err)
}
