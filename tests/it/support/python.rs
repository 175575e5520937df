//! Judges that are not ours: Python packages.

use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use crate::support::ledger::Arrival;
use crate::support::run::root;

/// Requests as a program reads them from its standard input: `[{headers, body}]`.
pub(crate) fn as_json(arrivals: &[Arrival]) -> Vec<Value> {
    let headers = |arrival: &Arrival| -> Map<String, Value> {
        arrival.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect()
    };
    let body = |arrival: &Arrival| String::from_utf8(arrival.body.to_vec()).unwrap();
    arrivals.iter().map(|arrival| json!({ "headers": headers(arrival), "body": body(arrival) })).collect()
}

/// What a program says of these requests.
pub(crate) fn python(program: &str, arguments: &[&str], requests: &[Value]) -> String {
    let mut child = Command::new(root().join("scripts/python"))
        .args(["-c", program])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), requests).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}
