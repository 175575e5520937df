//! TLS against receivers on loopback: who is trusted, and what a fault asks for.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::testing::{OK, Server, Step, attempt, egress, event, read_request, webhook_by};
use crate::outcome::{Answer, Class, Code, Failure, HoldCause};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    Authority { issuer: Issuer::new(params, key), der }
}

/// A receiver with this certificate, answering 200 on every connection; its port.
async fn receiver(params: CertificateParams, issuer: Option<&Authority>) -> (u16, DropGuard) {
    receiver_that_asks(params, issuer, None).await
}

/// The same, which asks whoever connects for a certificate of this authority.
async fn receiver_that_asks(
    params: CertificateParams,
    issuer: Option<&Authority>,
    asks: Option<&Authority>,
) -> (u16, DropGuard) {
    let key = KeyPair::generate().unwrap();
    let certificate = match issuer {
        Some(authority) => params.signed_by(&key, &authority.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match asks {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    }));
    (port, stop.drop_guard())
}

fn names(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// One attempt at `https://host:port/`, trusting this authority alone.
async fn post(host: &str, port: u16, trusted: &Authority) -> Result<Answer, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let egress = egress(&json!({}), &[("hooks.test", &["127.0.0.1"]), ("hooks.test.", &["127.0.0.1"])]);
    let limits = json!({ "timeouts": { "tls": "200ms" } });
    let handler = webhook_by(&format!("https://{host}:{port}/"), &limits, egress.with_roots(roots));
    attempt(&handler, &event(b"{}", &[])).await
}

#[tokio::test]
async fn a_certificate_of_a_known_authority_for_this_name_is_trusted() {
    let known = authority("known");
    let (port, _stop) = receiver(names(&["hooks.test", "127.0.0.1"]), Some(&known)).await;
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
        let (port, _stop) = receiver(params, issuer).await;
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

/// A folder of PEM files, gone with the test.
struct Files(std::path::PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let folder = std::env::temp_dir().join(format!("weir-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Files(folder)
    }

    /// Writes a file; its path.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

#[tokio::test]
async fn the_files_authority_is_trusted_and_our_certificate_is_shown() {
    let (servers, clients, files) = (authority("servers"), authority("clients"), Files::new("mtls"));
    let (port, _stop) = receiver_that_asks(names(&["hooks.test"]), Some(&servers), Some(&clients)).await;
    let key = KeyPair::generate().unwrap();
    let certificate = names(&["weir"]).signed_by(&key, &clients.issuer).unwrap();
    let ca = files.write("ca.pem", &pem("CERTIFICATE", &servers.der));
    let cert = files.write("cert.pem", &pem("CERTIFICATE", certificate.der()));
    let own = files.write("key.pem", &pem("PRIVATE KEY", &key.serialize_der()));
    let post = async |tls: serde_json::Value| {
        let egress = egress(&json!({}), &[("hooks.test", &["127.0.0.1"])]);
        let handler = webhook_by(&format!("https://hooks.test:{port}/"), &json!({ "tls": tls }), egress);
        attempt(&handler, &event(b"{}", &[])).await
    };
    post(json!({ "ca": ca, "cert": cert, "key": own })).await.unwrap();
    let failure = post(json!({ "ca": ca })).await.unwrap_err();
    assert_eq!(failure.class, Class::Hold(HoldCause::Tls), "without ours: {failure:?}");
    let other = files.write("other.pem", &pem("CERTIFICATE", &clients.der));
    let failure = post(json!({ "ca": other, "cert": cert, "key": own })).await.unwrap_err();
    assert!(failure.message.contains("UnknownIssuer"), "{failure:?}");
}

#[test]
fn what_is_wrong_with_the_files_is_named() {
    let files = Files::new("wrong");
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = names(&["weir"]).self_signed(&one).unwrap();
    let cert = files.write("cert.pem", &pem("CERTIFICATE", certificate.der()));
    let key = files.write("key.pem", &pem("PRIVATE KEY", &one.serialize_der()));
    let strange = files.write("strange.pem", &pem("PRIVATE KEY", &other.serialize_der()));
    let locked = files.write("locked.pem", &pem("ENCRYPTED PRIVATE KEY", b"x"));
    let said = |tls: serde_json::Value| {
        let spec = serde_json::from_value(json!({ "url": "https://hooks.test/", "tls": tls })).unwrap();
        let built = super::build(
            &spec,
            &super::testing::context(egress(&json!({}), &[])),
            &super::testing::references(),
        );
        built.map(drop).map_err(|list| {
            list.into_iter()
                .map(|problem| format!("{}: {}", problem.path, problem.message))
                .collect::<Vec<_>>()
        })
    };
    for (tls, at, why) in [
        (json!({ "ca": "/nowhere/ca.pem" }), "webhook.tls.ca", "No such file"),
        (json!({ "ca": key }), "webhook.tls.ca", "has no certificate"),
        (json!({ "ca": cert, "cert": cert }), "webhook.tls.cert", "without its key"),
        (json!({ "ca": cert, "key": key }), "webhook.tls.key", "without its certificate"),
        (
            json!({ "ca": cert, "cert": cert, "key": locked }),
            "webhook.tls.key",
            "no private key that can be read",
        ),
        (json!({ "ca": cert, "cert": cert, "key": strange }), "webhook.tls.cert", "key"),
    ] {
        let problems = said(tls.clone()).unwrap_err();
        assert!(
            problems.len() == 1 && problems[0].starts_with(at) && problems[0].contains(why),
            "{tls}: {problems:?}"
        );
    }
    said(json!({ "ca": cert, "cert": cert, "key": key })).unwrap();
}
