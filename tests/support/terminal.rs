//! A person at a terminal: an interactive bash on a pty.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::{pty::openpty, unistd::tcgetpgrp};

use crate::{User, process, wait_until};

/// What bash says when it waits for a command.
const PROMPT: &str = "ready> ";

/// A terminal with a shell. Hung up when dropped.
#[derive(Debug)]
pub struct Terminal {
    screen: File,
    shell: Child,
    text: Arc<Mutex<String>>,
}

impl Terminal {
    /// One with an interactive bash of this user.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn bash(user: User) -> Self {
        Self::with(user, ["bash", "--norc", "--noprofile", "-i"])
    }

    /// One with this command, which shows [`PROMPT`].
    #[track_caller]
    fn with<S: AsRef<OsStr>>(user: User, command: impl IntoIterator<Item = S>) -> Self {
        let pty = openpty(None, None).expect("a pty");
        let mut words = vec!["setsid".into(), "--ctty".into(), "--wait".into()];
        words.extend(command.into_iter().map(|word| word.as_ref().to_owned()));
        let line = File::from(pty.slave);
        let half = || Stdio::from(line.try_clone().expect("dup"));
        let shell = user
            .command(words)
            .env("PS1", PROMPT)
            .env("TERM", "dumb")
            .stdin(half())
            .stdout(half())
            .stderr(half())
            .spawn()
            .expect("start a shell");
        let screen = File::from(pty.master);
        let text = Arc::new(Mutex::new(String::new()));
        let (mut read, shown) = (screen.try_clone().expect("dup"), Arc::clone(&text));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end: nobody has the other side open.
            while let Ok(length @ 1..) = read.read(&mut bytes) {
                let piece = String::from_utf8_lossy(&bytes[..length]).into_owned();
                shown.lock().unwrap_or_else(PoisonError::into_inner).push_str(&piece);
            }
        });
        let terminal = Self { screen, shell, text };
        terminal.wait_prompt();
        terminal
    }

    /// Types a line.
    ///
    /// # Panics
    /// If the terminal is gone.
    #[track_caller]
    pub fn types(&self, line: &str) {
        (&self.screen).write_all(format!("{line}\n").as_bytes()).expect("type");
    }

    /// All that was shown, what was typed too.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lines that were shown and are `line`.
    pub fn count(&self, line: &str) -> usize {
        self.text().lines().filter(|shown| *shown == line).count()
    }

    /// Waits until `text` was shown.
    #[track_caller]
    pub fn wait(&self, text: &str) {
        wait_until(&format!("{text:?} on the terminal"), || self.text().contains(text));
    }

    /// Waits until the shell waits for a command.
    #[track_caller]
    pub fn wait_prompt(&self) {
        wait_until("a prompt", || self.text().ends_with(PROMPT));
    }

    /// Has the shell read a line from the terminal, and waits for what it makes of it: only who has the terminal can.
    ///
    /// # Panics
    /// If it cannot.
    #[track_caller]
    pub fn check_reading(&self) {
        let number = crate::site::fresh();
        self.types("read -r word && echo \"it read <$word>\"");
        self.types(&format!("word{number}"));
        self.wait(&format!("it read <word{number}>"));
        self.wait_prompt();
    }

    /// The process group that has the terminal.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn foreground(&self) -> i32 {
        tcgetpgrp(&self.screen).expect("a foreground process group").as_raw()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the terminal\n{}\n---", self.text());
        }
        // The session's processes go with its leader.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The process group of a process.
///
/// # Panics
/// If it is gone.
#[track_caller]
pub fn group(pid: u32) -> i32 {
    // state, parent, group
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_else(|error| panic!("{pid}: {error}"));
    let group = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(2)).expect("a group");
    assert!(process::lives(pid));
    group.parse().expect("a number")
}
