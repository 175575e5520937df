//! What runs after edits is what the files, the pins and the names say.

use proptest::prelude::*;

use super::*;
use crate::plan::{Plan, fixture};
use crate::runtime::history::Until;
use crate::runtime::load::Loading;
use crate::spec::PipelineFile;
use crate::spec::span::Source;
use crate::telemetry::metrics::PipelineFacts;

fn loadable(file: &str, name: &str, text: &str) -> Loadable {
    let stage = Stage { service: name.to_owned(), pipeline: name.to_owned(), ..fixture::stage(None) };
    let plan =
        Plan { pipeline: name.to_owned(), revision: Revision::of(text), stages: vec![Arc::new(stage)] };
    let written = format!("pipeline: {name}\ndescription: {text}, of {name}\nsource: t\nhandler: log\n");
    Loadable {
        read: read(&written),
        plan: Arc::new(plan),
        facts: PipelineFacts::default(),
        file: file.into(),
        standing: None,
    }
}

fn read(written: &str) -> Arc<PipelineFile> {
    Arc::new(PipelineFile::parse(&Source::new("x", written), &mut Vec::new()))
}

/// With nothing pinned and nothing gone.
fn settled(before: &BTreeMap<String, Wanted>, loading: &Loading) -> Settled {
    let (pinned, in_force, gone, known) = Default::default();
    let files = Files { loading, pinned: &pinned, in_force: &in_force, gone: &gone, known: &known };
    settle(before, files)
}

fn broken(file: &str) -> Broken {
    Broken { file: file.into(), why: format!("{file}:1:1: error[W0302]: no") }
}

fn shown(wanted: &BTreeMap<String, Wanted>) -> Vec<(String, String, bool)> {
    let one = |(name, one): (&String, &Wanted)| {
        (name.clone(), one.pipeline.plan.revision.to_string(), one.broken.is_some())
    };
    wanted.iter().map(one).collect()
}

#[test]
fn a_name_stays_with_the_file_that_has_it_while_it_is_broken() {
    let first = Loading { pipelines: vec![loadable("b.yaml", "x", "1")], ..Loading::default() };
    let wanted = settled(&BTreeMap::new(), &first).wanted;
    // A copy that comes first in the folder makes the original the second of its name.
    let copied = Loading {
        pipelines: vec![loadable("a.yaml", "x", "2")],
        broken: vec![broken("b.yaml")],
        ..Loading::default()
    };
    let Settled { wanted: kept, broken: homeless, .. } = settled(&wanted, &copied);
    assert_eq!(shown(&kept), [("x".to_owned(), Revision::of("1").to_string(), true)]);
    assert!(homeless.len() == 1 && &*homeless[0].file == "a.yaml", "{homeless:?}");
    // The original is gone: the copy is the pipeline now.
    let moved = Loading { pipelines: vec![loadable("a.yaml", "x", "2")], ..Loading::default() };
    let Settled { wanted: moved, broken: homeless, .. } = settled(&kept, &moved);
    assert_eq!(shown(&moved), [("x".to_owned(), Revision::of("2").to_string(), false)]);
    assert!(homeless.is_empty());
}

#[test]
fn what_asks_for_another_consumer_restarts_and_all_else_swaps() {
    let base = || fixture::stage(None);
    let before = Arc::new(base());
    assert_eq!(action(&before, &before), (Action::Keep, ""));
    let changed = |change: &dyn Fn(&mut Stage)| {
        let mut stage = base();
        change(&mut stage);
        action(&before, &Arc::new(stage))
    };
    assert_eq!(changed(&|_| ()), (Action::Swap, ""), "a schema or a plugin has changed");
    assert_eq!(changed(&|stage| stage.max_in_flight = 7), (Action::Swap, ""));
    assert_eq!(changed(&|stage| stage.paused = true), (Action::Swap, ""));
    assert_eq!(changed(&|stage| stage.source.topics.push("u".into())), (Action::Restart, "source.topics"));
    assert_eq!(changed(&|stage| stage.source.group.push('2')), (Action::Restart, "source.group"));
    assert_eq!(changed(&|stage| stage.source.cluster.push('2')), (Action::Restart, "source.cluster"));
    assert_eq!(
        changed(&|stage| stage.order = crate::plan::Order::None),
        (Action::Swap, ""),
        "with a barrier"
    );
}

/// What a file holds: a pipeline's name and a number that stands for its text, or something broken.
#[derive(Debug, Clone)]
enum Held {
    Good(usize, u32),
    Broken,
}

fn edit() -> impl Strategy<Value = (usize, Option<Held>)> {
    let good = (0_usize..4, 0_u32..3).prop_map(|(name, text)| Held::Good(name, text));
    (0_usize..4, prop::option::weighted(0.8, prop_oneof![3 => good, 1 => Just(Held::Broken)]))
}

