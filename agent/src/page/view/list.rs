//! What is held, and what was.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{Frame, Live, grants::grants, left};
use crate::{
    approval::card,
    page::{
        Page,
        board::{Board, Past},
        sessions::Session,
    },
    request::Hold,
    sockets::message::word,
};

/// Holds on the page; nobody reads more.
const MOST: usize = 200;
/// Characters of an operation.
const SENTENCE: usize = 300;

/// The page that begins it all.
pub fn list(page: &Page, session: &Session, board: &Board, now: Timestamp) -> String {
    let user = &session.reviewer.user;
    let (count, past) = (board.pending(user).count(), board.past(user).collect::<Vec<_>>());
    let title = waiting(count);
    let content = html! {
        h1 { (title) }
        @if count == 0 { p.none { "Nothing is held that you are asked about." } }
        ul.holds { @for hold in board.pending(user).take(MOST) { (pending(page, hold, now)) } }
        @if count > MOST { p { "… and " (count - MOST) " more: " code { "holdpoint holds" } " lists them all." } }
        (grants(page, session, board.grants(user), now))
        h2 { "Ended lately" }
        @if past.is_empty() { p.none { "Nothing since the agent was started." } }
        ul.holds.past { @for past in past { (over(page, past)) } }
    };
    let live = Live {
        events: format!("{}/events", page.prefix),
        seen: board.state(user, None),
        said: format!("The list has changed: {title}."),
    };
    Frame { page, session: Some(session), title: &title }.live(&live, &content)
}

fn waiting(count: usize) -> String {
    match count {
        0 => "Nothing waits for you".to_owned(),
        1 => "1 operation waits for you".to_owned(),
        _ => format!("{count} operations wait for you"),
    }
}

fn pending(page: &Page, hold: &Hold, now: Timestamp) -> Markup {
    let request = &hold.request;
    let rule = request.rule.as_deref().unwrap_or("-");
    html! {
        li {
            a id={ "h-" (hold.id) } href=(page.path(hold.id)) {
                code { (card::line(&request.what.sentence(), SENTENCE)) }
                span.about {
                    span { (card::line(&request.subject, 80)) }
                    span { (card::line(rule, 80)) }
                    @if let Some(first) = hold.behind { span { "waits behind " (first) } }
                    @if !hold.same.is_empty() { span { (hold.same.len() + 1) " times" } }
                    span.left { (left(hold.deadline.duration_since(now).as_secs())) " left" }
                }
            }
        }
    }
}

fn over(page: &Page, past: &Past) -> Markup {
    let Past { hold, standing, why, at } = past;
    html! {
        li {
            a id={ "h-" (hold.id) } href=(page.path(hold.id)) {
                code { (card::line(&hold.request.what.sentence(), SENTENCE)) }
                span.about {
                    span class={ "badge " (word(standing.state)) } { (card::ending(standing)) }
                    @if let Some(why) = why { span.why { "“" (card::line(why, SENTENCE)) "”" } }
                    span { (card::moment(*at)) }
                }
            }
        }
    }
}
