//! The board: who is given out, who stands still, and who waits behind whom.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Job};
use super::memory::{Common, Memory};
use super::place::Lone;
use super::room::Batch;
use crate::event::{Body, Event, Origin, Rank, Topic};
use crate::flow::fixture::{later, now};
use crate::flow::metadata::Restored;
use crate::flow::{Epoch, NextOffset, Now, Record, Tracker};
use crate::kafka::Partition;
use crate::outcome::{HoldCause, Outcome, Verdict};
use crate::plan::fixture::stage;

const UNCOMMITTED: Duration = Duration::from_secs(5);

fn board(memory: usize, lone: Lone, now: Now) -> Board {
    let memory = Memory::new(memory, memory, Common::default());
    Board::new(&stage(None), memory, UNCOMMITTED, lone, CancellationToken::new(), now.mono)
}

fn partition(number: i32) -> Partition {
    Partition { topic: Arc::from("in"), number }
}

fn assign(board: &mut Board, number: i32, restored: Restored, now: Now) -> usize {
    board.assign(&partition(number), Epoch(1), |order, limits| {
        Tracker::assigned(Epoch(1), [1, 2, 3, 4], restored, order, limits, now)
    });
    let slot = board.place_of(&partition(number)).unwrap();
    board.places[slot].accepted_at = now.mono;
    slot
}

fn fresh() -> Restored {
    Restored::fresh(NextOffset(0), 1)
}

/// A partition that may have a record that kills the process.
fn suspect() -> Restored {
    Restored { open: true, crashes: 3, ..fresh() }
}

fn commit(board: &mut Board, slot: usize, now: Now) {
    let tracker = board.places[slot].tracker.as_mut().unwrap();
    if let Some(commit) = tracker.commit(now) {
        tracker.accepted(commit.epoch, commit.serial);
    }
    board.places[slot].accepted_at = now.mono;
}

/// Records of 100 bytes, each with a key of its own.
fn records(number: i32, offsets: std::ops::Range<i64>) -> Vec<Record> {
    let topic = Arc::new(Topic { cluster: "c".into(), name: "in".into(), id: None });
    let record = |offset: i64| {
        let origin = Origin { topic: Arc::clone(&topic), partition: number, offset, timestamp: None };
        let key = Some(Bytes::from(format!("{number}/{offset}")));
        let event = Event { origin, key, headers: vec![], body: Body::Raw(None), part: 0 };
        Record { event: Arc::new(event), epoch: Epoch(1), bytes: 100, rank: Rank::Normal }
    };
    offsets.map(record).collect()
}

fn admit(board: &mut Board, number: i32, offsets: std::ops::Range<i64>) {
    let mut batch = Batch::default();
    board.admit_some(records(number, offsets), &mut batch);
    assert!(batch.refused.is_empty());
}

fn take(board: &mut Board, now: Now) -> Option<Job> {
    board.take(now, &mut Vec::new())
}

#[test]
fn a_partition_that_has_refused_a_record_refuses_all_that_follow_in_a_hand_over() {
    let now = now();
    let mut board = board(250, Lone::default(), now);
    let slot = assign(&mut board, 0, fresh(), now);
    commit(&mut board, slot, now);
    let mut batch = Batch::default();
    board.admit_some(records(0, 0..5), &mut batch);
    assert_eq!(batch.received, 3, "bytes for three");
    // There is room again before the rest of the hand-over is taken in.
    while let Some(job) = take(&mut board, now) {
        board.complete(job.slot, job.work, Verdict::Done(Outcome::Delivered));
    }
    assert!(board.takes(&partition(0)));
    board.admit_some(records(0, 5..7), &mut batch);
    let refused: Vec<i64> = batch.refused.iter().map(|record| record.event.origin.offset).collect();
    assert_eq!((batch.received, refused), (3, vec![3, 4, 5, 6]), "in order, and none overtakes");
}

