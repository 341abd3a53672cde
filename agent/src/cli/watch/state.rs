//! What is known, and what a key does: no clock, no I/O.
//!
//! ```text
//! Browsing -- a, d, K --> Asking -- y --> an answer; Browsing
//!          -- r, or r of Asking --> Typing -- Enter, Esc --> where it came from
//! Asking an approval -- s --> the same for longer, as far as the rule offers that
//!          -- ? --> Help
//! Asking, Typing -- their hold is gone --> Notice -- Enter, Esc --> Browsing
//! ```
//!
//! Who types does not see yet what has just changed. So a key means the hold that is selected, by its id and not by its
//! place; when that is gone nothing is selected, and what was typed for it ends in [`Mode::Notice`], where nothing decides.

use std::{collections::VecDeque, mem};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::{
    cli::holds::View,
    request::{Digest, Word, shown},
    scope::Scope,
    sockets::client::Failure,
};

/// Holds that are over and still shown.
const PAST: usize = 8;
/// Characters of a reason.
const REASON: usize = 500;

/// What there is to react to.
#[derive(Debug)]
pub(super) enum Input {
    /// A key.
    Key(KeyEvent),
    /// Text that was pasted: never a command.
    Pasted(String),
    /// The window has another size.
    Resized,
    /// Somebody wants this to end, or the terminal is gone.
    Ended,
    /// The pending holds, or why they are not known.
    Seen(Result<Vec<View>, Failure>),
    /// How a hold of this id ended.
    Over(String, String),
    /// What stands after the answer about the hold of this id, or why it was not taken.
    Answered(String, Result<String, Failure>),
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Stop.
    Quit,
    /// Say something to the agent.
    Ask(Ask),
}

/// What the agent is asked.
#[derive(Debug, PartialEq)]
pub(super) enum Ask {
    /// To take this.
    Answer(Answer),
    /// How the hold of this id ended.
    End(String),
}

/// An answer, about what was on the screen.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    /// The hold.
    pub(super) id: String,
    /// What of it was shown.
    pub(super) digest: Digest,
    /// What is said.
    pub(super) word: Word,
    /// How far an approval reaches.
    pub(super) scope: Scope,
    /// In the reviewer's words.
    pub(super) why: Option<String>,
}

/// What keys do.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Mode {
    /// They move, and ask.
    #[default]
    Browsing,
    /// They answer: is that meant?
    Asking(Question),
    /// They are a reason, for this question if there is one already.
    Typing(Option<Question>),
    /// They do nothing: the hold that they were about is gone.
    Notice,
    /// They were forgotten.
    Help,
}

/// A decision that has not been said yet, about what was on the screen when it began.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    /// The hold.
    pub(super) id: String,
    /// What of it was shown.
    pub(super) digest: Digest,
    /// Likewise: [`View::line`].
    pub(super) line: String,
    /// What would be said.
    pub(super) word: Word,
    /// How far it would reach. The first one is meant, the others are what can be chosen instead.
    pub(super) scopes: VecDeque<Scope>,
}

impl Question {
    /// How far it would reach.
    pub(super) fn scope(&self) -> Scope {
        self.scopes.front().copied().unwrap_or_default()
    }
}

/// How much of it the window shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Room {
    /// Rows of the list.
    pub(super) rows: usize,
    /// Lines of the text below it.
    pub(super) lines: usize,
    /// So many lines further it ends.
    pub(super) more: usize,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Pending, as far as is known; in the agent's order.
    holds: Vec<View>,
    /// Over, and not known how.
    leaving: Vec<View>,
    /// Why it is not known what is pending.
    pub(super) away: Option<String>,
    /// Id of the hold that keys are about.
    selected: Option<String>,
    /// Id of the hold that they were about until it was gone.
    lost: Option<String>,
    /// What keys do.
    pub(super) mode: Mode,
    /// Whether they move in the text and not in the list.
    pub(super) reading: bool,
    /// Lines of the text that are above the window.
    pub(super) scroll: usize,
    /// The reason so far, for the selected hold.
    pub(super) reason: String,
    /// What happened last.
    pub(super) status: String,
    /// How holds ended, the last one first.
    pub(super) past: VecDeque<String>,
    /// What the window shows; none if it is too small.
    room: Option<Room>,
}

/// What happens.
impl State {
    /// The pending holds; none if they are not known.
    pub(super) fn holds(&self) -> &[View] {
        if self.away.is_none() { &self.holds } else { &[] }
    }

    /// The place of the selected hold among them.
    pub(super) fn place(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.holds().iter().position(|hold| hold.id == *selected)
    }

