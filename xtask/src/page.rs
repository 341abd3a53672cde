//! The review page in a real browser: what a person does there, by mouse, by keyboard and without scripts, what another one
//! sees meanwhile, and that nothing of what subjects write becomes more than text; and a card as Teams would show it. Leaves
//! pictures in `target/page/`.

mod pictures;
mod sample;
mod teams;
mod webdriver;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::sample::Sample;
use self::webdriver::{Browser, Driver, ENTER, TAB};
use crate::progress;

/// For everything.
const LIMIT: Duration = Duration::from_secs(150);
/// More than a page has to stop at.
const STOPS: usize = 60;
/// Holds of the sample with hostile text, as it numbers them.
const HOSTILE: std::ops::RangeInclusive<u32> = 6..=12;

/// Tries the page of `program`.
pub fn try_out(program: &Path) -> Result<()> {
    let cards = teams::hostile_cards().context("cards about what subjects write")?;
    let driver = Driver::start(Instant::now() + LIMIT)?;
    let sample = Sample::start(program, 600)?;
    let (alice, bob) = (driver.browser("alice", true)?, driver.browser("bob", true)?);
    told("links that lead nowhere", || bad_links(program, &sample, &alice))?;
    told("logging in", || {
        log_in(&alice, &sample.alice, "alice")?;
        log_in(&bob, &sample.bob, "bob")
    })?;
    told("pictures", || {
        let fresh = Sample::start(program, 600)?;
        pictures::take(&alice, &sample, &fresh.alice)
    })?;
    told("a card in Teams", || teams::render(&alice, program))?;
    told("what subjects write, in Teams", || teams::render_hostile(&alice, &cards))?;
    told("what subjects write", || hostile(&alice, &sample))?;
    told("what a screen reader is told", || named(&alice, &sample))?;
    told("approving by mouse, seen by another", || by_mouse(&alice, &bob, &sample))?;
    told("denying by keyboard, seen by another", || by_keyboard(&alice, &bob, &sample))?;
    told("one's own request", || own(&alice, &sample))?;
    told("a link that was used", || used(&bob, &sample.alice))?;
    let complaints = [alice.complaints()?, bob.complaints()?].concat();
    // Status codes of refusals are among them; they were asked for.
    let others: Vec<_> =
        complaints.iter().filter(|complaint| !complaint.contains("the server responded with a status")).collect();
    ensure!(others.is_empty(), "the browser complains: {others:?}");
    told("all of that without scripts", || without_scripts(&driver, program))
}

fn told(what: &str, perform: impl FnOnce() -> Result<()>) -> Result<()> {
    perform().with_context(|| what.to_owned())?;
    progress(&format!("the page: {what}: ok"));
    Ok(())
}

/// Goes by the link, and through the door.
fn log_in(browser: &Browser<'_>, link: &str, user: &str) -> Result<()> {
    browser.open(link)?;
    let button = browser.text("main button")?;
    ensure!(button == format!("Log in as {user}"), "the button says {button}");
    browser.click("main button")?;
    heading(browser, "operations wait for you")?;
    ensure!(browser.text("header .who")? == user, "somebody else is logged in");
    Ok(())
}

/// Waits for a page whose heading contains `text`.
fn heading(browser: &Browser<'_>, text: &str) -> Result<()> {
    let script = format!("return document.querySelector('h1')?.textContent.includes({text:?}) ?? false");
    browser.wait(&format!("for the heading {text:?}"), &script)
}

fn refused(browser: &Browser<'_>, link: &str, status: u64, title: &str) -> Result<()> {
    browser.open(link)?;
    heading(browser, title)?;
    let found = browser.status()?;
    ensure!(found == status, "{title}: status {found}, not {status}");
    let buttons = browser.script("return document.querySelectorAll('form, button').length")?;
    ensure!(buttons == 0, "{title}: there is something to press");
    Ok(())
}

fn bad_links(program: &Path, sample: &Sample, browser: &Browser<'_>) -> Result<()> {
    let other = Sample::start(program, 1)?;
    refused(browser, &sample.foreign(&other), 403, "not one of this agent's")?;
    refused(browser, &sample.alice.replace("for=alice", "for=root"), 403, "not one of this agent's")?;
    std::thread::sleep(Duration::from_millis(2100));
    refused(browser, &other.alice, 410, "has expired")?;
    refused(browser, sample.origin(), 401, "not logged in")
}

fn used(browser: &Browser<'_>, link: &str) -> Result<()> {
    refused(browser, link, 410, "This link is not good any more")
}

/// No element, link or title but the page's own.
fn hostile(browser: &Browser<'_>, sample: &Sample) -> Result<()> {
    let elements = "return [...new Set([...document.querySelectorAll('*')].map(e => e.localName))].sort().join(' ')";
    browser.open(&sample.hold(1))?;
    let plain = browser.script(elements)?;
    let pages = HOSTILE.map(|number| sample.hold(number)).map(|page| (page, Some(&plain)));
    for (page, plain) in pages.chain([(format!("{}/", sample.origin()), None)]) {
        browser.open(&page)?;
        let found = browser.script(elements)?;
        ensure!(plain.is_none_or(|plain| *plain == found), "{page} has other elements: {found}");
        let foreign = "return [...document.querySelectorAll('a')].filter(a => a.origin !== location.origin).length \
                       + document.querySelectorAll('img, iframe, object, embed, svg, [onerror]').length";
        ensure!(browser.script(foreign)? == 0, "{page} leads elsewhere");
        let title = browser.script("return document.title")?;
        ensure!(title.as_str().is_some_and(|title| title.ends_with(" · Holdpoint")), "the title is {title}");
    }
    Ok(())
}

