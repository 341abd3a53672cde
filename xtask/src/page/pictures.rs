//! Pictures of the page, for people to look at: on a phone and on a desk, by day and by night.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::sample::Sample;
use super::webdriver::Browser;
use crate::programs::workspace;

/// Widths in CSS pixels.
const WIDTHS: [u32; 2] = [390, 1280];

/// Writes them below `target/page`, that of the door by a `link` that was not used, and sees that no page is wider than the screen.
pub fn take(browser: &Browser<'_>, sample: &Sample, link: &str) -> Result<()> {
    let directory = workspace().join("target/page");
    fs::create_dir_all(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
    let pages = [
        ("list", format!("{}/", sample.origin())),
        ("hold", sample.hold(2)),
        ("hostile", sample.hold(8)),
        ("own", sample.hold(4)),
        ("door", link.to_owned()),
        ("nothing", format!("{}/nothing", sample.origin())),
    ];
    for width in WIDTHS {
        let screen = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800 });
        browser.debug("Emulation.setDeviceMetricsOverride", screen)?;
        for scheme in ["light", "dark"] {
            let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            browser.debug("Emulation.setEmulatedMedia", feature)?;
            for (name, url) in &pages {
                browser.open(url)?;
                let wide = browser.script("return document.documentElement.scrollWidth")?;
                ensure!(wide.as_u64().is_some_and(|wide| wide <= width.into()), "{name} is {wide} wide on {width}");
                picture(browser, &directory.join(format!("{name}-{width}-{scheme}.png")))?;
            }
        }
    }
    browser.debug("Emulation.clearDeviceMetricsOverride", json!({})).map(drop)
}

/// Writes what `browser` shows to `file`.
pub fn picture(browser: &Browser<'_>, file: &Path) -> Result<()> {
    let whole = json!({ "captureBeyondViewport": true });
    let taken = browser.debug("Page.captureScreenshot", whole)?;
    let text = taken["data"].as_str().context("no picture")?;
    fs::write(file, STANDARD.decode(text)?).with_context(|| format!("failed to write {}", file.display()))
}
