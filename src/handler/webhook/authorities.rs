//! Authorities and certificates for tests, and what a server makes of them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pub(super) pem: String,
}

pub(super) fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (der, pem) = (certificate.der().clone(), pem("CERTIFICATE", certificate.der()));
    Authority { issuer: Issuer::new(params, key), der, pem }
}

impl Authority {
    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        roots
    }

    /// A certificate and its key, as PEM.
    pub(super) fn client(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = names(&["weir.test"]).signed_by(&key, &self.issuer).unwrap();
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

pub(super) fn names(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// How a test's server agrees on TLS.
pub(super) struct Serve<'a> {
    pub(super) params: CertificateParams,
    /// `None`: signed by itself.
    pub(super) issuer: Option<&'a Authority>,
    /// Whose clients are let in; `None`: all, without a certificate.
    pub(super) clients: Option<&'a Authority>,
    pub(super) versions: &'a [&'static SupportedProtocolVersion],
    pub(super) alpn: &'a [&'a str],
}

impl<'a> Serve<'a> {
    pub(super) fn new(params: CertificateParams, issuer: Option<&'a Authority>) -> Serve<'a> {
        Serve { params, issuer, clients: None, versions: rustls::ALL_VERSIONS, alpn: &["http/1.1"] }
    }

    pub(super) fn config(self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = match self.issuer {
            Some(authority) => self.params.signed_by(&key, &authority.issuer).unwrap(),
            None => self.params.self_signed(&key).unwrap(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider)
                    .build()
                    .unwrap(),
            ),
        };
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
