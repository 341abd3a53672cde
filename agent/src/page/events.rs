//! Live updates, as server-sent events. An event says only that there is something else to see; the page fetches it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::response::sse::{Event, Sse};
use futures_util::stream::{Stream, unfold};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, timeout_at},
};

use super::{Page, board::Board};
use crate::request::HoldId;

/// How long a stream lasts: less than a connection may. The browser comes again, and its session is looked at again.
const LIFETIME: Duration = Duration::from_secs(30);
/// After how long it does.
const PAUSE: Duration = Duration::from_secs(1);

/// What one browser is told.
struct Watching {
    page: Arc<Page>,
    cookie: String,
    of: Option<HoldId>,
    board: watch::Receiver<Board>,
    told: Option<String>,
    until: Instant,
    _permit: OwnedSemaphorePermit,
}

/// A stream of what the session of `cookie` sees: of one hold, or of the list. None if there are too many.
pub fn stream(
    page: Arc<Page>,
    cookie: String,
    of: Option<HoldId>,
) -> Option<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let permit = Arc::clone(&page.streams).try_acquire_owned().ok()?;
    let (board, until) = (page.board.subscribe(), Instant::now() + LIFETIME);
    let watching = Watching { page, cookie, of, board, told: None, until, _permit: permit };
    Some(Sse::new(unfold(watching, |mut watching| async move {
        let state = watching.next().await?;
        Some((Ok(Event::default().retry(PAUSE).data(state)), watching))
    })))
}

impl Watching {
    /// What there is to see now, or when it changes. None at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            let user = self.page.session(&self.cookie)?.reviewer.user;
            let state = self.board.borrow_and_update().state(&user, self.of);
            if self.told.as_ref() != Some(&state) {
                self.told = Some(state.clone());
                return Some(state);
            }
            timeout_at(self.until, self.board.changed()).await.ok()?.ok()?;
        }
    }
}