/// Everything that can be used has a name, and the page has its landmarks.
fn named(browser: &Browser<'_>, sample: &Sample) -> Result<()> {
    browser.open(&sample.hold(1))?;
    browser.debug("Accessibility.enable", serde_json::json!({}))?;
    let tree = browser.debug("Accessibility.getFullAXTree", serde_json::json!({}))?;
    let nodes = tree["nodes"].as_array().context("no tree")?;
    let of = |role: &str| -> Vec<_> {
        let alike = nodes.iter().filter(|node| node["role"]["value"] == role && node["ignored"] == false);
        alike.map(|node| node["name"]["value"].as_str().unwrap_or_default()).collect()
    };
    let buttons = of("button");
    ensure!(buttons == ["Log out", "Approve", "Deny", "Deny and kill"], "buttons: {buttons:?}");
    ensure!(of("textbox") == ["Reason"], "text boxes: {:?}", of("textbox"));
    ensure!(of("region") == ["Seen by the kernel", "Claimed, not verified"], "{:?}", of("region"));
    ensure!(of("link").iter().all(|name| !name.is_empty()), "a link without a name");
    for (role, count) in [("main", 1), ("banner", 1), ("status", 1)] {
        ensure!(of(role).len() == count, "{role}: {:?}", of(role));
    }
    Ok(())
}

/// A mark that is gone when the page is loaded again.
const MARK: &str = "window.mark = true";

fn by_mouse(alice: &Browser<'_>, bob: &Browser<'_>, sample: &Sample) -> Result<()> {
    let list = format!("{}/", sample.origin());
    bob.open(&list)?;
    bob.script(MARK)?;
    alice.open(&list)?;
    alice.click("a[href$='/h/0000000000000001']")?;
    heading(alice, "Approval needed")?;
    ensure!(alice.text(".facts")?.contains("/usr/bin/git"), "the facts are not there");
    for claim in ["--task", "said by laura, who launched it: ", "said by process 4242, /usr/local/bin/agent: "] {
        ensure!(alice.text(".claims")?.contains(claim), "{claim:?} is not among the claims");
    }
    alice.click("button.approve")?;
    heading(alice, "Approved by alice")?;
    let moved = "return !document.querySelector('.holds:not(.past) a[href$=\"/h/0000000000000001\"]') \
                 && document.querySelector('.past').textContent.includes('Approved by alice') \
                 && document.getElementById('said').textContent.includes('wait for you') && window.mark === true";
    bob.wait("for the list of another to change by itself", moved)
}

fn by_keyboard(alice: &Browser<'_>, bob: &Browser<'_>, sample: &Sample) -> Result<()> {
    bob.open(&sample.hold(2))?;
    bob.script(MARK)?;
    alice.open(&format!("{}/", sample.origin()))?;
    alice.press(TAB)?;
    ensure!(
        alice.script("return document.activeElement.className")? == "skip",
        "the first stop is the way to the content"
    );
    tab_to(alice, "a[href$='/h/0000000000000002']")?;
    alice.press(ENTER)?;
    heading(alice, "Approval needed")?;
    tab_to(alice, "textarea")?;
    alice.press("not today")?;
    tab_to(alice, "button.deny")?;
    alice.press(ENTER)?;
    heading(alice, "Denied by alice")?;
    ensure!(alice.text("main")?.contains("not today"), "the reason is not there");
    let changed = "return document.querySelector('h1').textContent.startsWith('Denied by alice') && window.mark === true \
                   && !document.querySelector('textarea')";
    bob.wait("for the hold of another to change by itself", changed)
}

/// Presses Tab until the focus is there, where it can be seen.
fn tab_to(browser: &Browser<'_>, css: &str) -> Result<()> {
    let there = format!("return document.activeElement.matches({css:?})");
    for _ in 0..STOPS {
        if browser.script(&there)? == true {
            let outline = browser.script("return getComputedStyle(document.activeElement).outlineStyle")?;
            ensure!(outline == "solid", "the focus on {css} cannot be seen: {outline}");
            return Ok(());
        }
        browser.press(TAB)?;
    }
    anyhow::bail!("{css} cannot be reached by keyboard")
}

fn own(browser: &Browser<'_>, sample: &Sample) -> Result<()> {
    browser.open(&sample.hold(4))?;
    ensure!(browser.text(".notice")?.contains("Another reviewer answers"), "it is not said");
    ensure!(browser.script("return document.querySelectorAll('[name=word]').length")? == 0, "there are buttons");
    browser.open(&sample.hold(5))?;
    heading(browser, "No such hold")
}

fn without_scripts(driver: &Driver, program: &Path) -> Result<()> {
    let (sample, browser) = (Sample::start(program, 600)?, driver.browser("plain", false)?);
    log_in(&browser, &sample.alice, "alice")?;
    browser.open(&sample.hold(3))?;
    browser.click("button.kill")?;
    heading(&browser, "Denied by alice: the process is killed")?;
    browser.click("header button")?;
    heading(&browser, "You are not logged in")
}
