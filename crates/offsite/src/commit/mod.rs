//! Changes a chain: the writer, the proof before a commit, and the release after it.

pub(crate) mod cleanup;
pub(crate) mod clock_rule;
pub(crate) mod close;
pub(crate) mod draft;
pub(crate) mod dry_run;
pub(crate) mod new_index;
pub(crate) mod plan_context;
pub(crate) mod point;
pub(crate) mod read_back;
pub(crate) mod release;
pub(crate) mod remove_job;
pub(crate) mod room;
pub(crate) mod rules;
pub(crate) mod selected;
pub(crate) mod stack;
pub(crate) mod writer;
