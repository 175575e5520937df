//! The HTTP surface: health and metrics here.
