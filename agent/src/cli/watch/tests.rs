//! Keys in, the screen out: drawn after each, as by the loop.

use holdpoint_common::decision::Decision;
use jiff::{SignedDuration, Zoned, tz::TimeZone};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};

use super::{
    how,
    state::{Answer, Ask, Effect, Input, State},
    view,
};
use crate::{
    cli::holds::View,
    request::{Digest, End, Hold, HoldId, Object, Operation, Refusal, Standing, Word, sample},
    scope::Scope,
    sockets::{Declined, client::Failure, message},
};

/// Their ids begin with these digits.
const FIRST: u64 = 0x3f9c_12ab;
const SECOND: u64 = 0x77aa_0001;
const THIRD: u64 = 0x9abc_def0;

fn hold(digits: u64, path: &str) -> View {
    let mut hold = sample::hold(HoldId(digits << 32));
    hold.request.what = Operation::Open {
        path: path.into(),
        access: vec!["read"],
        flags: 0,
        object: Object { device: 1, inode: 2 },
        content: None,
        length: None,
        owner: None,
        mode: None,
        size: None,
    };
    seen(Hold { digest: Digest::of(hold.id, &hold.request), ..hold })
}

fn seen(hold: Hold) -> View {
    View::read(&message::view(&hold)).unwrap()
}

fn id(digits: u64) -> String {
    HoldId(digits << 32).to_string()
}

fn answer(hold: &View, word: Word, why: Option<&str>) -> Vec<Effect> {
    answer_for(hold, word, Scope::Once, why)
}

fn answer_for(hold: &View, word: Word, scope: Scope, why: Option<&str>) -> Vec<Effect> {
    let (id, digest, why) = (hold.id.clone(), hold.digest.clone(), why.map(Into::into));
    vec![Effect::Ask(Ask::Answer(Answer { id, digest, word, scope, why }))]
}

/// A window, five seconds after the holds were asked.
struct Window {
    state: State,
    terminal: Terminal<TestBackend>,
}

impl Window {
    fn of(width: u16, height: u16, holds: Vec<View>) -> Self {
        let terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut window = Self { state: State::default(), terminal };
        window.sees(holds);
        window
    }

    fn usual(holds: Vec<View>) -> Self {
        Self::of(80, 24, holds)
    }

    fn on(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.state.on(input);
        let now: Zoned = (sample::start() + SignedDuration::from_secs(5)).to_zoned(TimeZone::UTC);
        let mut room = None;
        self.terminal.draw(|frame| room = view::draw(frame, &self.state, &now)).unwrap();
        self.state.on_screen(room);
        effects
    }

    fn sees(&mut self, holds: Vec<View>) -> Vec<Effect> {
        self.on(Input::Seen(Ok(holds)))
    }

    fn key(&mut self, code: KeyCode) -> Vec<Effect> {
        self.on(Input::Key(code.into()))
    }

    /// One key after the other; what came of them.
    fn types(&mut self, keys: &str) -> Vec<Effect> {
        let code = |c| match c {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            c => KeyCode::Char(c),
        };
        keys.chars().flat_map(|c| self.key(code(c))).collect()
    }

    /// Its lines, without what is blank at their ends.
    fn lines(&self) -> Vec<String> {
        let buffer = self.terminal.backend().buffer();
        let line = |cells: &[ratatui::buffer::Cell]| {
            cells.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()
        };
        buffer.content.chunks(usize::from(buffer.area.width)).map(line).collect()
    }

    fn text(&self) -> String {
        self.lines().join("\n")
    }

    #[track_caller]
    fn check_shows(&self, part: &str) {
        assert!(self.text().contains(part), "no {part:?} in\n{}", self.text());
    }
}

#[test]
fn nothing_held_is_said() {
    for (width, height) in [(80, 24), (40, 10)] {
        Window::of(width, height, vec![]).check_shows("Nothing is held.");
    }
}

#[test]
fn the_list_is_above_and_the_selected_hold_in_full_below() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x"), hold(SECOND, &"/long".repeat(30))]);
    window.types("j");
    let expected = "\
2 held                                                         ?: help   q: quit
> 3f9c12ab…  55 s        coding-agent  open /srv/x (read)
  77aa0001…  55 s        coding-agent  open /long/long/long…ong/long/long (read)
3f9c12ab…   Enter: move here                                          1-19 of 35
  hold       3f9c12ab00000000
  digest     a640be05557d51384faab7bb448e7753e59cadecfd578fa8109dd74ab19a9c0e
  asked      2026-11-20 12:00:00 +00:00 (5 s ago)
  deadline   2026-11-20 12:01:00 +00:00 (in 55 s), then the call fails with
             EPERM
  a no means the process is killed
  reviewers  security (alice, bob, laura)

