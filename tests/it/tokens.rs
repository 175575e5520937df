//! OAuth2 and client certificates, judged by what is not ours: `oauthlib`, and OpenSSL by Python's `ssl`.

use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::receiver::status;
use crate::support::resource::Resource;
use crate::support::run::{Folder, until};
use crate::support::secured::Authority;
use crate::support::weir::Weir;

/// Sooner than a held stage is probed for the first time, after 30 s: what comes by a probe does not count here.
const SOON: Duration = Duration::from_secs(20);
/// Characters that the form of RFC 6749, section 2.3.1 writes in another way.
const CLIENT: (&str, &str) = ("shop weir:1", "p+s/w%rd=5c1e");

async fn held(weir: &Weir, pipeline: &str, cause: &str) {
    let holds =
        || async { weir.metric("weir_stage_held", &[("pipeline", pipeline), ("cause", cause)]).await > 0.0 };
    until(&format!("{pipeline} holds for {cause}"), SOON, holds).await;
}

async fn answered(resource: &Resource, path: &str, wanted: &[u64]) {
    let all = || async { resource.statuses(path).len() >= wanted.len() };
    until(&format!("{path} is asked"), SOON, all).await;
    assert_eq!(resource.statuses(path), wanted, "{path}: {:?}", resource.lines(path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_had_of_another_implementation_kept_and_replaced() {
    let mut stage = Stage::set("tokens", "", |_| status(200)).await;
    let mut resource = Resource::with_tokens(CLIENT, 5);
    let (topic, port) = (stage.topic.clone(), resource.port());
    let yaml = |secret: &str| {
        let at = format!("http://127.0.0.1:{port}");
        let auth = format!(
            "{{ oauth2: {{ token_url: {at}/token, client_id: \"{}\", client_secret: \"${{secret:{secret}}}\", scopes: [hooks] }} }}",
            CLIENT.0
        );
        format!(
            "source: {topic}\ndlq: {topic}.dlq\nhandler: {{ webhook: {{ url: {at}/hook, auth: {auth} }} }}\n"
        )
    };
    let wrong = format!("{topic}-wrong");
    stage.site = stage.site.pipeline(&topic, &yaml("right")).secret("right", CLIENT.1);
    let weir = stage.site.start("one").await;
    let one = || send(&stage, Some(b"k"), Some(b"{}"), OwnedHeaders::new(), 0);
    one();
    answered(&resource, "/hook", &[200]).await;
    one();
    answered(&resource, "/hook", &[200, 200]).await;
    answered(&resource, "/token", &[200]).await;

    // Refused where it should still be good: one more is asked for, within the attempt.
    resource.takes_tokens_back();
    let back = || async { !resource.lines("taken back").is_empty() };
    until("the tokens are taken back", SOON, back).await;
    one();
    answered(&resource, "/hook", &[200, 200, 401, 200]).await;
    answered(&resource, "/token", &[200, 200]).await;
    assert!(
        resource.lines("/hook").iter().all(|line| line["attempt"] == "1"),
        "{:?}",
        resource.lines("/hook")
    );

    // Before its end it is replaced, and no request goes out with one that has ended.
    let replaced = || async {
        one();
        resource.statuses("/token").len() >= 4
    };
    until("two tokens have ended", SOON, replaced).await;
    let refused = resource.statuses("/hook").iter().filter(|status| **status != 200).count();
    assert_eq!(refused, 1, "{:?}", resource.lines("/hook"));
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);

    let (asked, came) = (resource.statuses("/token").len(), resource.statuses("/hook").len());
    stage.site = stage.site.pipeline(&wrong, &yaml("wrong")).secret("wrong", "p+s/w%rd=0000");
    std::fs::remove_file(stage.site.path().join(format!("pipelines/{topic}.yaml"))).unwrap();
    let weir = stage.site.start("one").await;
    held(&weir, &wrong, "auth").await;
    assert!(resource.statuses("/token")[asked..].iter().all(|status| *status == 401));
    assert_eq!(resource.statuses("/hook").len(), came, "nothing is sent without a token");
    assert_eq!(stage.kafka.read(&stage.run, &format!("{topic}.dlq")).len(), 0);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_asks_for_certificates_takes_ours_and_no_other() {
    let mut stage = Stage::set("mutual", "", |_| status(200)).await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = Folder::new(&format!("{}-mutual", stage.topic));
    let (certificate, key) = authority.certificate("receiver", false);
    std::fs::write(folder.path().join("server.pem"), format!("{key}{certificate}")).unwrap();
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let resource = Resource::with_certificates(folder.path());
    let (topic, port) = (stage.topic.clone(), resource.port());
    let yaml = |more: &str| {
        let tls = format!("{{ ca: \"${{secret:ca}}\"{more} }}");
        let webhook = format!("{{ url: \"https://localhost:{port}/hook\", tls: {tls} }}");
        format!("source: {topic}\ndlq: {topic}.dlq\nhandler: {{ webhook: {webhook} }}\n")
    };
    let (bare, strange) = (format!("{topic}-bare"), format!("{topic}-strange"));
    let mut site = stage.site.secret("ca", &authority.pem);
    for (who, of) in [("weir", &authority), ("stranger", &stranger)] {
        let (certificate, key) = of.certificate(who, false);
        site = site.secret(&format!("{who}-cert"), &certificate).secret(&format!("{who}-key"), &key);
    }
    let with =
        |who: &str| yaml(&format!(", cert: \"${{secret:{who}-cert}}\", key: \"${{secret:{who}-key}}\""));
    stage.site =
        site.pipeline(&topic, &with("weir")).pipeline(&bare, &yaml("")).pipeline(&strange, &with("stranger"));
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"k"), Some(b"{\"a\":1}"), OwnedHeaders::new(), 0);
    answered(&resource, "/hook", &[200]).await;
    held(&weir, &bare, "tls").await;
    held(&weir, &strange, "tls").await;
    let [line] = &resource.lines("/hook")[..] else { panic!("{:?}", resource.lines("/hook")) };
    assert_eq!((line["who"].as_str(), line["body"].as_str()), (Some("weir"), Some("{\"a\":1}")));
    let refused = resource.lines("");
    assert!(refused.len() >= 2, "each without a good one is refused: {refused:?}");
    assert_eq!(weir.metric("weir_stage_held", &[("pipeline", &topic)]).await, 0.0);
    assert_eq!(stage.kafka.read(&stage.run, &format!("{topic}.dlq")).len(), 0);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
