//! Promise 2: only time passes, at a terminal too. Outside the tree the shell notices nothing; inside, what cannot be
//! hidden from a shell whose own child stops is shown here, and README says it.

use holdpoint_tests::{
    Agent, Hold, User,
    agent::holdpoint,
    everything,
    process::{self, state},
    shared, site,
    terminal::{Terminal, group},
};

/// Waits until the file is asked for.
#[track_caller]
fn hold_of(agent: &Agent, file: &str) -> Hold {
    let hold = agent.wait_for_hold(|hold| hold["path"] == file);
    process::wait_stopped(hold.pid());
    hold
}

#[test]
fn a_shell_outside_the_tree_prints_nothing_and_keeps_its_terminal() {
    let agent = shared(&everything());
    let file = site::file("hold", "Ada Lovelace\n");
    let terminal = Terminal::bash(User::AGENT);
    let shell = terminal.foreground();
    let command = format!("{} run --quiet -- cat {file}", holdpoint());
    terminal.types(&command);
    let hold = hold_of(&agent, &file);
    assert_eq!(terminal.foreground(), group(hold.pid()), "the command has the terminal");
    assert_ne!(terminal.foreground(), shell);
    assert_eq!(terminal.text(), format!("ready> {command}\r\n"), "nothing is printed");
    agent.approve(&hold);
    terminal.wait_prompt();
    assert_eq!(terminal.text(), format!("ready> {command}\r\nAda Lovelace\r\nready> "));
    assert_eq!(terminal.foreground(), shell);
    terminal.types("jobs; echo \"no $(jobs | wc -l)\"");
    terminal.wait("\r\nno 0\r\n");
    terminal.wait_prompt();
    terminal.check_reading();
    assert!(!terminal.text().contains("Stopped"), "{}", terminal.text());
}

#[test]
fn a_held_command_reads_the_terminal_afterwards() {
    let agent = shared(&everything());
    let file = site::file("hold", "Ada\n");
    let terminal = Terminal::bash(User::AGENT);
    // The held process is deeper in a pipeline of the command, as with any tool that starts another.
    terminal.types(&format!(
        "{} run --quiet -- sh -c 'cat {file} | tr a-z A-Z; read -r x; echo \"it got <$x>\"'",
        holdpoint()
    ));
    let hold = hold_of(&agent, &file);
    agent.approve(&hold);
    terminal.wait("\r\nADA\r\n");
    terminal.types("hello");
    terminal.wait("it got <hello>");
    terminal.wait_prompt();
    terminal.check_reading();
    assert!(!terminal.text().contains("Stopped"), "{}", terminal.text());
}

#[test]
fn one_quiet_line_says_what_is_held_and_how_it_ended() {
    let agent = shared(&everything());
    let file = site::file("hold", "Ada\n");
    let terminal = Terminal::bash(User::AGENT);
    terminal.types(&format!("{} run -- cat {file}", holdpoint()));
    let hold = hold_of(&agent, &file);
    let short = &hold.id()[..8];
    terminal.wait("asking people\r\n");
    agent.approve(&hold);
    terminal.wait(&format!("holdpoint: {short}… approved by reviewer after "));
    terminal.wait_prompt();
    let text = terminal.text();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("holdpoint: ")).collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].starts_with(&format!("holdpoint: held {short}… open {file} (read) since ")), "{lines:#?}");

    terminal.types(&format!("{} run -- cat {file} 2>/dev/null", holdpoint()));
    let hold = hold_of(&agent, &file);
    agent.say(User::REVIEWER, ["deny", hold.id(), "--why", "not today"]);
    terminal.wait_prompt();
    terminal.types(&format!("{} run -- cat {file}", holdpoint()));
    let hold = hold_of(&agent, &file);
    agent.say(User::REVIEWER, ["deny", hold.id(), "--why", "not today"]);
    terminal.wait(&format!("holdpoint: {}… denied by reviewer: not today\r\n", &hold.id()[..8]));
    terminal.wait_prompt();
    // Not by lines: what the command prints can come in the middle of one.
    let lines = terminal.text().matches("holdpoint: ").count();
    assert_eq!(lines, 4, "on the standard error alone: {}", terminal.text());
}

#[test]
fn control_c_ends_a_held_command_and_withdraws_its_hold() {
    let agent = shared(&everything());
    let file = site::file("hold", "Ada\n");
    let terminal = Terminal::bash(User::AGENT);
    terminal.types(&format!("{} run --quiet -- cat {file}", holdpoint()));
    let hold = hold_of(&agent, &file);
    terminal.types("\x03");
    agent.wait_recorded("withdrawn", |line| line["event"] == "withdrawn" && line["hold"] == hold.id());
    terminal.wait_prompt();
    terminal.check_reading();
    assert!(state(hold.pid()).is_none());
}

/// A governed interactive bash in which the command of the line is held when it opens the file.
fn inside(agent: &Agent, line: &str, file: &str) -> (Terminal, Hold) {
    let terminal = Terminal::bash(User::AGENT);
    terminal.types(&format!("exec {} run --quiet -- bash --norc --noprofile -i", holdpoint()));
    terminal.wait("\r\nready> ");
    terminal.wait_prompt();
    terminal.types(line);
    let hold = hold_of(agent, file);
    // What cannot be hidden: bash waits for its children with WUNTRACED, and takes the terminal back.
    terminal.wait("[1]+  Stopped");
    terminal.wait_prompt();
    assert_ne!(terminal.foreground(), group(hold.pid()));
    (terminal, hold)
}

#[test]
fn a_shell_inside_the_tree_loses_no_job() {
    let agent = shared(&everything());
    let file = site::file("hold", "Ada Lovelace\n");
    let (terminal, hold) = inside(&agent, &format!("cat {file}"), &file);
    terminal.check_reading();
    assert_eq!(state(hold.pid()), Some('T'), "the shell's other commands do not pass it");
    agent.approve(&hold);
    terminal.wait("Ada Lovelace\r\n");
    terminal.types("wait; jobs; echo \"left $(jobs | wc -l)\"");
    terminal.wait("\r\nleft 0\r\n");
    terminal.wait_prompt();
    terminal.check_reading();
}

#[test]
fn a_job_inside_the_tree_gets_the_terminal_back_by_fg() {
    let agent = shared(&everything());
    let file = site::file("hold", "Ada\n");
    let script = "import sys; print(open(sys.argv[1]).read(), end=\"\", flush=True); print(\"it got\", input())";
    let (terminal, hold) = inside(&agent, &format!("python3 -c '{script}' {file}"), &file);

    // While it is held, fg is no way past it: the shell has no say, and waits with it.
    terminal.types("fg");
    agent.wait_recorded("the shell's SIGCONT", |line| line["event"] == "denied" && line["tree"] == hold.tree());
    assert_eq!(state(hold.pid()), Some('T'));
    assert!(!terminal.text().contains("\r\nAda\r\n"));

    agent.approve(&hold);
    terminal.wait("Ada\r\n");
    // It is in the foreground.
    terminal.types("hello");
    terminal.wait("it got hello\r\n");
    terminal.wait_prompt();
    terminal.check_reading();
    assert_eq!(agent.questions(hold.tree()), 1);
}
