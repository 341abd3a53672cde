//! The shape of a policy file, be it the main one or a part, as a JSON Schema (draft 2020-12), so that editors complete
//! and check while one types. What it cannot say (patterns, names of groups, what can never match) is said by `holdpoint
//! policy check`.

use holdpoint_common::system::System;
use serde_json::{Value, json};

use super::only;
use crate::{
    ladder,
    mask::BuiltIn,
    quorum::{self, Assurance, SelfAnswer},
};

/// The schema.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Holdpoint policy",
        "description": "Who is governed, and what is held. The first rule that matches wins; what none matches is allowed.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "mode": { "description": "Whether rules hold, deny and kill, or only say in the record what they would do", "enum": ["enforce", "observe"], "default": "enforce" },
            "host": texts("In a part: the hosts that it is for: web-*, not web-3; all if it is not there"),
            "lists": {
                "description": "Lists by name: \"$name\" in any other list stands for the elements",
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z0-9._-]{1,64}$" },
                "additionalProperties": {
                    "type": "array", "minItems": 1,
                    "items": { "anyOf": [{ "$ref": "#/$defs/text" }, { "type": "integer" }] },
                },
            },
            "subject": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/subject" } },
            "reviewers": {
                "description": "Groups of reviewers, by name",
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z0-9._-]{1,64}$" },
                "additionalProperties": { "$ref": "#/$defs/texts" },
            },
            "reviewer": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/reviewer" } },
            "labels": {
                "description": "Names for data, by the files that it is in",
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z0-9._-]{1,64}$" },
                "additionalProperties": { "anyOf": [{ "$ref": "#/$defs/patterns" }, { "$ref": "#/$defs/label" }] },
            },
            "dns": { "$ref": "#/$defs/dns" },
            "mask": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/mask" } },
            "rule": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/rule" } },
        },
        "$defs": {
            "text": { "type": "string", "minLength": 1, "maxLength": 1000 },
            "use": { "description": "The elements of a list of [lists]", "type": "string", "pattern": "^\\$[A-Za-z0-9._-]{1,64}$" },
            "texts": { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "$ref": "#/$defs/text" } },
            "patterns": {
                "description": "Paths: /exact, /dir/**, **/name, with *, ? and {a,b} within names",
                "allOf": [{ "$ref": "#/$defs/texts" }],
            },
            "labels": { "description": "Labels, whose files are meant", "allOf": [{ "$ref": "#/$defs/texts" }] },
            "users": { "description": "Users, by name or number", "allOf": [{ "$ref": "#/$defs/texts" }] },
            "duration": { "type": "string", "pattern": "^[0-9]+[smh]$" },
            "asked": {
                "description": "The group that is asked; or groups, and how many of each must approve",
                "anyOf": [
                    { "$ref": "#/$defs/text" },
                    {
                        "type": "object", "minProperties": 1,
                        "additionalProperties": { "type": "integer", "minimum": 1, "maximum": quorum::MOST },
                    },
                ],
            },
            "escalation": table(
                "Who else is asked, and after how long",
                &["after", "reviewers"],
                &json!({ "after": { "$ref": "#/$defs/duration" }, "reviewers": { "$ref": "#/$defs/asked" } }),
            ),
            "modes": words("The file has one of these permissions", &only::all_modes()),
            "label": label(),
            "dns": dns(),
            "mask": mask(),
            "subject": subject(),
            "reviewer": reviewer(),
            "rule": rule(),
            "open": open(),
            "exec": exec(),
            "connect": connect(),
        },
    })
}

fn table(description: &str, required: &[&str], properties: &Value) -> Value {
    json!({
        "description": description, "type": "object", "additionalProperties": false,
        "required": required, "properties": properties,
    })
}

fn words(description: &str, known: &[&str]) -> Value {
    json!({
        "description": description, "type": "array", "minItems": 1, "uniqueItems": true,
        "items": { "anyOf": [{ "enum": known }, { "$ref": "#/$defs/use" }] },
    })
}

fn text(description: &str) -> Value {
    json!({ "description": description, "allOf": [{ "$ref": "#/$defs/text" }] })
}

