//! Any program: it gets each message on standard input, and may print an answer. What no other kind does, it can do.

use std::{
    os::unix::process::ExitStatusExt as _, path::PathBuf, pin::pin, process::ExitStatus, process::Stdio, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use jiff::SignedDuration;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    sync::oneshot,
    time::{sleep, timeout},
};
use toml::Spanned;

use super::{
    channel::{Attempting, Channel, Message, Preview, Says, Way},
    delivery::{Attempt, PATIENCE},
    said,
};
use crate::{
    config::{Keys, at},
    policy::Problem,
    request::{Proof, shown},
};

/// Longest output that is read, in bytes.
const LONGEST: usize = 64 * 1024;
/// Longest line of standard error in the record, in characters.
const LINE: usize = 200;
/// How long what it left running may still print.
const GRACE: Duration = Duration::from_secs(1);
/// Runs of one channel at a time. They may wait for a reviewer as long as the hold does, so there are enough for
/// [`OF_A_TREE`](super::lane::OF_A_TREE) of 64 trees: these do not wait for each other.
const RUNS: usize = 256;

/// A program with its arguments.
#[derive(Clone, Debug)]
pub struct Exec {
    program: PathBuf,
    arguments: Vec<String>,
    /// How long it may take to ask; as long as there is time for an answer if nothing is said.
    patience: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    command: Spanned<Vec<Spanned<String>>>,
    timeout: Option<Spanned<String>>,
}

/// Reads the keys of such a channel.
pub(super) fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Way>, Problem> {
    let raw: Raw = keys.read()?;
    let Some((program, arguments)) = raw.command.get_ref().split_first() else {
        return Err(at(&raw.command, "command is an empty list", "the program and its arguments"));
    };
    let arguments = arguments.iter().map(|argument| keys.files.argument(argument)).collect::<Result<_, _>>()?;
    let patience = raw.timeout.as_ref().map(duration).transpose()?.unwrap_or(Duration::MAX);
    Ok(Arc::new(Exec::new(keys.files.program(program)?, arguments, patience)))
}

/// One that leads nowhere.
pub(super) fn example() -> Arc<dyn Way> {
    Arc::new(Exec::new("/bin/true".into(), vec![], PATIENCE))
}

fn duration(text: &Spanned<String>) -> Result<Duration, Problem> {
    let limits = Duration::from_secs(1)..=Duration::from_hours(24);
    let parsed = text.get_ref().parse::<SignedDuration>().ok().and_then(|it| Duration::try_from(it).ok());
    let remedy = "a number and s, m or h, from \"1s\" to \"24h\"";
    parsed
        .filter(|it| limits.contains(it))
        .ok_or_else(|| at(text, format!("{:?} is not a duration, or out of bounds", text.get_ref()), remedy))
}

impl Way for Exec {
    fn send(&self, channel: &Channel, message: &Arc<Message>) -> Attempting {
        let (exec, message, patience) = (self.clone(), Arc::clone(message), self.run_time(message));
        let proof = Proof::Exec { channel: channel.name.clone(), asks: channel.reviewers.clone() };
        Box::pin(async move {
            let printed = match timeout(patience, exec.run(message.body())).await {
                Ok(Ok(printed)) => printed,
                Ok(Err(error)) => return Attempt::failed(error),
                Err(_) => return Attempt::failed("no answer in time"),
            };
            match message.says {
                Says::Question { .. } if !printed.trim_ascii().is_empty() => {
                    said::read(message.hold.id, &printed, proof).map_or_else(
                        |flaw| Attempt::Gone { error: format!("what it printed is no answer: {flaw}") },
                        |answer| Attempt::Answered(Box::new(answer)),
                    )
                }
                _ => Attempt::Delivered,
            }
        })
    }

    fn preview(&self, message: &Message) -> Preview {
        let words = [self.program.to_string_lossy().into_owned()].into_iter().chain(self.arguments.iter().cloned());
        let message = serde_json::from_slice(&message.body()).unwrap_or_default();
        Preview { to: format!("standard input of {}", words.collect::<Vec<_>>().join(" ")), message }
    }

    fn turns(&self) -> usize {
        RUNS
    }

    /// The program of the question still runs, or has said what it had to say.
    fn takes_reminders(&self) -> bool {
        false
    }

    fn patience(&self, _: &Message) -> Duration {
        Duration::MAX
    }
}

impl Exec {
    fn new(program: PathBuf, arguments: Vec<String>, patience: Duration) -> Self {
        Self { program, arguments, patience }
    }

    /// How long one run may take.
    fn run_time(&self, message: &Message) -> Duration {
        if matches!(message.says, Says::Question { .. }) { self.patience } else { PATIENCE }
    }

    /// What it prints, or why it did not succeed. Dropped, it ends the program and what that has started.
    async fn run(&self, input: Bytes) -> Result<Vec<u8>, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().current_dir("/").process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
        let (mut printed, mut complaint) = (vec![], vec![]);
        let status = converse(&mut child, &input, &mut printed, &mut complaint).await;
        let status = status.map_err(|error| format!("it cannot be waited for: {error}"))?;
        // First: who prints on is ended by that.
        match printed.len() > LONGEST {
            true => Err(format!("it printed more than {LONGEST} bytes")),
            false if status.success() => Ok(printed),
            false => Err(failure(status, &complaint)),
        }
    }
}

/// Writes and reads until the program has ended.
async fn converse(
    child: &mut Child,
    input: &[u8],
    printed: &mut Vec<u8>,
    complaint: &mut Vec<u8>,
) -> std::io::Result<ExitStatus> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // Dropped before the child is, while its number is still its own.
    let mut group = Group(child.id());
    let (over, ended) = oneshot::channel::<()>();
    let exit = async {
        let status = child.wait().await;
        group.0 = None;
        drop(over);
        status
    };
    let talk = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // Who does not read it need not.
                let _ = stdin.write_all(input).await;
            }
        };
        tokio::join!(write, head(stdout, printed), head(stderr, complaint))
    };
    let talk = async {
        let late = pin!(async {
            let _ = ended.await;
            sleep(GRACE).await;
        });
        tokio::select! { _ = talk => {} () = late => {} }
    };
    tokio::join!(exit, talk).0
}

/// The process group of a program that is to end with this.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

/// Reads what there is, up to a byte too much.
async fn head(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    while into.len() <= LONGEST && from.read_buf(into).await.is_ok_and(|count| count > 0) {}
}

/// The first line of what it complained, or how it ended.
fn failure(status: ExitStatus, complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    match (text.lines().map(str::trim).find(|line| !line.is_empty()), status.code(), status.signal()) {
        (Some(line), ..) => shown(line).chars().take(LINE).collect(),
        (None, Some(code), _) => format!("exit status {code}"),
        (None, None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
