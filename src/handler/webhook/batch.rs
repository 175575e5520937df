//! Several events in one request: calls that are made at the same time join a batch, and each hears what became of its own
//! item. A lane gives one record of a key at a time, so no batch has two of one key.
//!
//! Whoever waits for a batch drives it: it goes on while one of its items is waited for, and is cut off with the last.
//!
//! Source: http-contract, section 8.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture as Boxed, Shared, join_all};
use tokio::sync::Notify;

use super::Webhook;
use super::item::{Group, Item};
use super::partial::Replied;
use crate::event::Event;
use crate::handler::{BoxFuture, Call, Handler};
use crate::outcome::{Answer, Class, Code, Failure};
use crate::telemetry::clock;

/// When a batch is closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Items.
    pub(super) records: usize,
    /// Bytes of the body.
    pub(super) bytes: usize,
    /// The longest wait for more.
    pub(super) linger: Duration,
}

/// The webhook handler of a stage with `batch`.
#[derive(Debug)]
pub(super) struct Batching {
    webhook: Arc<Webhook>,
    limits: Limits,
    opened: Arc<Opened>,
}

/// The batches that take more items. Locked before a batch is.
#[derive(Debug, Default)]
struct Opened(Mutex<HashMap<Group, Open>>);

/// A batch. Its future holds what is in it, and no `Open`: so it ends with the last seat.
#[derive(Clone)]
struct Open {
    filling: Arc<Mutex<Filling>>,
    full: Arc<Notify>,
    ended: Shared<Boxed<'static, Arc<Ended>>>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Open").field(&self.filling).finish()
    }
}

#[derive(Debug, Default)]
struct Filling {
    /// By the number that an item got when it joined.
    items: Vec<(usize, Item)>,
    joined: usize,
    bytes: usize,
}

/// What became of a batch.
#[derive(Debug)]
struct Ended {
    /// The numbers of its items, in order.
    numbers: Vec<usize>,
    replied: Replied,
}

/// An item's place in its batch; given up where nobody waits for the item any more.
struct Seat {
    opened: Arc<Opened>,
    group: Group,
    open: Open,
    number: usize,
}

impl Handler for Batching {
    fn attempt<'a>(&'a self, batch: &'a [Call<'a>]) -> BoxFuture<'a, Vec<Result<Answer, Failure>>> {
        Box::pin(async move { join_all(batch.iter().map(|call| self.one(call))).await })
    }

    fn reads_value(&self) -> bool {
        self.webhook.reads_value()
    }

    fn reads_id(&self) -> bool {
        self.webhook.reads_id()
    }

    fn probes_bare(&self) -> bool {
        self.webhook.probes_bare()
    }

    fn probe(&self) -> Option<BoxFuture<'_, bool>> {
        self.webhook.probe()
    }

    fn endpoint(&self, event: &Event, id: Option<&str>) -> Option<String> {
        self.webhook.endpoint(event, id)
    }

    fn tidy(&self, now: Instant) {
        self.webhook.tidy(now);
    }
}

impl Batching {
    pub(super) fn new(webhook: Webhook, limits: Limits) -> Batching {
        Batching { webhook: Arc::new(webhook), limits, opened: Arc::default() }
    }

    async fn one(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let (group, item) = self.webhook.item(call)?;
        let (size, most) = (item.size() + 2, self.limits.bytes);
        if size > most {
            let message = format!("the body has {size} bytes; a batch takes {most}");
            return Err(Failure::invalid(Code::TooLarge, message));
        }
        if call.alone {
            return self.alone(call, &group, item).await;
        }
        let seat = self.join(group.clone(), item.clone());
        let ended = seat.open.ended.clone().await;
        let Some(index) = ended.numbers.iter().position(|number| *number == seat.number) else {
            return Err(Failure::retry(
                Code::Other,
                "sending a batch: internal error (the item was not in it)",
            ));
        };
        if index == 0 {
            ended.replied.notes.iter().for_each(|kind| call.notes.add(kind));
        }
        // What refuses several may be about one of them: each is asked for alone, once.
        let refused = |failure: &Failure| failure.class == Class::Rejected && ended.numbers.len() > 1;
        if ended.replied.whole.as_ref().is_err_and(refused) {
            return self.alone(call, &group, item).await;
        }
        ended.replied.of(index)
    }

