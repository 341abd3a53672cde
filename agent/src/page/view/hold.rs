//! One hold in full: what the kernel saw, apart from that what is claimed, and the buttons.

use holdpoint_common::decision::Decision;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{Frame, Live, left, token};
use crate::{
    approval::{
        card::{self, Card, Fact},
        channel::{Message, Says},
        said::WHY,
    },
    page::{
        Page,
        board::{self, Past, Seen},
        sessions::Session,
    },
    quorum::{Assurance, SelfAnswer},
    request::{Entrance, Hold},
    scope::Scope,
    sockets::message::word,
};

/// The page of one hold.
pub fn hold(page: &Page, session: &Session, seen: Seen<'_>, now: Timestamp) -> String {
    let hold = match seen {
        Seen::Pending(hold) => hold,
        Seen::Past(past) => &past.hold,
    };
    let says = Says::Question { callback: None };
    let card =
        Card::whole(&Message { at: now, host: page.host.clone(), hold: hold.clone(), says, review: None, test: false });
    let (title, status, answer) = match seen {
        Seen::Pending(hold) => ("Approval needed".to_owned(), waiting(hold, now), form(page, session, hold)),
        Seen::Past(past) => (card::ending(&past.standing), over(past), html! {}),
    };
    let content = html! {
        h1 { (title) }
        p.operation { code { (card.title) } }
        (status)
        section.facts aria-labelledby="facts" { h2 id="facts" { "Seen by the kernel" } (facts(&card.facts)) }
        section.claims aria-labelledby="claims" {
            h2 id="claims" { "Claimed, not verified" }
            (facts(&card.claims))
        }
        (answer)
    };
    let live = Live {
        events: format!("{}/events", page.path(hold.id)),
        seen: state(seen),
        said: format!("This has changed: {title}."),
    };
    Frame { page, session: Some(session), title: &title }.live(&live, &content)
}

/// As [`crate::page::board::Board::state`] calls it.
fn state(seen: Seen<'_>) -> String {
    match seen {
        Seen::Pending(hold) => board::pending(hold),
        Seen::Past(past) => word(past.standing.state).to_owned(),
    }
}

fn waiting(hold: &Hold, now: Timestamp) -> Markup {
    let seconds = hold.deadline.duration_since(now).as_secs();
    html! {
        p.status { span class="badge pending" { (left(seconds)) " left" } " Nothing has happened yet: it is held." }
        @if let Some(first) = hold.behind {
            p.notice role="note" {
                "Hold " (first) " asks for the same, and a no to that is for this one, too. What you answer here is for this one alone."
            }
        }
    }
}

fn over(Past { standing, why, at, .. }: &Past) -> Markup {
    html! {
        p.status {
            span class={ "badge " (word(standing.state)) } { (word(standing.state)) }
            " " (card::moment(*at))
        }
        @if let Some(why) = why { p { "Reason: “" (card::line(why, WHY)) "”" } }
    }
}

fn facts(facts: &[Fact]) -> Markup {
    html! {
        dl {
            @for Fact { label, lines } in facts {
                dt { (label) }
                // Each line is an element: no text can look like two.
                @for line in lines { dd { code { (line) } } }
            }
        }
    }
}

/// Whether the reviewer asks for it, as far as the session tells: the answer is judged by more.
fn is_requester(session: &Session, hold: &Hold) -> bool {
    let is_caller = |name: &String| match &session.reviewer.entrance {
        Some(Entrance::Local(caller)) => caller.name == *name,
        Some(Entrance::Message { .. } | Entrance::Sso(_)) | None => false,
    };
    hold.requesters().any(|name| *name == session.reviewer.user || is_caller(name))
}

/// How far an approval reaches, where the rule leaves that to the reviewer. A no is about the one call in any case.
fn scope(hold: &Hold) -> Markup {
    html! {
        label for="scope" { "Approve for" }
        p.hint id="scope-hint" {
            "More than once: the very same again is let pass without a question, is on record each time, and can be taken back."
        }
        select id="scope" name="scope" aria-describedby="scope-hint" {
            @for scope in [Scope::Once].iter().chain(&hold.scopes) { option value=(scope) { (scope.words()) } }
        }
    }
}

fn form(page: &Page, session: &Session, hold: &Hold) -> Markup {
    let own = is_requester(session, hold);
    if own && hold.own == SelfAnswer::Refused {
        return html! {
            p.notice role="note" {
                "You ask for this yourself: you run it, launched it, or logged in to do so. Another reviewer answers."
            }
        };
    }
    let approved = hold.approved.contains(&session.reviewer.user);
    html! {
        @if own { p.notice role="note" { "You ask for this yourself. The rule lets you answer, and the record will say so." } }
        @if approved { p.notice role="note" { "You have approved this. Others must, too: it is still held." } }
        form.answer method="post" action=(page.path(hold.id)) {
            h2 { "Your answer" }
            (token(session))
            // What is answered is what was shown.
            input type="hidden" name="digest" value=(hold.digest.0);
            label for="why" { "Reason" }
            p.hint id="why-hint" { "Optional. It goes into the record, to who launched this and, of a no, to the governed processes themselves." }
            textarea id="why" name="why" rows="2" maxlength=(WHY) aria-describedby="why-hint" {}
            @let approves = !approved && hold.assurance <= Assurance::Medium;
            @if approves && !hold.scopes.is_empty() { (scope(hold)) }
            div.buttons {
                @if approves {
                    button.approve type="submit" name="word" value="approve" { "Approve" }
                }
                button.deny type="submit" name="word" value="deny" aria-describedby="no" { "Deny" }
                button.kill type="submit" name="word" value="kill" aria-describedby="no" { "Deny and kill" }
            }
            p.hint id="no" {
                @match hold.on_deny {
                    Decision::Fail => "Deny: the call fails with EPERM. Deny and kill: the process is killed."
                    _ => "Either no kills the process: the rule says so."
                }
            }
        }
    }
}
