//! `holdpoint watch`: what is held, on a terminal, to be decided with keys.
//!
//! Three threads tell the loop what happens, since none of them can wait for two things: one reads keys, one waits for
//! signals, one talks to the agent. The loop alone knows, and draws.

use std::{
    io::{self, IsTerminal as _, stdin, stdout},
    panic,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use jiff::Zoned;
use nix::sys::signal::{SigSet, Signal};
use ratatui::{
    DefaultTerminal, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, DisableBracketedPaste, EnableBracketedPaste, Event},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};

use self::state::{Answer, Ask, Effect, Input, State};
use super::{
    commands::{all, answered, one},
    failed,
    holds::View,
};
use crate::sockets::{
    Declined,
    client::{Client, Failure},
    message::ControlRequest,
};

mod state;
#[cfg(test)]
mod tests;
mod view;

/// Exit code for what is not understood.
const NOT_UNDERSTOOD: u8 = 2;
/// Exit code of a panic.
const PANIC: i32 = 101;
/// Between two looks at what is held, and between two frames.
const PAUSE: Duration = Duration::from_secs(1);

/// Does it.
pub(super) fn watch(socket: &Path) -> ExitCode {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        let cause = Declined::new("watch needs a terminal, to read keys from and to show holds on");
        failed(&cause.remedy("`holdpoint holds` lists them anywhere").into());
        return ExitCode::from(NOT_UNDERSTOOD);
    }
    run(socket).map_or_else(|failure| failed(&failure), |()| ExitCode::SUCCESS)
}

/// Whoever may not ask is told before the terminal is taken, as by any other command.
fn run(socket: &Path) -> Result<(), Failure> {
    let holds = pending(socket)?;
    let shown = take().and_then(|mut terminal| show(&mut terminal, socket, holds));
    give_back();
    Ok(shown.map_err(|error| Declined::new(format!("cannot use the terminal: {error}")))?)
}

/// The terminal, for this alone. A panic of any thread gives it back, and ends all.
fn take() -> io::Result<DefaultTerminal> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        give_back();
        hook(panic);
        process::exit(PANIC);
    }));
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste)?;
    Terminal::new(CrosstermBackend::new(stdout()))
}

/// If that fails, it is the terminal that has gone.
fn give_back() {
    let _ = execute!(stdout(), DisableBracketedPaste, Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// Until somebody quits.
fn show(terminal: &mut DefaultTerminal, socket: &Path, holds: Vec<View>) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    let (ask, asked) = mpsc::channel();
    begin(&tell, socket.to_owned(), asked)?;
    let mut state = State::default();
    state.on(Input::Seen(Ok(holds)));
    loop {
        let mut room = None;
        terminal.draw(|frame| room = view::draw(frame, &state, &Zoned::now()))?;
        state.on_screen(room);
        // Time passes on the screen, too.
        let Ok(input) = told.recv_timeout(PAUSE) else { continue };
        for effect in state.on(input) {
            match effect {
                Effect::Quit => return Ok(()),
                Effect::Ask(question) => drop(ask.send(question)),
            }
        }
    }
}

/// Starts the three. The signals are taken from all of them but the one that waits for them.
fn begin(tell: &Sender<Input>, socket: PathBuf, asked: Receiver<Ask>) -> nix::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM]);
    signals.thread_block()?;
    let [keys, ends, agent] = [(); 3].map(|()| tell.clone());
    thread::spawn(move || read(&keys));
    thread::spawn(move || signals.wait().map(|_| ends.send(Input::Ended)));
    thread::spawn(move || converse(&socket, &asked, &agent));
    Ok(())
}

fn read(tell: &Sender<Input>) {
    loop {
        let input = match event::read() {
            Ok(Event::Key(key)) => Input::Key(key),
            Ok(Event::Paste(text)) => Input::Pasted(text),
            Ok(_) => Input::Resized,
            Err(_) => Input::Ended,
        };
        if tell.send(input).is_err() {
            return;
        }
    }
}

/// Asks what it is to ask, and otherwise what is held: one connection for each, as of any other command, so that an agent that
/// has been started again is found.
fn converse(socket: &Path, asked: &Receiver<Ask>, tell: &Sender<Input>) {
    loop {
        let news = match asked.recv_timeout(PAUSE) {
            Ok(Ask::Answer(answer)) => {
                vec![Input::Answered(answer.id.clone(), say(socket, answer)), Input::Seen(pending(socket))]
            }
            Ok(Ask::End(id)) => end(socket, &id).map(|how| Input::Over(id, how)).into_iter().collect(),
            Err(RecvTimeoutError::Timeout) => vec![Input::Seen(pending(socket))],
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for input in news {
            // Nobody listens any more: this process ends.
            let _ = tell.send(input);
        }
    }
}

fn say(socket: &Path, Answer { id, digest, word, scope, why }: Answer) -> Result<String, Failure> {
    let id = id.parse().map_err(Declined::new)?;
    let answer = ControlRequest::Answer { id, digest, word, scope, why, signature: None };
    Ok(answered(&mut Client::connect(socket)?, &answer)?.sentence())
}

fn pending(socket: &Path) -> Result<Vec<View>, Failure> {
    let holds = all(&mut Client::connect(socket)?)?;
    Ok(holds.iter().map(View::read).collect::<Result<_, _>>()?)
}

/// How the hold ended. Nothing as long as it is decided and the kernel has not seen it off, or nobody answers.
fn end(socket: &Path, id: &str) -> Option<String> {
    match one(&mut Client::connect(socket).ok()?, id) {
        Err(Failure::Refused(refusal)) => Some(how(&refusal)),
        _ => None,
    }
}

/// What is left of the agent's words. An agent that was started again may not know.
fn how(refusal: &Declined) -> String {
    refusal.cause.strip_prefix("the hold is over: ").unwrap_or("ended unseen").to_owned()
}