    /// Sends an item in a batch of its own.
    async fn alone(&self, call: &Call<'_>, group: &Group, item: Item) -> Result<Answer, Failure> {
        let slot = self.webhook.slot().await;
        let replied = self.webhook.send_batch(group, &[item]).await;
        drop(slot);
        replied.notes.iter().for_each(|kind| call.notes.add(kind));
        replied.of(0)
    }

    /// Takes a seat in the batch of this group that is being filled, or begins one.
    fn join(&self, group: Group, item: Item) -> Seat {
        let mut batches = self.opened.lock();
        if let Some(open) = batches.get(&group).cloned() {
            let mut filling = open.lock();
            if filling.bytes + item.size() < self.limits.bytes {
                let number = filling.add(item);
                let is_full = filling.items.len() >= self.limits.records;
                drop(filling);
                if is_full {
                    batches.remove(&group);
                    open.full.notify_one();
                }
                drop(batches);
                return Seat { opened: Arc::clone(&self.opened), group, open, number };
            }
            drop(filling);
            open.full.notify_one();
        }
        let (filling, full) = (Arc::<Mutex<Filling>>::default(), Arc::<Notify>::default());
        let driven = Driven {
            webhook: Arc::clone(&self.webhook),
            opened: Arc::clone(&self.opened),
            filling: Arc::clone(&filling),
            full: Arc::clone(&full),
            group: group.clone(),
        };
        let until = clock::now() + self.limits.linger;
        let open = Open { filling, full, ended: driven.run(until).boxed().shared() };
        let number = open.lock().add(item);
        if self.limits.records > 1 {
            batches.insert(group.clone(), open.clone());
        } else {
            open.full.notify_one();
        }
        drop(batches);
        Seat { opened: Arc::clone(&self.opened), group, open, number }
    }
}

/// What a batch needs to be sent.
struct Driven {
    webhook: Arc<Webhook>,
    opened: Arc<Opened>,
    filling: Arc<Mutex<Filling>>,
    full: Arc<Notify>,
    group: Group,
}

impl Driven {
    /// Waits until the batch is full or has waited for long enough, closes it and sends it.
    async fn run(self, until: Instant) -> Arc<Ended> {
        // What is ready to join at this moment does, also without a `linger`; and what comes while every slot is taken.
        tokio::task::yield_now().await;
        tokio::time::timeout_at(until.into(), self.full.notified()).await.ok();
        let slot = self.webhook.slot().await;
        let items = {
            let mut batches = self.opened.lock();
            if batches.get(&self.group).is_some_and(|open| Arc::ptr_eq(&open.filling, &self.filling)) {
                batches.remove(&self.group);
            }
            let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut filling.items)
        };
        let (numbers, items): (Vec<usize>, Vec<Item>) = items.into_iter().unzip();
        let replied = self.webhook.send_batch(&self.group, &items).await;
        drop(slot);
        Arc::new(Ended { numbers, replied })
    }
}

impl Opened {
    fn lock(&self) -> MutexGuard<'_, HashMap<Group, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filling {
    fn add(&mut self, item: Item) -> usize {
        self.bytes += item.size() + 1;
        self.joined += 1;
        self.items.push((self.joined, item));
        self.joined
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut batches = self.opened.lock();
        let mut filling = self.open.lock();
        let Some(at) = filling.items.iter().position(|(number, _)| *number == self.number) else { return };
        let (_, item) = filling.items.remove(at);
        filling.bytes -= item.size() + 1;
        if filling.items.is_empty()
            && batches.get(&self.group).is_some_and(|open| Arc::ptr_eq(&open.filling, &self.open.filling))
        {
            batches.remove(&self.group);
        }
    }
}

#[cfg(test)]
mod tests;
