//! The records that can be taken: ready, or waiting until they are due.
