//! `holdpoint annotate`: says something of the governed tree that it is called in. Reviewers see it as a claim.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{
    Claiming,
    commands::{pretty, print},
};
use crate::{
    claims::{Claim, Said},
    request::shown,
    sockets::{
        Declined,
        client::{Client, Failure},
        message::{TreeReply, TreeRequest},
    },
};

/// What is claimed.
#[derive(Debug, Args)]
pub struct AnnotateArgs {
    #[command(flatten)]
    claiming: Claiming,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Claims it.
pub(super) fn annotate(socket: &Path, args: &AnnotateArgs) -> Result<(), Failure> {
    let said = args.claiming.said(Said::new());
    if said.is_empty() {
        return Err(Declined::new("nothing is said").remedy("give --intent, --task, --ticket or --prompt").into());
    }
    match Client::connect(socket)?.ask(&TreeRequest::Annotate { said })? {
        TreeReply::Annotated { claims } if args.json => print(&pretty(&json!({ "claims": claims }))),
        TreeReply::Annotated { claims } => print(&lines(&claims)),
        TreeReply::Refused(refusal) => Err(refusal.into()),
        _ => Err(Declined::new("the agent replied to something else").into()),
    }
}

fn lines(claims: &[Claim]) -> String {
    let lines = claims.iter().map(|claim| format!("  {}\n", shown(&claim.sentence())));
    format!("reviewers are shown, as claims of this tree:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{HoldId, sample};

    #[test]
    fn it_says_what_reviewers_are_shown_by_whom() {
        let mut claims = sample::hold(HoldId(7)).claims;
        claims[1].text = "two\nlines".into();
        let expected = "reviewers are shown, as claims of this tree:\n  \
                        intent, said by laura, who launched it: publish the release\n  \
                        intent, said by process 100, /usr/bin/curl: two\\u{a}lines\n";
        assert_eq!(lines(&claims), expected);
    }
}
