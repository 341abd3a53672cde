//! `holdpoint page`: a link to the review page, or the page with samples.

use std::{net::SocketAddr, path::Path};

use clap::Args;
use jiff::SignedDuration;

use super::commands::{print, unexpected};
use crate::{
    page::sample,
    request::shown,
    sockets::{
        Declined,
        client::{Client, Failure},
        message::{ControlReply, ControlRequest},
    },
};

/// What is wanted of the page.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// Print a link for this reviewer (root only)
    #[arg(long = "for", value_name = "NAME", conflicts_with = "sample")]
    reviewer: Option<String>,
    /// Serve the page with samples, which can be decided; needs neither root nor an agent. Ends with Ctrl-C
    #[arg(long)]
    sample: bool,
    /// Where to serve samples
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8702", requires = "sample")]
    address: SocketAddr,
    /// Seconds for which a sample's links are good: for tests.
    #[arg(long, hide = true, default_value_t = 600, requires = "sample")]
    seconds: i64,
}

/// Does it.
pub(super) fn page(socket: &Path, args: &PageArgs) -> Result<(), Failure> {
    if args.sample {
        return samples(args.address, SignedDuration::from_secs(args.seconds));
    }
    let question = ControlRequest::Page { reviewer: args.reviewer.clone() };
    match Client::connect(socket)?.ask(&question)? {
        ControlReply::Page { link, reviewer } => {
            print(&format!("{link}\n"))?;
            eprintln!("good once, for 10 minutes, for {}: whoever opens it answers in that name", shown(&reviewer));
            Ok(())
        }
        other => Err(unexpected(other)),
    }
}

fn samples(address: SocketAddr, lifetime: SignedDuration) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tell = |links: Vec<(&str, String)>| {
        for (name, link) in links {
            // Whoever reads the links may have gone; the page is there all the same.
            let _ = print(&format!("{name} {link}\n"));
        }
    };
    let served = runtime.block_on(sample::serve(address, lifetime, tell));
    Ok(served.map_err(|error| Declined::new(format!("cannot serve {address}: {error}")))?)
}
