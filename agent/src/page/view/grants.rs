//! Approvals that stand for more than one call, each with a button that takes it back.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{left, token};
use crate::{
    approval::card,
    holds::grants::Grant,
    page::{Page, sessions::Session},
};

/// Characters of an operation.
const SENTENCE: usize = 300;

/// Those that the reviewer may take back; nothing if there are none.
pub fn grants<'a>(page: &Page, session: &Session, grants: impl Iterator<Item = &'a Grant>, now: Timestamp) -> Markup {
    let mut grants = grants.peekable();
    html! {
        @if grants.peek().is_some() {
            h2 { "Approved for more than once" }
            ul.grants { @for grant in grants { (one(page, session, grant, now)) } }
        }
    }
}

fn one(page: &Page, session: &Session, grant: &Grant, now: Timestamp) -> Markup {
    let rule = grant.rule.as_deref().unwrap_or("-");
    html! {
        li {
            code { (card::line(&grant.what, SENTENCE)) }
            span.about {
                span { (card::line(&grant.subject, 80)) }
                span { (card::line(rule, 80)) }
                span { (grant.whose()) }
                span { "by " (card::line(&grant.by, 80)) }
                span { "uses: " (grant.uses) }
                @if let Some(until) = grant.until { span.left { (left(until.duration_since(now).as_secs())) " left" } }
            }
            form method="post" action={ (page.prefix) "/g/" (grant.id) "/revoke" } {
                (token(session))
                button.plain id={ "g-" (grant.id) } type="submit" { "Revoke" }
            }
        }
    }
}
