//! A repository on this machine is the remote.

use std::fs;
use std::process::Command;

use super::*;
use crate::git::fixture::Repository;
use crate::settings::{Resolved, Signers};

fn followed(of: &Repository, verify: Option<Signers>) -> Followed {
    let url = of.0.path().display().to_string();
    Followed {
        shown: url.clone(),
        url: Resolved::plain(url),
        reference: "main".to_owned(),
        path: "flows".to_owned(),
        poll: Duration::from_secs(1),
        verify,
    }
}

fn begin(of: &Repository, cache: &tempfile::TempDir) -> Result<Following, Refused> {
    Following::begin(followed(of, None), cache.path(), "one", &["schemas".to_owned()])
}

/// The text of the file that is read, and its commit.
fn read(following: &Following) -> (String, String) {
    let entered = following.enter().unwrap();
    let text = fs::read_to_string(following.folder().join("a.yaml")).unwrap();
    (text, entered.facts.standing("a.yaml").commit.unwrap().id.clone())
}

#[test]
fn a_new_commit_is_taken_whole_and_an_old_one_stays_until_then() {
    let (remote, cache) = (Repository::new(), tempfile::tempdir().unwrap());
    fs::create_dir(remote.0.path().join("schemas")).unwrap();
    fs::write(remote.0.path().join("schemas/o.avsc"), "1").unwrap();
    let one = remote.commit("a.yaml", "1", "one");
    let following = begin(&remote, &cache).unwrap();
    assert_eq!(read(&following), ("1".to_owned(), one.clone()));
    assert_eq!(fs::read_to_string(following.beside("schemas/o.avsc")).unwrap(), "1");
    assert_eq!(following.name(&following.folder().join("a.yaml")), "flows/a.yaml");
    assert!(!following.poll(), "nothing new");
    let two = remote.commit("a.yaml", "2", "two");
    // What was ended in the middle of its work has left this.
    fs::write(following.remote.current().with_file_name("mirror.git").join("refs/weir/fetched.lock"), "")
        .unwrap();
    assert!(following.poll());
    assert_eq!(fs::read_to_string(following.folder().join("a.yaml")).unwrap(), "1", "not before it is taken");
    assert_eq!(read(&following), ("2".to_owned(), two));
    // A history that was written anew, and a commit that changed nothing here.
    remote.git(&["reset", "--quiet", "--hard", &one]);
    let other = remote.commit("a.yaml", "3", "another two");
    assert!(following.poll());
    assert_eq!(read(&following), ("3".to_owned(), other.clone()));
    fs::write(remote.0.path().join("README"), "1").unwrap();
    remote.commit("a.yaml", "3", "elsewhere");
    assert!(following.poll());
    assert_eq!(read(&following), ("3".to_owned(), other));
    let kept = fs::read_dir(following.remote.current().parent().unwrap().join("at")).unwrap().count();
    assert_eq!(kept, 2, "the one that is read, and the one before it");
}

#[test]
fn a_remote_that_is_gone_is_said_once_and_the_last_commit_goes_on_over_a_start() {
    let (remote, cache) = (Repository::new(), tempfile::tempdir().unwrap());
    let one = remote.commit("a.yaml", "1", "one");
    let following = begin(&remote, &cache).unwrap();
    let (there, away) = (remote.0.path().to_owned(), remote.0.path().with_extension("away"));
    fs::rename(&there, &away).unwrap();
    assert!(following.poll(), "that it is gone is new");
    assert!(!following.poll(), "and then it is not");
    let fault = following.enter().unwrap().fault.unwrap();
    assert!(fault.contains("does not appear to be a git repository"), "{fault}");
    assert_eq!(read(&following), ("1".to_owned(), one.clone()));
    drop(following);
    let again = begin(&remote, &cache).unwrap();
    assert_eq!(read(&again), ("1".to_owned(), one));
    assert!(again.enter().unwrap().fault.is_some());
    let nothing = begin(&remote, &tempfile::tempdir().unwrap()).unwrap_err();
    assert!(matches!(nothing, Refused::Unreachable(_)), "{nothing}");
    fs::rename(&away, &there).unwrap();
    assert!(again.poll());
    assert_eq!(again.enter().unwrap().fault, None);
}

#[test]
fn what_cannot_be_used_is_not_taken() {
    let (remote, cache) = (Repository::new(), tempfile::tempdir().unwrap());
    remote.commit("a.yaml", "1", "one");
    let following = begin(&remote, &cache).unwrap();
    let fault = || following.enter().unwrap().fault.unwrap_or_default();
    remote.git(&["mv", "flows", "moved"]);
    remote.git(&["commit", "--quiet", "--message", "moved"]);
    assert!(following.poll());
    assert!(fault().contains("has no folder `flows`"), "{}", fault());
    // A link out of the repository.
    std::os::unix::fs::symlink("/etc", remote.0.path().join("flows")).unwrap();
    remote.git(&["add", "--all"]);
    remote.git(&["commit", "--quiet", "--message", "out"]);
    assert!(following.poll());
    assert!(fault().contains("is no folder of the repository"), "{}", fault());
    remote.git(&["branch", "--move", "main", "other"]);
    assert!(following.poll());
    assert!(fault().contains("no branch or tag `main`"), "{}", fault());
    assert_eq!(read(&following).0, "1");
    let unusable = Following::begin(
        Followed { path: "gone".to_owned(), reference: "other".to_owned(), ..followed(&remote, None) },
        tempfile::tempdir().unwrap().path(),
        "one",
        &[],
    );
    assert!(matches!(unusable, Err(Refused::Unusable(_))));
}

