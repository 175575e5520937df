//! One queue a key over shared connections: events of a key one at a time and in order, those of other keys beside it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::consume::Source;
use crate::post::Connection;

/// How many events may be in memory.
const WAITING: usize = 20_000;

#[derive(Default)]
struct Lanes {
    /// By key, what waits behind the one at work. A key without an entry is idle.
    queues: HashMap<Bytes, VecDeque<Bytes>>,
    /// Heads of keys that nobody works at.
    ready: VecDeque<(Bytes, Bytes)>,
}

impl Lanes {
    /// Whether a new head is ready.
    fn add(&mut self, key: Bytes, value: Bytes) -> bool {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.push_back(value);
            return false;
        }
        self.queues.insert(key.clone(), VecDeque::new());
        self.ready.push_back((key, value));
        true
    }

    /// The one at work has ended; true where the next of its key is ready now.
    fn done(&mut self, key: Bytes) -> bool {
        let next = self.queues.get_mut(&key).and_then(VecDeque::pop_front);
        match next {
            Some(value) => {
                self.ready.push_back((key, value));
                true
            }
            None => {
                self.queues.remove(&key);
                false
            }
        }
    }
}

/// Posts every event until the process is ended.
pub async fn run(source: Source, port: u16, connections: usize) {
    let lanes = Arc::new(Mutex::new(Lanes::default()));
    let ready = Arc::new(Semaphore::new(0));
    let room = Arc::new(Semaphore::new(WAITING));
    for _ in 0..connections {
        let (lanes, ready, room) = (lanes.clone(), ready.clone(), room.clone());
        let mut connection = Connection::open(port).await;
        tokio::spawn(async move {
            loop {
                ready.acquire().await.expect("never closed").forget();
                let head = lanes.lock().expect("no panic").ready.pop_front();
                let Some((key, value)) = head else { continue };
                connection.post(value).await;
                room.add_permits(1);
                if lanes.lock().expect("no panic").done(key) {
                    ready.add_permits(1);
                }
            }
        });
    }
    let mut batches = source.start();
    while let Some(batch) = batches.recv().await {
        let length = u32::try_from(batch.len()).expect("a small batch");
        room.acquire_many(length).await.expect("never closed").forget();
        let mut heads = 0;
        {
            let mut lanes = lanes.lock().expect("no panic");
            for (key, value) in batch {
                heads += usize::from(lanes.add(key, value));
            }
        }
        ready.add_permits(heads);
    }
}
