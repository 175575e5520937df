//! Judges attempts until there is an outcome: retry, breaker, dead letter.