What is asked, as the kernel sees it: open /srv/x (read)
  access     [\"read\"]
";
    assert!(window.text().starts_with(expected), "{}", window.text());
}

#[test]
fn a_small_window_has_all_of_it_to_move_in() {
    let mut window = Window::of(40, 10, vec![hold(FIRST, "/srv/x"), hold(SECOND, "/srv/y")]);
    window.types("j");
    let expected = "\
2 held                 ?: help   q: quit
> 3f9c12ab…  55 s        open /s… (read)
  77aa0001…  55 s        open /s… (read)
3f9c12ab…   Enter: move here   1-5 of 54
  hold       3f9c12ab00000000
  digest     a640be05557d51384faab7bb448
             e7753e59cadecfd578fa8109dd7
             4ab19a9c0e
  asked      2026-11-20 12:00:00 +00:00
";
    assert_eq!(window.text(), expected);
    window.types("\n");
    window.key(KeyCode::End);
    window.check_shows("weather");
}

#[test]
fn a_tiny_window_says_so_and_decides_nothing() {
    let mut window = Window::of(39, 10, vec![hold(FIRST, "/srv/x")]);
    window.check_shows("too small");
    assert_eq!(window.types("jay"), []);
    assert_eq!(window.types("q"), [Effect::Quit]);
    for (width, height) in [(0, 0), (1, 1), (200, 9), (3, 200)] {
        Window::of(width, height, vec![hold(FIRST, "/srv/x")]).types("jay?");
    }
}

#[test]
fn a_window_of_any_size_shows_whatever_is_asked() {
    for (width, height) in [(40, 10), (41, 11), (60, 10), (80, 24), (250, 70)] {
        let long = "字/".repeat(2000);
        let mut window = Window::of(width, height, (1..50).map(|id| hold(id << 24, &long)).collect());
        for keys in ["", "j", "\n", "jj", "\n", "a", "r", "why", "\n", "n", "?", "\n", "d", "y"] {
            window.types(keys);
            for code in [KeyCode::End, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home] {
                window.key(code);
            }
        }
        window.on(Input::Seen(Err(Failure::NoAgent)));
    }
}

#[test]
fn a_decision_is_asked_back_once_and_is_about_what_was_shown() {
    for (key, word) in [("a", Word::Approve), ("d", Word::Deny), ("K", Word::Kill)] {
        let asks = hold(FIRST, "/srv/x");
        let mut window = Window::usual(vec![hold(FIRST, "/srv/x"), hold(SECOND, "/srv/y")]);
        assert_eq!(window.types("j"), []);
        assert_eq!(window.types(key), []);
        window.check_shows("3f9c12ab… open /srv/x (read)?");
        window.check_shows(&asks.digest.0);
        // Something else is held under this id now: the agent refuses what was shown.
        window.sees(vec![hold(FIRST, "/srv/other"), hold(SECOND, "/srv/y")]);
        assert_eq!(window.types("y"), answer(&asks, word, None));
        assert_eq!(window.types("y"), []);
    }
}

#[test]
fn how_long_it_is_approved_is_chosen_as_far_as_it_is_offered() {
    let offered = [Scope::Process, Scope::Time(1800)];
    let wide = || {
        let mut wide = hold(FIRST, "/srv/x");
        wide.scopes = offered.into();
        wide
    };
    let window = || Window::usual(vec![wide(), hold(SECOND, "/srv/y")]);
    for (keys, scope) in [
        ("jay", Scope::Once),
        ("jasy", Scope::Process),
        ("jassy", Scope::Time(1800)),
        ("jasssy", Scope::Once),
        ("jasnay", Scope::Once),
        ("jasrx\u{1b}y", Scope::Process),
    ] {
        assert_eq!(window().types(keys), answer_for(&wide(), Word::Approve, scope, None), "{keys:?}");
    }
    let mut asking = window();
    asking.types("ja");
    asking.check_shows("approve 3f9c12ab… open /srv/x (read)?");
    asking.check_shows("for          this once (s: this process, this tree for 30 min 0 s)");
    asking.types("s");
    asking.check_shows("approve for this process: 3f9c12ab… open /srv/x (read)?");
    asking.check_shows("s: how long");
    for (keys, word) in [("jdssy", Word::Deny), ("jKsy", Word::Kill)] {
        assert_eq!(window().types(keys), answer(&wide(), word, None), "the scope of a no says nothing");
    }
    let mut other = window();
    assert_eq!(other.types("jjas"), []);
    assert!(!other.text().contains("s: how long"), "{}", other.text());
    assert_eq!(other.types("y"), answer(&hold(SECOND, "/srv/y"), Word::Approve, None), "nothing is offered");
}

