//! How the suite comes by handles of a place.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Repository, Result};

/// Opens a place, each time anew.
///
/// A shared repository (`Arc<R>`) is a factory whose handles are all one. With it, the suite leaves out the cases that take two
/// handles of one place. [`factory()`] makes a factory of a closure.
#[async_trait]
pub trait Factory: Send + Sync {
    /// A handle of the place. It is the same place each time.
    ///
    /// # Errors
    /// Whatever keeps it from opening the place.
    async fn open(&self) -> Result<Arc<dyn Repository>>;

    /// Whether each call of [`open`](Factory::open) opens the place anew.
    fn reopens(&self) -> bool {
        true
    }
}

#[async_trait]
impl<R: Repository + ?Sized + 'static> Factory for Arc<R> {
    async fn open(&self) -> Result<Arc<dyn Repository>> {
        // An `Arc` of a repository is one; so this works for a `dyn Repository` too.
        Ok(Arc::new(Self::clone(self)))
    }

    fn reopens(&self) -> bool {
        false
    }
}

/// A factory that opens by calling `open`.
///
/// ```
/// use offsite_repository::testing::Memory;
/// use offsite_repository::testing::conformance::{self, Options, factory};
///
/// # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
/// let place = Memory::new();
/// let factory = factory(move || {
///     let handle = place.clone();
///     async move { Ok(handle) }
/// });
/// let report = conformance::check(factory, &Options::quick()).await;
/// assert!(report.nothing_failed(), "{report}");
/// # });
/// ```
pub fn factory<F, O, R>(open: F) -> impl Factory
where
    F: Fn() -> O + Send + Sync,
    O: Future<Output = Result<R>> + Send,
    R: Repository + 'static,
{
    Opens(open)
}

struct Opens<F>(F);

#[async_trait]
impl<F, O, R> Factory for Opens<F>
where
    F: Fn() -> O + Send + Sync,
    O: Future<Output = Result<R>> + Send,
    R: Repository + 'static,
{
    async fn open(&self) -> Result<Arc<dyn Repository>> {
        Ok(Arc::new((self.0)().await?))
    }
}
