//! What can happen to a partition, and what a broken tracker would do.

use proptest::prelude::*;

use crate::flow::Order;

/// One step of a history. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(in crate::flow) enum Op {
    /// Records are written: keys, and how many offsets are left out before each.
    Produce(Vec<(u8, u8)>),
    /// A record that is not read yet is compacted away.
    Compact(usize),
    /// So many records are polled.
    Poll(u8),
    /// A record that was polled in an earlier assignment arrives late.
    Late,
    /// So many records are taken.
    Take(u8),
    /// A task has given its record to the producer.
    HandOver(usize),
    /// A task ends.
    Finish(usize, Ending),
    /// A task of an earlier assignment ends.
    FinishOld(Ending),
    /// Seconds pass.
    Advance(u16),
    /// A commit is sent, if none is outstanding.
    Commit,
    /// The broker answers.
    Answer(bool),
    /// Bodies are let go, and the consumer is moved back at once or later.
    LetGo,
    Resume,
    /// The consumer reads from a lower offset again, without a word.
    Rewind(u8),
    /// The assignment ends by a final commit, which is accepted or not; tasks end before or after.
    Revoke {
        drained: bool,
        accepted: bool,
    },
    /// The assignment ends without one.
    Lost,
    /// The process dies; an outstanding commit was accepted or not.
    Crash {
        accepted: bool,
    },
    /// A minute of progress.
    Progress,
    /// The file asks for another order (R8).
    Reorder(Order),
}

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::flow) enum Ending {
    Done,
    Again(u16),
    DeadLetterOwed,
    PublishOwed,
    Hold,
    Abandoned,
}

pub(in crate::flow) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let ending = || {
        prop_oneof![
            8 => Just(Ending::Done),
            3 => (0_u16..90).prop_map(Ending::Again),
            1 => Just(Ending::DeadLetterOwed),
            1 => Just(Ending::PublishOwed),
            1 => Just(Ending::Hold),
            1 => Just(Ending::Abandoned),
        ]
    };
    let gap = prop_oneof![6 => Just(0_u8), 1 => 1_u8..40];
    let op = prop_oneof![
        6 => prop::collection::vec((0_u8..7, gap), 1..12).prop_map(Op::Produce),
        1 => any::<usize>().prop_map(Op::Compact),
        10 => (1_u8..20).prop_map(Op::Poll),
        2 => Just(Op::Late),
        12 => (1_u8..6).prop_map(Op::Take),
        8 => any::<usize>().prop_map(Op::HandOver),
        14 => (any::<usize>(), ending()).prop_map(|(which, ending)| Op::Finish(which, ending)),
        4 => ending().prop_map(Op::FinishOld),
        4 => (0_u16..60).prop_map(Op::Advance),
        8 => Just(Op::Commit),
        8 => prop::bool::weighted(0.8).prop_map(Op::Answer),
        1 => Just(Op::LetGo),
        2 => Just(Op::Resume),
        1 => (1_u8..10).prop_map(Op::Rewind),
        1 => any::<(bool, bool)>().prop_map(|(drained, accepted)| Op::Revoke { drained, accepted }),
        1 => Just(Op::Lost),
        1 => any::<bool>().prop_map(|accepted| Op::Crash { accepted }),
        1 => Just(Op::Progress),
        2 => prop_oneof![Just(Order::Key), Just(Order::Partition), Just(Order::None)].prop_map(Op::Reorder),
    ];
    prop::collection::vec(op, 1..160)
}

/// What a broken tracker would do: each is a bug that some real system had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::flow) enum Mutant {
    None,
    /// The commit is the highest offset seen, not the lowest open one.
    CommitsHighestSeen,
    /// The offset of now and the metadata of the commit before.
    TwoMoments,
    /// A record of an old assignment is taken for one of the new.
    AdmitsOldEpoch,
    /// Attempts are not written.
    ForgetsAttempts,
    /// A new assignment does not wait for the tasks of the old one.
    WaitsForNoTask,
    /// A new order does not wait for the tasks of the old one.
    ReordersAtOnce,
}
