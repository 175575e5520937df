//! Ledgers for people: what a violation is about, and a file with everything.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::check::Wrong;
use crate::support::ledger::Ledgers;
use crate::support::metadata;

/// How many violations are shown, the events of how many records, and how many events.
const VIOLATIONS: usize = 20;
const RECORDS: usize = 8;
const EVENTS: usize = 80;

/// One line of a ledger, and what it is about.
struct Line {
    at: Option<Duration>,
    uid: Option<usize>,
    partition: Option<i32>,
    text: String,
}

/// What is wrong, the events concerned, and the name of a file with the full ledgers.
pub(crate) fn report(ledgers: &Ledgers, wrong: &[Wrong]) -> String {
    let shown = &wrong[..wrong.len().min(VIOLATIONS)];
    let mut text = format!("{} violations, of which {}:\n", wrong.len(), shown.len());
    for wrong in shown {
        writeln!(text, "  {}", wrong.text).unwrap();
    }
    let uids: BTreeSet<usize> =
        shown.iter().flat_map(|wrong| wrong.uids.iter().copied()).take(RECORDS).collect();
    let partitions: BTreeSet<i32> = shown.iter().filter_map(|wrong| wrong.partition).collect();
    let lines = lines(ledgers);
    let about = |line: &&Line| match (line.uid, line.partition) {
        (Some(uid), _) => uids.contains(&uid),
        (None, Some(partition)) => partitions.contains(&partition),
        // A fault concerns everything.
        (None, None) => true,
    };
    let concerned: Vec<&Line> = lines.iter().filter(about).collect();
    writeln!(text, "the records {uids:?} and the commits of {partitions:?}, {EVENTS} events at most:")
        .unwrap();
    for line in concerned.iter().take(EVENTS) {
        writeln!(text, "  {}", line.show()).unwrap();
    }
    match write_all(&lines) {
        Ok(file) => write!(text, "the full ledgers: {}", file.display()).unwrap(),
        Err(error) => write!(text, "the full ledgers cannot be written: {error}").unwrap(),
    }
    text
}

impl Line {
    fn show(&self) -> String {
        let at = self.at.map_or_else(String::new, |at| format!("{:.3}", at.as_secs_f64()));
        format!("{at:>9}  {}", self.text)
    }
}

/// A file of this test under the target folder.
fn write_all(lines: &[Line]) -> std::io::Result<PathBuf> {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test").replace("::", ".");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ledgers.{test}.txt"));
    let text: String = lines.iter().map(|line| line.show() + "\n").collect();
    std::fs::write(&path, text)?;
    Ok(path)
}

/// All ledgers, by time; what has none comes first.
fn lines(ledgers: &Ledgers) -> Vec<Line> {
    let mut lines = Vec::new();
    for (uid, intent) in ledgers.intents.iter().enumerate() {
        let text = format!("intended: uid {uid}, key {}, seq {}", intent.key, intent.seq);
        lines.push(Line { at: None, uid: Some(uid), partition: None, text });
    }
    for acked in &ledgers.acked {
        let text = format!("acknowledged: uid {} at {}/{}", acked.uid, acked.partition, acked.offset);
        lines.push(Line { at: None, uid: Some(acked.uid), partition: None, text });
    }
    for arrival in &ledgers.arrivals {
        let uid = arrival.uid.map_or_else(|| format!("event {}", arrival.event), |uid| format!("uid {uid}"));
        let mut text = format!(
            "requested: {uid}, key {}, seq {}, attempt {}: ",
            arrival.key, arrival.seq, arrival.attempt
        );
        match (arrival.status, arrival.end) {
            (Some(status), Some(end)) => write!(text, "{status} at {:.3}", end.as_secs_f64()).unwrap(),
            _ => text.push_str("no answer"),
        }
        lines.push(Line { at: Some(arrival.start), uid: arrival.uid, partition: Some(-1), text });
    }
    for dead in &ledgers.dead {
        let uid = dead.uid.map_or_else(|| "not of the load".to_owned(), |uid| format!("uid {uid}"));
        let told = ["weir-reason", "weir-code", "weir-attempts"].map(|name| dead.header(name).unwrap_or("?"));
        let text = format!("dead-lettered: {uid}, {}", told.join(" "));
        lines.push(Line { at: Some(dead.at), uid: dead.uid, partition: Some(-1), text });
    }
    // Only what is different from the sample before.
    let mut last: HashMap<i32, (i64, &str)> = HashMap::new();
    for sample in &ledgers.commits {
        let state = (sample.offset, sample.metadata.as_str());
        if last.insert(sample.partition, state) == Some(state) {
            continue;
        }
        let done = metadata::read(&sample.metadata, sample.offset);
        let done = done.map_or_else(String::new, |done| {
            format!("; done above {:?}, attempts {:?}, open {}", done.ranges, done.attempts, done.open)
        });
        let text = format!("committed: {}/{}{done}", sample.partition, sample.offset);
        lines.push(Line { at: Some(sample.at), uid: None, partition: Some(sample.partition), text });
    }
    for fault in &ledgers.faults {
        let text = format!("fault: {}, {}", fault.what, fault.evidence);
        lines.push(Line { at: Some(fault.at), uid: None, partition: None, text });
    }
    lines.sort_by_key(|line| line.at);
    lines
}
