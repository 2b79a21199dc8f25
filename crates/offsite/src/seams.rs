//! Where the engine touches the world beyond its repositories: random numbers, worker threads, the identity of a process.
//!
//! A deterministic simulation needs all three in its hand. The project's own tests compile the engine once more, in a package of
//! their own, with the configuration `offsite_simulation`. In that engine a thread can enter a simulated world, and can switch on
//! known-bad variants of the protocol, which show that the simulation would see them. No feature of this package sets that
//! configuration: in what is shipped, these functions are what they say and nothing more.

#[cfg(not(offsite_simulation))]
pub(crate) use real::*;
#[cfg(offsite_simulation)]
pub(crate) use simulated::*;

use crate::{Error, Result};

/// Runs `work` on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if is_simulated() {
        // In one thread, what happens first is always the same.
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::defect(format!("a worker ended: {error}")))
}

/// 16 random bytes.
pub(crate) fn random_bytes() -> Result<[u8; 16]> {
    if let Some(bytes) = seeded_bytes() {
        return Ok(bytes);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::io("asking for random numbers", std::io::Error::other(error.to_string())))?;
    Ok(bytes)
}

/// Whether the engine is to do this wrongly. In what is shipped, a constant that is false.
macro_rules! is_broken {
    ($variant:ident) => {{
        #[cfg(offsite_simulation)]
        let is_broken = crate::simulation::is_broken(crate::simulation::Variant::$variant);
        #[cfg(not(offsite_simulation))]
        let is_broken = false;
        is_broken
    }};
}
pub(crate) use is_broken;

#[cfg(not(offsite_simulation))]
mod real {
    pub(crate) const fn is_simulated() -> bool {
        false
    }

    pub(crate) const fn seeded_bytes() -> Option<[u8; 16]> {
        None
    }

    /// The host that the process seems to run on, if it is a simulated one.
    pub(crate) const fn simulated_host() -> Option<String> {
        None
    }

    /// What tells the claims of this world from those of others in the same process.
    pub(crate) const fn world() -> String {
        String::new()
    }
}

#[cfg(offsite_simulation)]
mod simulated {
    use crate::simulation::WORLD;

    pub(crate) fn is_simulated() -> bool {
        WORLD.with_borrow(Option::is_some)
    }

    pub(crate) fn seeded_bytes() -> Option<[u8; 16]> {
        WORLD.with_borrow_mut(|world| world.as_mut().map(crate::simulation::World::bytes))
    }

    pub(crate) fn simulated_host() -> Option<String> {
        WORLD.with_borrow(|world| world.as_ref().map(|world| world.host.clone()))
    }

    pub(crate) fn world() -> String {
        // One thread has one world at a time, and two threads may have worlds of the same seed.
        if is_simulated() { format!("{:?} ", std::thread::current().id()) } else { String::new() }
    }
}
