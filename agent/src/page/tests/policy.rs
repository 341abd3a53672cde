//! What a change of the policy does to who is on the page.

use super::*;
use crate::policy::Person;

/// A page on which alice and bob are logged in, and a link that nobody has used; alice is here as a user of this host.
async fn page() -> (Arc<Page>, [Browser; 2], String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listens = Listener { address, url: format!("http://{address}") };
    // What the loop would hear is lost: the agent is as good as ended.
    let page = Page::new(&listens, "host-1".into(), mpsc::channel(1).0, mpsc::channel(1).0, mpsc::channel(8).0);
    let page = Arc::new(page);
    page.enrol(Roll::new(["alice", "bob"].map(str::to_owned), vec![]));
    let bob = Reviewer { user: "bob".into(), entrance: None };
    let [one, other, unused] = [alice_here(), bob, alice_here()].map(|reviewer| page.link(reviewer).unwrap());
    tokio::spawn(Arc::clone(&page).serve(listener));
    let browsers = [Browser::logged_in(&one).await, Browser::logged_in(&other).await];
    (page, browsers, unused)
}

#[tokio::test]
async fn a_session_ends_with_its_identity_and_does_not_come_back() {
    let not_al = Person { name: "alice".into(), users: vec!["al".into()], ..Person::default() };
    for after in [
        Roll::new(["bob".to_owned()], vec![]),
        Roll::new(["alice", "bob"].map(str::to_owned), vec![not_al]),
        Roll::new(["alice2", "bob"].map(str::to_owned), vec![]),
    ] {
        let (page, [alice, bob], unused) = page().await;
        let mut streams = [alice.fetch("/events").await, bob.fetch("/events").await];
        for stream in &mut streams {
            next(stream).await;
        }
        page.enrol(after);
        assert_eq!(streams[0].chunk().await.unwrap(), None, "the stream is at its end");
        let (status, shown) = alice.get("/").await;
        assert!(status == 401 && shown.contains("Your session is over"), "{shown}");
        assert_eq!(alice.fetch("/events").await.status(), 401);
        let (status, shown) = alice.says(7, "approve", "d").await;
        assert!(status == 401 && shown.contains("Your session is over"), "{shown}");
        let revoked = alice.post(&format!("/g/{}/revoke", HoldId(7)), form(&alice.token, "", "")).send().await.unwrap();
        assert_eq!(revoked.status(), 401);
        let (_, query) = unused.split_once("/r?").unwrap();
        assert_eq!(alice.post("/r", query.to_owned()).send().await.unwrap().status(), 410, "nor is the link good");
        assert_eq!((bob.get("/").await.0, bob.fetch("/events").await.status().as_u16()), (200, 200), "the control");

        page.enrol(Roll::new(["alice", "bob"].map(str::to_owned), vec![]));
        assert_eq!((alice.get("/").await.0, bob.get("/").await.0), (401, 200), "it stays over");
    }
}

#[tokio::test]
async fn a_link_in_a_message_leads_to_its_hold_once() {
    let (page, [_, bob], _) = page().await;
    let hold = crate::request::sample::hold(HoldId(7));
    let hold = Hold { deadline: Timestamp::now() + SignedDuration::from_mins(30), ..hold };
    page.asked(&hold);
    assert_eq!(page.invite(&hold, "dm", "mallory"), None, "nobody's name");
    let link = page.invite(&hold, "dm", "alice").unwrap();
    assert_eq!(page.invite(&hold, "dm", "alice").as_ref(), Some(&link), "the same in a reminder");
    let (_, query) = link.split_once("/r?").unwrap();
    let (status, door) = bob.get(&format!("/r?{query}")).await;
    assert!(status == 200 && door.contains("Log in as alice") && door.contains(&HoldId(7).to_string()), "{door}");
    let came = bob.post("/r", query.to_owned()).send().await.unwrap();
    assert_eq!((came.status().as_u16(), came.headers()["location"].to_str().unwrap()), (303, &*path(7)));
    let (status, used) = bob.get(&format!("/r?{query}")).await;
    assert!(status == 410 && used.contains(&format!("href=\"{}\">See the hold", path(7))), "{used}");

    let other = page.invite(&hold, "dm", "alice").unwrap();
    assert_ne!(other, link, "another one in the place of what was used");
    let standing = Standing { hold: HoldId(7), ..standing() };
    page.ended(Timestamp::now(), &hold, &standing, None);
    assert_eq!(bob.get(&format!("/r?{}", other.split_once("/r?").unwrap().1)).await.0, 410, "the hold is over");
}

#[tokio::test]
async fn a_session_outlives_a_policy_that_has_the_person() {
    let (page, [alice, _], unused) = page().await;
    let same = Person { name: "alice".into(), users: vec!["alice".into()], ..Person::default() };
    page.enrol(Roll::new(["alice".to_owned()], vec![same]));
    assert_eq!(alice.get("/").await.0, 200);
    Browser::logged_in(&unused).await;
}
