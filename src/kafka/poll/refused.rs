//! What Kafka refuses this consumer: it does not let it in (credentials, certificates), or not at a topic or its group
//! (ACL). librdkafka says so once and then is silent (B7), and never says that it is over: the refusal is looked at again
//! every few seconds, on a thread of its own, until all that a consumer has to do is allowed.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::Poller;
use crate::kafka::find::{NotAllowed, allowed};
use crate::kafka::said::lasting;
use crate::kafka::{Intake, KafkaError, Partition, Trouble, certificate};

/// How often a refusal is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// A refusal that is not known to be over.
#[derive(Debug)]
pub(super) struct Refused {
    code: RDKafkaErrorCode,
    words: String,
    look_at: Instant,
    /// Of the look under way.
    answer: Option<mpsc::Receiver<Looked>>,
    /// Refused again since the look began: what it finds is out of date.
    again: bool,
}

/// What a look has found.
#[derive(Debug)]
struct Looked {
    found: Result<(), NotAllowed>,
    /// Why the client is to be made anew, where that may help.
    worn_out: Option<KafkaError>,
}

impl<I: Intake> Poller<I> {
    /// Notes an error that is a refusal; `false` where it is none.
    pub(super) fn refuse(&mut self, error: &KafkaError, partition: Option<&Partition>, now: Instant) -> bool {
        if !error.means_refused() {
            return false;
        }
        let topic = partition.map(|partition| &*partition.topic);
        let mut words = words(error, topic, &self.options.consumer.group);
        let before = self.refused.take();
        // A look finds out more than librdkafka says.
        let vague = match error.code {
            RDKafkaErrorCode::SSL => true,
            RDKafkaErrorCode::TopicAuthorizationFailed => topic.is_none(),
            _ => false,
        };
        if let Some(known) = before.as_ref().filter(|known| vague && known.code == error.code) {
            words.clone_from(&known.words);
        }
        let look_at = before.as_ref().map_or(now + LOOK_EVERY, |before| before.look_at);
        let answer = before.and_then(|before| before.answer);
        let again = answer.is_some();
        self.refused = Some(Refused { code: error.code, words: words.clone(), look_at, answer, again });
        self.intake.trouble(Trouble::Refused(words), now);
        true
    }

    /// Looks whether a refusal is over.
    pub(super) fn serve_refused(&mut self, now: Instant) {
        let Some(mut refused) = self.refused.take_if(|_| !self.stopping) else { return };
        match refused.answer.take() {
            Some(receiver) => match receiver.try_recv() {
                Err(mpsc::TryRecvError::Empty) => refused.answer = Some(receiver),
                Err(mpsc::TryRecvError::Disconnected) => refused.look_at = now + LOOK_EVERY,
                Ok(Looked { found: Ok(()), .. }) if !refused.again => {
                    self.commits_said.settled();
                    return self.intake.trouble(Trouble::Allowed, now);
                }
                Ok(Looked { found, worn_out }) => {
                    refused.look_at = now + LOOK_EVERY;
                    if let Some(why) = worn_out {
                        self.failed = Some((why, now));
                    }
                    self.still(&mut refused, found, now);
                }
            },
            None if now >= refused.look_at => {
                refused.again = false;
                let error =
                    || KafkaError { code: refused.code, message: refused.words.clone(), fatal: false };
                refused.answer = self.look((refused.code == RDKafkaErrorCode::SSL).then(error));
                refused.look_at = now + LOOK_EVERY;
            }
            None => {}
        }
        self.refused = Some(refused);
    }

    /// Tells what a look has found, where it is more than was told.
    fn still(&mut self, refused: &mut Refused, found: Result<(), NotAllowed>, now: Instant) {
        let Err(NotAllowed { error, topic }) = found else { return };
        // Where it cannot be reached, why it could not before is still the best answer.
        let words = words(&error, topic.as_deref(), &self.options.consumer.group);
        if error.means_refused() && words != refused.words {
            (refused.code, refused.words) = (error.code, words.clone());
            self.intake.trouble(Trouble::Refused(words), now);
        }
    }

    /// Begins to look; where TLS is `refused`, at the brokers' certificates and at the own ones too.
    fn look(&mut self, refused: Option<KafkaError>) -> Option<mpsc::Receiver<Looked>> {
        let (sender, receiver) = mpsc::channel();
        let (consumer, queue) = (Arc::clone(&self.client.consumer), Arc::clone(&self.client.queue));
        let (group, topics) = (self.options.consumer.group.clone(), self.options.topics.clone());
        let partitions: Vec<Partition> = self.parts.keys().cloned().collect();
        let (cluster, credentials) = (self.options.cluster.clone(), self.client.credentials.clone());
        let look = move || {
            let mut found = allowed(&consumer, &group, &topics, &partitions);
            let refused = refused.filter(|_| found.is_err());
            let worn_out = refused.as_ref().and_then(|error| credentials.worn_out(&cluster, error));
            if let Some(message) = refused.and_then(|_| certificate::fault(&cluster)) {
                found = Err(KafkaError { code: RDKafkaErrorCode::SSL, message, fatal: false }.into());
            }
            // The receiver is gone where the thread ended meanwhile.
            sender.send(Looked { found, worn_out }).ok();
            queue.wake();
        };
        let thread = std::thread::Builder::new().name("kafka-look".into()).spawn(look).ok()?;
        self.others.retain(|other| !other.is_finished());
        self.others.push(thread);
        Some(receiver)
    }
}

/// What is refused, for people. librdkafka's own words say which broker.
fn words(error: &KafkaError, topic: Option<&str>, group: &str) -> String {
    let said = lasting(&error.message);
    match error.code {
        RDKafkaErrorCode::TopicAuthorizationFailed => match topic {
            Some(topic) => format!("reading {topic} is not allowed to this user (ACL)"),
            None => format!("reading a topic is not allowed to this user (ACL): {said}"),
        },
        RDKafkaErrorCode::GroupAuthorizationFailed => {
            format!("the group {group} is not allowed to this user (ACL)")
        }
        RDKafkaErrorCode::SSL => format!("TLS with Kafka fails: {said}"),
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            format!("Kafka does not let this user in: {said}")
        }
        _ => format!("Kafka refuses this user: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: RDKafkaErrorCode, message: &str, topic: Option<&str>) -> String {
        let error = KafkaError { code, message: message.into(), fatal: false };
        words(&error, topic, "weir.orders")
    }

    #[test]
    fn the_words_name_what_is_refused_and_nothing_that_changes_each_time() {
        let text = "sasl_ssl://b:9092/1: SASL authentication error: invalid credentials (after 12ms in state AUTH_REQ)";
        assert_eq!(
            said(RDKafkaErrorCode::Authentication, text, None),
            "Kafka does not let this user in: sasl_ssl://b:9092/1: SASL authentication error: invalid credentials"
        );
        let topic = said(RDKafkaErrorCode::TopicAuthorizationFailed, "Broker: no", Some("orders"));
        assert_eq!(topic, "reading orders is not allowed to this user (ACL)");
        let group = said(RDKafkaErrorCode::GroupAuthorizationFailed, "Broker: no", None);
        assert_eq!(group, "the group weir.orders is not allowed to this user (ACL)");
    }
}
