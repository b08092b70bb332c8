//! The miniature experiment: its data, the dual encoder's training, the monitor on a live run.

#[path = "../common/mod.rs"]
mod common;

mod data;
mod folder;
mod lemmas;
mod live;
mod protocol;
mod towers;