#[test]
fn no_is_no() {
    for keys in ["jan", "jdq", "jK\u{1b}", "ja\n\nn", "jajkn"] {
        let mut window = Window::usual(vec![hold(FIRST, "/srv/x")]);
        assert_eq!(window.types(keys), [], "{keys:?}");
        window.check_shows("nothing was decided");
        assert_eq!(window.types("y"), []);
    }
}

#[test]
fn keys_with_control_or_alt_decide_nothing() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x")]);
    window.types("ja");
    for modifiers in [KeyModifiers::CONTROL, KeyModifiers::ALT] {
        assert_eq!(window.on(Input::Key(KeyEvent::new(KeyCode::Char('y'), modifiers))), []);
    }
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(window.on(Input::Key(interrupt)), [Effect::Quit], "not even while it is asked back");
}

#[test]
fn the_selection_is_a_hold_and_not_a_place() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x"), hold(SECOND, "/srv/y")]);
    window.types("jj");
    window.sees(vec![hold(THIRD, "/srv/z"), hold(SECOND, "/srv/y")]);
    window.sees(vec![hold(SECOND, "/srv/y"), hold(THIRD, "/srv/z"), hold(FIRST, "/srv/x")]);
    assert_eq!(window.types("ay"), answer(&hold(SECOND, "/srv/y"), Word::Approve, None));
}

#[test]
fn a_key_that_comes_late_decides_nothing() {
    for keys in ["ay", "dy", "Ky", "rjay\nay"] {
        let mut window = Window::usual(vec![hold(FIRST, "/srv/x"), hold(SECOND, "/srv/y")]);
        window.types("j");
        window.sees(vec![hold(SECOND, "/srv/y")]);
        let decided: Vec<_> = window.types(keys);
        assert_eq!(decided, [], "{keys}: none is selected");
    }
    for (before, after) in [("ja", "y"), ("jar", "jay\ny"), ("jr", "jay\ny")] {
        let mut window = Window::usual(vec![hold(FIRST, "/srv/x"), hold(SECOND, "/srv/y")]);
        window.types(before);
        assert_eq!(window.sees(vec![hold(SECOND, "/srv/y")]), [Effect::Ask(Ask::End(id(FIRST)))]);
        assert_eq!(window.types(after), [], "{before}");
        assert_eq!(window.types("\njay"), answer(&hold(SECOND, "/srv/y"), Word::Approve, None), "one can go on");
    }
}

#[test]
fn how_holds_ended_is_said() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x"), hold(SECOND, "/srv/y")]);
    window.types("ja");
    let asks = [FIRST, SECOND].map(|digits| Effect::Ask(Ask::End(id(digits))));
    assert_eq!(window.sees(vec![]), asks);
    assert_eq!(window.sees(vec![]), asks, "as long as it is not known");
    window.check_shows("3f9c12ab… is not pending any more");
    window.on(Input::Over(id(SECOND), "expired".into()));
    window.on(Input::Over(id(FIRST), "approved by alice".into()));
    assert_eq!(window.sees(vec![]), []);
    window.check_shows("3f9c12ab… approved by alice\n");
    window.types("\n");
    window.check_shows(
        "3f9c12ab… approved by alice: open /srv/x (read)\n\
         77aa0001… expired: open /srv/y (read)\n\
         3f9c12ab… approved by alice",
    );
}

#[test]
fn a_hold_that_was_gone_for_a_moment_is_not_over() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x")]);
    window.sees(vec![]);
    assert_eq!(window.sees(vec![hold(FIRST, "/srv/x")]), []);
    window.on(Input::Over(id(FIRST), "ended unseen".into()));
    assert!(!window.text().contains("unseen"));
}

#[test]
fn how_a_hold_ended_is_what_the_agent_says_of_it() {
    let standing =
        Standing { hold: HoldId(1), state: End::Approved, decision: Decision::Approve, by: Some("alice".into()) };
    assert_eq!(how(&Refusal::Over(standing).into()), "approved by alice");
    assert_eq!(how(&Declined::new("no hold 0000000000000001")), "ended unseen");
}

#[test]
fn what_came_of_an_answer_is_said() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x"), hold(SECOND, "/srv/y")]);
    window.types("jay");
    window.on(Input::Answered(id(FIRST), Err(Declined::from(Refusal::Requester).into())));
    window.check_shows("3f9c12ab… self: the requester may not answer (help: ask another reviewer");
    window.types("ay");
    window.on(Input::Answered(id(FIRST), Ok("approved by bob".into())));
    window.check_shows("3f9c12ab… approved by bob");
    window.check_shows("1 held");
    assert_eq!(window.types("ay"), [], "none is selected");
}

