//! Promise 11: honest about the kernel. Attached is not enforcing: each hook is proven by a canary. What a kernel
//! without the "bpf" security module is told cannot be shown here, since this one has it.

use holdpoint_tests::{User, everything, shared, site};

#[test]
fn status_says_which_hooks_were_proven() {
    assert!(site::content("/sys/kernel/security/lsm").split(',').any(|name| name == "bpf"));
    let agent = shared(&everything());
    let status = agent.status();
    assert_eq!((&status["attached"], &status["enforcing"]), (&true.into(), &true.into()));
    assert_eq!(status["problems"].as_array().map(Vec::len), Some(0), "{status}");
    let hooks = status["hooks"].as_array().expect("a list");
    for wanted in ["bprm_creds_for_exec", "file_open", "socket_connect", "path_mknod"] {
        assert!(hooks.iter().any(|hook| hook["name"] == wanted), "{wanted} in {hooks:?}");
    }
    assert!(hooks.iter().all(|hook| hook["proven"] == true), "{hooks:?}");
    let reply = agent.say(User::ROOT, ["status"]);
    assert!(reply.success() && reply.stdout.starts_with("enforcing\n"), "{reply:?}");
    for hook in hooks {
        assert!(reply.stdout.contains(hook["name"].as_str().expect("a name")), "{}", reply.stdout);
    }
}
