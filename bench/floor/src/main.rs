//! The floor that Weir is measured against: the smallest program on the same crates that does the same I/O. No retries,
//! no offsets, no features. And the load and the receiver that both are measured with.
//!
//! ```text
//! floor load    BROKERS TOPIC EVENTS KEYS PARTITIONS     makes the topic and fills it with 512-byte JSON events
//! floor receive PORT DELAY_MS EVENTS                     answers 200; prints a line when so many different ones were there
//! floor post    BROKERS TOPIC GROUP PORT CONNECTIONS     J1: one POST an event, no order
//! floor keyed   BROKERS TOPIC GROUP PORT CONNECTIONS     the same, one event of a key at a time, in order
//! ```

mod consume;
mod keyed;
mod load;
mod post;
mod receive;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    match words[..] {
        ["load", brokers, topic, events, keys, partitions] => {
            runtime.block_on(load::run(brokers, topic, number(events), number(keys), number(partitions)));
        }
        ["receive", port, delay, events] => {
            runtime.block_on(receive::run(number(port), number(delay), number(events)))
        }
        ["post", brokers, topic, group, port, connections] => {
            runtime.block_on(post::run(
                consume::Source::new(brokers, topic, group),
                number(port),
                number(connections),
            ));
        }
        ["keyed", brokers, topic, group, port, connections] => {
            runtime.block_on(keyed::run(
                consume::Source::new(brokers, topic, group),
                number(port),
                number(connections),
            ));
        }
        _ => {
            eprintln!("usage: floor load|receive|post|keyed ..; see its source");
            std::process::exit(2);
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| {
        eprintln!("{text} is not a number of the kind that belongs here");
        std::process::exit(2)
    })
}
