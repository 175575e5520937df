//! A receiver that is dead for two minutes under load (H15): nothing is dead-lettered, the lag grows and memory does not,
//! and everything is delivered in order when it is back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::delivery::{PARTITIONS, ends};
use crate::support::kafka::shared;
use crate::support::load::Load;
use crate::support::receiver::{Receiver, Reply, Seen, status};
use crate::support::run::{Run, pause, say, until};
use crate::support::weir::{Site, Watched, Weir};

/// Events a second. What is built for debugging catches up too slowly for more: `WEIR_TEST_BIN` names a release build, and
/// `OUTAGE_RATE` the rate of the contract, 5,000.
fn rate() -> u32 {
    let rate = std::env::var_os("OUTAGE_RATE");
    rate.and_then(|rate| rate.to_str()?.parse().ok()).unwrap_or(1_000)
}

const DEAD: Duration = Duration::from_secs(120);
/// What the stage works on at once by default: what the cut can repeat.
const IN_FLIGHT: usize = 256;
/// What one sample of the memory may differ from another.
const FLAT: u64 = 24 << 20;

/// What the receiver has heard, in a few bytes a key: 700,000 whole requests would fill the memory of the test.
#[derive(Debug, Default)]
struct Heard {
    next: HashMap<u32, u32>,
    accepted: usize,
    repeated: usize,
    overtaken: Vec<String>,
}

impl Heard {
    fn hear(&mut self, seen: &Seen<'_>) -> Reply {
        let (key, seq) = (seen.arrival.key, seen.arrival.seq);
        let next = self.next.entry(key).or_default();
        match seq.cmp(next) {
            std::cmp::Ordering::Equal => (*next, self.accepted) = (seq + 1, self.accepted + 1),
            std::cmp::Ordering::Less => self.repeated += 1,
            std::cmp::Ordering::Greater => self.overtaken.push(format!("key {key}: {seq} before {next}")),
        }
        status(200)
    }
}

/// Resident bytes.
pub(crate) fn resident(weir: &Weir) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", weir.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// What was seen while the receiver was dead.
#[derive(Debug)]
struct Outage {
    /// Resident bytes each 5 s, from half a minute on: the stage is held by then, and what it had begun is over.
    memory: Vec<u64>,
    lag: f64,
    refused: f64,
}

async fn outage(weir: &Weir) -> Outage {
    let lag = async || weir.metric("weir_consumer_lag_events", &[]).await;
    let before = lag().await;
    let mut memory = Vec::new();
    for sample in 0..DEAD.as_secs() / 5 {
        pause(Duration::from_secs(5)).await;
        if sample >= 6 {
            memory.push(resident(weir));
        }
    }
    weir.holds("breaker").await;
    let refused = weir.metric("weir_handler_attempts_total", &[("result", "connect")]).await;
    Outage { memory, lag: lag().await - before, refused }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_dead_for_two_minutes_raises_the_lag_and_nothing_else() {
    let (run, kafka) = (Run::new("outage"), shared());
    let (topic, dlq) = (run.name.clone(), format!("{}.dlq", run.name));
    kafka.create(&topic, PARTITIONS, &[]).await;
    kafka.create(&dlq, PARTITIONS, &[]).await;
    let heard = Arc::new(Mutex::new(Heard::default()));
    let ear = || {
        let heard = Arc::clone(&heard);
        move |seen: Seen<'_>| heard.lock().unwrap().hear(&seen)
    };
    let receiver = Receiver::forgetful(&run, 0, ear()).await;
    let port = receiver.port();
    let yaml = format!("source: {topic}\nhandler: http://127.0.0.1:{port}/hook\ndlq: {dlq}\n");
    let weir = Site::new(&run, kafka).pipeline(&topic, &yaml).start("one").await;

    let wanted = rate();
    let load = Load { events: wanted as usize * 140, keys: 1_000, size: 200, rate: Some(wanted) };
    let begun = run.now();
    let dies = async {
        pause(Duration::from_secs(10)).await;
        // Its port answers nobody until it is back.
        drop(receiver);
        let outage = outage(&weir).await;
        (outage, Receiver::forgetful(&run, port, ear()).await)
    };
    let ((_, acked), (outage, _receiver)) = tokio::join!(load.produce(&run, kafka, &topic), dies);
    let rate = load.events as f64 / (run.now() - begun).as_secs_f64();
    let all = || async { heard.lock().unwrap().accepted >= load.events };
    until("everything is delivered", Duration::from_secs(600), all).await;
    let took = run.now() - begun;

    let group = format!("weir.{topic}");
    let watched = Watched { kafka, group: &group, topic: &topic, partitions: PARTITIONS };
    watched.all_committed(&run, &ends(&acked)).await;
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    say(&format!(
        "{rate:.0} events a second, all delivered after {took:?}: {outage:?}, {} repeated",
        heard.repeated
    ));
    assert!(rate > 0.9 * f64::from(wanted), "{rate:.0} events a second is not the load");
    assert!(outage.refused > 0.0, "the fault did not bite");
    assert!(outage.lag > 0.8 * f64::from(wanted) * DEAD.as_secs_f64(), "{outage:?}");
    let (least, most) = (outage.memory.iter().min().unwrap(), outage.memory.iter().max().unwrap());
    assert!(most - least < FLAT && *most < 512 << 20, "{outage:?}");
    assert_eq!(heard.overtaken, Vec::<String>::new());
    assert_eq!(heard.accepted, load.events);
    assert!(heard.repeated <= IN_FLIGHT, "{} repeated", heard.repeated);
    assert_eq!(kafka.read(&run, &dlq).len(), 0, "nothing is dead-lettered");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
