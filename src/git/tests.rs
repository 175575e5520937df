//! Real repositories in folders of their own.

use std::fs;

use super::fixture::{Repository, run};
use super::*;

fn id(facts: &Facts, name: &str) -> Option<String> {
    facts.standing(name).commit.map(|commit| commit.id.clone())
}

#[test]
fn each_file_has_the_commit_that_changed_it_and_what_differs_is_marked() {
    let repository = Repository::new();
    let one = repository.commit("a.yaml", "1", "first\n\nand more");
    let two = repository.commit("b.yml", "1", "secon\u{1b}[31md");
    repository.commit("notes.txt", "1", "no pipeline");
    let mut watched = Watched::new(&repository.flows());
    let facts = watched.read().unwrap();
    assert_eq!((id(&facts, "a.yaml"), id(&facts, "b.yml")), (Some(one.clone()), Some(two)));
    let standing = facts.standing("a.yaml");
    let commit = standing.commit.clone().unwrap();
    assert_eq!((commit.author.as_str(), commit.subject.as_str()), ("Alice", "first"));
    assert!(commit.time > 1_600_000_000 && !facts.is_dirty());
    assert_eq!((standing.to_string(), standing.id()), (one[..7].to_owned(), one.clone()));
    assert_eq!(facts.standing("b.yml").commit.unwrap().subject, "secon [31md", "nothing steers a terminal");

    // Changed, staged, new, ignored.
    repository.write("a.yaml", "2");
    repository.write("new.yaml", "1");
    fs::write(repository.0.path().join(".gitignore"), "ignored.yaml\n").unwrap();
    repository.write("ignored.yaml", "1");
    repository.write("b.yml", "2");
    repository.git(&["add", "flows/b.yml"]);
    let facts = watched.read().unwrap();
    for name in ["a.yaml", "b.yml", "new.yaml", "ignored.yaml"] {
        assert!(facts.standing(name).dirty, "{name}");
    }
    assert_eq!(facts.standing("a.yaml").to_string(), format!("{}-dirty", &one[..7]));
    assert_eq!(facts.standing("new.yaml").to_string(), "uncommitted");
    let json = serde_json::to_value(facts.standing("new.yaml")).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"id": null, "author": null, "subject": null, "time": null, "dirty": true})
    );
}

#[test]
fn what_is_read_on_is_what_is_read_anew() {
    let repository = Repository::new();
    repository.commit("a.yaml", "1", "a");
    repository.commit("b.yaml", "1", "b");
    let mut watched = Watched::new(&repository.flows());
    watched.read().unwrap();
    assert!(watched.is_unchanged());
    let check = |watched: &mut Watched, what: &str| {
        assert!(!watched.is_unchanged(), "{what}");
        let (on, anew) = (watched.read().unwrap(), Facts::read(&repository.flows()).unwrap());
        for name in ["a.yaml", "b.yaml", "c.yaml"] {
            assert_eq!(on.standing(name), anew.standing(name), "{what}: {name}");
            let there = repository.flows().join(name).exists();
            let said = repository.git(&["log", "-1", "--format=%H", "--", &format!("flows/{name}")]);
            assert_eq!(id(&on, name), Some(said).filter(|_| there), "{what}: {name}");
        }
        assert!(watched.is_unchanged());
    };
    repository.commit("b.yaml", "2", "b again");
    check(&mut watched, "a commit");
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    repository.commit("c.yaml", "1", "c on the side");
    check(&mut watched, "a branch");
    repository.git(&["checkout", "--quiet", "main"]);
    check(&mut watched, "back");
    repository.commit("a.yaml", "2", "a meanwhile");
    check(&mut watched, "a commit on main");
    repository.git(&["merge", "--quiet", "--no-edit", "side"]);
    check(&mut watched, "a merge");
    repository.write("a.yaml", "3");
    repository.git(&["commit", "--quiet", "--all", "--amend", "--no-edit"]);
    check(&mut watched, "a commit that was made anew");
    repository.git(&["mv", "flows/b.yaml", "flows/gone.yaml"]);
    repository.git(&["commit", "--quiet", "--message", "moved"]);
    check(&mut watched, "a rename");
}

#[test]
fn where_git_knows_nothing_nothing_happens() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Facts::read(folder.path()).is_none(), "no repository");
    assert!(Facts::read(&folder.path().join("gone")).is_none());
    let empty = Repository::new();
    assert!(Facts::read(&empty.flows()).is_none(), "no commit");
    let repository = Repository::new();
    repository.commit("a.yaml", "1", "a");
    repository.commit("a.yaml", "2", "b");
    let clone = tempfile::tempdir().unwrap();
    let (from, to) =
        (format!("file://{}", repository.0.path().display()), clone.path().display().to_string());
    repository.git(&["clone", "--quiet", "--depth=1", &from, &to]);
    assert!(Facts::read(&clone.path().join("flows")).is_none(), "a shallow clone");
    run(clone.path(), &["fetch", "--quiet", "--unshallow"]);
    assert!(Facts::read(&clone.path().join("flows")).is_some());
}

