//! The files that a client signs on with. librdkafka reads them once, when the client is made: where they have changed, a
//! client that Kafka refuses is made anew.

use std::io::Read;

use rdkafka::error::RDKafkaErrorCode;
use sha2::{Digest, Sha256};

use super::KafkaError;
use super::options::Cluster;

/// The properties that name such files.
const FILES: [&str; 3] = ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"];
/// How much of a file is looked at.
const MOST: u64 = 1 << 20;

/// What the files hold, as a digest; one that cannot be read holds nothing. Equal where nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials(Option<[u8; 32]>);

impl Credentials {
    /// Of this moment. Reads files.
    pub(super) fn read(cluster: &Cluster) -> Credentials {
        let files = FILES.iter().filter_map(|name| cluster.properties.get(*name));
        let mut digest = None;
        for file in files.filter(|file| *file != "probe") {
            let mut bytes = Vec::new();
            // What cannot be read counts as what was read of it. Opening a pipe would wait for its other end.
            if std::fs::metadata(file).is_ok_and(|kind| kind.is_file())
                && let Ok(file) = std::fs::File::open(file)
            {
                file.take(MOST).read_to_end(&mut bytes).ok();
            }
            digest.get_or_insert_with(Sha256::new).update(Sha256::digest(&bytes));
        }
        Credentials(digest.map(|digest| digest.finalize().into()))
    }

    /// Why a client that was made with these is to be made anew: they are others now, and it is not let in. `None` where it
    /// may stay. Reads files.
    pub(super) fn worn_out(&self, cluster: &Cluster, error: &KafkaError) -> Option<KafkaError> {
        let kept_out = error.code == RDKafkaErrorCode::SSL || error.means_unreachable();
        let changed = kept_out && self.0.is_some() && *self != Credentials::read(cluster);
        changed.then(|| KafkaError {
            code: error.code,
            message: format!("its certificate files have changed, and with the old ones: {}", error.message),
            fatal: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_who_is_kept_out_and_has_other_files_now_is_made_anew() {
        let folder = std::env::temp_dir().join(format!("weir-credentials-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("cert.pem");
        std::fs::write(&file, "one").unwrap();
        let properties =
            BTreeMap::from([("ssl.certificate.location".to_owned(), file.display().to_string())]);
        let cluster = Cluster { brokers: "b:1".into(), properties, tokens: None };
        let error = |code| KafkaError { code, message: "no".into(), fatal: false };
        let refused = error(RDKafkaErrorCode::SSL);

        let made_with = Credentials::read(&cluster);
        assert_eq!(made_with.worn_out(&cluster, &refused), None, "nothing has changed");
        std::fs::write(&file, "two").unwrap();
        assert!(made_with.worn_out(&cluster, &refused).is_some());
        assert_eq!(made_with.worn_out(&cluster, &error(RDKafkaErrorCode::UnknownTopicOrPartition)), None);
        std::fs::remove_file(&file).unwrap();
        assert!(made_with.worn_out(&cluster, &refused).is_some(), "a file that is gone has changed");
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert!(made_with.worn_out(&cluster, &refused).is_some(), "nobody waits for the other end of a pipe");
        std::fs::remove_dir_all(&folder).unwrap();

        let plain = Cluster { properties: BTreeMap::new(), ..cluster };
        assert_eq!(Credentials::read(&plain).worn_out(&plain, &refused), None, "there are no files");
    }
}
