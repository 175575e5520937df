//! What stands for guests in a build without them: there is none, so none is ever called.

use super::{About, Called, Fault, Grant, Refused, Wanted};

/// A guest, of which this build has none.
#[derive(Debug)]
pub struct Guest {
    never: std::convert::Infallible,
}

impl Guest {
    pub(super) fn load(_: &str, _: &[u8], _: &Wanted<'_>, _: &Grant) -> Result<Guest, Refused> {
        Err(Refused::new("this build of Weir has no plugins", "take a build with the feature `plugins`"))
    }

    pub(super) fn has(&self, _: &str) -> Result<(), Refused> {
        match self.never {}
    }

    /// Its file, below the plugins' folder.
    pub fn name(&self) -> &str {
        match self.never {}
    }

    /// What the module is.
    pub fn about(&self) -> &About {
        match self.never {}
    }

    /// Calls an exported function.
    ///
    /// # Errors
    /// What the guest did wrong.
    pub fn call(&self, _: &str, _: &[u8]) -> Result<Called, Fault> {
        match self.never {}
    }
}
