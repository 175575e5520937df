//! Expressions (VRL) and templates (`{{ path }}`), compiled once and run per record. Knows nothing of YAML: a finding is
//! a byte span inside the source.

mod bound;
mod bounded;
mod fence;
pub mod finding;
mod follow;
mod functions;
pub mod measure;
mod program;
mod target;
mod template;
mod value_template;
mod view;

pub use finding::Finding;
pub use follow::{Made, Touch, touches};
pub use program::{Expression, MAX_SOURCE, Predicate, Program};
pub use template::{Insert, Part, Template, parse_path};
pub use value_template::{TreeFinding, ValueTemplate};
pub use view::{Surroundings, View, answer_body};

#[cfg(test)]
mod tests;
