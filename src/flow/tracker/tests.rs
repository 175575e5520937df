//! The tracker against a naive model, and its stories.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{TestError, TestRunner};

use crate::flow::model::{Mutant, Op, World, ops};
use crate::flow::{Limits, Order};

const LIMITS: Limits =
    Limits { records: 40, bytes: 1 << 20, metadata: 4096, max_wait: Duration::from_secs(600) };

/// Plays one history, and what every history must end with.
fn play(ops: &[Op], order: Order, limits: Limits, mutant: Mutant) -> Result<(), String> {
    play_in(&mut World::new(order, limits, mutant), ops)
}

fn play_in(world: &mut World, ops: &[Op]) -> Result<(), String> {
    for (index, op) in ops.iter().enumerate() {
        world.step(op).map_err(|error| format!("step {index}, {op:?}: {error}"))?;
    }
    world.drain().map_err(|error| format!("drain: {error}"))
}

fn orders() -> impl Strategy<Value = Order> {
    prop_oneof![6 => Just(Order::Key), 1 => Just(Order::Partition), 1 => Just(Order::None)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The model's whole judgement: watermark, metadata, lanes, epochs, and that everything is finished at the end.
    #[test]
    fn commit_never_passes_an_open_record(ops in ops(), order in orders()) {
        play(&ops, order, LIMITS, Mutant::None).map_err(TestCaseError::fail)?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The same where nearly nothing fits into the metadata: repeats, never a loss, never a standstill.
    #[test]
    fn little_metadata_loses_nothing(ops in ops(), order in orders(), metadata in 48_usize..110) {
        play(&ops, order, Limits { metadata, ..LIMITS }, Mutant::None).map_err(TestCaseError::fail)?;
    }
}

/// The faults do bite: over some histories everything happens that the model is meant to judge.
#[test]
fn histories_are_rich() {
    let mut seen = BTreeSet::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..300 {
        let ops = ops().new_tree(&mut runner).unwrap().current();
        let mut world = World::new(Order::Key, LIMITS, Mutant::None);
        play_in(&mut world, &ops).unwrap();
        seen.append(&mut world.seen);
    }
    let wanted = [
        "body came back",
        "done was polled",
        "full of records",
        "handed over",
        "lone",
        "polled",
        "reordered",
        "repeated",
        "restored",
        "stale completion",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), wanted);
}

/// The model sees this bug in some history.
fn caught(mutant: Mutant) -> String {
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) });
    let result =
        runner.run(&ops(), |ops| play(&ops, Order::Key, LIMITS, mutant).map_err(TestCaseError::fail));
    match result {
        Err(TestError::Fail(reason, _)) => reason.message().to_owned(),
        other => panic!("{mutant:?} was not caught: {other:?}"),
    }
}

#[test]
fn the_model_catches_a_commit_of_the_highest_seen() {
    assert!(caught(Mutant::CommitsHighestSeen).contains("passes"));
}

#[test]
fn offset_and_metadata_agree() {
    caught(Mutant::TwoMoments);
    caught(Mutant::ForgetsAttempts);
}

#[test]
fn stale_record_is_not_admitted() {
    caught(Mutant::AdmitsOldEpoch);
}

#[test]
fn the_model_catches_an_order_that_waits_for_no_task() {
    caught(Mutant::ReordersAtOnce);
}

#[test]
fn stale_epoch_changes_nothing() {
    let reason = caught(Mutant::WaitsForNoTask);
    assert!(reason.contains("old assignment"), "{reason}");
}
