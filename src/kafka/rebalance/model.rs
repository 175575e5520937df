//! The consumer's side of a cooperative rebalance as librdkafka 2.12 keeps it (`rd_kafka_cgrp_incremental_assign`,
//! `.._unassign`, `.._incr_unassign_done`), and a poll thread that works with [`Asks`]. Some steps of librdkafka are taken
//! by its own thread, so they come at any time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::{Answer, Ask, Asks};
use crate::kafka::Partition;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    Steady,
    WaitUnassign,
    /// The unassign was called and is under way.
    Unassigning,
    WaitAssign,
}

struct Client {
    join: Join,
    assignment: BTreeSet<i32>,
    /// Polled next: messages (`None`) and what is asked.
    queue: VecDeque<Option<Ask>>,
    /// What is asked for once the revocation is answered.
    then: Vec<i32>,
    /// What the group does not know yet to be free.
    leaving: BTreeSet<i32>,
}

/// What the group gives this member, and what it takes.
#[derive(Debug, Clone)]
enum Op {
    /// A generation: it takes the first and gives the second, of what it can.
    Generation(Vec<i32>, Vec<i32>),
    /// librdkafka's own thread goes on.
    Main,
    Message,
    Poll,
    /// Work on what is asked goes on, or what is set aside comes back. Of what is assigned these are not there.
    Work(Vec<i32>),
    LookUpAnew(Vec<i32>),
}

struct Play {
    client: Client,
    asks: Asks,
    working: Option<Ask>,
    /// What this thread reads or drains.
    ours: BTreeSet<i32>,
    aside: Vec<i32>,
}

fn names(numbers: &[i32]) -> Vec<Partition> {
    numbers.iter().map(|number| Partition { topic: Arc::from("t"), number: *number }).collect()
}

fn numbers(partitions: &[Partition]) -> Vec<i32> {
    partitions.iter().map(|partition| partition.number).collect()
}

impl Client {
    fn unassign(&mut self, partitions: &[i32]) {
        for partition in partitions {
            assert!(
                self.assignment.remove(partition),
                "{partition} is not assigned: librdkafka refuses all of them"
            );
        }
        if self.join == Join::WaitUnassign {
            self.join = Join::Unassigning;
        }
    }

    fn assign(&mut self, partitions: &[i32], ours: &BTreeSet<i32>) {
        for partition in partitions {
            assert!(
                self.assignment.insert(*partition),
                "{partition} is assigned: librdkafka refuses all of them"
            );
        }
        if self.join == Join::WaitAssign {
            self.join = Join::Steady;
            // It joins again, and the group gives away what this member does not name.
            let free = std::mem::take(&mut self.leaving);
            assert!(free.is_disjoint(ours), "{free:?} is given away, and worked on here: {ours:?}");
        }
    }

    fn main(&mut self) {
        if self.join == Join::Unassigning {
            self.join = Join::WaitAssign;
            self.queue.push_back(Some(Ask::Assign(names(&std::mem::take(&mut self.then)))));
        }
    }
}

