//! Batches over a receiver that plays a script.

use serde_json::{Value, json};

use super::*;
use crate::handler::Notes;
use crate::handler::webhook::testing::{
    OK, Server, Step, context, egress, event, references, serve, webhook,
};
use crate::handler::webhook::{Spec, build};
use crate::handler::{Context, Problem};

fn batching(server: &Server, keys: &Value) -> Batching {
    let (mut keys, batch) = (keys.clone(), keys["batch"].clone());
    keys.as_object_mut().unwrap().remove("batch");
    let webhook = webhook(&server.url("/"), &keys);
    let number = |name: &str, default: u64| batch[name].as_u64().unwrap_or(default);
    let records = usize::try_from(number("max_records", 100)).unwrap();
    let bytes = usize::try_from(number("max_bytes", 4096)).unwrap();
    Batching::new(webhook, Limits { records, bytes, linger: Duration::from_millis(number("linger", 50)) })
}

/// Events of one partition, by offset.
fn events(values: &[&str]) -> Vec<Event> {
    let event = |(offset, value): (i64, &&str)| {
        let mut event = event(value.as_bytes(), &[]);
        event.origin.offset = offset;
        event
    };
    (0..).zip(values).map(event).collect()
}

fn call(event: &Event) -> Call<'_> {
    Call { event, attempt: 1, id: None, give_up_at: None, alone: false, notes: Notes::default() }
}

async fn attempt_all(handler: &Batching, events: &[Event]) -> Vec<Result<Answer, Failure>> {
    let calls: Vec<Call<'_>> = events.iter().map(call).collect();
    handler.attempt(&calls).await
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Head and body of each request.
fn requests(server: &Server) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let split = |text: String| {
        text.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap()
    };
    server.requests().into_iter().map(text).map(split).collect()
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name}: {head}"))
}

