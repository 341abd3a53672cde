//! The page's HTML. Text goes into it by `maud`, which escapes it; what a subject can choose goes through
//! [`card::line`] first, so that nothing in it hides, reorders or forges a line.

mod grants;
mod hold;
mod list;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::{hold::hold, list::list};
use super::{Page, links::Link, sessions::Session};
use crate::{
    approval::card,
    request::{HoldId, Refusal, span},
};

/// All that is executed.
pub const SCRIPT: &str = include_str!("page.js");
/// All that says how it looks.
pub const STYLE: &str = include_str!("page.css");

/// Characters of a name.
const NAME: usize = 80;

/// Why there is nothing to see.
pub struct Apology {
    /// In a few words.
    pub title: &'static str,
    /// What that means, and what helps.
    pub text: &'static str,
}

/// No such address.
pub const NOTHING: Apology = Apology { title: "There is nothing here", text: "The address is wrong." };
/// No such hold, or none that concerns who asks.
pub const NO_HOLD: Apology = Apology {
    title: "No such hold",
    text: "You are not asked about it, it ended long ago, or the agent was restarted since it was decided.",
};
/// The form is not the page's own.
pub const ELSEWHERE: Apology = Apology {
    title: "This was not sent by the page",
    text: "Nothing was done. Open the page by its own address, and try again there.",
};
/// A link that is not this agent's.
pub const FOREIGN: Apology = Apology {
    title: "This link is not one of this agent's",
    text: "It was changed, or the agent was restarted since. Log in another way, or run `holdpoint page` on the host for another \
           one.",
};
/// A link that is too old.
pub const EXPIRED: Apology = Apology {
    title: "This link has expired",
    text: "A link is good for 10 minutes, and one in a message until the hold is over. Log in another way, or run `holdpoint \
           page` on the host for another one.",
};
/// A link that was used, or that something else has ended.
pub const GONE: Apology = Apology {
    title: "This link is not good any more",
    text: "It was used, what it led to is over, or others have taken its place. If the hold waits still and you have not used the \
           link, tell whoever runs the host. Log in another way, or run `holdpoint page` on the host for another one.",
};
/// No room for another session.
pub const FULL: Apology = Apology {
    title: "Too many are logged in",
    text: "Try again later, or answer on the host: `holdpoint approve ID`.",
};

/// The provider does not reply.
pub const NO_PROVIDER: Apology = Apology {
    title: "Nobody can log in by SSO now",
    text: "The provider does not reply as it should: the agent's log says more. Try again later, or run `holdpoint page` on the \
           host.",
};
/// Too many log in.
pub const BUSY: Apology = Apology {
    title: "Too many log in at once",
    text: "Your login has not been looked at yet: load this page again in a moment.",
};
/// The provider's answer is none.
pub const NO_LOGIN: Apology = Apology {
    title: "You are not logged in",
    text: "What came from the provider is not the answer to a login that this browser has begun here, within 10 minutes, or the \
           provider has let nobody in, or does not reply. Begin again here. The record says more.",
};
/// Somebody of whom the policy says nothing.
pub const NOBODY: Apology = Apology {
    title: "You are not known",
    text: "The provider has said who you are, and that is no reviewer. Whoever writes the policy can add you: the record has what it \
           takes.",
};

/// What is around every page.
struct Frame<'a> {
    page: &'a Page,
    session: Option<&'a Session>,
    title: &'a str,
}

/// What changes while somebody looks.
struct Live {
    /// Where updates come from.
    events: String,
    /// [`super::board::Board::state`] of what is shown.
    seen: String,
    /// What is said when it has changed.
    said: String,
}

impl Frame<'_> {
    /// A page that stays as it is.
    fn still(&self, content: &Markup) -> String {
        self.around(&html! { main id="main" tabindex="-1" { (content) } }, false, None)
    }

    /// One that leads on by itself.
    fn onward(&self, to: &str, content: &Markup) -> String {
        self.around(&html! { main id="main" tabindex="-1" { (content) } }, false, Some(to))
    }

    /// One that is replaced when there is something else to see.
    fn live(&self, live: &Live, content: &Markup) -> String {
        let main = html! {
            main id="main" tabindex="-1" data-events=(live.events) data-seen=(live.seen) data-said=(live.said) {
                (content)
            }
        };
        self.around(&main, true, None)
    }

    fn around(&self, main: &Markup, live: bool, onward: Option<&str>) -> String {
        let text = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(to) = onward { meta http-equiv="refresh" content={ "0;url=" (to) }; }
                    title { (self.title) " · Holdpoint" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    (self.head())
                    (main)
                    p.said id="said" role="status" {}
                    @if live { script { (PreEscaped(SCRIPT)) } }
                }
            }
        };
        text.into_string()
    }

    fn head(&self) -> Markup {
        html! {
            header {
                a.brand href={ (self.page.prefix) "/" } { "Holdpoint" }
                @if let Some(session) = self.session {
                    span.host { (card::line(&self.page.host, NAME)) }
                    form.out method="post" action={ (self.page.prefix) "/logout" } {
                        (token(session))
                        span.who { (card::line(&session.reviewer.user, NAME)) }
                        button.plain type="submit" { "Log out" }
                    }
                }
            }
        }
    }
}

/// Tells the session's own forms from those of others.
fn token(session: &Session) -> Markup {
    html! { input type="hidden" name="token" value=(session.token); }
}

