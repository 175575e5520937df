//! The record as VRL reaches it: to read only, without a copy of its value, or to read and write. In a program with loops
//! whatever is read and written is counted.

use vrl::compiler::{SecretTarget, Target};
use vrl::path::{OwnedTargetPath, PathPrefix};
use vrl::value::Value;

use super::fence;

/// A record that can be read and not written.
#[derive(Debug)]
pub(super) struct ReadOnly<'a> {
    pub(super) value: &'a Value,
    pub(super) metadata: &'a Value,
    pub(super) has_loops: bool,
}

/// A record that can be read and written; that `%` is not is seen to when a program is compiled.
#[derive(Debug)]
pub(super) struct Writable<'a> {
    pub(super) value: &'a mut Value,
    pub(super) metadata: &'a mut Value,
    pub(super) has_loops: bool,
}

const READ_ONLY: &str = "a condition may not write";

/// What a path points to, in the value or in what surrounds it; charged where a program has loops.
fn look_up<'a>(
    path: &OwnedTargetPath,
    value: &'a Value,
    metadata: &'a Value,
    has_loops: bool,
) -> Option<&'a Value> {
    let found = match path.prefix {
        PathPrefix::Event => value.get(&path.path),
        PathPrefix::Metadata => metadata.get(&path.path),
    };
    charge(has_loops, found);
    found
}

impl Target for ReadOnly<'_> {
    fn target_insert(&mut self, _: &OwnedTargetPath, _: Value) -> Result<(), String> {
        Err(READ_ONLY.to_owned())
    }

    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        Ok(look_up(path, self.value, self.metadata, self.has_loops))
    }

    fn target_get_mut(&mut self, _: &OwnedTargetPath) -> Result<Option<&mut Value>, String> {
        Err(READ_ONLY.to_owned())
    }

    fn target_remove(&mut self, _: &OwnedTargetPath, _: bool) -> Result<Option<Value>, String> {
        Err(READ_ONLY.to_owned())
    }
}

impl Target for Writable<'_> {
    fn target_insert(&mut self, path: &OwnedTargetPath, value: Value) -> Result<(), String> {
        charge(self.has_loops, Some(&value));
        match path.prefix {
            PathPrefix::Event => self.value.insert(&path.path, value),
            PathPrefix::Metadata => self.metadata.insert(&path.path, value),
        };
        Ok(())
    }

    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        Ok(look_up(path, self.value, self.metadata, self.has_loops))
    }

    fn target_get_mut(&mut self, path: &OwnedTargetPath) -> Result<Option<&mut Value>, String> {
        Ok(match path.prefix {
            PathPrefix::Event => self.value.get_mut(&path.path),
            PathPrefix::Metadata => self.metadata.get_mut(&path.path),
        })
    }

    fn target_remove(&mut self, path: &OwnedTargetPath, compact: bool) -> Result<Option<Value>, String> {
        Ok(match path.prefix {
            PathPrefix::Event => self.value.remove(&path.path, compact),
            PathPrefix::Metadata => self.metadata.remove(&path.path, compact),
        })
    }
}

fn charge(has_loops: bool, value: Option<&Value>) {
    if let Some(value) = value.filter(|_| has_loops) {
        fence::charge(value);
    }
}

macro_rules! without_secrets {
    ($target:ident) => {
        /// VRL's secrets are not ours: there are none.
        impl SecretTarget for $target<'_> {
            fn get_secret(&self, _: &str) -> Option<&str> {
                None
            }

            fn insert_secret(&mut self, _: &str, _: &str) {}

            fn remove_secret(&mut self, _: &str) {}
        }
    };
}

without_secrets!(ReadOnly);
without_secrets!(Writable);
