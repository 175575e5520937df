//! A partition whose owners keep dying: one record at a time.