    /// Reacts.
    pub(super) fn on(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Key(key) => return self.key(key).into_iter().collect(),
            Input::Pasted(text) => self.pasted(&text),
            Input::Resized => {}
            Input::Ended => return vec![Effect::Quit],
            Input::Seen(Ok(holds)) => return self.seen(holds),
            Input::Seen(Err(failure)) => self.lose_sight(&failure),
            Input::Over(id, how) => self.over(&id, &how),
            Input::Answered(id, Ok(stands)) => self.answered(&id, &stands),
            Input::Answered(id, Err(failure)) => self.status = format!("{} {}", short(&id), told(&failure)),
        }
        Vec::new()
    }

    /// What is on the screen now; none if there is no room for anything. Keys that come next are about that.
    pub(super) fn on_screen(&mut self, room: Option<Room>) {
        self.room = room;
        self.scroll = self.scroll.min(room.unwrap_or_default().more);
    }

    fn seen(&mut self, holds: Vec<View>) -> Vec<Effect> {
        if self.away.take().is_some() {
            self.status = "the agent is back".to_owned();
        }
        self.leaving.append(&mut self.holds);
        self.leaving.retain(|before| !holds.iter().any(|hold| hold.id == before.id));
        self.holds = holds;
        if self.place().is_none()
            && let Some(id) = self.deselect()
        {
            self.status = format!("{} is not pending any more", short(&id));
            self.lost = Some(id);
        }
        self.leaving.iter().map(|hold| Effect::Ask(Ask::End(hold.id.clone()))).collect()
    }

    /// What was seen before may be over by now, and is not shown.
    fn lose_sight(&mut self, failure: &Failure) {
        let cause = told(failure);
        self.deselect();
        self.status.clone_from(&cause);
        self.away = Some(cause);
    }

    fn over(&mut self, id: &str, how: &str) {
        let Some(at) = self.leaving.iter().position(|hold| hold.id == id) else { return };
        let hold = self.leaving.remove(at);
        let line = format!("{} {}", short(id), shown(how));
        self.past.push_front(format!("{line}: {}", shown(&hold.sentence)));
        self.past.truncate(PAST);
        if self.lost.take_if(|lost| lost.as_str() == id).is_some() {
            self.status = line;
        }
    }

    /// It is gone if the answer ended it, which the next look shows.
    fn answered(&mut self, id: &str, stands: &str) {
        self.status = format!("{} {stands}", short(id));
        self.leaving.extend(self.holds.extract_if(.., |hold| hold.id == id));
        if self.selected.as_deref() == Some(id) {
            self.deselect();
        }
    }

    /// Gives the id of the hold that was selected.
    fn deselect(&mut self) -> Option<String> {
        let id = self.selected.take()?;
        self.reading = false;
        self.scroll = 0;
        self.reason.clear();
        if matches!(self.mode, Mode::Asking(_) | Mode::Typing(_)) {
            self.mode = Mode::Notice;
        }
        Some(id)
    }
}