#[test]
fn a_folder_of_any_name_and_the_root_have_their_files() {
    let repository = Repository::new();
    repository.commit("other.yaml", "1", "elsewhere");
    let odd = repository.0.path().join("a [b] *");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("x y ä.yaml"), "1").unwrap();
    fs::write(repository.0.path().join("top.yaml"), "1").unwrap();
    let commit = repository.commit("other.yaml", "2", "odd");
    let facts = Facts::read(&odd).unwrap();
    assert_eq!(id(&facts, "x y ä.yaml"), Some(commit.clone()));
    fs::write(odd.join("x y ä.yaml"), "2").unwrap();
    let facts = Facts::read(&odd).unwrap();
    assert!(facts.standing("x y ä.yaml").dirty);
    let facts = Facts::read(repository.0.path()).unwrap();
    assert_eq!((id(&facts, "top.yaml"), id(&facts, "other.yaml")), (Some(commit), None));
}

#[test]
fn other_times_are_read() {
    let repository = Repository::new();
    let one = repository.commit("a.yaml", "1\n", "one");
    repository.commit("b.yaml", "1\n", "b");
    let two = repository.commit("a.yaml", "2\n", "two");
    repository.git(&["branch", "then", &one]);
    let flows = repository.flows();
    assert_eq!(tree(&flows, "then").unwrap(), [("a.yaml".to_owned(), "1\n".to_owned())]);
    let names: Vec<String> = tree(&flows, "HEAD").unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.yaml", "b.yaml"]);
    let ids: Vec<String> = log(&flows, "a.yaml", 10).unwrap().into_iter().map(|commit| commit.id).collect();
    assert_eq!(ids, [two, one.clone()]);
    assert_eq!(log(&flows, "a.yaml", 1).unwrap().len(), 1);
    assert_eq!(text_at(&flows, &one, "a.yaml").unwrap(), "1\n");
    assert!(text_at(&flows, &one, "b.yaml").is_err());
    for odd in ["nope", "--help", "-x", "main:flows"] {
        let said = tree(&flows, odd).unwrap_err().to_string();
        assert!(said.contains(&format!("there is no branch, tag or commit `{odd}`")), "{said}");
    }
}

/// What lies in a repository's own settings is somebody else's: reading it runs nothing.
#[test]
fn nothing_of_the_repository_runs() {
    let repository = Repository::new();
    repository.commit("a.yaml", "1", "a");
    let ran = repository.0.path().join("ran");
    let script = repository.0.path().join("script");
    fs::write(&script, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).unwrap();
    let script = script.display().to_string();
    for key in ["core.fsmonitor", "core.pager", "diff.external", "core.sshCommand", "gpg.program"] {
        repository.git(&["config", key, &script]);
    }
    repository.git(&["config", "log.showSignature", "true"]);
    repository.write("a.yaml", "2");
    assert!(Facts::read(&repository.flows()).unwrap().is_dirty());
    assert_eq!(log(&repository.flows(), "a.yaml", 5).unwrap().len(), 1);
    assert!(!ran.exists());
}

/// A thousand files: what is asked again is a matter of milliseconds. The bound is one that a busy machine keeps.
#[test]
fn a_thousand_files_are_one_pass() {
    let repository = Repository::new();
    for number in 0..1_000 {
        repository.write(&format!("{number}.yaml"), "1");
    }
    repository.git(&["add", "--all"]);
    repository.git(&["commit", "--quiet", "--message", "all"]);
    for number in 0..50 {
        repository.commit(&format!("{number}.yaml"), "2", &format!("change {number}"));
    }
    let mut watched = Watched::new(&repository.flows());
    let timed = |watched: &mut Watched| {
        let begun = crate::telemetry::clock::now();
        let facts = watched.read().unwrap();
        (facts, begun.elapsed())
    };
    let (facts, first) = timed(&mut watched);
    assert_eq!(facts.standing("7.yaml").commit.unwrap().subject, "change 7");
    assert_eq!(facts.standing("999.yaml").commit.unwrap().subject, "all");
    repository.write("3.yaml", "3");
    let (facts, again) = timed(&mut watched);
    assert!(facts.standing("3.yaml").dirty);
    repository.commit("3.yaml", "4", "more");
    let (facts, on) = timed(&mut watched);
    assert_eq!(facts.standing("3.yaml").commit.unwrap().subject, "more");
    // 80, 16 and 25 ms on two cores that had other work.
    assert!(again.as_millis() < 1_000, "first {first:?}, again {again:?}, after a commit {on:?}");
}

#[test]
fn a_call_that_hangs_is_ended_with_all_that_it_started() {
    let repository = Repository::new();
    repository.commit("a.yaml", "1", "a");
    let git = call::Git::at(repository.0.path()).within(std::time::Duration::from_millis(300));
    let begun = crate::telemetry::clock::now();
    // An alias is a shell that starts another program.
    repository.git(&["config", "alias.hang", "!sleep 30; true"]);
    let error = git.text(&["hang"]).unwrap_err();
    assert!(matches!(error, GitError::TooSlow { .. }), "{error}");
    assert!(begun.elapsed().as_secs() < 10);
}

#[test]
fn a_complaint_is_the_line_that_says_what_is_wrong() {
    for (complaint, expected) in [
        ("hint: x\nfatal: not a git repository\n\nmore\n", "fatal: not a git repository"),
        (
            "Permission denied (publickey).\r\nfatal: Could not read from remote repository.\n\nPlease make sure\n",
            "Permission denied (publickey).",
        ),
        ("fatal: Could not read from remote repository.\n", "fatal: Could not read from remote repository."),
        ("Good signature\nNo principal matched.\n", "No principal matched."),
        ("", call::SILENT),
    ] {
        assert_eq!(call::reason(complaint), expected);
    }
}
