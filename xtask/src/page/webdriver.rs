//! As much of [WebDriver](https://www.w3.org/TR/webdriver2/) as the page's tests need: a driver on this host, and headless
//! browsers, each with a profile of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// How long a browser may take for one thing.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at while something is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// Under which key WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The key of this name, as WebDriver writes it.
pub const TAB: &str = "\u{e004}";
/// See [`TAB`].
pub const ENTER: &str = "\u{e007}";

/// `chromedriver`. Ends with this value.
pub struct Driver {
    process: Child,
    port: u16,
    /// Nothing is begun after this.
    end: Instant,
}

impl Driver {
    /// Starts it; everything has to be done before `end`.
    pub fn start(end: Instant) -> Result<Self> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("failed to start chromedriver")?;
        let output = process.stdout.take().context("chromedriver has no output")?;
        let mut driver = Self { process, port: 0, end };
        let said = BufReader::new(output).lines().map_while(Result::ok);
        let mut ports =
            said.filter_map(|line| line.split_once(" successfully on port ")?.1.trim_end_matches('.').parse().ok());
        driver.port = ports.next().context("chromedriver did not say its port")?;
        Ok(driver)
    }

    /// Opens a browser that begins with nothing; without `scripts` pages execute none.
    pub fn browser(&self, name: &str, scripts: bool) -> Result<Browser<'_>> {
        let profile = std::env::temp_dir().join(format!("holdpoint-page-{}-{name}", std::process::id()));
        fs::create_dir(&profile).with_context(|| format!("failed to create {}", profile.display()))?;
        let mut arguments: Vec<_> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let scripts = if scripts { 1 } else { 2 };
        let options = json!({
            "args": arguments,
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        });
        let capabilities = json!({ "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let wanted = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let mut browser = Browser { driver: self, session: String::new(), profile };
        let session = self.call("POST", "/session", &wanted).context("no browser could be opened")?;
        browser.session = session["sessionId"].as_str().context("a session has no id")?.to_owned();
        Ok(browser)
    }

    /// One command, and what came of it.
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let left = self.end.checked_duration_since(Instant::now()).context("the tests take too long")?;
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).context("chromedriver has gone")?;
        stream.set_read_timeout(Some(left.max(LOOK)))?;
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n", self.port);
        let about = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all([head, about, body].concat().as_bytes())?;
        let reply = reply(BufReader::new(stream)).with_context(|| format!("{method} {path} was not answered"))?;
        match reply["value"]["error"].as_str() {
            Some(error) => bail!("{method} {path}: {error}: {}", reply["value"]["message"]),
            None => Ok(reply["value"].clone()),
        }
    }
}

/// The body of an HTTP response that announces how long it is.
fn reply(mut stream: impl BufRead) -> Result<Value> {
    let mut length = None;
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line)? > 0, "the connection was closed");
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = Some(value.trim().parse()?);
        }
    }
    let mut body = vec![];
    stream.take(length.context("no length was announced")?).read_to_end(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have gone by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A headless browser. Ends with this value, and so does its profile.
pub struct Browser<'a> {
    driver: &'a Driver,
    session: String,
    profile: PathBuf,
}

impl Browser<'_> {
    fn post(&self, command: &str, body: Value) -> Result<Value> {
        self.driver.call("POST", &format!("/session/{}/{command}", self.session), &body)
    }

    /// A command of the browser's own debugging protocol.
    pub fn debug(&self, command: &str, parameters: Value) -> Result<Value> {
        self.post("goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    /// Goes to `url`.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("url", json!({ "url": url })).map(drop)
    }

    /// What this script returns.
    pub fn script(&self, script: &str) -> Result<Value> {
        self.post("execute/sync", json!({ "script": script, "args": [] }))
    }

    /// The status that the page came with.
    pub fn status(&self) -> Result<u64> {
        let status = self.script("return performance.getEntriesByType('navigation')[0].responseStatus")?;
        status.as_u64().context("the page has no status")
    }

    fn element(&self, css: &str) -> Result<String> {
        let found = self.post("element", json!({ "using": "css selector", "value": css }))?;
        Ok(found[ELEMENT].as_str().context("an element has no id")?.to_owned())
    }

    /// Clicks it, as a mouse does.
    pub fn click(&self, css: &str) -> Result<()> {
        let element = self.element(css)?;
        self.post(&format!("element/{element}/click"), json!({})).map(drop)
    }

    /// Its text, as people see it.
    pub fn text(&self, css: &str) -> Result<String> {
        let path = format!("/session/{}/element/{}/text", self.session, self.element(css)?);
        Ok(self.driver.call("GET", &path, &Value::Null)?.as_str().unwrap_or_default().to_owned())
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub fn press(&self, keys: &str) -> Result<()> {
        let stroke = |key: char| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }));
        let strokes: Vec<_> = keys.chars().flat_map(stroke).collect();
        self.post("actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] })).map(drop)
    }

    /// Waits until this script returns true.
    pub fn wait(&self, what: &str, script: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        // Between two pages there is none to ask.
        while self.script(script).ok() != Some(Value::Bool(true)) {
            ensure!(Instant::now() < end, "waited in vain: {what}; the page says: {}", self.text("body")?);
            sleep(LOOK);
        }
        Ok(())
    }

    /// What the browser complained about since it was last asked.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let log = self.post("se/log", json!({ "type": "browser" }))?;
        let severe = |entry: &&Value| entry["level"] == "SEVERE";
        let entries = log.as_array().context("the browser has no log")?.iter();
        Ok(entries.filter(severe).map(|entry| entry["message"].to_string()).collect())
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // What cannot be ended ends with its driver.
        let _ = self.driver.call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        let _ = fs::remove_dir_all(&self.profile);
    }
}
