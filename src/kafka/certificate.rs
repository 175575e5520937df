//! What is wrong with a broker's certificate. librdkafka says only that it could not be verified: the handshake is made once
//! more, beside it, by who says why. Nothing is decided by it.

use std::io::BufReader;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::options::Cluster;

/// How long each step with one broker may take, and how many are asked.
const WITHIN: Duration = Duration::from_secs(3);
const ASKED: usize = 3;

/// Why the certificate of one of the cluster's brokers is not trusted; `None` where nothing is found. Blocks.
pub(super) fn fault(cluster: &Cluster) -> Option<String> {
    let config = Arc::new(config(cluster)?);
    cluster.brokers.split(',').take(ASKED).find_map(|broker| {
        let why = handshake(broker.trim(), Arc::clone(&config))?;
        Some(format!("{broker}: {why}"))
    })
}

/// What TLS has against a broker, where it has anything.
fn handshake(broker: &str, config: Arc<ClientConfig>) -> Option<String> {
    let (host, _) = broker.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = broker.to_socket_addrs().ok()?.next()?;
    let mut tcp = TcpStream::connect_timeout(&address, WITHIN).ok()?;
    tcp.set_read_timeout(Some(WITHIN)).and_then(|()| tcp.set_write_timeout(Some(WITHIN))).ok()?;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(config, name).ok()?;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut tcp) {
            let fault = error.get_ref()?.downcast_ref::<rustls::Error>()?;
            return matches!(fault, rustls::Error::InvalidCertificate(_)).then(|| fault.to_string());
        }
    }
    None
}

/// Trusts whom the cluster's clients trust; `None` where that cannot be read.
fn config(cluster: &Cluster) -> Option<ClientConfig> {
    let property = |name: &str| cluster.properties.get(name);
    let mut roots = RootCertStore::empty();
    let read: Vec<CertificateDer<'static>> = if let Some(text) = property("ssl.ca.pem") {
        CertificateDer::pem_slice_iter(text.as_bytes()).flatten().collect()
    } else if let Some(file) = property("ssl.ca.location").filter(|file| *file != "probe") {
        let file = BufReader::new(std::fs::File::open(file).ok()?);
        CertificateDer::pem_reader_iter(file).flatten().collect()
    } else {
        rustls_native_certs::load_native_certs().certs
    };
    roots.add_parsable_certificates(read);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(roots).with_no_client_auth())
}