fn texts(description: &str) -> Value {
    json!({ "description": description, "allOf": [{ "$ref": "#/$defs/texts" }] })
}

fn label() -> Value {
    table(
        "Data, and who carries its name once it is read",
        &["path"],
        &json!({
            "path": { "$ref": "#/$defs/patterns" },
            "by": { "description": "The whole tree, or the process and what it forks", "enum": ["tree", "lineage"], "default": "tree" },
        }),
    )
}

fn dns() -> Value {
    table(
        "Whose answers say which host has which address",
        &["resolvers"],
        &json!({ "resolvers": texts("Addresses of resolvers; the host's own if [dns] is not there") }),
    )
}

fn mask() -> Value {
    table(
        "What is not shown of arguments, command lines and claims, beside what is built in",
        &[],
        &json!({
            "after": texts("Options: what follows is a secret"),
            "variable": texts("Variables, with *: what they are set to is a secret"),
            "text": texts("Regular expressions: how secrets look; with groups, these alone"),
            "off": words("Built-in masks that are off", &BuiltIn::ALL.map(BuiltIn::word)),
        }),
    )
}

fn subject() -> Value {
    table(
        "A governed process tree",
        &["name"],
        &json!({
            "name": { "description": "Its name", "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" },
            "exe": texts("Executing one of these files starts such a tree"),
            "cgroup": texts("Every process in one of these control groups is of such a tree"),
            "unit": texts("Every process of one of these units of systemd is of such a tree"),
            "container": texts("Every process of one of these containers, by the beginning of its id: *, 3f2a9c41d0e7*"),
            "parent": texts("Only where one of these programs executes exe"),
            "user": texts("Only what these users start; all that they start if nothing else is named"),
            "group": texts("Only what members of these groups start; likewise"),
        }),
    )
}

fn reviewer() -> Value {
    table(
        "A reviewer, and all that is this person",
        &["name"],
        &json!({
            "name": text("The name, as groups of reviewers have it"),
            "user": texts("Users of this host, by name"),
            "slack": texts("Users of Slack: TEAM/USER"),
            "sso": texts("Subjects of login providers, for the review page: ISSUER SUBJECT"),
            "email": texts("E-mail addresses by which integrations name the reviewer, and a login provider where config.toml says so"),
            "integrations": {
                "description": "Channels (webhook, exec) whose word counts for the reviewer, and how sure that is",
                "type": "object", "minProperties": 1,
                "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
                "additionalProperties": { "enum": ([Assurance::Basic, Assurance::Medium].map(Assurance::word)) },
            },
            "ssh": texts("Public keys as in authorized_keys, ssh-ed25519 or ecdsa-sha2-nistp256; their signatures answer"),
        }),
    )
}

