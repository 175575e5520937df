//! The rig. Ledgers are written by parts that no fault touches (this process); `check` judges them afterwards.
#![expect(dead_code, reason = "the tests of the binary use the rest: they come with `weir run`")]

pub(crate) mod check;
pub(crate) mod commits;
pub(crate) mod kafka;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod metadata;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod run;