#[test]
fn a_partition_without_an_accepted_commit_stands_still_alone() {
    let begin = now();
    let mut board = board(1 << 20, Lone::default(), begin);
    for number in [0, 1] {
        let slot = assign(&mut board, number, fresh(), begin);
        commit(&mut board, slot, begin);
        admit(&mut board, number, 0..3);
        let job = take(&mut board, begin).unwrap();
        board.complete(job.slot, job.work, Verdict::Done(Outcome::Delivered));
    }
    let late = later(begin, 6);
    commit(&mut board, 1, late);
    let mut partitions = Vec::new();
    while let Some(job) = take(&mut board, late) {
        partitions.push(job.work.event.origin.partition);
    }
    assert!(!partitions.is_empty() && partitions.iter().all(|p| *p == 1), "{partitions:?}");
}

#[test]
fn an_idle_partition_is_not_stalled_however_late_an_answer_is() {
    let begin = now();
    let mut board = board(1 << 20, Lone::default(), begin);
    let slot = assign(&mut board, 0, fresh(), begin);
    commit(&mut board, slot, begin);
    let late = later(begin, 60);
    assert!(board.report(late, &Default::default()).held.is_empty());
}

#[test]
fn a_probe_passes_over_a_partition_that_gives_nothing_out() {
    let begin = now();
    let mut board = board(1 << 20, Lone::default(), begin);
    // The first commit of partition 0 is never accepted.
    assign(&mut board, 0, fresh(), begin);
    let slot = assign(&mut board, 1, fresh(), begin);
    commit(&mut board, slot, begin);
    admit(&mut board, 0, 0..1);
    admit(&mut board, 1, 0..2);
    let job = take(&mut board, begin).unwrap();
    let raiser = Board::raiser(job.slot, &job.work);
    board.gate.raise(HoldCause::Auth, "401", raiser, begin);
    let progress = job.work.progress.clone();
    let hold = Verdict::Hold { cause: HoldCause::Auth, message: "401".into(), progress };
    board.complete(job.slot, job.work, hold);
    assert!(take(&mut board, begin).is_none(), "held");
    commit(&mut board, slot, later(begin, 31));
    let probe = take(&mut board, later(begin, 31)).expect("a probe after half a minute");
    assert_eq!(
        (probe.slot, probe.work.event.origin.offset),
        (slot, 1),
        "another key than the one that failed"
    );
}

#[test]
fn a_topic_that_is_missing_stops_no_other() {
    let begin = now();
    let mut board = board(1 << 20, Lone::default(), begin);
    let slot = assign(&mut board, 0, fresh(), begin);
    commit(&mut board, slot, begin);
    admit(&mut board, 0, 0..1);
    assert!(board.hold_from_outside(HoldCause::TopicMissing, "other".into(), "no".into(), begin.mono));
    assert!(take(&mut board, begin).is_some());
    assert_eq!(board.report(begin, &Default::default()).held.len(), 1, "but it is shown");
}

/// B7: what was read before goes on, and what can still be read.
#[test]
fn what_kafka_refuses_is_shown_and_stops_nothing_that_was_read() {
    let begin = now();
    let mut board = board(1 << 20, Lone::default(), begin);
    let slot = assign(&mut board, 0, fresh(), begin);
    commit(&mut board, slot, begin);
    admit(&mut board, 0, 0..1);
    assert!(board.refused("no", begin.mono));
    assert!(!board.refused("no", begin.mono), "said already");
    assert!(board.refused("another", begin.mono));
    let held = board.report(begin, &Default::default()).held;
    let held: Vec<_> = held.iter().map(|held| (held.cause, held.message.as_str())).collect();
    assert_eq!(held, [(HoldCause::Kafka, "another")]);
    assert!(take(&mut board, begin).is_some());
    assert!(board.allowed() && !board.allowed());
    assert!(board.report(begin, &Default::default()).held.is_empty());
}

#[test]
fn the_right_to_work_alone_goes_back_where_it_cannot_be_used() {
    let begin = now();
    let lone = Lone::default();
    let mut boards = [board(1 << 20, lone.clone(), begin), board(1 << 20, lone, begin)];
    // Two stages have partitions of their own; their names differ by the partition here.
    for (number, board) in (0..).zip(&mut boards) {
        let slot = assign(board, number, suspect(), begin);
        commit(board, slot, begin);
        admit(board, number, 0..2);
    }
    let [first, second] = &mut boards;
    assert!(take(first, begin).is_none(), "chosen, and to be committed first");
    assert!(take(second, begin).is_none(), "the other one has the right");
    commit(second, 0, begin);
    assert!(take(second, begin).is_none());

    first.hold_from_outside(HoldCause::OutOfRange, "in/9".into(), "gone".into(), begin.mono);
    first.note_time(begin.mono);
    assert!(take(second, begin).is_none(), "chosen now");
    commit(second, 0, begin);
    assert!(take(second, begin).expect("alone").work.lone);
}

