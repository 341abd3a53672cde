//! What is refused before it is an answer. Each is recorded, but whoever cannot sign must not be
//! able to fill the disk: beyond some per minute they are counted, and the next line says how many. Signed ones are counted
//! apart: no flood of others keeps them out of the record.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    approval::note,
    record::{Entry, Event},
    request::HoldId,
};

/// Lines per [`WINDOW`].
const LINES: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);

/// Writes them down.
#[derive(Debug)]
pub struct Refused {
    notes: mpsc::Sender<Entry>,
    // Std mutexes: nothing is awaited while they are held.
    unsigned: Mutex<Window>,
    signed: Mutex<Window>,
}

/// How many lines of one kind there were of late.
#[derive(Debug)]
pub struct Window {
    began: Instant,
    lines: u32,
    unwritten: u64,
}

impl Refused {
    /// The lines go to `notes`.
    pub fn new(notes: mpsc::Sender<Entry>) -> Self {
        Self { notes, unsigned: Mutex::default(), signed: Mutex::default() }
    }

    /// Something about `hold`, if it said so, was refused; `signed` tells that its sender could be believed. It came `from`
    /// there, unless it was fetched.
    pub fn note(&self, hold: Option<HoldId>, why: &str, from: impl Into<Option<IpAddr>>, signed: bool) {
        let from = from.into();
        let window = if signed { &self.signed } else { &self.unsigned };
        let Some(more) = window.lock().unwrap_or_else(PoisonError::into_inner).admit() else { return };
        tracing::info!(from = from.map(tracing::field::display), why, "an answer was refused");
        let refusal = why.to_owned();
        let event = Event::RefusedAnswer { hold, answer: None, refusal, from, more };
        note(&self.notes, Entry { time: Timestamp::now(), event });
    }
}

impl Default for Window {
    fn default() -> Self {
        Self { began: Instant::now(), lines: 0, unwritten: 0 }
    }
}

impl Window {
    /// How many were left out before this one; `None` if this one is left out too.
    pub fn admit(&mut self) -> Option<u64> {
        if self.began.elapsed() >= WINDOW {
            *self = Self { unwritten: self.unwritten, ..Self::default() };
        }
        if self.lines == LINES {
            self.unwritten += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.unwritten))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_not_written() {
        let mut window = Window::default();
        assert_eq!((0..100).filter_map(|_| window.admit()).count(), 60);
        tokio::time::advance(WINDOW).await;
        assert_eq!((window.admit(), window.admit()), (Some(40), Some(0)));
    }

    #[tokio::test]
    async fn a_flood_keeps_no_signed_one_out_of_the_record() {
        let (notes, mut lines) = mpsc::channel(100);
        let (refused, from) = (Refused::new(notes), IpAddr::from([192, 0, 2, 1]));
        (0..100).for_each(|_| refused.note(None, "bad signature", from, false));
        refused.note(None, "not listed", from, true);
        let mut last = None;
        while let Ok(entry) = lines.try_recv() {
            last = Some(entry.event);
        }
        assert!(matches!(last, Some(Event::RefusedAnswer { refusal, more: 0, .. }) if refusal == "not listed"));
    }
}