fn rule() -> Value {
    let mut rule = table(
        "One line of policy",
        &["name", "then"],
        &json!({
            "name": text("Its name, in questions and in the record"),
            "subject": texts("The subjects that it is for; all if it is not there"),
            "open": { "$ref": "#/$defs/open" },
            "exec": { "$ref": "#/$defs/exec" },
            "connect": { "$ref": "#/$defs/connect" },
            "system": words("What is done to the host", &System::ALL.map(System::word)),
            "user": { "$ref": "#/$defs/users" },
            "login": { "$ref": "#/$defs/users" },
            "group": texts("Groups, by name or number, of who asks"),
            "cwd": { "description": "Where who asks works: its working directory", "allOf": [{ "$ref": "#/$defs/patterns" }] },
            "during": texts("Times of the week: Mon-Fri 09:00-17:00, Sat,Sun, not 22:00-06:00"),
            "if_read": texts("Labels: only where data of one of them was read before"),
            "then": { "description": "What follows", "enum": ["allow", "audit", "hold", "deny", "kill"] },
            "mode": { "description": "observe: what it would do is recorded, and the next rule counts", "enum": ["enforce", "observe"], "default": "enforce" },
            "reviewers": { "$ref": "#/$defs/asked" },
            "escalate": {
                "description": "Who else is asked while nobody has decided",
                "type": "array", "minItems": 1, "maxItems": ladder::STEPS,
                "items": { "$ref": "#/$defs/escalation" },
            },
            "remind": { "description": "How often those who are asked are reminded", "allOf": [{ "$ref": "#/$defs/duration" }] },
            "assurance": {
                "description": "How sure it has to be who approves",
                "enum": Assurance::ALL.map(Assurance::word), "default": "basic",
            },
            "self": {
                "description": "Whether the requester may answer; the record says so each time",
                "enum": SelfAnswer::ALL.map(SelfAnswer::word), "default": "refused",
            },
            "scope": texts("What an approval may be for besides once: process, tree, or a time such as 30m, at most 24h"),
            "why": text("The reason, shown to whoever meets the rule"),
            "timeout": { "description": "How long is waited for an answer", "type": "string", "pattern": "^[0-9]+[smh]$", "default": "5m" },
            "on_deny": { "description": "What a no does", "enum": ["kill", "fail"], "default": "kill" },
            "on_timeout": { "description": "What silence does; as on_deny if it is not there", "enum": ["kill", "fail"] },
            "pause": { "description": "How long the same is refused without a question after a no", "type": "string", "pattern": "^[0-9]+[smh]$", "default": "10m" },
        }),
    );
    rule["oneOf"] = ["open", "exec", "connect", "system"].map(|key| json!({ "required": [key] })).as_slice().into();
    rule["if"] = json!({ "properties": { "then": { "const": "hold" } } });
    rule["then"] = json!({ "required": ["reviewers"] });
    rule["else"] = json!({
        "properties": { "reviewers": false, "escalate": false, "remind": false, "assurance": false, "self": false, "scope": false, "timeout": false, "on_deny": false, "on_timeout": false, "pause": false },
    });
    rule
}

fn open() -> Value {
    of_files(table(
        "Opening a file, or changing it or its name",
        &[],
        &json!({
            "path": { "$ref": "#/$defs/patterns" },
            "label": { "$ref": "#/$defs/labels" },
            "access": words("Ways of opening; all if it is not there", &["read", "write", "append", "create", "truncate"]),
            "owner": { "$ref": "#/$defs/users" },
            "mode": { "$ref": "#/$defs/modes" },
        }),
    ))
}

fn exec() -> Value {
    of_files(table(
        "Executing a file",
        &[],
        &json!({
            "path": { "$ref": "#/$defs/patterns" },
            "label": { "$ref": "#/$defs/labels" },
            "args": texts("Patterns, each of which one of the arguments matches"),
            "owner": { "$ref": "#/$defs/users" },
            "mode": { "$ref": "#/$defs/modes" },
        }),
    ))
}

/// The table, which says by paths or by a label what it is about.
fn of_files(mut table: Value) -> Value {
    table["oneOf"] = ["path", "label"].map(|key| json!({ "required": [key] })).as_slice().into();
    table
}

fn connect() -> Value {
    let mut connect = table(
        "Connecting, or sending to an address",
        &[],
        &json!({
            "to": texts("Addresses, blocks, any, public, private, link-local, loopback, multicast; any if it is not there"),
            "not": texts("Those of them that are not meant"),
            "name": texts("Names, one of which the address was looked up by: api.github.com, *.amazonaws.com"),
            "port": {
                "description": "Ports, or ranges: [443, \"8000-8999\"]; every port if it is not there",
                "type": "array", "minItems": 1, "uniqueItems": true,
                "items": { "anyOf": [
                    { "type": "integer", "minimum": 0, "maximum": 65535 },
                    { "type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$" },
                    { "$ref": "#/$defs/use" },
                ] },
            },
            "protocol": words("Protocols of the socket; every one if it is not there", &only::all_protocols()),
            "unix": { "description": "Sockets, by their paths", "allOf": [{ "$ref": "#/$defs/patterns" }] },
        }),
    );
    connect["if"] = json!({ "required": ["unix"] });
    connect["then"] = json!({ "properties": { "to": false, "not": false, "port": false, "protocol": false } });
    connect
}