/// How long that is, counted down where there is JavaScript.
fn left(seconds: i64) -> Markup {
    html! { span data-left=(seconds.max(0)) { (span(seconds)) } }
}

/// Where a good link leads.
pub fn door(page: &Page, link: &Link) -> String {
    let user = card::line(&link.user, NAME);
    let content = html! {
        h1 { "Review what is held" }
        p {
            "This link logs in " strong { (user) } ", once"
            @if let Some(hold) = link.hold { ", and shows the hold " code { (hold) } }
            ". Only go on if that is you."
        }
        form.card method="post" action={ (page.prefix) "/r" } {
            @for (name, value) in link.fields() { input type="hidden" name=(name) value=(value); }
            button.approve type="submit" { "Log in as " (user) }
        }
    };
    Frame { page, session: None, title: "Log in" }.still(&content)
}

/// For whoever is not logged in and `wanted` to see a hold, or the list. `again`: who comes from another site may be logged in.
/// Who was, and is not since the policy was changed (`over`), is told so.
pub fn stranger(page: &Page, wanted: Option<HoldId>, again: bool, over: bool) -> String {
    let hold = wanted.map(|hold| format!("?hold={hold}")).unwrap_or_default();
    let content = html! {
        @if over {
            h1 { "Your session is over" }
            p { "By the policy that is in force now, you are not the reviewer any more as whom you had logged in." }
        } @else {
            h1 { "You are not logged in" }
        }
        @if again {
            p { "If you have logged in with this browser, go on: a link on another site does not show that." }
            p { a.button href=(page.path_to(wanted)) { "Go on" } }
        }
        @if page.sso.is_some() {
            p { a.button href={ (page.prefix) "/sso" (hold) } { "Log in with SSO" } }
        }
        p { @if page.sso.is_some() { "Or" } @else { "To log in," } " run " code { "holdpoint page" } " on the host, as yourself, and open the link that it prints." }
    };
    Frame { page, session: None, title: "Not logged in" }.still(&content)
}

/// For who has logged in by the provider, and wanted to see what is there.
pub fn came(page: &Page, path: &str) -> String {
    let content = html! {
        h1 { "You are logged in" }
        p { a.button href=(path) { "Go on" } }
    };
    Frame { page, session: None, title: "Logged in" }.onward(path, &content)
}

/// An apology.
pub fn sorry(page: &Page, session: Option<&Session>, Apology { title, text }: &Apology) -> String {
    let content = html! {
        h1 { (title) }
        p { (prose(text)) }
        @if session.is_some() { p { a.button href={ (page.prefix) "/" } { "See what is held" } } }
    };
    Frame { page, session, title }.still(&content)
}

/// Why a link does not log in, and the way to the hold that it led to.
pub fn bad_link(page: &Page, Apology { title, text }: &Apology, hold: Option<HoldId>) -> String {
    let content = html! {
        h1 { (title) }
        p { (prose(text)) }
        @if let Some(hold) = hold { p { a.button href=(page.path(hold)) { "See the hold" } } }
    };
    Frame { page, session: None, title }.still(&content)
}

/// Text of our own, in which backticks are around what is typed.
fn prose(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Why the answer to `hold` did not count.
pub fn refused(page: &Page, session: &Session, hold: HoldId, refusal: &Refusal) -> String {
    let (title, text) = reason(refusal);
    let content = html! {
        h1 { (title) }
        p role="alert" { (text) }
        p { a.button href=(page.path(hold)) { "Look at it again" } }
    };
    Frame { page, session: Some(session), title }.still(&content)
}

fn reason(refusal: &Refusal) -> (&'static str, String) {
    let nothing = "Your answer changed nothing";
    match refusal {
        Refusal::UnknownHold => ("No such hold", format!("{nothing}: it ended long ago.")),
        Refusal::WrongDigest => {
            ("This is not what is held", format!("{nothing}: what you were shown is something else. Look at it again."))
        }
        Refusal::Stranger(why) => ("You are not known", format!("{nothing}: {why}.")),
        Refusal::NotNamed => ("You are not asked", format!("{nothing}: the rule does not name you as a reviewer.")),
        Refusal::Requester => {
            let why = "who asks, launched what asks, or logged in to do so, does not answer. Another reviewer can.";
            ("You do not answer your own request", format!("{nothing}: {why}"))
        }
        Refusal::NotShown => ("You have not seen all of it", format!("{nothing}: {refusal}.")),
        Refusal::Assurance(assurance) => {
            ("That is not sure enough", format!("{nothing}: this rule asks for an approval {}.", assurance.way()))
        }
        Refusal::Scope(offered) => {
            ("The rule does not offer that", format!("{nothing}. An approval can be for: {offered}."))
        }
        Refusal::Granted(_) => {
            ("Too many approvals stand already", format!("{nothing}. Approve this once, or take others back."))
        }
        Refusal::NotNeeded(missing) => {
            ("Your approval adds nothing", format!("{nothing}: everybody counts once. Still needed: {missing}."))
        }
        Refusal::Conflict(standing) => {
            ("It was decided otherwise", format!("{nothing}. What stands: {}.", card::ending(standing)))
        }
        Refusal::Over(standing) => ("It is over", format!("{nothing}. What stands: {}.", card::ending(standing))),
        Refusal::NotRecorded => {
            ("The decision could not be recorded", "So it did not take effect: it is still held.".to_owned())
        }
    }
}