impl Play {
    fn new() -> Play {
        let client = Client {
            join: Join::Steady,
            assignment: BTreeSet::new(),
            queue: VecDeque::new(),
            then: Vec::new(),
            leaving: BTreeSet::new(),
        };
        Play { client, asks: Asks::default(), working: None, ours: BTreeSet::new(), aside: Vec::new() }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Generation(takes, gives) => self.generation(takes, gives),
            Op::Main => self.client.main(),
            Op::Message => self.client.queue.push_back(None),
            Op::Poll => match self.client.queue.pop_front() {
                None => self.asks.polled_nothing(),
                Some(None) => {}
                Some(Some(ask)) => self.asks.push(ask),
            },
            Op::Work(gone) => self.work(gone),
            Op::LookUpAnew(partitions) => self.look_up_anew(partitions),
        }
    }

    fn generation(&mut self, takes: &[i32], gives: &[i32]) {
        if self.client.join != Join::Steady {
            return;
        }
        // What it owns as the group knows it: also what is still to be read here.
        let asked = self.client.queue.iter().flatten().chain(self.asks.asks.iter());
        let coming = asked.flat_map(|ask| match ask {
            Ask::Assign(partitions) => numbers(partitions),
            Ask::Revoke { .. } => Vec::new(),
        });
        let mut owned: BTreeSet<i32> = self.ours.iter().copied().chain(coming).collect();
        for ask in self.client.queue.iter().flatten().chain(self.asks.asks.iter()) {
            if let Ask::Revoke { partitions, .. } = ask {
                owned.retain(|number| !numbers(partitions).contains(number));
            }
        }
        let takes: BTreeSet<i32> = takes.iter().copied().filter(|number| owned.contains(number)).collect();
        let all: BTreeSet<i32> = gives.iter().copied().collect();
        let gives: Vec<i32> =
            all.difference(&owned).filter(|number| !self.ours.contains(number)).copied().collect();
        if takes.is_empty() {
            self.client.join = Join::WaitAssign;
            self.client.queue.push_back(Some(Ask::Assign(names(&gives))));
        } else {
            let partitions = names(&takes.iter().copied().collect::<Vec<_>>());
            self.client.join = Join::WaitUnassign;
            self.client.leaving = takes;
            self.client.then = gives;
            self.client.queue.push_back(Some(Ask::Revoke { partitions, lost: false }));
        }
    }

    fn work(&mut self, gone: &[i32]) {
        match self.working.take() {
            None => self.working = self.asks.begin(),
            Some(Ask::Assign(partitions)) => {
                let (gone, there): (Vec<i32>, Vec<i32>) =
                    numbers(&partitions).into_iter().partition(|number| gone.contains(number));
                self.asks.not_there(&names(&gone));
                assert_eq!(self.asks.answer(), Some(Answer::Assign(partitions)));
                self.ours.extend(gone.iter().chain(&there));
                self.client.assign(&there, &self.ours);
                self.aside.extend(gone);
            }
            Some(ask) => match (ask, self.asks.answer().unwrap()) {
                (Ask::Revoke { partitions, .. }, Answer::Unassign(assigned)) => {
                    for number in numbers(&partitions) {
                        assert!(self.ours.remove(&number));
                        self.aside.retain(|aside| *aside != number);
                    }
                    self.client.unassign(&numbers(&assigned));
                }
                other => panic!("answered otherwise than asked: {other:?}"),
            },
        }
        if self.working.is_none() && !self.aside.is_empty() && self.asks.is_quiet() {
            let back = std::mem::take(&mut self.aside);
            self.client.assign(&back, &self.ours);
            self.asks.returned(&names(&back));
        }
    }

    fn look_up_anew(&mut self, partitions: &[i32]) {
        if self.working.is_some() || !self.asks.is_quiet() {
            return;
        }
        let all: BTreeSet<i32> = partitions.iter().copied().collect();
        let of_ours: Vec<i32> = all.intersection(&self.ours).copied().collect();
        let assigned = numbers(&self.asks.set_aside(&names(&of_ours)));
        if !assigned.is_empty() {
            self.client.unassign(&assigned);
        }
        self.aside.extend(assigned);
    }

    /// Everything goes on until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            for op in [Op::Main, Op::Poll, Op::Work(Vec::new())] {
                self.step(&op);
            }
        }
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let some = || prop::collection::vec(0..4, 0..4);
    let op = prop_oneof![
        2 => (some(), some()).prop_map(|(takes, gives)| Op::Generation(takes, gives)),
        3 => Just(Op::Main),
        1 => Just(Op::Message),
        4 => Just(Op::Poll),
        3 => Just(Op::Work(Vec::new())),
        1 => some().prop_map(Op::Work),
        2 => some().prop_map(Op::LookUpAnew),
    ];
    prop::collection::vec(op, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Nothing is given away while it is worked on, nothing is refused, and each ask is answered (G3).
    #[test]
    fn nothing_is_given_away_before_it_is_drained(ops in ops()) {
        let mut play = Play::new();
        for op in &ops {
            play.step(op);
        }
        play.settle();
        prop_assert_eq!((play.client.join, play.asks.len(), play.aside.len()), (Join::Steady, 0, 0));
        prop_assert_eq!(&play.client.assignment, &play.ours);
    }
}
