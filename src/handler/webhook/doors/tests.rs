//! The door of a host: whoever comes and goes, no more than its limit are under way, and everybody gets in.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn line() -> Line {
    Line { limit: Limit::new(TOP), under_way: 0, guests: Vec::new(), numbers: 0 }
}

fn caller(id: u64, most: Option<usize>) -> Caller {
    Caller { id, most }
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Enter(u64),
    /// The nth of those that wait or are under way goes.
    Leave(usize, Option<u16>),
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let status = prop_oneof![Just(None), Just(Some(200)), Just(Some(429)), Just(Some(503))];
    let one = prop_oneof![
        4 => (0u64..4).prop_map(Move::Enter),
        3 => (any::<usize>(), status).prop_map(|(n, status)| Move::Leave(n, status)),
        1 => (0u64..1500).prop_map(Move::Wait),
    ];
    proptest::collection::vec(one, 1..400)
}

proptest! {
    /// Handler 0 says nothing, the others 2, 4 and 6.
    #[test]
    fn no_more_are_under_way_than_the_limit_and_nobody_waits_beside_a_free_place(moves in moves()) {
        let (mut line, mut now) = (line(), clock::now());
        let mut places: BTreeMap<u64, (u64, Option<oneshot::Receiver<()>>)> = BTreeMap::new();
        for step in moves {
            let before = line.under_way;
            match step {
                Move::Enter(id) => {
                    let most = (id > 0).then(|| usize::try_from(2 * id).unwrap());
                    let (number, turn) = line.enter(caller(id, most), now);
                    places.insert(number, (id, turn));
                }
                Move::Leave(nth, status) if !places.is_empty() => {
                    let number = *places.keys().nth(nth % places.len()).unwrap();
                    let (id, turn) = places.remove(&number).unwrap();
                    line.leave(id, number, status, now);
                    drop(turn);
                }
                Move::Leave(..) => {}
                Move::Wait(millis) => now += Duration::from_millis(millis),
            }
            let mut under_way = BTreeMap::<u64, usize>::new();
            for (id, turn) in places.values_mut() {
                match turn.as_mut().map_or(Ok(()), oneshot::Receiver::try_recv) {
                    Ok(()) => {
                        *turn = None;
                        *under_way.entry(*id).or_default() += 1;
                    }
                    Err(TryRecvError::Empty) => {},
                    Err(TryRecvError::Closed) => prop_assert!(false, "somebody was forgotten"),
                }
            }
            prop_assert_eq!(line.under_way, under_way.values().sum::<usize>());
            for guest in &line.guests {
                prop_assert_eq!(guest.under_way, under_way.get(&guest.caller.id).copied().unwrap_or(0));
            }
            prop_assert!(line.under_way <= before.max(line.limit.get(now)));
            line.let_in(now);
            prop_assert!(line.guests.iter().all(|guest| guest.waiting.is_empty()) || line.under_way >= line.limit.get(now));
        }
    }
}

/// The smallest number counts while who says it goes there.
#[test]
fn the_smallest_number_that_anybody_says_counts_for_all() {
    let (doors, now) = (Doors::default(), clock::now());
    let origin = Origin::new(false, Host::parse("a.test").unwrap(), 80).unwrap();
    let other = Origin::new(false, Host::parse("b.test").unwrap(), 80).unwrap();
    let (free, three) = (doors.caller(None), doors.caller(Some(3)));
    let first = doors.enter(&origin, three, now);
    let mut held: Vec<Pass> = (0..4).map(|_| doors.enter(&origin, free, now)).collect();
    let begun = |held: &[Pass]| held.iter().filter(|pass| pass.turn.is_none()).count();
    assert_eq!(begun(&held), 2, "one of three is taken by the other");
    assert!((0..100).all(|_| doors.enter(&other, free, now).turn.is_none()), "another host");
    held.clear();
    drop(first);
    doors.tidy(now + STAYS + SECOND);
    held = (0..4).map(|_| doors.enter(&origin, free, now)).collect();
    assert_eq!(begun(&held), 4, "who has not been there for long has no say");
    held.clear();
    doors.tidy(now + STAYS + STAYS + SECOND);
    assert!(doors.hosts.read().unwrap().is_empty(), "nothing is kept of those that are not asked");
}

/// A stage that never ends its requests takes no place that another asks for.
#[test]
fn a_free_place_goes_to_who_has_the_fewest() {
    let (mut line, now) = (line(), clock::now());
    let (slow, quick) = (caller(1, Some(4)), caller(2, None));
    let slow_ones: Vec<_> = (0..20).map(|_| line.enter(slow, now)).collect();
    let mut mine: Vec<_> = (0..4).map(|_| line.enter(quick, now)).collect();
    for (number, _) in &slow_ones[..2] {
        line.leave(slow.id, *number, Some(200), now);
    }
    let under_way = |line: &Line, of: Caller| {
        line.guests.iter().find(|guest| guest.caller.id == of.id).unwrap().under_way
    };
    assert_eq!((under_way(&line, slow), under_way(&line, quick)), (2, 2));
    for _ in 0..50 {
        let at =
            mine.iter_mut().position(|(_, turn)| turn.as_mut().is_none_or(|turn| turn.try_recv().is_ok()));
        let (number, _) = mine.remove(at.unwrap());
        line.leave(quick.id, number, Some(200), now);
        mine.push(line.enter(quick, now));
    }
    assert_eq!((under_way(&line, slow), under_way(&line, quick)), (2, 2), "the slow one has its half");
}

/// With one place there are turns.
#[test]
fn a_single_place_is_taken_in_turns() {
    let (mut line, now) = (line(), clock::now());
    let (one, two) = (caller(1, Some(1)), caller(2, None));
    let (first, _) = line.enter(one, now);
    let mut waiting: Vec<(Caller, u64, _)> = Vec::new();
    for of in [one, one, one, two, two] {
        let (number, turn) = line.enter(of, now);
        waiting.push((of, number, turn.unwrap()));
    }
    let (mut last, mut order) = ((one, first), Vec::new());
    while !waiting.is_empty() {
        line.leave(last.0.id, last.1, Some(200), now);
        let at = waiting.iter_mut().position(|(.., turn)| turn.try_recv().is_ok()).unwrap();
        let (of, number, _) = waiting.remove(at);
        order.push(of.id);
        last = (of, number);
    }
    assert_eq!(order, [2, 1, 2, 1, 1]);
}

/// Halved from what was under way, and grown again by a quarter each second.
#[test]
fn a_host_that_complains_gets_less_from_all() {
    let (mut line, start) = (line(), clock::now());
    let (one, two) = (caller(1, None), caller(2, None));
    let mut all: Vec<(u64, u64)> = Vec::new();
    for of in [one, two] {
        all.extend((0..20).map(|_| (of.id, line.enter(of, start).0)));
    }
    // One of the two alone hears it: a quarter of 40 answers.
    for (index, (id, number)) in all.drain(..).enumerate() {
        line.leave(id, number, Some(if index < 10 { 429 } else { 200 }), start);
    }
    let limit_at = |line: &mut Line, seconds| line.limit.get(start + SECOND * seconds);
    assert_eq!(limit_at(&mut line, 1), 20);
    let limits: Vec<usize> = (2..6).map(|seconds| limit_at(&mut line, seconds)).collect();
    assert_eq!(limits, [25, 31, 38, 47]);
}
