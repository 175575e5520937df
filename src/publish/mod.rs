//! Records written to topics: routes, rendering, the producer.

mod problem;
pub mod topic;
pub mod route;

pub use problem::Problem;
