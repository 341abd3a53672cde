//! Where the story takes place: the machine, and the shell of the governed agent in it.

use std::io::{PipeWriter, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::voice::Voice;
use crate::machine::{Machine, join};
use crate::protocol::Run;
use crate::session::{Signals, Streams, run_with};

/// For what takes a second or two under emulation.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What the agent may take to write that a deadline has passed.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks into the guest.
const PAUSE: Duration = Duration::from_millis(300);

/// `argv` as `user`.
pub fn words(user: &str, argv: &[&str]) -> Run {
    Run { user: user.to_owned(), argv: argv.iter().map(|&word| word.to_owned()).collect(), ..Run::default() }
}

/// A command as one would type it.
pub fn shown(run: &Run) -> String {
    let quoted = |word: &String| if word.contains(' ') { format!("'{word}'") } else { word.clone() };
    run.argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The machine and all that the story hears from it.
pub struct Stage {
    machine: Machine,
    signals: Signals,
    /// Tells the person.
    pub voice: Voice,
    shell: Option<Shell>,
    /// What the governed shell has printed.
    pub heard: String,
    /// How it ended.
    pub ended: Option<i32>,
}

/// The governed shell; it ends when its input does.
struct Shell {
    input: Option<PipeWriter>,
    events: Receiver<Event>,
}

enum Event {
    Line(String),
    Ended(Result<i32>),
}

/// Passes on whole lines.
struct Lines(Sender<Event>, Vec<u8>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.extend(bytes);
        while let Some(end) = self.1.iter().position(|&byte| byte == b'\n') {
            let line: Vec<_> = self.1.drain(..=end).collect();
            // Nobody hears it only if the story is over.
            let _ = self.0.send(Event::Line(String::from_utf8_lossy(&line).trim_end().to_owned()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Stage {
    /// Before the curtain rises.
    pub fn new(machine: Machine, signals: Signals, voice: Voice) -> Self {
        Self { machine, signals, voice, shell: None, heard: String::new(), ended: None }
    }

    /// Starts a shell in machine `name`, whose output is heard from then on.
    pub fn start_shell(&mut self, name: &str, run: Run) -> Result<()> {
        let (sender, events) = channel();
        let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
        let port = join(Some(name), &self.signals)?;
        // The story hears the signals; when it ends, so does the machine, and with it this session.
        let deaf = Signals::none()?;
        thread::spawn(move || {
            let (mut lines, mut nowhere) = (Lines(sender.clone(), Vec::new()), std::io::sink());
            let streams = Streams { stdin: Some(reader.as_fd()), stdout: &mut lines, stderr: &mut nowhere };
            let _ = sender.send(Event::Ended(run_with(port, &run, streams, &deaf)));
        });
        self.shell = Some(Shell { input: Some(writer), events });
        Ok(())
    }

    /// Types a line into the shell.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.voice.quote("agent", &format!("$ {line}"));
        let input = self.shell.as_mut().and_then(|shell| shell.input.as_mut()).context("there is no shell")?;
        writeln!(input, "{line}").context("failed to write to the agent's shell")
    }

    /// Ends the shell's input.
    pub fn hang_up(&mut self) {
        if let Some(shell) = &mut self.shell {
            shell.input = None;
        }
    }

    /// Waits until `look` finds something; listens to the shell meanwhile.
    pub fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        while start.elapsed() < limit + GRACE {
            self.signals.check()?;
            if let Some(found) = look(self)? {
                self.voice.waited();
                return Ok(found);
            }
            self.voice.waiting(what, start.elapsed(), limit.saturating_sub(start.elapsed()));
            self.listen(PAUSE)?;
        }
        bail!("waited {} seconds in vain for {what}", start.elapsed().as_secs())
    }

    /// Waits until the shell has printed `text`.
    pub fn hear(&mut self, text: &str) -> Result<()> {
        let what = format!("the agent's shell to say {:?}", text.lines().next().unwrap_or_default());
        self.wait(&what, PATIENCE, |stage| Ok(stage.heard.contains(text).then_some(())))
    }

    /// Shows what the shell prints within `time`.
    fn listen(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while let Some(shell) = &self.shell {
            match shell.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Line(line)) => {
                    self.voice.quote("agent", &line);
                    self.heard += &format!("{line}\n");
                }
                Ok(Event::Ended(status)) => self.ended = Some(status?),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => self.shell = None,
            }
        }
        thread::sleep(until.saturating_duration_since(Instant::now()));
        Ok(())
    }

    /// Runs something in the guest; its status and all of its output.
    pub fn run(&mut self, run: &Run) -> Result<(i32, String)> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let streams = Streams { stdin: None, stdout: &mut stdout, stderr: &mut stderr };
        let status = self.machine.run(run, streams, &self.signals)?;
        stdout.extend(stderr);
        Ok((status, String::from_utf8_lossy(&stdout).into_owned()))
    }

    /// The output of what must succeed.
    pub fn output(&mut self, user: &str, argv: &[&str]) -> Result<String> {
        let (status, output) = self.run(&words(user, argv))?;
        ensure!(status == 0, "`{}` ended with status {status} in the guest:\n{output}", argv.join(" "));
        Ok(output)
    }

    /// The lines of a file in the guest; the last may still be being written.
    pub fn json_lines(&mut self, path: &str) -> Result<Vec<Value>> {
        let lines = self.output("root", &["cat", path])?;
        Ok(lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}
