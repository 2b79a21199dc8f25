//! The engine in a simulated world, for tests that must be replayed to the last bit. No part of the stable interface.
//!
//! A thread that has [entered](enter) such a world runs blocking work at once and in place, draws "random" numbers from a
//! seed, and is on whatever [host](on_host) the test says. Time is tokio's, which a test can pause. Other threads of the
//! process notice nothing.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    pub(crate) static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Ways in which the protocol can be got wrong. Each loses or leaks something, sooner or later, and a test of a simulation
/// that does not find it is blind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// Retired objects are deleted before the commit that stops referring to them.
    ReleaseBeforeCommit,
    /// Retired ranges are punched before the commit that stops referring to them.
    PunchBeforeCommit,
    /// The head is committed before the index that it refers to is durable.
    CommitBeforeIndex,
    /// A new writer goes on with the epoch of the one before, so that ids are given twice.
    NumberReused,
    /// A lease is stale when the wall clock says so.
    WallClockLease,
    /// `AlreadyExists` is taken for another writer's commit without a look.
    ConflictTakenForLoss,
    /// After a commit whose outcome is unknown, what it wrote is removed.
    CleanUpOnUnknown,
    /// A create that succeeded is taken for a commit that was won, without a look at newer heads and their boundary.
    BoundaryNotChecked,
    /// Readers' pins are not looked for.
    PinsIgnored,
    /// A fold writes into ranges that are still listed for release.
    HeldRangesReused,
    /// Folds go on in files that a writer who was taken over may still write into.
    FilesNotSealed,
    /// A writer releases without looking whether it is still the newest.
    FenceNotChecked,
    /// Objects that a cut-off run left are not looked for.
    OrphansKept,
    /// A head counts one aligned piece too much as live in a file of a chain that an operation has changed.
    CarriedCountOff,
    /// A merge takes a machine of which only spare blocks are there for one that is whole.
    SpareTakenForLive,
    /// A full that stands on other indexes is committed without the lowest of them.
    StaleBelow,
    /// A checkpoint of a copy is committed before the backup file of its leg is durable.
    CheckpointBeforeFile,
    /// A checkpoint, or the end of a copy, forgets the blocks of earlier legs.
    EarlierLegsForgotten,
    /// A chain is committed without a look at what it will refer to. Alone it breaks nothing; what it costs not to do it is measured.
    NotReadBack,
}

/// The error of a test that finds an invariant broken.
#[must_use]
pub fn defect(what: String) -> crate::Error {
    crate::Error::defect(what)
}

/// What a simulated thread knows of the world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) host: String,
    numbers: u64,
    broken: BTreeSet<Variant>,
}

impl World {
    pub(crate) fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes.chunks_exact_mut(8).for_each(|half| half.copy_from_slice(&self.next().to_le_bytes()));
        bytes
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.numbers;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// As long as it lives, its thread is in a simulated world.
#[derive(Debug)]
pub struct Entered {
    // It belongs to its thread.
    not_send: PhantomData<*const ()>,
}

/// Enters a simulated world with this seed, in place of the one that this thread may be in.
#[must_use]
pub fn enter(seed: u64) -> Entered {
    WORLD.set(Some(World { host: "nowhere".to_owned(), numbers: seed, broken: BTreeSet::new() }));
    Entered { not_send: PhantomData }
}

impl Entered {
    /// Has the engine do this wrongly from now on, on this thread.
    pub fn break_protocol(&self, variant: Variant) {
        WORLD.with_borrow_mut(|world| world.as_mut().map(|world| world.broken.insert(variant)));
    }

    /// Draws on from this seed.
    pub fn reseed(&self, seed: u64) {
        WORLD.with_borrow_mut(|world| {
            if let Some(world) = world {
                world.numbers = seed;
            }
        });
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.set(None);
    }
}

pub(crate) fn is_broken(variant: Variant) -> bool {
    WORLD.with_borrow(|world| world.as_ref().is_some_and(|world| world.broken.contains(&variant)))
}

/// `future`, as a process on `host`: of claims by the same host it is known whether they are dead, of others it is not.
pub fn on_host<F: Future>(host: &str, future: F) -> impl Future<Output = F::Output> {
    OnHost { host: host.to_owned(), future: Box::pin(future) }
}

struct OnHost<F> {
    host: String,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for OnHost<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let place = |host: &str| {
            WORLD.with_borrow_mut(|world| {
                world.as_mut().map(|world| std::mem::replace(&mut world.host, host.to_owned()))
            })
        };
        let before = place(&self.host);
        let answer = self.future.as_mut().poll(context);
        if let Some(before) = before {
            place(&before);
        }
        answer
    }
}