/// The partition with the urgent record waits for its commit; the others go on meanwhile.
#[test]
fn an_urgent_record_that_cannot_be_given_now_stops_no_other() {
    let now = now();
    let mut board = board(1 << 20, Lone::default(), now);
    board.ranked = true;
    for (number, restored) in [(0, suspect()), (1, fresh())] {
        let slot = assign(&mut board, number, restored, now);
        commit(&mut board, slot, now);
    }
    let with = |rank: Rank, number: i32, offsets| {
        records(number, offsets).into_iter().map(|record| Record { rank, ..record }).collect::<Vec<_>>()
    };
    board.admit_some(with(Rank::Critical, 0, 0..2), &mut Batch::default());
    board.admit_some(with(Rank::Low, 1, 0..1), &mut Batch::default());
    board.admit_some(with(Rank::High, 1, 1..2), &mut Batch::default());
    let mut given = Vec::new();
    while let Some(job) = take(&mut board, now) {
        given.push((job.work.event.origin.partition, job.work.event.origin.offset));
    }
    assert_eq!(given, [(1, 1), (1, 0)], "the more urgent of those that can be given");
    commit(&mut board, 0, now);
    let lone = take(&mut board, now).expect("the chosen one, once it is committed");
    assert_eq!((lone.work.event.origin.partition, lone.work.lone), (0, true));
}

/// M2: a pause throws away what was fetched ahead, so it does not end with the first record that does.
#[test]
fn a_stage_without_a_byte_left_takes_nothing_until_an_eighth_is_free_again() {
    let now = now();
    let mut board = board(1_600, Lone::default(), now);
    let slot = assign(&mut board, 0, fresh(), now);
    commit(&mut board, slot, now);
    admit(&mut board, 0, 0..16);
    let mut rooms = vec![board.room().1];
    for _ in 0..2 {
        let job = take(&mut board, now).unwrap();
        board.complete(job.slot, job.work, Verdict::Done(Outcome::Delivered));
        rooms.push(board.room().1);
    }
    assert_eq!(rooms, [0, 0, 200]);
}

/// M10: whoever is full goes on as soon as there is something to borrow, however little of what it holds has ended.
#[test]
fn a_stage_without_a_byte_left_goes_on_with_what_another_gives_back() {
    let now = now();
    let common = Common::new(1_400);
    let mut other = Memory::new(400, 1_400, common.clone());
    other.fit(1_000);
    other.fit(1_400);
    assert_eq!(common.free(), 0);
    let memory = Memory::new(400, 1_400, common);
    let (lone, end) = (Lone::default(), CancellationToken::new());
    let mut board = Board::new(&stage(None), memory, UNCOMMITTED, lone, end, now.mono);
    let slot = assign(&mut board, 0, fresh(), now);
    commit(&mut board, slot, now);
    admit(&mut board, 0, 0..4);
    assert_eq!(board.room().1, 0);
    drop(other);
    assert!(board.room().1 > 0);
}

/// M6: partitions without their share go on where a stage is full, and what is kept for them is a part of the whole.
#[test]
fn a_full_stage_holds_no_more_than_it_may_while_others_of_its_partitions_go_on() {
    let now = now();
    let mut board = board(3_000, Lone::default(), now);
    for number in 0..3 {
        let slot = assign(&mut board, number, fresh(), now);
        commit(&mut board, slot, now);
    }
    // As the poll thread does it: the backlog of one partition comes first, and fills the stage.
    let mut next = 0;
    while board.room().1 > 0 {
        admit(&mut board, 0, next..next + 1);
        next += 1;
    }
    assert!(board.crowds(&partition(0)));
    for number in 1..3 {
        let mut next = 0;
        while !board.crowds(&partition(number)) {
            admit(&mut board, number, next..next + 1);
            next += 1;
        }
        assert!(next > 0, "none starves");
    }
    let held = board.counts().bytes;
    assert!((2_400..=3_000).contains(&held), "{held} of 3000");
}