#[test]
fn a_tag_is_followed_with_and_without_a_message() {
    let (remote, cache) = (Repository::new(), tempfile::tempdir().unwrap());
    let one = remote.commit("a.yaml", "1", "one");
    remote.git(&["tag", "--annotate", "--message", "live", "live"]);
    let what = Followed { reference: "live".to_owned(), ..followed(&remote, None) };
    let following = Following::begin(what, cache.path(), "one", &[]).unwrap();
    assert_eq!(read(&following), ("1".to_owned(), one));
    let two = remote.commit("a.yaml", "2", "two");
    assert!(!following.poll());
    remote.git(&["tag", "--force", "live"]);
    assert!(following.poll());
    assert_eq!(read(&following), ("2".to_owned(), two));
}

/// Makes a key, and has the repository sign with it.
fn signs(remote: &Repository, name: &str) -> String {
    let key = remote.0.path().join(".git").join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    remote.git(&["config", "gpg.format", "ssh"]);
    remote.git(&["config", "user.signingKey", &key.display().to_string()]);
    remote.git(&["config", "commit.gpgSign", "true"]);
    fs::read_to_string(key.with_extension("pub")).unwrap()
}

#[test]
fn only_commits_that_the_signers_have_signed_are_taken() {
    let (remote, cache) = (Repository::new(), tempfile::tempdir().unwrap());
    let key = signs(&remote, "alice");
    remote.commit("a.yaml", "1", "signed");
    let signers = cache.path().join("signers");
    fs::write(&signers, format!("alice@x.test {key}")).unwrap();
    let what = followed(&remote, Some(Signers::Ssh(signers.clone())));
    let following = Following::begin(what.clone(), cache.path(), "one", &[]).unwrap();
    let fault = || following.enter().unwrap().fault.unwrap_or_default();
    assert_eq!((read(&following).0.as_str(), fault().as_str()), ("1", ""));
    remote.git(&["config", "commit.gpgSign", "false"]);
    remote.commit("a.yaml", "2", "unsigned");
    assert!(following.poll());
    assert!(fault().contains("the commit has no signature"), "{}", fault());
    let other = signs(&remote, "mallory");
    remote.commit("a.yaml", "3", "signed by another");
    assert!(following.poll());
    assert!(fault().contains("no signature that counts"), "{}", fault());
    assert_eq!(read(&following).0, "1");
    // Signers are read each time.
    fs::write(&signers, format!("alice@x.test {key}mallory@x.test {other}")).unwrap();
    assert!(following.poll());
    assert_eq!((read(&following).0.as_str(), fault().as_str()), ("3", ""));
    // What was taken once is not taken again from what it left, where its signers do not count any more.
    fs::write(&signers, format!("alice@x.test {key}")).unwrap();
    let refused = Following::begin(what, cache.path(), "one", &[]).unwrap_err();
    assert!(matches!(refused, Refused::Unusable(_)), "{refused}");
}

#[test]
fn openpgp_signatures_count_where_their_keys_are_named() {
    let (remote, cache) = (Repository::new(), tempfile::tempdir().unwrap());
    // Short: a socket lies in it.
    let home = tempfile::Builder::new().prefix("gp").tempdir_in("/tmp").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(home.path(), mode).unwrap();
    let gpg = |arguments: &[&str]| {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--homedir"])
            .arg(home.path())
            .args(arguments)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    gpg(&["--passphrase", "", "--quick-generate-key", "alice@x.test", "ed25519", "sign", "never"]);
    let keys = cache.path().join("keys");
    fs::write(&keys, gpg(&["--armor", "--export", "alice@x.test"])).unwrap();
    let wrapper = home.path().join("gpg.sh");
    fs::write(&wrapper, format!("#!/bin/sh\nexec gpg --homedir {} \"$@\"\n", home.path().display())).unwrap();
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    remote.git(&["config", "gpg.program", &wrapper.display().to_string()]);
    remote.git(&["config", "user.signingKey", "alice@x.test"]);
    remote.git(&["config", "commit.gpgSign", "true"]);
    remote.commit("a.yaml", "1", "signed");
    let what = followed(&remote, Some(Signers::OpenPgp(keys)));
    let following = Following::begin(what, cache.path(), "one", &[]).unwrap();
    assert_eq!(read(&following).0, "1");
    // A signature of SSH is not of these keys, whoever made it.
    signs(&remote, "alice-ssh");
    remote.commit("a.yaml", "2", "signed otherwise");
    assert!(following.poll());
    assert!(following.enter().unwrap().fault.unwrap().contains("no signature that counts"));
    Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]).status().ok();
}

#[test]
fn a_password_is_printed_nowhere_and_stands_on_no_command_line() {
    let remote = Repository::new();
    let cache = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = std::thread::Builder::new().spawn(move || {
        use std::io::{Read as _, Write as _};
        let mut all = String::new();
        // The first request without and the last with what is known.
        for _ in 0..1 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 8192];
            let count = stream.read(&mut bytes).unwrap();
            all.push_str(&String::from_utf8_lossy(&bytes[..count]));
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
        }
        all
    });
    let what = Followed {
        url: Resolved::plain(format!("http://w:c4nary%21@{address}/f.git")),
        shown: format!("http://{address}/f.git"),
        ..followed(&remote, None)
    };
    let refused = Following::begin(what, cache.path(), "one", &[]).unwrap_err().to_string();
    assert!(!refused.contains("c4nary") && refused.contains("not found"), "{refused}");
    let heard = heard.unwrap().join().unwrap();
    assert!(heard.contains("Authorization: Basic dzpjNG5hcnkh"), "{heard}");
    assert!(heard.starts_with("GET /f.git/info/refs"), "{heard}");
}
