//! The rig. Ledgers are written by parts that no fault touches (this process); `check` judges them afterwards.

pub(crate) mod canary;
pub(crate) mod check;
pub(crate) mod commits;
pub(crate) mod forward;
pub(crate) mod kafka;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod metadata;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod resource;
pub(crate) mod run;
pub(crate) mod secured;
pub(crate) mod show;
pub(crate) mod weir;
