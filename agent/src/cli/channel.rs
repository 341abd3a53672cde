//! `holdpoint channel ...`: what channels would send, and whether they do.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Subcommand;
use serde_json::json;
use tokio::{sync::oneshot, time::timeout};

use super::commands::{one, pretty, print, unexpected};
use crate::{
    approval::{
        channel::{Channel, KINDS, Preview},
        sample::{self, Tried},
    },
    config,
    request::{HoldId, shown},
    sockets::{
        Declined,
        client::{Client, Failure},
        message::{ControlReply, ControlRequest},
    },
};

/// Work with the ways to reviewers.
#[derive(Debug, Subcommand)]
pub enum ChannelVerb {
    /// Print exactly what would be sent
    Preview {
        /// A configured channel; for a sample also a kind: exec, slack, teams, webhook
        name: String,
        /// The question about this pending hold: its id, or its first digits
        #[arg(long, value_name = "ID", conflicts_with = "sample")]
        hold: Option<String>,
        /// A question about something that is not held; so it is if nothing is said
        #[arg(long)]
        sample: bool,
        /// Channels and listener
        #[arg(long, value_name = "FILE", default_value = "/etc/holdpoint/config.toml")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a question marked as a test, and that it is over; say what came back
    Test {
        /// A configured channel
        name: String,
        /// How long its buttons stay, if it has any; Enter ends that sooner
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        wait: u64,
        /// Channels and listener
        #[arg(long, value_name = "FILE", default_value = "/etc/holdpoint/config.toml")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does it, and prints what came of it.
pub(super) fn channel(socket: &Path, verb: &ChannelVerb) -> Result<(), Failure> {
    match verb {
        ChannelVerb::Preview { name, hold, config, json, .. } => match hold {
            Some(id) => show(name, &held(socket, name, id)?, *json),
            None => {
                let channel = configured(config, name).or_else(|declined| example(name).ok_or(declined))?;
                show(name, &sample::preview(&channel, &host()), *json)
            }
        },
        ChannelVerb::Test { name, wait, config, json } => {
            try_out(&configured(config, name)?, Duration::from_secs(*wait), *json)
        }
    }
}

/// As the agent would ask about the hold.
fn held(socket: &Path, name: &str, id: &str) -> Result<Preview, Failure> {
    let mut client = Client::connect(socket)?;
    let hold = one(&mut client, id)?;
    let id: HoldId = hold["id"].as_str().unwrap_or_default().parse().map_err(Declined::new)?;
    match client.ask(&ControlRequest::Preview { id, channel: name.to_owned() })? {
        ControlReply::Preview(preview) => Ok(preview),
        other => Err(unexpected(other)),
    }
}

fn show(name: &str, preview: &Preview, as_json: bool) -> Result<(), Failure> {
    print(&previewed(name, preview, as_json))
}

fn previewed(name: &str, Preview { to, message }: &Preview, as_json: bool) -> String {
    match as_json {
        true => pretty(&json!({ "channel": name, "to": to, "message": message })),
        false => format!("{}\n{}", shown(to), pretty(message)),
    }
}

/// The channel of this name in the configuration.
fn configured(file: &Path, name: &str) -> Result<Channel, Declined> {
    let (config, _) = config::load(file, config::credentials().as_deref())
        .map_err(|error| Declined::new(error.to_string()).remedy("as root: the configuration names secrets"))?;
    let names: Vec<_> = config.channels.iter().map(|channel| channel.name.clone()).collect();
    config.channels.into_iter().find(|channel| channel.name == name).ok_or_else(|| {
        let remedy = format!("channels of {}: {}", file.display(), names.join(", "));
        Declined::new(format!("no channel \"{}\"", shown(name))).remedy(remedy)
    })
}

/// A channel of this kind that leads nowhere.
fn example(kind: &str) -> Option<Channel> {
    let kind = KINDS.iter().find(|known| known.word == kind)?;
    Some(Channel { name: kind.word.into(), kind: kind.word, reviewers: vec![], review: None, way: (kind.example)() })
}

fn host() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Waits for Enter, no longer than that.
async fn enter(wait: Duration) {
    eprintln!("click now; after that press Enter, or wait {} s", wait.as_secs());
    let (enter, entered) = oneshot::channel();
    // Not by the runtime: it would wait for a line when it ends.
    std::thread::spawn(move || {
        if std::io::stdin().read_line(&mut String::new()).is_ok_and(|length| length > 0) {
            let _ = enter.send(());
        }
    });
    let entered = async {
        if entered.await.is_err() {
            // Nobody is there to press it.
            std::future::pending::<()>().await;
        }
    };
    let _ = timeout(wait, entered).await;
}

fn try_out(channel: &Channel, wait: Duration, as_json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tried = runtime.block_on(sample::try_out(channel, &host(), enter(wait)));
    let text = if as_json { pretty(&report(&channel.name, &tried)) } else { lines(&tried) };
    print(&text)?;
    match tried {
        Tried { question: Ok(_), outcome: Some(Ok(())) } => Ok(()),
        _ => Err(Declined::new(format!("channel \"{}\" does not work", channel.name)).into()),
    }
}

fn lines(Tried { question, outcome }: &Tried) -> String {
    let question = match question {
        Ok(None) => "the question was taken\n".to_owned(),
        Ok(Some(answer)) => {
            format!("the question was taken, and answered: {:?} by {}\n", answer.word, shown(&answer.who))
        }
        Err(error) => format!("the question was not taken: {}\n", shown(error)),
    };
    let outcome = match outcome {
        None => String::new(),
        Some(Ok(())) => "that it is over was taken\n".to_owned(),
        Some(Err(error)) => format!("that it is over was not taken: {}\n", shown(error)),
    };
    question + &outcome
}

fn report(channel: &str, Tried { question, outcome }: &Tried) -> serde_json::Value {
    json!({
        "channel": channel,
        "asked": question.is_ok(),
        "answer": question.as_ref().ok(),
        "told": matches!(outcome, Some(Ok(()))),
        "error": question.as_ref().err().or(outcome.as_ref().and_then(|told| told.as_ref().err())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::peers::Peer;

    #[test]
    fn each_kind_has_a_sample() {
        for kind in KINDS {
            let Preview { to, message } = sample::preview(&example(kind.word).unwrap(), "host-1");
            assert!(!to.is_empty() && message.to_string().contains("/usr/bin/git"), "{to} {message}");
        }
        assert!(example("fax").is_none());
    }

    #[tokio::test]
    #[ignore = "needs the peers' libraries: cargo xtask test --only peers"]
    async fn the_libraries_read_what_is_previewed() {
        for (kind, script) in [("slack", "slack_messages.py"), ("teams", "teams_cards.py")] {
            let printed = previewed(kind, &sample::preview(&example(kind).unwrap(), "host-1"), true);
            let sent = &serde_json::from_str::<serde_json::Value>(&printed).unwrap()["message"];
            let mut peer = Peer::start(script);
            peer.tell(&json!({ "text": "", "plain": sent, "sent": sent })).await;
            peer.ends_well().await;
        }
    }

    #[test]
    fn a_channel_that_nobody_configured_is_not_there() {
        let declined = configured(Path::new("/nonexistent/config.toml"), "ops").unwrap_err();
        assert_eq!(declined.cause, "no channel \"ops\"");
    }

    #[test]
    fn a_test_is_marked_and_a_failure_is_one() {
        let channel = example("webhook").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tried = runtime.block_on(sample::try_out(&channel, "host-1", async {}));
        assert!(tried.question.is_err() && tried.outcome.is_none(), "{tried:?}");
        assert_eq!(report("x", &tried)["asked"], false);
        assert!(try_out(&channel, Duration::ZERO, true).is_err());
    }
}
