//! How many requests may be under way to a host at once: one door for all stages of the process, each of which gets its
//! turn. The place that becomes free goes to the stage that has the fewest, so a slow one cannot keep the others out.
//!
//! Source: http-contract, sections 1 and 6 (`concurrency`).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use url::Host;

use super::connect::Origin;
use crate::handler::Limit;
use crate::telemetry::clock;

/// The limit of a host for which no stage says one, until it complains.
const TOP: usize = 1 << 16;
/// A handler that has sent nothing to a host for so long has no say there any more.
const STAYS: Duration = Duration::from_secs(90);

/// The doors of all hosts.
#[derive(Debug, Default)]
pub(in crate::handler) struct Doors {
    hosts: RwLock<HashMap<(Host, u16), Arc<Door>>>,
    handlers: AtomicU64,
}

/// A handler, as the doors know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    id: u64,
    /// What its file says: no host gets more requests at once while this handler goes there.
    most: Option<usize>,
}

/// The door of one host.
#[derive(Debug)]
struct Door(Mutex<Line>);

#[derive(Debug)]
struct Line {
    limit: Limit,
    under_way: usize,
    guests: Vec<Guest>,
    /// Counts those that come and the turns they take, so that who has equally many takes them in order.
    numbers: u64,
}

/// A handler at one door.
#[derive(Debug)]
struct Guest {
    caller: Caller,
    under_way: usize,
    /// Those that wait, by their numbers, in order.
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
    last_turn: u64,
    seen: Instant,
}

/// A request's place: among those that wait, then among those under way. It is given back with it.
#[derive(Debug)]
pub(super) struct Pass {
    door: Arc<Door>,
    caller: u64,
    number: u64,
    /// What tells that it may begin, where it has to wait.
    turn: Option<oneshot::Receiver<()>>,
    status: Option<u16>,
}

impl Doors {
    /// Makes a handler known. `most`: its `concurrency`, where the file has one.
    pub(super) fn caller(&self, most: Option<usize>) -> Caller {
        Caller { id: self.handlers.fetch_add(1, Ordering::Relaxed), most }
    }

    /// A place for a request of this handler.
    pub(super) fn enter(&self, origin: &Origin, caller: Caller, now: Instant) -> Pass {
        let key = (origin.host.clone(), origin.port);
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = hosts.get(&key) {
            return door.enter(caller, now);
        }
        drop(hosts);
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(key).or_insert_with(|| Arc::new(Door::new())).enter(caller, now)
    }

    /// Lets in whom time has made room for, and forgets the handlers and hosts of which nothing was heard for long.
    pub(super) fn tidy(&self, now: Instant) {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, door| {
            let mut line = door.lock();
            line.guests.retain(|guest| guest.is_busy() || now < guest.seen + STAYS);
            line.set_top();
            line.let_in(now);
            !line.guests.is_empty() || !line.limit.rests(now)
        });
    }
}

impl Pass {
    /// Waits until the request may begin; whether it had to.
    pub(super) async fn wait(&mut self) -> bool {
        match self.turn.take() {
            // The door keeps the other end for as long as this place waits.
            Some(turn) => turn.await.is_ok(),
            None => false,
        }
    }

    /// The request was answered.
    pub(super) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.door.lock().leave(self.caller, self.number, self.status, clock::now());
    }
}

impl Door {
    fn new() -> Door {
        let limit = Limit::new(TOP);
        Door(Mutex::new(Line { limit, under_way: 0, guests: Vec::new(), numbers: 0 }))
    }

    fn enter(self: &Arc<Door>, caller: Caller, now: Instant) -> Pass {
        let (number, turn) = self.lock().enter(caller, now);
        Pass { door: Arc::clone(self), caller: caller.id, number, turn, status: None }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn enter(&mut self, caller: Caller, now: Instant) -> (u64, Option<oneshot::Receiver<()>>) {
        self.numbers += 1;
        let number = self.numbers;
        let at = self.guests.iter().position(|guest| guest.caller.id == caller.id);
        let at = at.unwrap_or_else(|| {
            let waiting = VecDeque::new();
            self.guests.push(Guest { caller, under_way: 0, waiting, last_turn: 0, seen: now });
            self.set_top();
            self.guests.len() - 1
        });
        self.let_in(now);
        let has_room = self.under_way < self.limit.get(now);
        let Some(guest) = self.guests.get_mut(at) else { return (number, None) };
        guest.seen = now;
        if has_room {
            guest.begin(number);
            self.under_way += 1;
            self.limit.used(self.under_way);
            return (number, None);
        }
        let (sender, receiver) = oneshot::channel();
        guest.waiting.push_back((number, sender));
        (number, Some(receiver))
    }

    /// A request has ended, or is waited for no more.
    fn leave(&mut self, caller: u64, number: u64, status: Option<u16>, now: Instant) {
        let Some(guest) = self.guests.iter_mut().find(|guest| guest.caller.id == caller) else { return };
        if let Ok(at) = guest.waiting.binary_search_by_key(&number, |(number, _)| *number) {
            guest.waiting.remove(at);
            return;
        }
        guest.under_way -= 1;
        guest.seen = now;
        self.limit.used(self.under_way);
        self.under_way -= 1;
        if status.is_some() {
            self.limit.observe(status, now);
        }
        self.let_in(now);
    }

    /// Gives places away while there are some and somebody waits.
    fn let_in(&mut self, now: Instant) {
        while self.guests.iter().any(|guest| !guest.waiting.is_empty())
            && self.under_way < self.limit.get(now)
        {
            let waits = self.guests.iter_mut().filter(|guest| !guest.waiting.is_empty());
            let Some(guest) = waits.min_by_key(|guest| (guest.under_way, guest.last_turn)) else { return };
            let Some((_, sender)) = guest.waiting.pop_front() else { return };
            self.numbers += 1;
            guest.begin(self.numbers);
            self.under_way += 1;
            self.limit.used(self.under_way);
            // It takes itself out of the queue before it stops to listen.
            sender.send(()).unwrap_or_default();
        }
    }

    /// The smallest number that anybody says who goes there.
    fn set_top(&mut self) {
        let said = self.guests.iter().filter_map(|guest| guest.caller.most).min();
        self.limit.resize(said.unwrap_or(TOP));
    }
}

impl Guest {
    fn begin(&mut self, turn: u64) {
        self.under_way += 1;
        self.last_turn = turn;
    }

    fn is_busy(&self) -> bool {
        self.under_way > 0 || !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