/// As the loader says it: of two files of one name the second is broken.
fn loaded(files: &BTreeMap<usize, Held>) -> Loading {
    let mut loading = Loading::default();
    let mut taken = BTreeSet::new();
    for (file, held) in files {
        let path = format!("{file}.yaml");
        match held {
            Held::Good(name, text) if taken.insert(*name) => {
                loading.pipelines.push(loadable(&path, &format!("p{name}"), &text.to_string()));
            }
            Held::Good(..) | Held::Broken => loading.broken.push(broken(&path)),
        }
    }
    loading
}

proptest! {
    /// After any edits: each file that can run runs as it is now, unless its name belongs to one that is broken; nothing
    /// runs whose file is gone; and a pipeline that was not touched is the same.
    #[test]
    fn after_each_edit_what_is_wanted_is_what_the_files_say(edits in prop::collection::vec(edit(), 1..30)) {
        let (mut files, mut wanted) = (BTreeMap::new(), BTreeMap::new());
        for (file, held) in edits {
            match held {
                Some(held) => drop(files.insert(file, held)),
                None => drop(files.remove(&file)),
            }
            let loading = loaded(&files);
            let Settled { wanted: next, broken: homeless, .. } = settled(&wanted, &loading);
            for good in &loading.pipelines {
                let is_homeless = homeless.iter().any(|one| one.file == good.file);
                let runs = &next[&good.plan.pipeline];
                prop_assert_eq!(runs.pipeline.plan.revision == good.plan.revision && runs.pipeline.file == good.file, !is_homeless || runs.pipeline.file == good.file);
                prop_assert!(!is_homeless || runs.broken.is_some());
            }
            for (name, one) in &next {
                let path: usize = one.pipeline.file.trim_end_matches(".yaml").parse().unwrap();
                prop_assert!(files.contains_key(&path), "{} runs without a file", name);
                // A broken one goes on as it was.
                if one.broken.is_some() {
                    prop_assert!(Arc::ptr_eq(&wanted[name].pipeline.plan, &one.pipeline.plan));
                }
            }
            for broken in &loading.broken {
                let goes_on = next.values().any(|one| one.pipeline.file == broken.file);
                prop_assert_eq!(goes_on, !homeless.contains(broken));
            }
            let (before, after) = (stages(&wanted), stages(&next));
            for change in changes(&before, &after) {
                let (old, new) = (before.get(&*change.name), after.get(&*change.name));
                prop_assert_eq!(change.action == Action::Start, old.is_none());
                prop_assert_eq!(change.action == Action::Stop, new.is_none());
            }
            wanted = next;
        }
    }
}

fn pin(revision: &str, rejected: &str, until: Until) -> Pin {
    Pin {
        pipeline: "x".to_owned(),
        revision: Revision::of(revision),
        rejected: Revision::of(rejected),
        until,
        actor: "alice".to_owned(),
        reason: "totals wrong".to_owned(),
        at: std::time::UNIX_EPOCH,
    }
}

/// What runs as `x` while it is pinned and its file says this (`None`: it is broken), and whether it is pinned and broken.
fn held(
    pinned: &Pinned,
    before: &BTreeMap<String, Wanted>,
    says: Option<&str>,
) -> (Option<(String, bool, bool)>, bool) {
    let loading = match says {
        Some(text) => Loading { pipelines: vec![loadable("x.yaml", "x", text)], ..Loading::default() },
        None => Loading { broken: vec![broken("x.yaml")], ..Loading::default() },
    };
    // What runs tells whether the pin is in force; at a start the history does.
    let in_force = before.get("x").is_none_or(|one| one.pipeline.plan.revision == pinned.pin.revision);
    let in_force = in_force.then(|| "x".to_owned()).into_iter().collect();
    let pinned = BTreeMap::from([("x".to_owned(), pinned.clone())]);
    let (gone, known) = Default::default();
    let files = Files { loading: &loading, pinned: &pinned, in_force: &in_force, gone: &gone, known: &known };
    let settled = settle(before, files);
    let one = settled.wanted.get("x");
    let shown =
        one.map(|one| (one.pipeline.plan.revision.to_string(), one.pin.is_some(), one.broken.is_some()));
    (shown, !settled.passed.is_empty())
}

