//! TLS against receivers on loopback: who is trusted, and what a fault asks for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::date_time_ymd;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::authorities::{Authority, Serve, authority, names};
use super::compile::compile;
use super::testing::{OK, Server, Step, attempt, context, egress, event, read_request, webhook_by};
use super::{Context, Spec};
use crate::handler::Problem;
use crate::outcome::{Answer, Class, Code, Failure, HoldCause};
use crate::settings::References;

/// A receiver that answers 200 on every connection; its port.
async fn receiver(config: Arc<ServerConfig>) -> (u16, DropGuard) {
    let acceptor = TlsAcceptor::from(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    }));
    (port, stop.drop_guard())
}

/// One attempt at `https://host:port/`, trusting this authority alone.
async fn post(host: &str, port: u16, trusted: &Authority) -> Result<Answer, Failure> {
    let egress = egress(&json!({}), &[("hooks.test", &["127.0.0.1"]), ("hooks.test.", &["127.0.0.1"])]);
    let limits = json!({ "timeouts": { "tls": "200ms" } });
    let handler = webhook_by(&format!("https://{host}:{port}/"), &limits, egress.with_roots(trusted.roots()));
    attempt(&handler, &event(b"{}", &[])).await
}

#[tokio::test]
async fn a_certificate_of_a_known_authority_for_this_name_is_trusted() {
    let known = authority("known");
    let (port, _stop) =
        receiver(Serve::new(names(&["hooks.test", "127.0.0.1"]), Some(&known)).config()).await;
    for host in ["hooks.test", "127.0.0.1", "hooks.test."] {
        post(host, port, &known).await.unwrap();
    }
}

#[tokio::test]
async fn a_fault_of_the_certificate_holds_the_stage() {
    let (known, other) = (authority("known"), authority("other"));
    let mut expired = names(&["hooks.test"]);
    (expired.not_before, expired.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    for (params, issuer, why) in [
        (names(&["elsewhere.test"]), Some(&known), "not valid for name"),
        (expired, Some(&known), "expired"),
        (names(&["hooks.test"]), None, "UnknownIssuer"),
        (names(&["hooks.test"]), Some(&other), "UnknownIssuer"),
    ] {
        let (port, _stop) = receiver(Serve::new(params, issuer).config()).await;
        let failure = post("hooks.test", port, &known).await.unwrap_err();
        assert_eq!((failure.code, failure.class), (Code::Tls, Class::Hold(HoldCause::Tls)), "{failure:?}");
        assert!(failure.message.contains(why), "{failure:?}");
    }
}

#[tokio::test]
async fn a_receiver_without_tls_holds_and_one_that_goes_away_is_tried_again() {
    let known = authority("known");
    for (script, code) in [
        (vec![Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Hang], Code::Tls),
        (vec![Step::Close], Code::Connect),
        (vec![Step::Hang], Code::Timeout),
    ] {
        let server = Server::start(vec![script]).await;
        let failure = post("hooks.test", server.address.port(), &known).await.unwrap_err();
        assert_eq!(failure.code, code, "{failure:?}");
    }
}

/// Secrets of these names and texts.
fn secrets(list: &[(&str, &str)]) -> References {
    let secrets = list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    References { secrets: secrets.collect(), ..References::default() }
}

/// One attempt with this `tls` block; the system trusts nobody.
async fn post_with(port: u16, tls: &Value, references: &References) -> Result<Answer, Failure> {
    let egress = egress(&json!({}), &[("hooks.test", &["127.0.0.1"])]);
    let egress = egress.with_roots(rustls::RootCertStore::empty());
    let block = json!({ "url": format!("https://hooks.test:{port}/"), "timeout": "5s", "tls": tls });
    let spec: Spec = serde_json::from_value(block).unwrap();
    let handler = compile(&spec, &context(egress), references).unwrap();
    attempt(&handler, &event(b"{}", &[])).await
}

#[tokio::test]
async fn a_root_of_ones_own_and_a_client_certificate_are_agreed_on() {
    let (known, clients, strangers) = (authority("known"), authority("clients"), authority("strangers"));
    let (cert, key) = clients.client();
    let (other_cert, other_key) = strangers.client();
    let references = secrets(&[
        ("ca", &known.pem),
        ("cert", &cert),
        ("key", &key),
        ("other_cert", &other_cert),
        ("other_key", &other_key),
    ]);
    let ours = json!({ "ca": "${secret:ca}", "cert": "${secret:cert}", "key": "${secret:key}" });
    let others =
        json!({ "ca": "${secret:ca}", "cert": "${secret:other_cert}", "key": "${secret:other_key}" });
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let serve = Serve::new(names(&["hooks.test"]), Some(&known));
        let (port, _stop) = receiver(Serve { clients: Some(&clients), versions, ..serve }.config()).await;
        post_with(port, &ours, &references).await.unwrap();
        // TLS 1.3 hears of a refusal after the handshake: it is the certificate's all the same.
        for wrong in [&json!({ "ca": "${secret:ca}" }), &others] {
            let failure = post_with(port, wrong, &references).await.unwrap_err();
            assert_eq!(
                (failure.code, failure.class),
                (Code::Tls, Class::Hold(HoldCause::Tls)),
                "{failure:?}"
            );
        }
    }
    let (port, _stop) = receiver(Serve::new(names(&["hooks.test"]), Some(&known)).config()).await;
    let failure = post_with(port, &json!({}), &references).await.unwrap_err();
    assert_eq!(failure.code, Code::Tls, "the system does not know it: {failure:?}");
}

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("pipelines")).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn problems(tls: &Value, folder: &Path, references: &References) -> Vec<Problem> {
    let spec: Spec = serde_json::from_value(json!({ "url": "https://hooks.test/", "tls": tls })).unwrap();
    let context = Context { folder: Arc::from(folder), ..context(egress(&json!({}), &[])) };
    compile(&spec, &context, references).map_or_else(|problems| problems, |_| Vec::new())
}