#[test]
fn a_reason_is_typed_and_goes_with_the_decision() {
    let asks = hold(FIRST, "/srv/x");
    let window = || Window::usual(vec![hold(FIRST, "/srv/x"), hold(SECOND, "/srv/y")]);
    for keys in ["jdrgrüßex\u{8}n 字\ny", "jrgrüßen 字\ndy", "jrx\u{1b}drgrüßen 字\ny"] {
        assert_eq!(window().types(keys), answer(&asks, Word::Deny, Some("grüßen 字")), "{keys:?}");
    }
    for keys in ["jdrno\u{1b}y", "jr\u{8}\u{8}\ndy", "jrno\nkjjkrno\u{8}\u{8}\ndy"] {
        assert_eq!(window().types(keys), answer(&asks, Word::Deny, None), "{keys:?}");
    }
    let mut asking = window();
    asking.types("jarjqy");
    asking.on(Input::Pasted("one\ny\u{1b}".into()));
    asking.check_shows("reason       jqyone y _");
    assert_eq!(asking.types("\ny"), answer(&asks, Word::Approve, Some("jqyone y ")));
}

#[test]
fn a_reason_is_for_one_hold() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x"), hold(SECOND, "/srv/y")]);
    window.types("jrfirst\nj");
    assert_eq!(window.types("ay"), answer(&hold(SECOND, "/srv/y"), Word::Approve, None));
}

#[test]
fn what_is_pasted_is_no_command() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x")]);
    assert_eq!(window.on(Input::Pasted("jay\nq".into())), []);
    window.types("ja");
    assert_eq!(window.on(Input::Pasted("y".into())), []);
}

#[test]
fn without_an_agent_nothing_is_shown_as_if_it_were_held() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x")]);
    window.types("ja");
    window.on(Input::Seen(Err(Failure::NoAgent)));
    assert_eq!(window.types("y\njay\n"), []);
    window.check_shows("the agent is not running (help: systemctl start holdpoint)");
    window.check_shows("not known");
    assert!(!window.text().contains("/srv/x"), "{}", window.text());
    window.sees(vec![hold(FIRST, "/srv/x")]);
    window.check_shows("the agent is back");
    window.check_shows("1 held");
    assert_eq!(window.types("ay"), [], "none is selected");
}

#[test]
fn a_subject_cannot_forge_a_line_or_the_terminal() {
    let path =
        format!("/srv/x\n\u{1b}[2J\u{9b}2J\u{202e}\u{200b}{}  digest     0000{}", " ".repeat(60), "字".repeat(40));
    let mut hostile = sample::hold(HoldId(FIRST << 32));
    hostile.request.subject = path.clone();
    hostile.context.cwd = path.clone();
    hostile.context.unit = Some(path.clone());
    let holds = || vec![hold(SECOND, &path), seen(hostile.clone())];
    for (width, height) in [(40, 10), (80, 24)] {
        let mut window = Window::of(width, height, holds());
        for keys in ["", "j", "\n", "\n", "a", "n", "j", "\n"] {
            window.types(keys);
            for _ in 0..30 {
                window.types("j");
                let text = window.text();
                assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{200b}']), "{text}");
                assert!(!text.contains("\n  digest     0000"), "{text}");
            }
        }
    }
}

#[test]
fn there_are_no_colours() {
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x")]);
    window.types("ja");
    let cells = &window.terminal.backend().buffer().content;
    assert!(cells.iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
}

#[test]
fn every_way_to_quit_quits() {
    let quit = || [Effect::Quit];
    let mut window = Window::usual(vec![hold(FIRST, "/srv/x")]);
    assert_eq!(window.types("q"), quit());
    assert_eq!(window.types("\u{1b}"), quit());
    assert_eq!(window.on(Input::Ended), quit());
    assert_eq!(window.types("j\n\u{1b}"), [], "back to the list first");
    assert_eq!(window.types("\u{1b}"), quit());
}

#[test]
fn help_names_every_key() {
    for (width, height) in [(40, 10), (80, 24)] {
        let mut window = Window::of(width, height, vec![]);
        window.types("?");
        window.check_shows("PgUp, PgDn");
        window.key(KeyCode::End);
        window.check_shows("no key decides another one.");
        assert_eq!(window.types("ay?"), []);
        window.check_shows("Nothing is held.");
    }
}
