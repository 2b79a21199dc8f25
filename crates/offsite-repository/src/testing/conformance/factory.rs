//! How the suite opens handles of a place.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Repository, Result};

/// Opens handles of a place for the suite.
///
/// [`factory()`] makes a factory from a closure that opens the place anew. A shared repository (`Arc<R>`) is a factory, too, but
/// all its handles are the same one. With it, the suite leaves out the cases that need two handles.
#[async_trait]
pub trait Factory: Send + Sync {
    /// Opens a handle of the place.
    ///
    /// Each call opens the same place.
    ///
    /// # Errors
    /// Any error that keeps the place from opening.
    async fn open(&self) -> Result<Arc<dyn Repository>>;

    /// Returns `true` if each call of [`open`](Factory::open) opens the place anew.
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

/// Makes a factory from a closure that opens the place.
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
