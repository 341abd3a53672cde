//! What is drawn: text alone, some of it reversed. No colours, so that there is none that has to be told from another.

use jiff::Zoned;
use ratatui::{
    Frame,
    buffer::CellWidth as _,
    layout::{Constraint, Layout, Rect},
    style::Stylize as _,
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::state::{Mode, Question, Room, State, short};
use crate::{
    cli::holds::{View, details, shortened},
    request::{Word, shown},
    scope::Scope,
};

/// Columns and lines below which nothing can be read.
const SMALLEST: (u16, u16) = (40, 10);
/// Columns from which on the list names subjects.
const WITH_SUBJECTS: usize = 70;
/// Where the values of [`details`] begin. What does not fit on a line goes on there, so nothing in it begins a line.
const INDENT: usize = 13;
/// Most lines of the status.
const STATUS: usize = 3;
/// So many lines of the window leave room for one on a hold that is over.
const LINES_FOR_ONE_PAST: usize = 8;

/// Lines of our own are short enough for the smallest window.
const HELP: &str = "\
up, down     select; so do k and j
PgUp, PgDn   likewise, by pages
Home, End    the first, the last
Enter, Tab   move in the text, and back
a            approve
d            deny, as the rule says
K            deny, and kill the process
r            type a reason for that
q, Esc       quit; Ctrl-C: everywhere

Each decision is asked back: y is yes,
n is no; s changes for how long it is
approved, where the rule offers that.
It is about what was shown: if that has
changed, the agent refuses.

When the selected hold is over, none is
selected: no key decides another one.";

const YES_OR_NO: &str = "y: yes   n: no   r: type a reason";

const NONE_SELECTED: &str = "\
Up and down select a hold. Then Enter
moves in its text, a approves it, d
denies it, and ? says what else.";

/// Draws it; none if there is no room.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now: &Zoned) -> Option<Room> {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("too small: {} columns and {} lines are needed; q quits", SMALLEST.0, SMALLEST.1);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return None;
    }
    Some(match page(state) {
        Some(page) => draw_page(frame, &page),
        None => draw_list(frame, state, now),
    })
}

/// What is shown instead of the list.
struct Page {
    title: &'static str,
    text: String,
    /// Lines of it that are above the window.
    scroll: usize,
    /// What keys do, but for those that move in the text.
    keys: &'static str,
}

fn page(state: &State) -> Option<Page> {
    let scroll = state.scroll;
    Some(match &state.mode {
        Mode::Browsing => return None,
        Mode::Asking(question) => Page {
            title: "Is that meant?",
            text: asked(question, &state.reason),
            scroll,
            keys: if question.scopes.len() > 1 { "y: yes  n: no  s: how long  r: reason" } else { YES_OR_NO },
        },
        Mode::Typing(_) => Page {
            title: "For the record, and for who asks",
            text: format!("reason       {}_", shown(&state.reason)),
            // The end, where it is typed.
            scroll: usize::MAX,
            keys: "Enter: keep it   Esc: none",
        },
        Mode::Notice => Page {
            title: "Nothing was decided",
            text: format!("{}\n\nNo hold is selected now.", state.status),
            scroll,
            keys: "Enter: back to the list",
        },
        Mode::Help => Page { title: "Help", text: HELP.to_owned(), scroll, keys: "Enter: back to the list" },
    })
}

fn asked(question: &Question, reason: &str) -> String {
    let Question { id, digest, line, word, scopes } = question;
    let what = match word {
        Word::Approve => "approve",
        Word::Deny => "deny",
        Word::Kill => "deny, and kill the process:",
        Word::Fail => "deny, and let the call fail:",
    };
    let reason = if reason.is_empty() { "-".to_owned() } else { shown(reason) };
    let (id, digest) = (short(id), shown(&digest.0));
    // Before what is asked, which can be long.
    let length = match question.scope() {
        Scope::Once => String::new(),
        scope => format!("for {}: ", scope.words()),
    };
    let words: Vec<_> = scopes.iter().map(|scope| scope.words()).collect();
    let choice = match &words[..] {
        [chosen, others @ ..] if !others.is_empty() => format!("for          {chosen} (s: {})\n", others.join(", ")),
        _ => String::new(),
    };
    format!("{what} {length}{id} {line}?\n\n{choice}digest       {digest}\nreason       {reason}")
}

fn draw_page(frame: &mut Frame<'_>, page: &Page) -> Room {
    let heights = [Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)];
    let [bar, body, foot] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(page.keys.bold(), foot);
    draw_text(frame, [bar, body], page.title, &page.text, page.scroll)
}

