//! Microsoft Teams: an Adaptive Card, posted by a workflow ("When a Teams webhook request is received").
//!
//! A card that came by a workflow cannot return a click, nor be changed: it can have a button that opens the page
//! where the answer is given, and another card follows when the hold is over.

use std::{fmt, path::PathBuf, sync::Arc};

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use toml::Spanned;

use super::{
    card::{Card, Fact, head},
    channel::{Attempting, Channel, Message, Preview, Way},
    delivery::Attempt,
    http::{Http, nowhere},
};
use crate::{
    config::{Keys, at, destination},
    policy::{Flaw, Problem},
};

/// Longest message, in bytes: Teams takes about 28 KB.
const LONGEST: usize = 27_000;

/// A workflow.
pub struct Teams {
    /// Who has it can post: a secret.
    url: Url,
    http: Http,
    /// Beginning of another page's URL.
    review: Option<Url>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url_file: Option<Spanned<PathBuf>>,
    url_credential: Option<Spanned<String>>,
    review_url: Option<Spanned<String>>,
}

/// Reads the keys of such a channel.
pub(super) fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Way>, Problem> {
    let raw: Raw = keys.read()?;
    let url = keys.files.secret("url_file", &raw.url_file, "url_credential", &raw.url_credential, workflow)?;
    let http = Http::new(&url, None).map_err(|flaw| at(keys.name, flaw, "install ca-certificates"))?;
    let review = raw.review_url.as_ref().map(destination::read).transpose()?;
    if let (Some(url), Some(_)) = (&raw.review_url, keys.reader) {
        return Err(at(url, "a reader is logged in on the agent's own page", "remove review_url, or reader"));
    }
    Ok(Arc::new(Teams { url, http, review }))
}

/// The workflow's URL; it is not repeated.
fn workflow(text: &str) -> Result<Url, Flaw> {
    destination::parse(text).map_err(|flaw| Flaw::new(flaw, "the URL that the workflow shows, as it is"))
}

impl fmt::Debug for Teams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teams").field("host", &self.url.host_str().unwrap_or_default()).finish_non_exhaustive()
    }
}

impl Way for Teams {
    fn send(&self, _: &Channel, message: &Arc<Message>) -> Attempting {
        let body = body(message, self.review.as_ref()).to_string();
        let posted = self.http.post(self.url.clone(), vec![], body.into());
        Box::pin(async move { posted.await.map_or_else(|failed| failed, |_| Attempt::Delivered) })
    }

    fn preview(&self, message: &Message) -> Preview {
        let host = self.url.host_str().unwrap_or_default();
        Preview { to: format!("POST to {host}"), message: body(message, self.review.as_ref()) }
    }
}

/// One that leads nowhere.
pub(super) fn example() -> Arc<dyn Way> {
    Arc::new(Teams { url: nowhere(), http: Http::new(&nowhere(), None).expect("plain http"), review: None })
}

/// What is sent.
pub(super) fn body(message: &Message, review: Option<&Url>) -> Value {
    let envelope = |card: &Card| {
        json!({ "type": "message", "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": content(message, card, review),
        }] })
    };
    envelope(&Card::of(message, |card| envelope(card).to_string().len() <= LONGEST))
}

fn content(message: &Message, card: &Card, review: Option<&Url>) -> Value {
    let mut body = vec![text(&head(message), "default", "bolder"), text(&card.title, "monospace", "bolder")];
    let mut actions = vec![];
    if message.asks() {
        body.extend(listed("Seen by the kernel", &card.facts));
        body.extend(listed("Claimed, not verified", &card.claims));
        let elsewhere = review.and_then(|page| page_of(page, message));
        let url = elsewhere.or_else(|| message.review.as_ref().map(|link| link.url().to_owned()));
        actions.extend(url.map(|url| json!({ "type": "Action.OpenUrl", "title": "Review", "url": url })));
    } else {
        // What follows a question does not repeat it.
        body.extend(card.facts.iter().filter(|fact| ["Host", "Hold"].contains(&fact.label)).map(fact));
    }
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": actions,
    })
}

/// The page of this question below `page`, if there can be one.
fn page_of(page: &Url, message: &Message) -> Option<String> {
    let mut url = page.clone();
    url.path_segments_mut().ok()?.pop_if_empty().push(&message.hold.id.to_string());
    Some(url.into())
}

/// Facts under a heading, if there are any.
fn listed(heading: &str, facts: &[Fact]) -> Vec<Value> {
    let heading = (!facts.is_empty()).then(|| {
        let mut heading = text(heading, "default", "bolder");
        (heading["spacing"], heading["separator"]) = (json!("large"), json!(true));
        heading
    });
    heading.into_iter().chain(facts.iter().map(fact)).collect()
}

fn fact(Fact { label, lines }: &Fact) -> Value {
    let label = text(label, "default", "lighter");
    let lines = lines.iter().map(|line| text(line, "monospace", "default"));
    let items: Vec<_> = [label].into_iter().chain(lines).collect();
    json!({ "type": "Container", "spacing": "small", "items": items })
}

/// What Teams puts a date or a time in the place of.
const EXPANDED: [&str; 2] = ["{{DATE(", "{{TIME("];

/// Text as it is. Not a `TextBlock`, nor a fact of a `FactSet`: these take Markdown.
fn text(line: &str, font: &str, weight: &str) -> Value {
    let run = |text| {
        let mut run = json!({ "type": "TextRun", "text": text, "fontType": font });
        match weight {
            // Said of each piece, of which there can be many.
            "default" => {}
            "lighter" => (run["weight"], run["isSubtle"]) = (json!(weight), json!(true)),
            _ => run["weight"] = json!(weight),
        }
        run
    };
    let runs: Vec<_> = runs(line).into_iter().map(run).collect();
    json!({ "type": "RichTextBlock", "spacing": "none", "inlines": runs })
}

/// The text in pieces, none of which is expanded: each ends between the braces that would begin it.
fn runs(line: &str) -> Vec<&str> {
    let upper = line.to_ascii_uppercase();
    let mut cuts: Vec<_> = EXPANDED.iter().flat_map(|word| upper.match_indices(word)).map(|(at, _)| at + 1).collect();
    cuts.sort_unstable();
    let begins = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([line.len()]);
    begins.zip(ends).map(|(begin, end)| &line[begin..end]).collect()
}

#[cfg(test)]
mod tests;
