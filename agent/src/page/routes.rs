//! What can be asked of the page, and what is answered.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{
        HeaderMap, StatusCode,
        header::{LOCATION, SET_COOKIE},
    },
    middleware::map_response,
    response::{AppendHeaders, Html, IntoResponse as _, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use tokio::{sync::oneshot, time::timeout};

use super::{
    Doors, Page, Reviewer, Revocation,
    events::stream,
    guard::{self, shielded},
    links::{Flaw, Link},
    sessions::Session,
    sso::{self, Begun, Ended},
    view::{self, Apology},
};
use crate::{
    approval::{note, said::WHY, submit},
    record::{Entry, Event},
    request::{Answer, Digest, Entrance, HoldId, Outcome, Proof, Refusal, Word},
    scope::Scope,
    web::{self, Peer, Stopped, whole},
};

/// How long a decision may take to be seen on the page that follows it.
const SEEN: Duration = Duration::from_secs(2);

type Fields = HashMap<String, String>;

/// All of it. Each response has the headers that keep others away.
pub fn router(page: Arc<Page>) -> Router {
    let mut router = Router::new().without_v07_checks();
    for prefix in web::prefixes(&page.prefix) {
        router = router
            .route(&format!("{prefix}/"), get(list))
            .route(&format!("{prefix}/events"), get(list_events))
            .route(&format!("{prefix}/r"), get(door).post(log_in))
            .route(&format!("{prefix}/sso"), get(log_in_elsewhere))
            .route(&format!("{prefix}{}", sso::BACK), get(back))
            .route(&format!("{prefix}/logout"), post(log_out))
            .route(&format!("{prefix}/h/{{id}}"), get(show).post(decide))
            .route(&format!("{prefix}/h/{{id}}/events"), get(hold_events))
            .route(&format!("{prefix}/g/{{id}}/revoke"), post(revoke));
    }
    router.fallback(nothing).method_not_allowed_fallback(nothing).with_state(page).layer(map_response(shielded))
}

async fn nothing(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    let session = page.session(page.place.cookie(&headers));
    page.sorry(session.as_ref(), StatusCode::NOT_FOUND, &view::NOTHING)
}

async fn list(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    match page.session(page.place.cookie(&headers)) {
        Some(session) => Html(view::list(&page, &session, &page.board(), Timestamp::now())).into_response(),
        None => page.stranger(&headers, None),
    }
}

async fn show(State(page): State<Arc<Page>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let Ok(id) = id.parse() else { return nothing(State(page), headers).await };
    let Some(session) = page.session(page.place.cookie(&headers)) else {
        return page.stranger(&headers, Some(id));
    };
    match page.board().find(&session.reviewer.user, id) {
        Some(seen) => Html(view::hold(&page, &session, seen, Timestamp::now())).into_response(),
        None => page.sorry(Some(&session), StatusCode::NOT_FOUND, &view::NO_HOLD),
    }
}

async fn list_events(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    page.events(&headers, None)
}

async fn hold_events(State(page): State<Arc<Page>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match id.parse() {
        Ok(id) => page.events(&headers, Some(id)),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Where a link leads: to a button. What only looks at links, as chats do, does not use them up.
async fn door(State(page): State<Arc<Page>>, RawQuery(query): RawQuery) -> Response {
    let link = Link::read(query.unwrap_or_default().as_bytes());
    let good = page.doors().links.check(Timestamp::now(), &link);
    match good {
        Ok(()) => Html(view::door(&page, &link)).into_response(),
        Err(flaw) => page.bad_link(flaw, &link),
    }
}

async fn log_in(
    State(page): State<Arc<Page>>,
    Extension(Peer(from)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !page.place.sent(&headers) {
        return page.sorry(None, StatusCode::FORBIDDEN, &view::ELSEWHERE);
    }
    let link = match whole(&headers, body).await {
        Ok(body) => Link::read(&body),
        Err(stopped) => return page.stopped(&headers, stopped),
    };
    // One lock for both: two who come by the same link at once do not both get in.
    let mut doors = page.doors();
    let reviewer = match doors.links.redeem(Timestamp::now(), &link) {
        Ok(reviewer) => reviewer,
        Err(flaw) => {
            page.refused.note(None, flaw.words(), from, false);
            return page.bad_link(flaw, &link);
        }
    };
    match page.begin(&mut doors, reviewer, from) {
        Some(cookie) => page.leave(&cookie, link.hold),
        None => page.sorry(None, StatusCode::SERVICE_UNAVAILABLE, &view::FULL),
    }
}

/// Sends the browser to the provider. By a link: a form of ours leads nowhere else (`form-action`).
async fn log_in_elsewhere(State(page): State<Arc<Page>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let Some(sso) = page.sso.clone() else { return nothing(State(page), headers).await };
    // Where it leads afterwards is an id of ours: never an address.
    match sso.begin(query.and_then(|query| query.strip_prefix("hold=")?.parse().ok())).await {
        Ok(Begun { to, cookie }) => {
            let headers = [(LOCATION, to.into()), (SET_COOKIE, page.place.set_attempt(Some(&cookie)))];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(_) => page.sorry(None, StatusCode::BAD_GATEWAY, &view::NO_PROVIDER),
    }
}

/// Where the provider sends the browser back to.
async fn back(
    State(page): State<Arc<Page>>,
    Extension(Peer(from)): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(sso) = page.sso.clone() else { return nothing(State(page), headers).await };
    let Some(_turn) = sso.turn().await else {
        page.refused.note(None, "a login by SSO: too many end at once", from, false);
        return page.sorry(None, StatusCode::SERVICE_UNAVAILABLE, &view::BUSY);
    };
    let ended = sso.end(&query.unwrap_or_default(), page.place.attempt(&headers)).await;
    let ended = ended.map_err(|why| (why, &view::NO_LOGIN));
    let response = match ended.and_then(|Ended { entrance, hold }| page.let_in(entrance, hold, from)) {
        Ok(response) => response,
        Err((why, apology)) => {
            page.refused.note(None, &format!("a login by SSO: {why}"), from, false);
            page.sorry(None, StatusCode::FORBIDDEN, apology)
        }
    };
    (AppendHeaders([(SET_COOKIE, page.place.set_attempt(None))]), response).into_response()
}

async fn log_out(State(page): State<Arc<Page>>, headers: HeaderMap, body: Body) -> Response {
    match page.form(&headers, body).await {
        Ok(_) => {
            page.doors().sessions.end(page.place.cookie(&headers));
            page.leave(&page.place.set_cookie(None), None)
        }
        Err(stopped) => page.stopped(&headers, stopped),
    }
}

async fn decide(
    State(page): State<Arc<Page>>,
    Path(path): Path<String>,
    Extension(Peer(from)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let hold = path.parse().ok();
    let heard = page.heard(hold, &headers, body).await;
    heard.unwrap_or_else(|stopped| page.refused(hold, from, &headers, stopped))
}

async fn revoke(
    State(page): State<Arc<Page>>,
    Path(path): Path<String>,
    Extension(Peer(from)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let grant = path.parse().ok();
    let taken_back = page.taken_back(grant, &headers, body).await;
    taken_back.unwrap_or_else(|stopped| page.refused(grant, from, &headers, stopped))
}

impl Page {
    /// The form that a session of this page has sent.
    async fn form(&self, headers: &HeaderMap, body: Body) -> Result<(Session, Fields), Stopped> {
        if !self.place.sent(headers) {
            return Err((StatusCode::FORBIDDEN, "not sent by the page"));
        }
        let session = self.session(self.place.cookie(headers)).ok_or((StatusCode::UNAUTHORIZED, "not logged in"))?;
        let body = whole(headers, body).await?;
        let fields: Fields = form_urlencoded::parse(&body).into_owned().collect();
        match fields.get("token").is_some_and(|token| session.wrote(token)) {
            true => Ok((session, fields)),
            false => Err((StatusCode::FORBIDDEN, "not a form of this session")),
        }
    }

    /// A session for whom the provider has said that it is, if that is a reviewer.
    fn let_in(
        &self,
        entrance: Entrance,
        hold: Option<HoldId>,
        from: IpAddr,
    ) -> Result<Response, (String, &'static Apology)> {
        // One lock for both: nobody gets in whom a policy has just taken out.
        let mut doors = self.doors();
        let Some(user) = doors.roll.who(&entrance) else {
            return Err((format!("no reviewer in the policy is {entrance}"), &view::NOBODY));
        };
        let reviewer = Reviewer { user, entrance: Some(entrance) };
        let cookie =
            self.begin(&mut doors, reviewer, from).ok_or(("too many are logged in".to_owned(), &view::FULL))?;
        // Not a redirect: the browser would not send the cookie along, since another site has led it here.
        let set = AppendHeaders([(SET_COOKIE, cookie)]);
        Ok((set, Html(view::came(self, &self.path_to(hold)))).into_response())
    }

    /// Begins a session, on record: its cookie, to be set. None if too many others are logged in.
    fn begin(&self, doors: &mut Doors, reviewer: Reviewer, from: IpAddr) -> Option<String> {
        let now = Timestamp::now();
        let cookie = doors.sessions.begin(now, reviewer.clone())?;
        let event = Event::LoggedIn { reviewer: reviewer.user, from, entrance: reviewer.entrance };
        note(&self.notes, Entry { time: now, event });
        Some(self.place.set_cookie(Some(&cookie)))
    }

    async fn heard(&self, hold: Option<HoldId>, headers: &HeaderMap, body: Body) -> Result<Response, Stopped> {
        let (session, fields) = self.form(headers, body).await?;
        let hold = hold.ok_or((StatusCode::NOT_FOUND, "unknown hold"))?;
        let answer = answer(hold, &session, &fields).ok_or((StatusCode::BAD_REQUEST, "malformed: not an answer"))?;
        let result = submit(&self.answers, answer).await.ok_or(web::ENDING)?;
        Ok(self.answered(&session, hold, result).await)
    }

    /// Takes back what the session's reviewer may. One that is over already is no error: it is what was wanted.
    async fn taken_back(&self, grant: Option<HoldId>, headers: &HeaderMap, body: Body) -> Result<Response, Stopped> {
        let (session, _) = self.form(headers, body).await?;
        let by = session.reviewer.user;
        let mut board = self.board.subscribe();
        let is_theirs = |id: HoldId| board.borrow().grants(&by).any(|grant| grant.id == id);
        if let Some(grant) = grant.filter(|id| is_theirs(*id)) {
            let (done, is_done) = oneshot::channel();
            self.revocations.send(Revocation { grant, by, done }).await.map_err(|_| web::ENDING)?;
            is_done.await.map_err(|_| web::ENDING)?;
            let _ = timeout(SEEN, board.wait_for(|board| !board.grants.iter().any(|other| other.id == grant))).await;
        }
        Ok((StatusCode::SEE_OTHER, [(LOCATION, format!("{}/", self.prefix))]).into_response())
    }

    async fn answered(&self, session: &Session, hold: HoldId, result: Result<Outcome, Refusal>) -> Response {
        match result {
            Ok(Outcome::Counted(_)) => (StatusCode::SEE_OTHER, [(LOCATION, self.path(hold))]).into_response(),
            Ok(_) => {
                let mut board = self.board.subscribe();
                // Past that it is shown as it is.
                let _ = timeout(SEEN, board.wait_for(|board| !board.waits(hold))).await;
                (StatusCode::SEE_OTHER, [(LOCATION, self.path(hold))]).into_response()
            }
            Err(refusal) => {
                let text = view::refused(self, session, hold, &refusal);
                (web::status(&refusal), Html(text)).into_response()
            }
        }
    }

    fn events(self: &Arc<Self>, headers: &HeaderMap, of: Option<HoldId>) -> Response {
        let cookie = self.place.cookie(headers);
        if self.session(cookie).is_none() {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        match stream(Arc::clone(self), cookie.to_owned(), of) {
            // Proxies that know this header pass each event on as it comes.
            Some(events) => ([("x-accel-buffering", "no")], events).into_response(),
            None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }

    /// Where a hold is shown.
    pub fn path(&self, hold: HoldId) -> String {
        format!("{}/h/{hold}", self.prefix)
    }

    /// Where a hold is shown, or the list.
    pub fn path_to(&self, hold: Option<HoldId>) -> String {
        hold.map_or_else(|| format!("{}/", self.prefix), |hold| self.path(hold))
    }

    /// To the hold or the list, with another cookie.
    fn leave(&self, cookie: &str, to: Option<HoldId>) -> Response {
        let headers = [(LOCATION, self.path_to(to)), (SET_COOKIE, cookie.to_owned())];
        (StatusCode::SEE_OTHER, headers).into_response()
    }

    /// For whoever is not logged in and wanted to see a hold or the list, or comes from another site and may be.
    fn stranger(&self, headers: &HeaderMap, wanted: Option<HoldId>) -> Response {
        let again = guard::is_from_elsewhere(headers);
        let over = self.doors().sessions.is_over(self.place.cookie(headers));
        (StatusCode::UNAUTHORIZED, Html(view::stranger(self, wanted, again, over))).into_response()
    }

    /// Who has logged in by it before can go on to what it led to.
    fn bad_link(&self, flaw: Flaw, link: &Link) -> Response {
        let (status, apology, hold) = match flaw {
            Flaw::Foreign => (StatusCode::FORBIDDEN, &view::FOREIGN, None),
            Flaw::Expired => (StatusCode::GONE, &view::EXPIRED, link.hold),
            Flaw::Gone => (StatusCode::GONE, &view::GONE, link.hold),
        };
        (status, Html(view::bad_link(self, apology, hold))).into_response()
    }

    /// What came about a hold, or about the grant of that id, has no effect: on record, too.
    fn refused(&self, about: Option<HoldId>, from: IpAddr, headers: &HeaderMap, stopped: Stopped) -> Response {
        let known = self.session(self.place.cookie(headers)).is_some();
        self.refused.note(about, stopped.1, from, known);
        self.stopped(headers, stopped)
    }

    fn stopped(&self, headers: &HeaderMap, (status, why): Stopped) -> Response {
        let session = self.session(self.place.cookie(headers));
        match status {
            StatusCode::UNAUTHORIZED => self.stranger(headers, None),
            StatusCode::FORBIDDEN => self.sorry(session.as_ref(), status, &view::ELSEWHERE),
            StatusCode::NOT_FOUND => self.sorry(session.as_ref(), status, &view::NO_HOLD),
            _ => self.sorry(session.as_ref(), status, &Apology { title: "This was not taken", text: why }),
        }
    }

    fn sorry(&self, session: Option<&Session>, status: StatusCode, apology: &Apology) -> Response {
        (status, Html(view::sorry(self, session, apology))).into_response()
    }
}

/// What the form says of `hold`; nothing if that is no answer.
fn answer(hold: HoldId, session: &Session, fields: &Fields) -> Option<Answer> {
    let word = match fields.get("word")?.as_str() {
        "approve" => Word::Approve,
        "deny" => Word::Deny,
        "kill" => Word::Kill,
        _ => return None,
    };
    let why = fields.get("why").map(|why| why.replace("\r\n", "\n").trim().to_owned()).filter(|why| !why.is_empty());
    if why.as_ref().is_some_and(|why| why.chars().count() > WHY) {
        return None;
    }
    let scope = fields.get("scope").map_or(Some(Scope::Once), |scope| scope.parse().ok())?;
    let reviewer = session.reviewer.clone();
    let digest = Digest(fields.get("digest")?.clone());
    let proof = Proof::Page { user: reviewer.user.clone(), entrance: reviewer.entrance };
    Some(Answer { hold, digest, word, scope, who: reviewer.user, why, proof, known: Box::default() })
}
