//! A hold in Slack's Block Kit. All text is `plain_text`, in which nothing is a link, a mention or a format; what
//! Slack takes for markup (`text`, the notification) has none that a subject can choose.
//!
//! Limits: <https://docs.slack.dev/reference/block-kit/blocks>.

use serde_json::{Value, json};

use crate::{
    approval::{
        card::{Card, Fact, head, line},
        channel::{Message, Says},
        review::Link,
    },
    quorum::Assurance,
    request::{Hold, Word, span},
    scope::Scope,
};

/// Longest text of a section, in characters.
const SECTION: usize = 3000;
/// Longest header.
const HEADER: usize = 150;
/// Most characters in all blocks: about 13,200 are refused.
const ALL: usize = 11_000;
/// Most facts: 50 blocks, less those that are always there.
const FACTS: usize = 40;

/// The message, but for where it goes.
pub fn message(message: &Message) -> Value {
    let card = Card::of(message, fits);
    let note = match &message.says {
        _ if message.test => "Test of this channel",
        Says::Question { .. } | Says::Counted { .. } => "Approval needed",
        Says::Reminder { .. } => "Approval still needed",
        Says::Outcome(_) => "No answer is needed any more",
    };
    let head = plain(&line(&head(message), HEADER - 30));
    let mut blocks = vec![json!({ "type": "header", "text": head }), section(&card.title)];
    blocks.push(context("Seen by the kernel"));
    blocks.extend(card.facts.iter().map(fact));
    if !card.claims.is_empty() {
        blocks.push(json!({ "type": "divider" }));
        blocks.push(context("Claimed, not verified"));
        blocks.extend(card.claims.iter().map(fact));
    }
    if message.asks() {
        let enough = message.hold.assurance == Assurance::Basic;
        blocks.push(buttons(&message.hold, card.whole && enough, message.review.as_ref()));
    }
    let text = format!("{note} on {}: hold {}", escaped(&line(&message.host, 80)), message.hold.id);
    json!({
        "text": text,
        "blocks": blocks,
        "mrkdwn": false,
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// Says that the question waits, without repeating it.
pub fn reminder(message: &Message) -> String {
    let (hold, host) = (&message.hold, escaped(&line(&message.host, 80)));
    let left = span(hold.deadline.duration_since(message.at).as_secs());
    format!("Approval still needed on {host}: hold {}, {left} left", hold.id)
}

/// Text outside of blocks, where these three begin markup.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn fits(card: &Card) -> bool {
    let facts = || card.facts.iter().chain(&card.claims);
    let lengths: Vec<_> = facts().map(|fact| told(fact).chars().count()).collect();
    let title = card.title.chars().count();
    let all = title + lengths.iter().sum::<usize>();
    lengths.len() <= FACTS && all <= ALL && lengths.iter().all(|length| *length <= SECTION) && title <= SECTION
}

fn fact(fact: &Fact) -> Value {
    section(&told(fact))
}

fn told(Fact { label, lines }: &Fact) -> String {
    match &lines[..] {
        [line] => format!("{label}: {line}"),
        // A line that begins like another fact is seen to belong to this one.
        _ => format!("{label}:{}", lines.iter().map(|line| format!("\n› {line}")).collect::<String>()),
    }
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": plain(text) })
}

fn context(text: &str) -> Value {
    json!({ "type": "context", "elements": [plain(text)] })
}

fn plain(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text, "emoji": false })
}

/// Deny, and Approve beside it where all of the operation has been shown and a click is enough; with what the rule offers
/// besides once, and the way to the page.
fn buttons(hold: &Hold, approve: bool, review: Option<&Link>) -> Value {
    let button = |text: &str, style: &str, word: Word| {
        let action = format!("holdpoint_{}", text.to_lowercase());
        let value = value(hold, word, Scope::Once);
        json!({ "type": "button", "text": plain(text), "style": style, "action_id": action, "value": value })
    };
    let once = approve.then(|| button("Approve", "primary", Word::Approve));
    let longer = (approve && !hold.scopes.is_empty()).then(|| longer(hold));
    // Slack tells of this click, too; it is no answer's name.
    let review = review
        .map(|link| json!({ "type": "button", "text": plain("Review"), "action_id": "review", "url": link.url() }));
    let deny = button("Deny", "danger", Word::Deny);
    let elements: Vec<_> = once.into_iter().chain(longer).chain([deny]).chain(review).collect();
    json!({ "type": "actions", "block_id": format!("holdpoint-{}", hold.id), "elements": elements })
}

/// A choice is a click: Slack asks back before it sends it, since what is wider is not to be approved by a slip.
fn longer(hold: &Hold) -> Value {
    let option = |scope: &Scope| json!({ "text": plain(&scope.words()), "value": value(hold, Word::Approve, *scope) });
    json!({
        "type": "static_select",
        "action_id": "holdpoint_approve_for",
        "placeholder": plain("Approve for …"),
        "options": hold.scopes.iter().map(option).collect::<Vec<_>>(),
        "confirm": {
            "title": plain("Approve for longer?"),
            "text": plain("The same again passes without a question, as long as you have chosen, or until somebody \
                           takes it back: holdpoint revoke."),
            "confirm": plain("Approve"),
            "deny": plain("Cancel"),
        },
    })
}

/// What a click sends back, of at most 150 characters. Who has not seen the question cannot know the digest, and it fits
/// nothing else.
fn value(hold: &Hold, decision: Word, scope: Scope) -> String {
    let mut value = json!({ "hold": hold.id, "digest": hold.digest, "decision": decision });
    if !scope.is_once() {
        value["scope"] = json!(scope);
    }
    value.to_string()
}
