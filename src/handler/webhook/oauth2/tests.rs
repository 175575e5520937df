//! Tokens of a server that plays a script, for a receiver that asks for them.

use serde_json::{Value, json};

use crate::handler::webhook::testing::{OK, Server, Step, attempt, egress, event, serve, webhook};
use crate::handler::webhook::{Spec, build, testing};
use crate::outcome::{Class, Code, HoldCause};

fn answer(status: u16, body: &str) -> Vec<Step> {
    let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    vec![Step::Read, Step::Write(text.into_bytes())]
}

fn token(value: &str, expires_in: &Value) -> Vec<Step> {
    let granted = json!({ "access_token": value, "token_type": "Bearer", "expires_in": expires_in });
    answer(200, &granted.to_string())
}

fn keys(tokens: &Server) -> Value {
    json!({ "auth": { "oauth2": {
        "token_url": tokens.url("/token"), "client_id": "weir app", "client_secret": "${secret:token}",
        "scopes": ["orders:write", "b"], "audience": "billing",
    } } })
}

fn text(request: &[u8]) -> String {
    String::from_utf8(request.to_vec()).unwrap()
}

/// `authorization` of each request.
fn shown(server: &Server) -> Vec<String> {
    let header = |request: &Vec<u8>| {
        let text = text(request);
        let line = text.lines().find_map(|line| line.strip_prefix("authorization: ").map(str::to_owned));
        line.unwrap_or_default()
    };
    server.requests().iter().map(header).collect()
}

#[tokio::test]
async fn one_token_is_asked_for_once_and_used_until_it_ends() {
    let tokens = Server::start(vec![token("t-1", &json!(3600))]).await;
    let receiver = Server::start(vec![serve(OK)]).await;
    let handler = webhook(&receiver.url("/"), &keys(&tokens));
    let event = event(b"{}", &[]);
    let all = (0..5).map(|_| attempt(&handler, &event));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(shown(&receiver), ["Bearer t-1"; 5]);
    let [asked] = <[Vec<u8>; 1]>::try_from(tokens.requests()).unwrap();
    let asked = text(&asked);
    // "weir app:c4n4ry", each part form-encoded first.
    assert!(asked.contains("authorization: Basic d2VpcithcHA6YzRuNHJ5"), "{asked}");
    assert!(
        asked.ends_with("grant_type=client_credentials&scope=orders%3Awrite+b&audience=billing"),
        "{asked}"
    );
    assert!(!format!("{handler:?}").contains("c4n4ry"));
}

#[tokio::test]
async fn a_token_at_its_end_is_replaced() {
    let script = [token("t-1", &json!(0.000_1)), token("t-2", &json!("rubbish is five minutes"))].concat();
    let tokens = Server::start(vec![script]).await;
    let receiver = Server::start(vec![serve(OK)]).await;
    let handler = webhook(&receiver.url("/"), &keys(&tokens));
    let failure = attempt(&handler, &event(b"{}", &[])).await;
    assert!(failure.is_ok());
    let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
    assert_eq!(failure.class, Class::Hold(HoldCause::Auth), "a time that is no number: {failure:?}");
    assert_eq!(shown(&receiver), ["Bearer t-1"]);
}

/// H11: one token call, in the same attempt; what is refused then is refused.
#[tokio::test]
async fn a_refused_token_is_replaced_once_within_the_attempt() {
    let tokens = Server::start(vec![[token("old", &json!(3600)), token("new", &json!(3600))].concat()]).await;
    let receiver = Server::start(vec![[answer(401, ""), answer(200, ""), answer(401, "")].concat()]).await;
    let handler = webhook(&receiver.url("/"), &keys(&tokens));
    attempt(&handler, &event(b"{}", &[])).await.unwrap();
    assert_eq!(shown(&receiver), ["Bearer old", "Bearer new"]);
    assert_eq!(tokens.requests().len(), 2);

    let tokens = Server::start(vec![(0..9).flat_map(|_| token("t", &json!(3600))).collect()]).await;
    let receiver = Server::start(vec![serve("HTTP/1.1 401 X\r\ncontent-length: 0\r\n\r\n")]).await;
    let handler = webhook(&receiver.url("/"), &keys(&tokens));
    let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
    assert_eq!(failure.class, Class::Hold(HoldCause::Auth));
    assert_eq!((receiver.requests().len(), tokens.requests().len()), (2, 2));
}

#[tokio::test]
async fn what_the_token_endpoint_answers_is_told_apart() {
    let hold = Class::Hold(HoldCause::Auth);
    let retry = Class::Retry { after: None };
    for (status, body, class, words) in [
        (
            401,
            r#"{"error": "invalid_client", "error_description": "c4n4ry"}"#,
            hold,
            "401 Unauthorized (invalid_client)",
        ),
        (400, "no json", hold, "400 Bad Request"),
        (200, "<html>", hold, "the answer is no token in JSON"),
        (200, r#"{"access_token": "a\nb"}"#, hold, "the token has a character that a header cannot carry"),
        (503, "", retry, "503 Service Unavailable"),
        (429, "", retry, "429 Too Many Requests"),
    ] {
        let tokens = Server::start(vec![answer(status, body)]).await;
        let receiver = Server::start(vec![serve(OK)]).await;
        let handler = webhook(&receiver.url("/"), &keys(&tokens));
        let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure:?}");
        let expected = format!("asking {} for a token: {words}", tokens.address);
        assert!(failure.message.starts_with(&expected), "{failure:?}");
        assert!(!failure.message.contains("c4n4ry"));
        assert_eq!(receiver.requests().len(), 0, "nothing is sent without a token");
    }
    let tokens = Server::start(vec![vec![Step::Read, Step::Close]]).await;
    let failure =
        attempt(&webhook("http://127.0.0.1:1/", &keys(&tokens)), &event(b"{}", &[])).await.unwrap_err();
    assert_eq!((failure.code, failure.class), (Code::Reset, retry));
}

#[test]
fn what_is_wrong_with_the_block_is_named() {
    let problems = |oauth2: Value| {
        let block = json!({ "url": "https://hooks.test/", "auth": { "oauth2": oauth2 },
            "headers": { "authorization": "x" } });
        let spec: Spec = serde_json::from_value(block).unwrap();
        let context = testing::context(egress(&json!({}), &[]));
        let list = build(&spec, &context, &testing::references()).unwrap_err();
        list.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
    };
    let plain =
        json!({ "token_url": "https://a.test/{{ .x }}", "client_id": "c", "client_secret": "in the file" });
    assert_eq!(problems(plain), ["webhook.auth.oauth2.client_secret", "webhook.auth.oauth2.token_url"]);
    let fine =
        json!({ "token_url": "https://a.test/t", "client_id": "c", "client_secret": "${secret:token}" });
    assert_eq!(problems(fine), ["webhook.auth"], "`headers` writes authorization too");
}
