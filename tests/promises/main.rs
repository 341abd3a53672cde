//! The promises of Holdpoint, kept or broken: each test is named by what it shows, and shows its control.
//!
//! They run as root in the virtual machine, one after the other: `cargo xtask test --only promises`. A test without
//! `shared` starts an agent of its own.

mod a_bad_policy_changes_nothing;
mod a_denial_is_final;
mod a_policy_is_put_in_force_whole;
mod a_policy_of_several_files;
mod a_rule_means_what_it_says;
mod a_rule_on_appending;
mod a_rule_on_arguments;
mod a_rule_on_names;
mod a_rule_on_what_is_received;
mod approved_for_longer;
mod claims_are_kept_apart;
mod deciding_in_the_terminal;
mod each_hook_is_needed;
mod exactly_this_operation;
mod exactly_this_operation_in_a_race;
mod governed_for_good;
mod holds_outlive_the_agent;
mod honest_about_the_kernel;
mod labels_follow_the_data;
mod learning;
mod many_holds_at_once;
mod no_inbound_port;
mod no_way_round;
mod no_way_round_by_policy;
mod nobody_answers_for_themselves;
mod nobody_inside_switches_it_off;
mod nobody_leaves;
mod nothing_before_the_answer;
mod observing;
mod on_overlayfs;
mod on_record_first;
mod one_question_for_the_same;
mod only_a_decision_resumes;
mod only_a_reviewer_answers;
mod only_a_reviewer_answers_by_signature;
mod only_a_reviewer_answers_on_the_page;
mod only_reviewers_answer_on_the_host;
mod only_time_passes;
mod only_time_passes_for_programs;
mod others_are_asked_in_time;
mod ready_policies;
mod secrets_are_masked;
mod several_must_approve;
mod silence_denies;
mod silence_denies_at_the_webhook;
mod the_terminal_stays_right;
mod two_holds_do_not_mix;
mod user_space_and_kernel_agree;
mod withdrawn;
mod zz_nothing_is_left_behind;
