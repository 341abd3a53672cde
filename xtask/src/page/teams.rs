//! The card for Teams by Microsoft's own renderer: it finds nothing wrong with it, and shows it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::pictures;
use super::webdriver::Browser;
use crate::cache::artefact;
use crate::process::{output_of, run};
use crate::programs::workspace;

/// Width of a card in a channel, in CSS pixels.
const WIDTH: u32 = 480;

/// Shows the sample's card of `program`, leaves its picture in `target/page`, and says what the renderer finds wrong with it.
pub fn render(browser: &Browser<'_>, program: &Path) -> Result<()> {
    let preview = output_of(Command::new(program).args(["channel", "preview", "teams", "--sample", "--json"]))?;
    let preview: Value = serde_json::from_str(&preview)?;
    let card = &preview["message"]["attachments"][0]["content"];
    ensure!(card["type"] == "AdaptiveCard", "no card: {preview}");
    let directory = workspace().join("target/page");
    fs::create_dir_all(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
    let page = directory.join("teams.html");
    fs::write(&page, markup(&library()?, card)).with_context(|| format!("failed to write {}", page.display()))?;
    browser.open(&format!("file://{}", page.display()))?;
    let found = browser.script("return window.found")?;
    ensure!(found == json!([]), "the renderer finds: {found}");
    let shown = browser.text("main")?;
    for text in ["Approval needed", "/usr/bin/git", "Seen by the kernel", "Claimed, not verified"] {
        ensure!(shown.contains(text), "the card does not show {text:?}: {shown}");
    }
    let links = browser.script("return document.querySelectorAll('main a, main img').length")?;
    ensure!(links == 0, "the card leads elsewhere");
    let screen = json!({ "width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    browser.debug("Emulation.setDeviceMetricsOverride", screen)?;
    pictures::picture(browser, &directory.join("teams.png"))?;
    browser.debug("Emulation.clearDeviceMetricsOverride", json!({})).map(drop)
}

/// A page with the card, which leaves all that is wrong with it in `found`.
fn markup(library: &Path, card: &Value) -> String {
    // Nothing in the card ends the script.
    let card = card.to_string().replace('<', "\\u003c");
    // The renderer leaves it to who shows the card where long words are broken.
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>A card in Teams</title>\
         <body style=\"overflow-wrap: anywhere\"><main></main><script src=\"file://{}\"></script><script>\
         const card = new AdaptiveCards.AdaptiveCard(), context = new AdaptiveCards.SerializationContext();\
         card.hostConfig = new AdaptiveCards.HostConfig({{ fontFamily: 'Liberation Sans' }});\
         card.parse({card}, context);\
         const events = Array.from({{ length: context.eventCount }}, (_, at) => context.getEventAt(at));\
         window.found = [...events, ...card.validateProperties().validationEvents].map(event => event.message);\
         document.querySelector('main').append(card.render());</script>",
        library.display()
    )
}

/// What tests/peers/package-lock.json names, from where npm is configured to look.
fn library() -> Result<PathBuf> {
    let peers = workspace().join("tests/peers");
    let read =
        |name| fs::read_to_string(peers.join(name)).with_context(|| format!("failed to read tests/peers/{name}"));
    let files = [("package.json", read("package.json")?), ("package-lock.json", read("package-lock.json")?)];
    let directory = artefact("cards", &files, |directory| {
        for (name, text) in &files {
            fs::write(directory.join(name), text)?;
        }
        let words = ["ci", "--omit=peer", "--ignore-scripts", "--no-audit", "--no-fund"];
        run(Command::new("npm").args(words).current_dir(directory))
    })?;
    Ok(directory.join("node_modules/adaptivecards/dist/adaptivecards.js"))
}
