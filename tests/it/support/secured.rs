//! A broker that lets in only whom it knows, and lets each do only what a rule says (ACL): listeners with SASL, TLS and
//! both, from the same jars. The test's own clients come in by the direct listener, as its master.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::support::kafka::Kafka;

/// SASL in the clear: PLAIN, both SCRAM, OAUTHBEARER.
pub(crate) const SIGNED: &str = "SIGNED";
/// The same over TLS.
pub(crate) const SEALED: &str = "SEALED";
/// TLS that asks for the client's certificate, which says who it is.
pub(crate) const MUTUAL: &str = "MUTUAL";
/// SASL over TLS with a certificate that has expired.
pub(crate) const WORN: &str = "WORN";

/// The user that PLAIN knows, and the password.
pub(crate) const PLAIN: (&str, &str) = ("plain-user", "plain-word-9f31");

/// The broker and the authority that its certificates are of.
pub(crate) struct Secured {
    pub(crate) kafka: Kafka,
    folder: PathBuf,
    authority: Authority,
}

/// The one that the tests share.
pub(crate) fn secured() -> &'static Secured {
    static SHARED: OnceLock<Secured> = OnceLock::new();
    SHARED.get_or_init(Secured::start)
}

/// Whose certificates are trusted where its own is.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "weir's tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for this name and loopback, and its key.
    pub(crate) fn certificate(&self, name: &str, expired: bool) -> (String, String) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
    }

    /// How a server of loopback agrees on TLS.
    pub(crate) fn server(&self) -> TlsAcceptor {
        let (certificate, key) = self.certificate("receiver", false);
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_no_client_auth();
        TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

impl Secured {
    fn start() -> Secured {
        let folder = std::env::temp_dir().join(format!("weir-secured-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let authority = Authority::new();
        std::fs::write(folder.join("ca.pem"), &authority.pem).unwrap();
        for (file, expired) in [("broker.pem", false), ("worn.pem", true)] {
            let (certificate, key) = authority.certificate("broker", expired);
            std::fs::write(folder.join(file), format!("{key}{certificate}")).unwrap();
        }
        let listeners =
            [(SIGNED, "SASL_PLAINTEXT"), (SEALED, "SASL_SSL"), (MUTUAL, "SSL"), (WORN, "SASL_SSL")];
        let kafka = Kafka::listening("secured", &listeners, &settings(&folder));
        Secured { kafka, folder, authority }
    }

    /// A file with the authority's certificate.
    pub(crate) fn ca(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }

    /// A certificate for a client, and its key.
    pub(crate) fn client(&self, name: &str, expired: bool) -> (String, String) {
        self.authority.certificate(name, expired)
    }

    /// Gives a user this password for SCRAM with this hash, such as `SHA-512`.
    pub(crate) fn user(&self, name: &str, hash: &str, password: &str) {
        let new = format!("SCRAM-{hash}=[password={password}]");
        let of = ["--alter", "--add-config", &new, "--entity-type", "users", "--entity-name", name];
        self.kafka.tool("kafka.admin.ConfigCommand", &of);
    }

    /// Adds (`--add`) or takes away (`--remove`) what `what` says, such as `["--operation", "Read", "--topic", "x"]`.
    pub(crate) fn rule(&self, change: &str, user: &str, what: &[&str]) {
        let principal = format!("User:{user}");
        let mut arguments = vec![change, "--allow-principal", &principal];
        if change == "--remove" {
            arguments.push("--force");
        }
        arguments.extend(what);
        self.kafka.tool("org.apache.kafka.tools.AclCommand", &arguments);
    }

    /// Lets a user do all with topics that begin with this name, and with the group that Weir makes of it.
    pub(crate) fn allow(&self, user: &str, name: &str) {
        let group = format!("weir.{name}");
        let all = ["--operation", "All", "--topic", name, "--group", &group];
        self.rule("--add", user, &[&all[..], &["--resource-pattern-type", "prefixed"]].concat());
    }

    /// Gives the listener whose certificate has expired a new one.
    pub(crate) fn renew(&self) {
        let (certificate, key) = self.authority.certificate("broker", false);
        let file = self.folder.join("renewed.pem");
        std::fs::write(&file, format!("{key}{certificate}")).unwrap();
        let new = format!("listener.name.worn.ssl.keystore.location={}", file.display());
        let of = ["--alter", "--add-config", &new, "--entity-type", "brokers", "--entity-name", "1"];
        self.kafka.tool("kafka.admin.ConfigCommand", &of);
    }
}

/// Lines of `server.properties`.
fn settings(folder: &Path) -> String {
    let module = "org.apache.kafka.common.security";
    let (user, password) = PLAIN;
    let folder = folder.display();
    let mut lines = String::from(
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\n\
         listener.name.signed.oauthbearer.connections.max.reauth.ms=10000\n\
         listener.name.mutual.ssl.client.auth=required\n",
    );
    for listener in ["sealed", "mutual", "worn"] {
        let store = if listener == "worn" { "worn" } else { "broker" };
        lines.push_str(&format!(
            "listener.name.{listener}.ssl.keystore.type=PEM\n\
             listener.name.{listener}.ssl.keystore.location={folder}/{store}.pem\n\
             listener.name.{listener}.ssl.truststore.type=PEM\n\
             listener.name.{listener}.ssl.truststore.location={folder}/ca.pem\n"
        ));
    }
    for listener in ["signed", "sealed", "worn"] {
        lines.push_str(&format!(
            "listener.name.{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
             listener.name.{listener}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{user}=\"{password}\";\n\
             listener.name.{listener}.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             listener.name.{listener}.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             listener.name.{listener}.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required \
             unsecuredLoginStringClaim_sub=\"broker\";\n"
        ));
    }
    lines
}
