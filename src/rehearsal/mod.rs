//! Runs tests of pipelines: whole stages and whole files, with the engine, the handlers and the judging of production, on a
//! clock that turns forward by itself. In place of Kafka stand a feeder and a log in memory, in place of the network a script.
//!
//! `load` reads files of tests, `run` runs one test, `judge` compares what came of it with what was expected, `ran` does all of
//! that for folders. `trial` lets one event through a pipeline without expecting anything.

mod compare;
mod coverage;
mod event;
mod judge;
mod load;
mod look_back;
mod observed;
mod ran;
mod run;
mod schemas;
mod script;
mod stages;
mod trial;
mod update;
mod why;

pub use coverage::{Coverage, Point};
pub use judge::{Difference, Judged, judge};
pub use load::{Bench, Case, CaseFile, Suite};
pub use look_back::{Fares, Looked, look_back};
pub use observed::Observed;
pub use ran::{Ran, Results, run_all};
pub use run::run;
pub use trial::{Step, Trial, Tried, try_out};
pub use update::updated;
