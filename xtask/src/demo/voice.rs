//! How the story is told: calm on a terminal, plain without one.

use std::io::Write;
use std::time::Duration;

/// Without a terminal, a wait that takes longer is told.
const SILENCE: Duration = Duration::from_secs(10);

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// Prints to standard output.
pub struct Voice {
    /// Colours are wanted.
    colour: bool,
    /// Lines can be taken back.
    terminal: bool,
    steps: u32,
    /// A line about waiting is there, or has been written.
    waiting: bool,
}

impl Voice {
    /// Of a terminal, or of something else.
    pub fn new(terminal: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = terminal && !dumb;
        Self { colour: terminal && !set("NO_COLOR"), terminal, steps: 0, waiting: false }
    }

    /// The first line.
    pub fn title(&mut self, text: &str) {
        let text = self.styled(BOLD, text);
        self.line(&format!("\n{text}\n"));
    }

    /// A part of the story begins.
    pub fn step(&mut self, text: &str) {
        self.steps += 1;
        let text = self.styled(BOLD, &format!("{} {text}", self.steps));
        self.line(&format!("\n{text}"));
    }

    /// Something has been checked, and is so.
    pub fn check(&mut self, text: &str) {
        let mark = self.styled(GREEN, "✓");
        self.line(&format!("  {mark} {text}"));
    }

    /// Narration.
    pub fn say(&mut self, text: &str) {
        self.line(&format!("  {text}"));
    }

    /// Words of somebody else.
    pub fn quote(&mut self, who: &str, text: &str) {
        let margin = self.styled(DIM, &format!("{who:>10} │"));
        self.line(&format!("{margin} {text}"));
    }

    /// Something to type.
    pub fn command(&mut self, command: &str, what_for: &str) {
        let (command, what_for) = (self.styled(CYAN, command), self.styled(DIM, &format!("# {what_for}")));
        self.line(&format!("    {command}  {what_for}"));
    }

    /// A wait goes on.
    pub fn waiting(&mut self, what: &str, elapsed: Duration, left: Duration) {
        let left = format!("{}:{:02} left", left.as_secs() / 60, left.as_secs() % 60);
        if self.terminal {
            let line = self.styled(DIM, &format!("    waiting for {what}, {left}"));
            print!("\r\x1b[K{line}");
            let _ = std::io::stdout().flush();
            self.waiting = true;
        } else if elapsed > SILENCE && !self.waiting {
            println!("    waiting for {what}, {left}");
            self.waiting = true;
        }
    }

    /// The wait is over.
    pub fn waited(&mut self) {
        if self.waiting && self.terminal {
            print!("\r\x1b[K");
            let _ = std::io::stdout().flush();
        }
        self.waiting = false;
    }

    fn line(&mut self, text: &str) {
        if self.terminal {
            self.waited();
        }
        println!("{text}");
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.waited();
    }
}