#[tokio::test]
async fn what_is_there_at_the_same_time_goes_in_one_request() {
    let server = Server::start(vec![serve(OK)]).await;
    let handler = batching(&server, &json!({}));
    let events = events(&[r#"{"a": 1}"#, "2", "[3]"]);
    let answers = attempt_all(&handler, &events).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let sent = requests(&server);
    let [(head, body)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(body, r#"[{"a": 1},2,[3]]"#, "items byte for byte");
    let ids: Vec<String> =
        events.iter().map(|event| crate::event::webhook_id(&event.origin, "order-billing", 0)).collect();
    assert_eq!(header(head, "weir-item-ids"), ids.join(", "));
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(header(head, "webhook-id"), crate::event::batch_id(&ids));
    assert_eq!(header(head, "weir-event"), "shop.orders.v1/3/0");
}

#[tokio::test]
async fn each_item_hears_what_became_of_it() {
    let events = events(&["0", "1", "2"]);
    let id = |index: usize| crate::event::webhook_id(&events[index].origin, "order-billing", 0);
    let body = json!({ "statuses": [
        { "id": id(0), "status": "SUCCESS" }, { "id": id(2), "status": "DROP" },
    ] });
    let server = Server::start(vec![serve(&answer(200, &body.to_string()))]).await;
    let answers = attempt_all(&batching(&server, &json!({})), &events).await;
    let class = |index: usize| answers[index].as_ref().map(|_| ()).map_err(|f| (f.class, f.code));
    assert_eq!(class(0), Ok(()));
    assert_eq!(class(1), Err((Class::Retry { after: None }, Code::Status)));
    assert_eq!(class(2), Err((Class::Rejected, Code::Aborted)));
    assert_eq!(server.requests().len(), 1, "a refused item is not asked for again");
}

#[tokio::test]
async fn an_answer_about_nobody_is_a_retry_for_all() {
    let body = r#"{"batchItemFailures": [{"itemIdentifier": "msg_x"}]}"#;
    let server = Server::start(vec![serve(&answer(200, body))]).await;
    let answers = attempt_all(&batching(&server, &json!({})), &events(&["0", "1"])).await;
    for failure in answers.into_iter().map(Result::unwrap_err) {
        assert_eq!(failure.class, Class::Retry { after: None });
        assert!(
            failure.message.ends_with("the answer names \"msg_x\", which is not in the batch"),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn what_refuses_several_is_asked_of_each_alone() {
    let alone = |status| vec![Step::Read, Step::Write(answer(status, "").into_bytes())];
    let script = [alone(400), alone(200), alone(400), alone(200)].concat();
    let server = Server::start(vec![script]).await;
    let handler = batching(&server, &json!({ "concurrency": 1 }));
    let answers = attempt_all(&handler, &events(&["0", "1", "2"])).await;
    let accepted: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, false, true]);
    assert_eq!(answers[1].as_ref().unwrap_err().class, Class::Rejected);
    let bodies: Vec<String> = requests(&server).into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, ["[0,1,2]", "[0]", "[1]", "[2]"]);
}

#[tokio::test]
async fn every_other_failure_is_everybodys() {
    let server = Server::start(vec![serve(&answer(503, ""))]).await;
    let answers = attempt_all(&batching(&server, &json!({})), &events(&["0", "1"])).await;
    assert!(answers.iter().all(|a| a.as_ref().is_err_and(|f| f.class == Class::Retry { after: None })));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_batch_is_closed_by_records_bytes_or_time() {
    let server = Server::start(vec![serve(OK)]).await;
    let bodies = |server: &Server| {
        let mut bodies: Vec<String> = requests(server).into_iter().map(|(_, body)| body).collect();
        bodies.sort();
        bodies
    };
    let long = json!({ "batch": { "max_records": 2, "linger": 60_000 } });
    attempt_all(&batching(&server, &long), &events(&["0", "1", "2", "3"])).await;
    assert_eq!(bodies(&server), ["[0,1]", "[2,3]"], "full, so nothing lingers");

    let server = Server::start(vec![serve(OK)]).await;
    let small = json!({ "batch": { "max_bytes": 9 } });
    let handler = batching(&server, &small);
    let mut given = events(&["111", "222", "3", "44444444"]);
    let answers = attempt_all(&handler, &given).await;
    assert_eq!(bodies(&server), ["[111,222]", "[3]"]);
    assert!(answers[3].as_ref().is_err_and(|f| f.code == Code::TooLarge), "{:?}", answers[3]);

    given.truncate(1);
    attempt_all(&handler, &given).await;
    assert_eq!(bodies(&server).len(), 3, "alone, once its time is over");
}

#[tokio::test]
async fn an_item_that_is_no_json_spoils_no_batch() {
    let server = Server::start(vec![serve(OK)]).await;
    let answers = attempt_all(&batching(&server, &json!({})), &events(&["0", "{oops", "2"])).await;
    assert!(answers[1].as_ref().is_err_and(|f| f.class == Class::Invalid && f.code == Code::Decode));
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(requests(&server)[0].1, "[0,2]");
}

#[tokio::test]
async fn what_is_tried_alone_shares_no_request() {
    let server = Server::start(vec![serve(OK)]).await;
    let handler = batching(&server, &json!({}));
    let events = events(&["0", "1"]);
    let calls = [Call { alone: true, ..call(&events[0]) }, call(&events[1])];
    handler.attempt(&calls).await;
    let mut bodies: Vec<String> = requests(&server).into_iter().map(|(_, body)| body).collect();
    bodies.sort();
    assert_eq!(bodies, ["[0]", "[1]"]);
}

#[tokio::test]
async fn who_goes_away_before_the_request_is_not_in_it_and_who_drives_it_may_go_too() {
    let script = vec![Step::Read, Step::WaitForGo, Step::Write(OK.as_bytes().to_vec())];
    let server = Server::start(vec![script]).await;
    let handler = batching(&server, &json!({}));
    let events = events(&["0", "1", "2"]);
    let calls: Vec<Call<'_>> = events.iter().map(call).collect();
    let mut attempts: Vec<_> = calls.iter().map(|call| Box::pin(handler.one(call))).collect();
    let (mut last, mut second, mut first) =
        (attempts.pop().unwrap(), attempts.pop().unwrap(), attempts.pop().unwrap());
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    assert!(futures_util::poll!(&mut last).is_pending());
    drop(second);
    // The first drives the batch until the request is there, and goes.
    while server.requests().is_empty() {
        assert!(futures_util::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    drop(first);
    server.go();
    assert!(last.await.is_ok());
    assert_eq!(requests(&server)[0].1, "[0,2]");
    assert!(handler.opened.lock().is_empty());
}

#[tokio::test]
async fn a_batch_that_nobody_waits_for_is_forgotten() {
    let server = Server::start(vec![serve(OK)]).await;
    let handler = batching(&server, &json!({ "batch": { "linger": 60_000 } }));
    let event = event(b"0", &[]);
    let call = call(&event);
    let mut attempt = Box::pin(handler.one(&call));
    assert!(futures_util::poll!(&mut attempt).is_pending());
    assert_eq!(handler.opened.lock().len(), 1);
    drop(attempt);
    assert!(handler.opened.lock().is_empty());
    assert_eq!(server.connections(), 0);
}

#[test]
fn what_does_not_go_together_with_a_batch_is_refused() {
    let spec: Spec = serde_json::from_value(json!({
        "url": "http://127.0.0.1:1/", "content": "text",
        "batch": { "max_records": 301, "linger": "2m" },
    }))
    .unwrap();
    let context = Context { reads_answer: true, ..context(egress(&json!({}), &[])) };
    let problems: Vec<Problem> = build(&spec, &context, &references()).unwrap_err();
    let at: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(at, ["webhook.batch.max_records", "webhook.batch.linger", "webhook.content", "webhook.batch"]);
}
