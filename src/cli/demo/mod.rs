//! `weir dev --demo`: the sample pipelines, a scripted receiver and a trickle of events, all in this process.

mod events;
mod line;
mod receiver;
mod summary;
