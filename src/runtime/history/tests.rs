//! Pins, lines and texts come back as they were kept.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn line(pipeline: &str, action: &str, text: &str) -> Line {
    Line {
        at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        instance: "one".to_owned(),
        pipeline: pipeline.to_owned(),
        revision: Some(Revision::of(text)),
        action: action.to_owned(),
        actor: String::new(),
        reason: String::new(),
    }
}

fn kept(pipeline: &str, text: &str) -> Kept {
    Kept {
        pipeline: pipeline.to_owned(),
        revision: Revision::of(text),
        file: format!("pipelines/{pipeline}.yaml"),
        text: text.to_owned(),
        commit: Some(commit("c0ffee0000")),
        at: UNIX_EPOCH,
    }
}

fn commit(id: &str) -> Commit {
    Commit { id: id.to_owned(), author: "Ada".to_owned(), subject: "first".to_owned(), time: 1_700_000_000 }
}

fn pin(pipeline: &str) -> Pin {
    Pin {
        pipeline: pipeline.to_owned(),
        revision: Revision::of("1"),
        rejected: Revision::of("2"),
        until: Until::Change,
        actor: "alice".to_owned(),
        reason: "totals wrong".to_owned(),
        at: UNIX_EPOCH + Duration::from_millis(7),
    }
}

async fn history() -> (tempfile::TempDir, History) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("weir.db").display())).await.unwrap();
    (folder, History::new(store))
}

#[tokio::test]
async fn what_is_kept_comes_back() {
    let (_folder, history) = history().await;
    history.keep(&[kept("a", "1"), kept("a", "2"), kept("b", "3")], &[line("a", "start", "1")]).await;
    history.keep(&[], &[line("a", "swap", "2"), line("b", "start", "3")]).await;
    assert_eq!(history.last().await.unwrap(), [line("a", "swap", "2"), line("b", "start", "3")]);
    assert_eq!(
        history.lines(Some("a"), 10).await.unwrap(),
        [line("a", "swap", "2"), line("a", "start", "1")]
    );
    assert_eq!(history.lines(None, 1).await.unwrap(), [line("b", "start", "3")]);
    assert_eq!(history.newest(&["b".to_owned(), "c".to_owned()]).await.unwrap(), [kept("b", "3")]);

    history.pin(&pin("a"), &line("a", "rollback", "1")).await.unwrap();
    assert_eq!(history.pins().await.unwrap(), [pin("a")]);
    let longer = Pin { until: Until::Release, ..pin("a") };
    history.pin(&longer, &line("a", "rollback", "1")).await.unwrap();
    assert_eq!(history.pins().await.unwrap(), [longer]);
    history.unpin(&line("a", "release", "2")).await.unwrap();
    assert!(history.pins().await.unwrap().is_empty());
    assert_eq!(history.lines(Some("a"), 1).await.unwrap(), [line("a", "release", "2")]);
}

#[tokio::test]
async fn the_oldest_texts_and_lines_go_and_a_pinned_text_stays() {
    let (_folder, history) = history().await;
    history.keep(&[kept("a", "1")], &[]).await;
    history.pin(&pin("a"), &line("a", "rollback", "1")).await.unwrap();
    for text in 0..60 {
        let next =
            Kept { at: UNIX_EPOCH + Duration::from_millis(text + 1), ..kept("a", &format!("text {text}")) };
        history.keep(&[next], &[]).await;
    }
    let texts = history.revisions("a").await.unwrap();
    assert_eq!((texts.len(), &*texts[0].text, &*texts[50].text), (51, "text 59", "1"));
    let many: Vec<Line> = (0..600).map(|_| line("a", "swap", "x")).collect();
    history.keep(&[], &many).await;
    assert_eq!(history.lines(Some("a"), 1_000).await.unwrap().len(), 500);
}

#[tokio::test]
async fn without_a_store_nothing_is_pinned_and_it_is_said() {
    let history = History::default();
    assert!(history.pins().await.unwrap().is_empty());
    let refused = history.pin(&pin("a"), &line("a", "rollback", "1")).await.unwrap_err();
    assert!(refused.to_string().contains("set `store` in weir.yaml"), "{refused}");
}

#[test]
fn a_revision_is_found_by_its_beginning_or_its_commit_and_must_be_one() {
    let kept = [kept("a", "1"), Kept { commit: Some(commit("beef00")), ..kept("a", "2") }];
    let found = |wanted: &str| named("a", &kept, wanted).map(|one| one.text.clone());
    assert_eq!(found(&kept[0].revision.short()[..5]).unwrap(), "1");
    assert_eq!(found("beef").unwrap(), "2");
    assert!(matches!(found("bee"), Err(NotFound::Short(_))));
    assert!(matches!(found("0000"), Err(NotFound::None { .. })));
    let both = [kept[0].clone(), Kept { commit: Some(commit("c0ffee0000")), ..kept[1].clone() }];
    assert!(matches!(named("a", &both, "c0ffee"), Err(NotFound::Several { .. })));
}

#[test]
fn a_pin_holds_against_what_was_rejected_or_until_it_is_released() {
    let pin = pin("a");
    assert!(pin.holds(&Revision::of("2")) && !pin.holds(&Revision::of("3")));
    assert!(Pin { until: Until::Release, ..pin }.holds(&Revision::of("3")));
}
