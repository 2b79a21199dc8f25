//! Whole lives: whatever a user can do, in any order, against a naive model of what must be there.
//!
//! - [`operation`]: what can happen, as data that is printed and read back.
//! - [`machines`], [`settings`], [`world`]: what there is.
//! - [`perform`], [`copying`], [`seeding`], [`upkeep`], [`readers`], [`damage`]: the operations, carried out by the engine.
//! - [`proof`]: what a folder holds, told from its stored bytes alone; [`expect`], [`keeping`], [`judge`]: what it ought to.
//! - [`life`], [`coverage`], [`steering`]: lives are drawn towards what was not seen; [`shrink`]: and made short where they break a law.
//!   [`many`] lives many at once.
//!
//! All of it is for tests.

pub mod copying;
pub mod coverage;
pub mod cuts;
pub mod damage;
pub mod expect;
pub mod judge;
pub mod keeping;
pub mod life;
pub mod machines;
pub mod many;
pub mod operation;
pub mod perform;
pub mod proof;
pub mod readers;
pub mod seeding;
pub mod settings;
pub mod shrink;
pub mod steering;
pub mod upkeep;
pub mod violation;
pub mod world;
