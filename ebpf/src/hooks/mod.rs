//! The programs. Each reads the arguments of one guarded action and makes no choice.

mod descriptor;
mod dns;
mod exec;
mod file;
pub mod name;
mod net;
mod signal;
mod system;
mod task;
mod terminal;
