//! The token that all clients of a cluster sign on with (OAUTHBEARER). Who makes it is not known here: it is put in, and
//! each client is told of it by whoever works with that client. No callback of librdkafka is used: it would wait for the
//! token on the thread that polls.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rdkafka::client::{Client, ClientContext};
use tracing::warn;

use super::raw;

/// A token. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What is sent.
    pub value: String,
    /// When it is of no use any more.
    pub until: SystemTime,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("until", &self.until).finish_non_exhaustive()
    }
}

/// The token of the moment, or why there is none. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    /// Counts what was put in; 0 before the first.
    serial: u64,
    token: Option<Token>,
    /// Why the last asking gave none.
    failed: Option<String>,
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Tokens) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tokens {}

impl Tokens {
    /// A new token, or why none was given (one sentence, no secrets). One that clients have stays theirs.
    pub fn put(&self, token: Result<Token, String>) {
        let mut now = self.lock();
        now.serial += 1;
        match token {
            Ok(token) => (now.token, now.failed) = (Some(token), None),
            Err(why) => now.failed = Some(why),
        }
        self.0.changed.notify_all();
    }

    /// Waits until something was put in, at most so long. Blocks.
    pub(super) fn wait(&self, at_most: Duration) {
        let waiting = self.0.changed.wait_timeout_while(self.lock(), at_most, |now| now.serial == 0);
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells a client what it has not been told; `told` is how far it is.
    pub(super) fn tell<C: ClientContext>(&self, client: &Client<C>, told: &mut u64) {
        let now = self.lock();
        if now.serial == *told {
            return;
        }
        let is_new = std::mem::replace(told, now.serial) == 0;
        let token = now.token.as_ref().filter(|_| is_new || now.failed.is_none());
        let given = token.map_or(Ok(()), |token| raw::set_token(client, &token.value, token.until));
        let said = now.failed.as_ref().map_or(Ok(()), |why| raw::no_token(client, why));
        if let Err(error) = given.and(said) {
            warn!(%error, "the Kafka client does not take the token");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;
    use crate::telemetry::clock;

    fn token(lasts: u64) -> Token {
        Token { value: "t0k3n".into(), until: clock::wall() + Duration::from_secs(lasts) }
    }

    /// A client that signs on by token, and the next error that it raises.
    fn client() -> BaseConsumer<DefaultConsumer> {
        let mut config = ClientConfig::new();
        config.set("security.protocol", "sasl_plaintext").set("sasl.mechanism", "OAUTHBEARER");
        config.set("bootstrap.servers", "127.0.0.1:1").set("group.id", "g");
        config.create().unwrap()
    }

    type DefaultConsumer = rdkafka::consumer::DefaultConsumerContext;

    fn raises(client: &BaseConsumer<DefaultConsumer>) -> Option<String> {
        (0..50).find_map(|_| match client.poll(Duration::from_millis(20)) {
            Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication) => {
                Some(error.to_string())
            }
            _ => None,
        })
    }

    #[test]
    fn a_client_is_told_each_thing_once_and_says_why_there_is_no_token() {
        let (tokens, client, mut told) = (Tokens::default(), client(), 0);
        tokens.tell(client.client(), &mut told);
        assert_eq!(told, 0, "nothing is known");
        tokens.put(Err("asking: 401".into()));
        tokens.tell(client.client(), &mut told);
        assert!(raises(&client).is_some(), "it says so");
        tokens.tell(client.client(), &mut told);
        assert_eq!(raises(&client), None, "once");
        tokens.put(Ok(token(60)));
        tokens.tell(client.client(), &mut told);
        assert_eq!(told, 2);
        assert!(!format!("{tokens:?} {:?}", token(60)).contains("t0k3n"));
    }

    #[test]
    fn a_client_takes_a_token_and_one_without_tokens_does_not() {
        let plain: rdkafka::producer::BaseProducer =
            ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().unwrap();
        let of_plain: &Client<rdkafka::producer::DefaultProducerContext> =
            rdkafka::producer::Producer::client(&plain);
        assert!(raw::set_token(of_plain, "t", token(60).until).is_err());
        assert_eq!(raw::set_token(client().client(), "t", token(60).until), Ok(()));
        assert!(raw::set_token(client().client(), "t", clock::wall()).is_err(), "has ended");
    }

    #[test]
    fn the_first_is_waited_for_and_not_for_ever() {
        let tokens = Tokens::default();
        let begun = clock::now();
        tokens.wait(Duration::from_millis(50));
        assert!(begun.elapsed() >= Duration::from_millis(50));
        tokens.put(Err("no".into()));
        tokens.wait(Duration::from_secs(600));
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