#[test]
fn what_is_pinned_runs_until_the_file_says_something_else_that_can_run() {
    let runs = |text: &str, pinned, broken| Some((Revision::of(text).to_string(), pinned, broken));
    let good = |until| Pinned { pin: pin("1", "2", until), pipeline: Ok(loadable("x.yaml", "x", "1")) };
    let (none, change) = (BTreeMap::new(), good(Until::Change));
    assert_eq!(held(&change, &none, Some("2")), (runs("1", true, false), false));
    assert_eq!(held(&change, &none, None), (runs("1", true, true), false), "at a start with a broken file");
    let running = |text: &str, pin: Option<&Pin>| {
        let pin = pin.cloned();
        let one = Wanted { pipeline: loadable("x.yaml", "x", text), broken: None, pin };
        BTreeMap::from([("x".to_owned(), one)])
    };
    let pinned = running("1", Some(&change.pin));
    assert_eq!(held(&change, &pinned, Some("3")), (runs("3", false, false), true));
    assert_eq!(held(&change, &pinned, Some("1")), (runs("1", false, false), true), "the file agrees");
    // From then on it is against what it rejects, and nothing else.
    let passed = running("3", None);
    assert_eq!(held(&change, &passed, Some("4")), (runs("4", false, false), false));
    assert_eq!(
        held(&change, &passed, None),
        (runs("3", false, true), false),
        "a broken file brings nothing back"
    );
    assert_eq!(
        held(&change, &passed, Some("2")),
        (runs("1", true, false), false),
        "what is rejected stays rejected"
    );
    let release = good(Until::Release);
    for says in ["1", "2", "3"] {
        assert_eq!(held(&release, &none, Some(says)), (runs("1", true, false), false));
    }
    // Its schema is gone: what runs goes on, and nothing that was rejected starts.
    let gone = Pinned { pipeline: Err("no schema".to_owned()), ..change.clone() };
    assert_eq!(held(&gone, &none, Some("2")), (None, false));
    let last = Wanted { pipeline: loadable("x.yaml", "x", "1"), broken: None, pin: Some(change.pin) };
    let before = BTreeMap::from([("x".to_owned(), last)]);
    assert_eq!(held(&gone, &before, Some("2")), (runs("1", true, true), false));
}

fn renamed(before: &[&str], gone: &[(&str, &str)], now: &str, fresh: bool) -> Option<String> {
    let one = |written: &str| {
        let read = read(written);
        let name = read.spec.as_ref().unwrap().pipeline.clone();
        Loadable { read, ..loadable(&format!("{name}.yaml"), &name, written) }
    };
    let wanted = |written: &&str| {
        let pipeline = one(written);
        (pipeline.plan.pipeline.clone(), Wanted { pipeline, broken: None, pin: None })
    };
    let before = before.iter().map(wanted).collect();
    let gone = gone
        .iter()
        .map(|(name, written)| ((*name).to_owned(), Gone::of(read(written).spec.as_ref().unwrap())));
    let (gone, pinned) = (gone.collect(), BTreeMap::new());
    let loading = Loading { pipelines: vec![one(now)], ..Loading::default() };
    let known = fresh.then(|| loading.pipelines[0].plan.pipeline.clone()).into_iter().collect();
    let settled = settle(
        &before,
        Files { loading: &loading, pinned: &pinned, in_force: &BTreeSet::new(), gone: &gone, known: &known },
    );
    assert_eq!(settled.renamed.len() + settled.wanted.len(), 1);
    settled.renamed.into_iter().next().map(|one| one.why)
}

#[test]
fn an_old_one_under_a_new_name_waits_until_somebody_says_what_it_is() {
    let text = |head: &str| format!("{head}\nsource: t\nhandler: log\n");
    let (a, b) = (text("pipeline: a"), text("pipeline: b"));
    let (b_was_a, c) = (text("pipeline: b\nwas: a"), text("pipeline: c"));
    let held = |before: &[&str], gone: &[(&str, &str)], now: &str| renamed(before, gone, now, false);
    // With this reload, or at some time before.
    for (before, gone) in [(vec![a.as_str()], vec![]), (vec![], vec![("a", a.as_str())])] {
        let why = held(&before, &gone, &b).unwrap();
        assert!(why.contains("`was: a`") && why.contains("--fresh b"), "{why}");
        assert_eq!(held(&before, &gone, &b_was_a), None);
        assert_eq!(renamed(&before, &gone, &b, true), None, "it is known to begin anew");
        let other = "pipeline: b\nsource: other\nhandler: log\n";
        assert_eq!(held(&before, &gone, other), None);
    }
    // Renamed twice: the groups are those of the first name.
    let chain = [("b", b_was_a.as_str())];
    for second in [c, text("pipeline: c\nwas: b"), text("pipeline: c\nwas: [b, a]")] {
        let why = held(&[], &chain, &second).unwrap();
        assert!(why.contains("`was: [a, b]`"), "{why}");
    }
    assert_eq!(held(&[], &chain, &text("pipeline: c\nwas: [a, b]")), None);
}
