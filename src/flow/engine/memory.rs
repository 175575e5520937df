//! The memory of records: each stage has a reserve that no other can take, and what is left of the whole is lent to whoever
//! needs more (M10). So a stage that stands still, full, starves no other. A stage that comes while all is lent has its reserve
//! all the same: nothing more is lent until as much has come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// The largest step in which memory is lent and given back.
const STEP: usize = 1 << 20;

/// What the stages of a process share: what is not reserved and not lent, below 0 where a reserve was taken of what is lent.
/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Common(Arc<AtomicIsize>);

impl Common {
    /// So many bytes to share, reserves among them.
    pub fn new(bytes: usize) -> Common {
        Common(Arc::new(AtomicIsize::new(signed(bytes))))
    }

    /// What nobody has reserved or borrowed.
    pub fn free(&self) -> usize {
        usize::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Takes a reserve, whatever is free.
    fn reserve(&self, bytes: usize) {
        self.0.fetch_sub(signed(bytes), Ordering::Relaxed);
    }

    /// Borrows up to `wanted`.
    fn borrow(&self, wanted: usize) -> usize {
        let mut free = self.0.load(Ordering::Relaxed);
        loop {
            let taken = wanted.min(usize::try_from(free).unwrap_or(0));
            let left = free - signed(taken);
            match self.0.compare_exchange_weak(free, left, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(now) => free = now,
            }
        }
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(signed(bytes), Ordering::Relaxed);
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

/// What one stage may hold. Gives it back when it is dropped.
#[derive(Debug)]
pub struct Memory {
    reserve: usize,
    borrowed: usize,
    /// It never holds more than this.
    most: usize,
    common: Common,
}

impl Memory {
    /// A stage's share: its reserve, and the most it may hold with what it borrows.
    pub fn new(reserve: usize, most: usize, common: Common) -> Memory {
        common.reserve(reserve);
        Memory { reserve, borrowed: 0, most: most.max(reserve), common }
    }

    /// Another share, since there are more stages now, or fewer. What it holds stays its own.
    pub(super) fn reshare(&mut self, reserve: usize) {
        let size = self.size();
        self.most = self.most.max(reserve);
        self.common.reserve(reserve.saturating_sub(size));
        (self.reserve, self.borrowed) = (reserve, size.saturating_sub(reserve));
    }

    /// What it may hold now.
    pub(super) fn size(&self) -> usize {
        self.reserve + self.borrowed
    }

    /// The most that it may ever hold.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Borrows where less than half a step is free beside `used`, until one is, and gives back what stands three steps above
    /// it. Whether it holds more than before.
    pub(super) fn fit(&mut self, used: usize) -> bool {
        let (step, size) = (self.step(), self.size());
        let free = size.saturating_sub(used);
        if free < step / 2 {
            let short = used.saturating_add(step) - size;
            let more = self.common.borrow(short.next_multiple_of(step).min(self.most - size));
            self.borrowed += more;
            return more > 0;
        }
        if self.borrowed > 0 && free >= 3 * step {
            let back = (free - 2 * step).min(self.borrowed);
            self.borrowed -= back;
            self.common.give_back(back);
        }
        false
    }

    /// Four fit into the reserve, so that a stage which holds nothing has nothing borrowed, however small its reserve is.
    fn step(&self) -> usize {
        (self.reserve / 4).clamp(1, STEP)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.common.give_back(self.size());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESERVE: usize = 2 * STEP;

    proptest! {
        /// Whatever the stages use: what is lent is never more than there is, no reserve is ever touched, nobody holds more
        /// than the most, and all of it comes back.
        #[test]
        fn the_whole_is_never_exceeded_and_every_reserve_is_there(
            whole in 0_usize..20,
            steps in prop::collection::vec((0_usize..4, 0_usize..12 * STEP), 0..200),
        ) {
            let common = Common::new(whole * STEP + 4 * RESERVE);
            let mut stages: Vec<Memory> =
                (0..4).map(|_| Memory::new(RESERVE, 8 * STEP, common.clone())).collect();
            for (which, used) in steps {
                let stage = &mut stages[which];
                stage.fit(used.min(stage.size()));
                prop_assert!(stage.size() >= RESERVE && stage.size() <= 8 * STEP);
                let lent: usize = stages.iter().map(|stage| stage.borrowed).sum();
                prop_assert_eq!(lent + common.free(), whole * STEP);
            }
            drop(stages);
            prop_assert_eq!(common.free(), whole * STEP + 4 * RESERVE);
        }

        /// Stages come and go, and the reserves of all change with their number: each has its reserve from its first moment,
        /// and all are within the whole as soon as those that have borrowed have let go.
        #[test]
        fn stages_that_come_and_go_have_their_reserves(
            steps in prop::collection::vec((any::<bool>(), 0_usize..8, 0_usize..40 * STEP), 0..60),
        ) {
            let whole = 64 * STEP;
            let common = Common::new(whole);
            let mut stages: Vec<Memory> = Vec::new();
            for (comes, which, used) in steps {
                if comes && stages.len() < 8 {
                    stages.push(Memory::new(RESERVE, 32 * STEP, common.clone()));
                } else if !comes && which < stages.len() {
                    stages.remove(which);
                }
                let reserve = (whole / 2 / stages.len().max(1)).min(16 * STEP);
                for stage in &mut stages {
                    stage.reshare(reserve);
                    prop_assert!(stage.size() >= reserve);
                }
                if let Some(stage) = stages.get_mut(which) {
                    stage.fit(used);
                    prop_assert!(stage.size() >= reserve);
                }
            }
            for stage in &mut stages {
                stage.fit(0);
            }
            prop_assert!(stages.iter().map(Memory::size).sum::<usize>() + common.free() <= whole);
            drop(stages);
            prop_assert_eq!(common.free(), whole);
        }
    }

    #[test]
    fn a_stage_grows_with_what_it_uses_and_shrinks_behind_it() {
        let common = Common::new(10 * STEP + 2 * RESERVE);
        let mut one = Memory::new(RESERVE, 8 * STEP, common.clone());
        for _ in 0..20 {
            one.fit(one.size());
        }
        assert_eq!((one.size(), common.free()), (8 * STEP, 4 * STEP + RESERVE), "no more than its most");
        let mut other = Memory::new(RESERVE, 8 * STEP, common.clone());
        for _ in 0..20 {
            other.fit(other.size());
        }
        assert_eq!((other.size(), common.free()), (6 * STEP, 0), "no more than there is");
        one.fit(7 * STEP);
        assert_eq!(one.size(), 8 * STEP, "not for a little");
        one.fit(0);
        assert_eq!((one.size(), common.free()), (2 * STEP, 6 * STEP));
    }

    /// However small the reserves: where many stages have one each, what idle ones kept would be all that is shared.
    #[test]
    fn an_idle_stage_keeps_nothing_that_it_has_borrowed() {
        for reserve in [STEP, STEP + 1, 2 * STEP, 5 * STEP, 32 * STEP] {
            let common = Common::new(10 * STEP + reserve);
            let mut stage = Memory::new(reserve, 64 * STEP, common.clone());
            for _ in 0..100 {
                stage.fit(stage.size());
            }
            assert!(common.free() < 10 * STEP, "it has borrowed");
            stage.fit(0);
            assert_eq!((stage.size(), common.free()), (reserve, 10 * STEP));
        }
    }

    #[test]
    fn a_stage_that_holds_more_than_it_may_catches_up_at_once() {
        let mut stage = Memory::new(STEP, 64 * STEP, Common::new(41 * STEP));
        stage.fit(9 * STEP + 1);
        assert!(stage.size() > 9 * STEP + 1, "one record may be larger than a step: {}", stage.size());
    }

    /// F-78 in small: one that is full and stands still leaves the other its reserve, and gives way when it lets go.
    #[test]
    fn one_that_stands_still_starves_no_other() {
        let common = Common::new(4 * STEP + 2 * RESERVE);
        let mut dead = Memory::new(RESERVE, 16 * STEP, common.clone());
        let mut alive = Memory::new(RESERVE, 16 * STEP, common);
        for _ in 0..20 {
            dead.fit(dead.size());
        }
        alive.fit(alive.size());
        assert_eq!((dead.size(), alive.size()), (6 * STEP, RESERVE));
        dead.fit(0);
        for _ in 0..20 {
            alive.fit(alive.size());
        }
        assert_eq!(alive.size(), 6 * STEP);
    }
}
