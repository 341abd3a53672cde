//! A person at a terminal: an interactive bash on a pty, and what an emulator of a terminal makes of what is shown there.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    num::NonZero,
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::{
    pty::{Winsize, openpty},
    sys::termios::{Termios, tcgetattr},
    unistd::tcgetpgrp,
};
use vt100::Parser;

use crate::{User, process, wait_until};

/// What bash says when it waits for a command.
const PROMPT: &str = "ready> ";
/// Lines and columns.
const SIZE: [NonZero<u16>; 2] = [NonZero::new(24).unwrap(), NonZero::new(80).unwrap()];

/// A terminal with a shell. Hung up when dropped.
#[derive(Debug)]
pub struct Terminal {
    screen: File,
    shell: Child,
    shown: Arc<Mutex<Vec<u8>>>,
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
        let [ws_row, ws_col] = SIZE.map(NonZero::get);
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a pty");
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
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut read, all) = (screen.try_clone().expect("dup"), Arc::clone(&shown));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end: nobody has the other side open.
            while let Ok(length @ 1..) = read.read(&mut bytes) {
                all.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..length]);
            }
        });
        let terminal = Self { screen, shell, shown };
        terminal.wait_prompt();
        terminal
    }

    /// Types a line.
    ///
    /// # Panics
    /// If the terminal is gone.
    #[track_caller]
    pub fn types(&self, line: &str) {
        self.presses(&format!("{line}\n"));
    }

    /// Presses these keys; Enter is `\r`.
    ///
    /// # Panics
    /// If the terminal is gone.
    #[track_caller]
    pub fn presses(&self, keys: &str) {
        (&self.screen).write_all(keys.as_bytes()).expect("press");
    }

    /// All that was shown, what was typed too.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn bytes(&self) -> Vec<u8> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is to be seen now.
    pub fn screen(&self) -> vt100::Screen {
        let [lines, columns] = SIZE;
        let mut parser = Parser::new(lines, columns, 0);
        parser.process(&self.bytes());
        parser.screen().clone()
    }

    /// Waits until `text` is to be seen.
    #[track_caller]
    pub fn wait_seen(&self, text: &str) {
        wait_until(&format!("{text:?} on the screen"), || self.screen().contents().contains(text));
    }

    /// How it treats what is typed and shown.
    ///
    /// # Panics
    /// If it is gone.
    #[track_caller]
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.screen).expect("its modes")
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
