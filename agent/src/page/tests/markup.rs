//! Text that a subject chooses stays text, and all of it is there.

use std::collections::BTreeSet;

use super::*;
use crate::{
    approval::{
        card::Card,
        channel::{Message, Says},
        hostile,
    },
    page::board::Seen,
    request::{Object, Operation, sample},
};

/// What is between angle brackets: all the markup, in which no text that a subject chooses can be.
fn tags(page: &str) -> BTreeSet<&str> {
    let body = page.split_once("</style>").unwrap().1.rsplit_once("<script>").unwrap().0;
    let tags = body.split('<').skip(1).map(|tag| tag.split_once('>').map_or(tag, |(tag, _)| tag));
    // What is said is the last attribute, and has a reviewer's name.
    tags.map(|tag| tag.split_once(" data-said=").map_or(tag, |(tag, _)| tag)).collect()
}

#[test]
fn text_that_a_subject_chooses_is_never_markup() {
    let (answers, _) = mpsc::channel(1);
    let (notes, _) = mpsc::channel(1);
    let listens = Listener { address: ([127, 0, 0, 1], 1).into(), url: "http://127.0.0.1:1".into() };
    let page = Page::new(&listens, "host-1".into(), answers, mpsc::channel(1).0, notes);
    let reviewer = Reviewer { user: "alice".into(), entrance: None };
    let cookie = page.doors().sessions.begin(Timestamp::now(), reviewer).unwrap();
    let session = page.session(&cookie).unwrap();
    let now = sample::start();
    // Pending, past, and both lists.
    let pages = |text: &str, operation: usize| {
        let hold = hostile::hold(text, hostile::operations(text)[operation].clone());
        let standing = Standing { hold: hold.id, by: Some(text.into()), ..standing() };
        let past = Past { hold: hold.clone(), standing, why: Some(text.into()), at: now };
        let (mut pending, mut over) = (Board::default(), Board::default());
        pending.asked(&hold);
        let shown = view::hold(&page, &session, Seen::Past(&past), now);
        over.ended(past);
        let lists = [pending, over].map(|board| view::list(&page, &session, &board, now));
        [vec![view::hold(&page, &session, Seen::Pending(&hold), now), shown], lists.to_vec()].concat()
    };
    for operation in 0..5 {
        let plain = pages("plain", operation);
        for text in hostile::hostile() {
            for (page, plain) in pages(&text, operation).iter().zip(&plain) {
                let found = tags(page);
                assert!(found.is_subset(&tags(plain)), "{:?}", found.difference(&tags(plain)));
                hostile::check_visible(page);
            }
            if operation == 0 && hostile::is_plain(&text) {
                let escaped = maud::html! { code { (text) } }.into_string();
                assert!(pages(&text, operation)[0].contains(&escaped), "{escaped}");
            }
        }
    }
}

#[test]
fn all_of_the_operation_is_shown() {
    let words: Vec<_> = (0..400).map(|index| format!("word-{index}-{}", "x".repeat(20))).collect();
    let mut hold = sample::hold(HoldId(7));
    hold.request.what = Operation::Exec {
        path: "/p".repeat(2000),
        check: false,
        filename: "f".into(),
        argv: words.clone(),
        cut: false,
        masked: 0,
        object: Object { device: 1, inode: 2 },
        directory: Object { device: 1, inode: 3 },
        content: None,
    };
    let says = Says::Question { callback: None };
    let message = Message { at: Timestamp::now(), host: "h".into(), hold, says, review: None, test: false };
    let card = Card::whole(&message);
    assert!(card.whole);
    let arguments = card.facts.iter().find(|fact| fact.label == "Arguments").unwrap();
    assert_eq!(arguments.lines, words);
}