fn draw_list(frame: &mut Frame<'_>, state: &State, now: &Zoned) -> Room {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut status = wrapped(&state.status, width);
    status.truncate(STATUS);
    let past: Vec<_> = state.past.iter().take(height / LINES_FOR_ONE_PAST).map(|line| shortened(line, width)).collect();
    let rows = state.holds().len().min(height / 3);
    let heights = [lines(1), lines(rows), lines(1), Constraint::Fill(1), lines(past.len()), lines(status.len().max(1))];
    let [head, list, bar, body, over, foot] = Layout::vertical(heights).areas(area);
    draw_bar(frame, head, &held(state), "?: help   q: quit");
    frame.render_widget(Paragraph::new(list_of(state, rows, width, now)), list);
    frame.render_widget(Paragraph::new(past.into_iter().map(Line::from).collect::<Vec<_>>()), over);
    frame.render_widget(Paragraph::new(status.into_iter().map(Line::from).collect::<Vec<_>>()).bold(), foot);
    let (title, text) = below(state, now);
    Room { rows, ..draw_text(frame, [bar, body], &title, &text, state.scroll) }
}

fn lines(count: usize) -> Constraint {
    Constraint::Length(u16::try_from(count).unwrap_or(u16::MAX))
}

fn held(state: &State) -> String {
    if state.away.is_some() { "not known".to_owned() } else { format!("{} held", state.holds().len()) }
}

/// As many holds as there are rows, the selected one among them.
fn list_of(state: &State, rows: usize, width: usize, now: &Zoned) -> Vec<Line<'static>> {
    let selected = state.place();
    let first = selected.map_or(0, |place| (place + 1).saturating_sub(rows));
    let shown = state.holds().iter().enumerate().skip(first).take(rows);
    shown.map(|(place, hold)| row(hold, selected == Some(place), width, now)).collect()
}

fn row(hold: &View, selected: bool, width: usize, now: &Zoned) -> Line<'static> {
    let mark = if selected { '>' } else { ' ' };
    let left = hold.left(now.timestamp());
    let subject = match width {
        ..WITH_SUBJECTS => String::new(),
        _ => format!("{:<14}", shortened(&shown(&hold.subject), 12)),
    };
    let head = format!("{mark} {}  {left:<12}{subject}", short(&hold.id));
    let line = format!("{head}{}", shortened(&hold.line(), width.saturating_sub(head.chars().count())));
    if selected { line.reversed().into() } else { line.into() }
}

/// What is below the list: all about the selected hold, or why there is none.
fn below(state: &State, now: &Zoned) -> (String, String) {
    let hold = state.place().and_then(|place| state.holds().get(place));
    match (hold, &state.away) {
        (Some(hold), _) => {
            let keys = if state.reading { "Enter: back to the list" } else { "Enter: move here" };
            (format!("{}   {keys}", short(&hold.id)), details(hold, now.timestamp(), now.time_zone()))
        }
        (None, Some(away)) => (String::new(), format!("{away}\n\nWhat is held stays held. Trying again ...")),
        (None, None) if state.holds().is_empty() => (String::new(), "Nothing is held.".to_owned()),
        (None, None) => (String::new(), NONE_SELECTED.to_owned()),
    }
}

/// As much of the text as there is room for, below a bar that says how much that is.
fn draw_text(frame: &mut Frame<'_>, [bar, body]: [Rect; 2], title: &str, text: &str, scroll: usize) -> Room {
    let text = wrapped(text, usize::from(body.width));
    let lines = usize::from(body.height);
    let more = text.len().saturating_sub(lines);
    let first = scroll.min(more);
    let place = format!("{}-{} of {}", first + 1, first + lines, text.len());
    draw_bar(frame, bar, title, if more > 0 { &place } else { "" });
    let seen: Vec<_> = text.into_iter().skip(first).take(lines).map(Line::from).collect();
    frame.render_widget(Paragraph::new(seen), body);
    Room { rows: 0, lines, more }
}

fn draw_bar(frame: &mut Frame<'_>, area: Rect, left: &str, right: &str) {
    let room = usize::from(area.width).saturating_sub(right.chars().count() + 1);
    frame.render_widget(format!("{:<room$} {right}", shortened(left, room)).reversed(), area);
}

/// The text in lines of at most `width` columns: nothing of it is beyond the window's edge.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    text.lines().flat_map(|line| folded(line, width)).collect()
}

/// A word that fits on one line is on one.
fn folded(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in line.split_inclusive(' ') {
        let whole: usize = word.trim_end().chars().map(columns).sum();
        let keep = used > INDENT && used + whole > width && whole <= width - INDENT;
        for (at, c) in word.chars().enumerate() {
            if used + columns(c) > width || keep && at == 0 {
                lines.push(" ".repeat(INDENT));
                used = INDENT;
            }
            lines.last_mut().expect("there is one").push(c);
            used += columns(c);
        }
    }
    lines
}

fn columns(c: char) -> usize {
    usize::from(c.encode_utf8(&mut [0; 4]).cell_width())
}
