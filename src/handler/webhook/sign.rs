//! Standard Webhooks signatures over `<webhook-id>.<webhook-timestamp>.<body>`: one item for each secret, HMAC-SHA256 or
//! ed25519.
//!
//! Source: Standard Webhooks 1.0.0; http-contract, section 5.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::settings::References;

/// The secrets of a stage, in order. Prints nothing of them.
#[derive(Clone)]
pub(super) struct Signer {
    keys: Vec<Key>,
}

#[derive(Clone)]
enum Key {
    /// `whsec_`: shared with the receiver.
    Shared(Hmac<Sha256>),
    /// `whsk_`: ours alone; the receiver holds `whpk_`.
    Private(SigningKey),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} secrets)", self.keys.len())
    }
}

/// At most this many secrets.
const MAX_SECRETS: usize = 10;
/// The longest item: `v1a,` and 88 characters.
const ITEM: usize = 4 + 88;

impl Signer {
    /// Reads the secrets as they stand in the file. Fails with the index of each that is wrong and what is wrong with it.
    pub(super) fn new(secrets: &[String], references: &References) -> Result<Signer, Vec<(usize, String)>> {
        let mut keys = Vec::new();
        let mut wrong = Vec::new();
        for (index, secret) in secrets.iter().enumerate() {
            match read(secret, references) {
                Ok(key) => keys.push(key),
                Err(why) => wrong.push((index, why)),
            }
        }
        if secrets.is_empty() || secrets.len() > MAX_SECRETS {
            wrong.push((0, format!("{} secrets; write from 1 to {MAX_SECRETS}", secrets.len())));
        }
        if wrong.is_empty() { Ok(Signer { keys }) } else { Err(wrong) }
    }

    /// Writes the value of `webhook-signature` at the end of `out`: one item for each secret, separated by a space.
    pub(super) fn write(&self, id: &str, timestamp: &str, body: &[u8], out: &mut String) {
        out.reserve(self.keys.len() * (ITEM + 1));
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        for (index, key) in self.keys.iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            match key {
                Key::Shared(key) => {
                    let mut mac = key.clone();
                    parts.iter().for_each(|part| mac.update(part));
                    out.push_str("v1,");
                    STANDARD.encode_string(mac.finalize().into_bytes(), out);
                }
                Key::Private(key) => {
                    out.push_str("v1a,");
                    STANDARD.encode_string(key.sign(&parts.concat()).to_bytes(), out);
                }
            }
        }
    }
}

fn read(written: &str, references: &References) -> Result<Key, String> {
    let resolved = references.resolve(written).map_err(|error| format!("{error}; {}", error.help()))?;
    if !resolved.is_secret() {
        return Err("a signing secret does not stand in the file; write ${secret:NAME}".to_owned());
    }
    let text = resolved.expose().trim_end();
    let (prefix, encoded) = text.split_at(text.find('_').map_or(0, |at| at + 1));
    if !matches!(prefix, "whsec_" | "whsk_") {
        return Err("the signing secret begins neither with `whsec_` nor with `whsk_`; write `whsec_` and base64 of 24 to 64 bytes, such as of: openssl rand -base64 32".to_owned());
    }
    let Ok(bytes) = STANDARD.decode(encoded) else {
        return Err(format!(
            "the signing secret is not base64 after `{prefix}`; take it as it was handed out, without line breaks"
        ));
    };
    if prefix == "whsk_" { private(&bytes) } else { shared(&bytes) }
}

fn shared(bytes: &[u8]) -> Result<Key, String> {
    if !(24..=64).contains(&bytes.len()) {
        return Err(format!("the signing secret has {} bytes; write from 24 to 64 in base64", bytes.len()));
    }
    Hmac::new_from_slice(bytes).map(Key::Shared).map_err(|error| error.to_string())
}

/// A seed, or a seed and the public key that belongs to it.
fn private(bytes: &[u8]) -> Result<Key, String> {
    if let Ok(seed) = <[u8; 32]>::try_from(bytes) {
        return Ok(Key::Private(SigningKey::from_bytes(&seed)));
    }
    let Ok(pair) = <[u8; 64]>::try_from(bytes) else {
        return Err(format!("the ed25519 key has {} bytes; it needs 32 (a seed) or 64", bytes.len()));
    };
    let key = SigningKey::from_keypair_bytes(&pair);
    key.map(Key::Private).map_err(|_| "the two halves of the ed25519 key do not belong together".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ITEM: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    const PRIVATE: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const PRIVATE_ITEM: &str =
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

    fn signer(secrets: &[&str]) -> Result<Signer, Vec<(usize, String)>> {
        let names: Vec<String> = (0..secrets.len()).map(|n| format!("${{secret:s{n}}}")).collect();
        let known = secrets.iter().enumerate().map(|(n, secret)| (format!("s{n}"), (*secret).to_owned()));
        Signer::new(&names, &References { secrets: known.collect(), ..References::default() })
    }

    fn signature(secrets: &[&str]) -> String {
        let mut out = String::new();
        signer(secrets).unwrap().write(ID, "1614265330", BODY, &mut out);
        out
    }

    #[test]
    fn the_vector_of_the_contract_holds() {
        assert_eq!(signature(&[SECRET]), ITEM);
    }

    #[test]
    fn the_ed25519_vector_of_the_contract_holds_with_a_seed_alone_too() {
        assert_eq!(signature(&[PRIVATE]), PRIVATE_ITEM);
        let pair = STANDARD.decode(PRIVATE.strip_prefix("whsk_").unwrap()).unwrap();
        let seed = format!("whsk_{}", STANDARD.encode(pair.split_at(32).0));
        assert_eq!(signature(&[&seed]), PRIVATE_ITEM);
    }

    #[test]
    fn both_kinds_stand_side_by_side() {
        assert_eq!(signature(&[SECRET, PRIVATE]), format!("{ITEM} {PRIVATE_ITEM}"));
    }

    #[test]
    fn each_secret_gives_an_item_in_order() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(signature(&[other, SECRET]), format!("{} {ITEM}", signature(&[other])));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_never_printed() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        for wrong in [
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_M_KQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            &short,
            &long,
            &format!("whsk_{}", STANDARD.encode([7; 33])),
            // A seed with another one's public key.
            &format!("whsk_{}", STANDARD.encode([7; 64])),
        ] {
            let problems = signer(&[SECRET, wrong]).unwrap_err();
            assert_eq!(problems.len(), 1, "{wrong}");
            assert_eq!(problems[0].0, 1);
            assert!(!problems[0].1.contains("KQ9r8"), "{problems:?}");
        }
        let literal = Signer::new(&[SECRET.to_owned()], &References::default()).unwrap_err();
        assert!(literal[0].1.contains("${secret:"), "{literal:?}");
        assert!(signer(&[]).is_err() && signer(&[SECRET; 11]).is_err());
        assert!(!format!("{:?}", signer(&[SECRET]).unwrap()).contains("MfKQ"));
    }
}