/// What keys do.
impl State {
    fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control || key.modifiers.contains(KeyModifiers::ALT) {
            return (control && key.code == KeyCode::Char('c')).then_some(Effect::Quit);
        }
        if self.room.is_none() {
            // Nothing can be read, so nothing can be decided.
            return matches!(key.code, KeyCode::Char('q') | KeyCode::Esc).then_some(Effect::Quit);
        }
        match mem::take(&mut self.mode) {
            Mode::Browsing => return self.browse(key.code),
            Mode::Asking(question) => return self.ask_back(question, key.code),
            Mode::Typing(question) => self.write(question, key.code),
            Mode::Notice if !matches!(key.code, KeyCode::Enter | KeyCode::Esc) => self.mode = Mode::Notice,
            Mode::Help if !matches!(key.code, KeyCode::Enter | KeyCode::Esc | KeyCode::Char('?' | 'q')) => {
                self.mode = Mode::Help;
                self.read(key.code);
            }
            Mode::Notice | Mode::Help => self.enter(Mode::Browsing),
        }
        None
    }

    fn browse(&mut self, code: KeyCode) -> Option<Effect> {
        match code {
            KeyCode::Char('q') => return Some(Effect::Quit),
            KeyCode::Esc if !self.reading => return Some(Effect::Quit),
            KeyCode::Esc | KeyCode::Enter | KeyCode::Tab => self.reading = !self.reading && self.selected.is_some(),
            KeyCode::Char('?') => self.enter(Mode::Help),
            KeyCode::Char('a') => self.ask(Word::Approve),
            KeyCode::Char('d') => self.ask(Word::Deny),
            KeyCode::Char('K') => self.ask(Word::Kill),
            KeyCode::Char('r') if self.selected.is_some() => self.enter(Mode::Typing(None)),
            KeyCode::Char('r') => self.enter(Mode::Notice),
            _ if self.reading => self.read(code),
            _ => self.select(code),
        }
        None
    }

    /// Another text, from its beginning.
    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.scroll = 0;
    }

    /// Asks back, in the words that are on the screen. What comes too late ends where nothing decides.
    fn ask(&mut self, word: Word) {
        let hold = self.place().and_then(|place| self.holds().get(place));
        let question = hold.map(|hold| Question {
            id: hold.id.clone(),
            digest: hold.digest.clone(),
            line: hold.line(),
            word,
            // The scope of a no says nothing.
            scopes: [Scope::Once].iter().chain(hold.scopes.iter().filter(|_| word == Word::Approve)).copied().collect(),
        });
        self.enter(question.map_or(Mode::Notice, Mode::Asking));
    }

    fn ask_back(&mut self, mut question: Question, code: KeyCode) -> Option<Effect> {
        match code {
            KeyCode::Char('y') => return Some(self.answer(question)),
            KeyCode::Char('n' | 'q') | KeyCode::Esc => {
                self.status = "nothing was decided".to_owned();
                self.enter(Mode::Browsing);
            }
            KeyCode::Char('r') => self.enter(Mode::Typing(Some(question))),
            KeyCode::Char('s') => {
                question.scopes.rotate_left(1);
                self.enter(Mode::Asking(question));
            }
            _ => {
                self.mode = Mode::Asking(question);
                self.read(code);
            }
        }
        None
    }

    fn answer(&mut self, question: Question) -> Effect {
        let scope = question.scope();
        let Question { id, digest, word, .. } = question;
        self.status = format!("{}: telling the agent", short(&id));
        self.enter(Mode::Browsing);
        let why = Some(mem::take(&mut self.reason)).filter(|why| !why.is_empty());
        Effect::Ask(Ask::Answer(Answer { id, digest, word, scope, why }))
    }

    fn write(&mut self, question: Option<Question>, code: KeyCode) {
        match code {
            KeyCode::Enter => return self.enter(question.map_or(Mode::Browsing, Mode::Asking)),
            KeyCode::Esc => {
                self.reason.clear();
                return self.enter(question.map_or(Mode::Browsing, Mode::Asking));
            }
            KeyCode::Backspace => drop(self.reason.pop()),
            KeyCode::Char(c) => self.add(c),
            _ => {}
        }
        self.mode = Mode::Typing(question);
    }

    fn pasted(&mut self, text: &str) {
        if matches!(self.mode, Mode::Typing(_)) {
            text.chars().for_each(|c| self.add(if c.is_control() { ' ' } else { c }));
        }
    }

    fn add(&mut self, c: char) {
        if self.reason.chars().count() < REASON {
            self.reason.push(c);
        }
    }

    fn read(&mut self, code: KeyCode) {
        let Room { lines, more, .. } = self.room.unwrap_or_default();
        if let Some(by) = way(code, lines) {
            self.scroll = self.scroll.saturating_add_signed(by).min(more);
        }
    }

    fn select(&mut self, code: KeyCode) {
        let count = self.holds().len();
        let Some(by) = way(code, self.room.unwrap_or_default().rows).filter(|_| count > 0) else { return };
        let place = match self.place() {
            Some(place) => place.saturating_add_signed(by),
            // From before the first one, or from after the last one.
            None if by > 0 => 0usize.saturating_add_signed(by - 1),
            None => count.saturating_add_signed(by),
        };
        let id = self.holds()[place.min(count - 1)].id.clone();
        if self.selected.as_ref() != Some(&id) {
            self.deselect();
            self.selected = Some(id);
            self.status.clear();
        }
    }
}

/// How far a key moves, a page being so many lines.
fn way(code: KeyCode, page: usize) -> Option<isize> {
    let page = page.cast_signed().max(1);
    Some(match code {
        KeyCode::Up | KeyCode::Char('k') => -1,
        KeyCode::Down | KeyCode::Char('j') => 1,
        KeyCode::PageUp => -page,
        KeyCode::PageDown => page,
        KeyCode::Home => isize::MIN,
        KeyCode::End => isize::MAX,
        _ => return None,
    })
}

/// Enough of an id to name it to `holdpoint show`.
pub(super) fn short(id: &str) -> String {
    format!("{:.8}…", shown(id))
}

/// Cause and remedy.
fn told(failure: &Failure) -> String {
    let remedy = failure.remedy().map(|remedy| format!(" (help: {remedy})"));
    shown(&format!("{failure}{}", remedy.unwrap_or_default()))
}
