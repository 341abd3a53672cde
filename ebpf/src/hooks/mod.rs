//! The programs. Each reads the arguments of one guarded action and makes no choice.

mod exec;
mod file;
mod net;
mod signal;
mod task;