#[test]
fn what_is_wrong_with_certificates_is_said_where_they_are_named() {
    let clients = authority("clients");
    let ((cert, key), (_, other)) = (clients.client(), clients.client());
    let folder = Folder::new("tls");
    folder.write("pipelines/cert.pem", &cert);
    folder.write("pipelines/key.pem", &key);
    folder.write("pipelines/other.pem", &other);
    folder.write("pipelines/text.pem", "c4n4ry");
    folder.write("pipelines/broken.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    folder.write("pipelines/locked.pem", locked);
    folder.write("pipelines/large.pem", &"-----BEGIN ".repeat(100_000));
    folder.write("outside.pem", &cert);
    let pipelines = folder.0.join("pipelines");
    std::os::unix::fs::symlink("../outside.pem", pipelines.join("link.pem")).unwrap();
    std::os::unix::fs::symlink("cert.pem", pipelines.join("inside.pem")).unwrap();
    let references = secrets(&[("key", &key), ("text", "c4n4ry")]);
    for fine in [
        json!({}),
        json!({ "cert": "cert.pem", "key": "key.pem", "ca": "./inside.pem" }),
        json!({ "cert": cert, "key": "${secret:key}" }),
    ] {
        assert_eq!(problems(&fine, &pipelines, &references), [], "{fine}");
    }
    let outside = folder.0.join("outside.pem");
    for (wrong, at, says) in [
        (json!({ "ca": "none.pem" }), "ca", "cannot be read"),
        (json!({ "ca": "link.pem" }), "ca", "outside"),
        (json!({ "ca": "../outside.pem" }), "ca", "outside"),
        (json!({ "ca": outside }), "ca", "outside"),
        (json!({ "ca": "." }), "ca", "no regular file"),
        (json!({ "ca": "text.pem" }), "ca", "no PEM file"),
        (json!({ "ca": "key.pem" }), "ca", "no certificate"),
        (json!({ "ca": "broken.pem" }), "ca", "broken"),
        (json!({ "ca": "large.pem" }), "ca", "larger than 1 MiB"),
        (json!({ "ca": "${secret:text}" }), "ca", "no PEM"),
        (json!({ "ca": "${secret:nothing}" }), "ca", "not set"),
        (json!({ "cert": "cert.pem" }), "cert", "go together"),
        (json!({ "key": "key.pem" }), "key", "go together"),
        (json!({ "cert": "cert.pem", "key": "cert.pem" }), "key", "no private key"),
        (json!({ "cert": "cert.pem", "key": "locked.pem" }), "key", "encrypted"),
        (json!({ "cert": "cert.pem", "key": "other.pem" }), "key", "not this certificate's"),
        (json!({ "cert": "cert.pem", "key": key }), "key", "does not stand in the file"),
    ] {
        let problems = problems(&wrong, &pipelines, &references);
        let [problem] = problems.as_slice() else { panic!("{wrong}: {problems:?}") };
        assert_eq!(problem.path, format!("webhook.tls.{at}"), "{problem:?}");
        assert!(problem.message.contains(says), "{wrong}: {problem:?}");
        assert!(!format!("{problem:?}").contains("c4n4ry"), "{problem:?}");
        assert!(problem.help.is_some() || says == "not set" || says == "broken", "{problem:?}");
    }
}
