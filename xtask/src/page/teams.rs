//! Cards for Teams by Microsoft's own renderer: it finds nothing wrong with them, shows them, and makes nothing but text of what
//! subjects write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::pictures;
use super::webdriver::Browser;
use crate::cache::artefact;
use crate::process::{output_of, run};
use crate::programs::{cargo, workspace};

/// Width of a card in a channel, in CSS pixels.
const WIDTH: u32 = 480;

/// Names the file that the agent's test of that name writes.
const CARDS: &str = "HOLDPOINT_CARDS";
const WRITES_CARDS: &str = "approval::hostile::hostile_cards_for_the_renderer";
/// Fewer hostile cards than this is too few.
const FEWEST: u64 = 400;

/// Shows the sample's card of `program`, leaves its picture in `target/page`, and says what the renderer finds wrong with it.
pub fn render(browser: &Browser<'_>, program: &Path) -> Result<()> {
    let preview = output_of(Command::new(program).args(["channel", "preview", "teams", "--sample", "--json"]))?;
    let preview: Value = serde_json::from_str(&preview)?;
    let card = &preview["message"]["attachments"][0]["content"];
    ensure!(card["type"] == "AdaptiveCard", "no card: {preview}");
    open(browser, "teams.html", card, "window.found = render(given).events;")?;
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
    pictures::picture(browser, &directory()?.join("teams.png"))?;
    browser.debug("Emulation.clearDeviceMetricsOverride", json!({})).map(drop)
}

/// What is sent about texts that subjects could choose to become more than text: the agent's tests know them.
pub fn hostile_cards() -> Result<Value> {
    let file = directory()?.join("cards.json");
    // One of before would hide that none was written.
    let _ = fs::remove_file(&file);
    let mut cargo = cargo();
    // As the unit tests are built, so that nothing is built twice.
    cargo.args(["test", "--quiet", "--workspace", "--exclude", "holdpoint-tests", "--bin", "holdpoint", "--"]);
    run(cargo.args(["--ignored", "--exact", WRITES_CARDS]).env(CARDS, &file))?;
    let cards = fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
    Ok(serde_json::from_slice(&cards)?)
}

/// Shows each of these cards, which has what it says and nothing beyond the template.
pub fn render_hostile(browser: &Browser<'_>, cards: &Value) -> Result<()> {
    let all = "window.count = 0; window.found = given.sent.flatMap(cards => cards.flatMap((card, at) => { \
               window.count += 1; return flaws(given.plain[at], card); })); window.control = control(given.plain[0]);";
    open(browser, "hostile.html", cards, all)?;
    let control = browser.script("return window.control")?;
    ensure!(control == 4, "what is beyond the template is not noticed: {control}");
    let found = browser.script("return window.found.slice(0, 10)")?;
    ensure!(found == json!([]), "the renderer makes more than text of it: {found:#}");
    let count = browser.script("return window.count")?;
    ensure!(count.as_u64() >= Some(FEWEST), "only {count} cards were shown");
    Ok(())
}

fn directory() -> Result<PathBuf> {
    let directory = workspace().join("target/page");
    fs::create_dir_all(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
    Ok(directory)
}

/// Opens a page with the renderer that does this with what is `given`.
fn open(browser: &Browser<'_>, name: &str, given: &Value, script: &str) -> Result<()> {
    let page = directory()?.join(name);
    fs::write(&page, markup(&library()?, given, script))
        .with_context(|| format!("failed to write {}", page.display()))?;
    browser.open(&format!("file://{}", page.display()))
}

fn markup(library: &Path, given: &Value, script: &str) -> String {
    // Nothing in it ends the script.
    let given = given.to_string().replace('<', "\\u003c");
    // The renderer leaves it to who shows a card where long words are broken.
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>A card in Teams</title>\
         <body style=\"overflow-wrap: anywhere\"><main></main><script src=\"file://{}\"></script><script>\
         {}\nconst given = {given};\n{script}</script>",
        library.display(),
        include_str!("cards.js"),
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
