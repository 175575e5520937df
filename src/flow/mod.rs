//! The life of a record: tracker, lanes, commit metadata (without I/O, tested against a model) and the engine around them.
