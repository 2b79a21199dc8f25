//! What the cases share.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::content::difference;
use super::factory::Factory;
use super::options::Options;
use super::report::Outcome;
use crate::{Error, ErrorKind, Key, KeyError, ObjectInfo, ObjectWriter, Prefix, Repository, RepositoryExt};

/// How many of many small calls are made at once.
const AT_ONCE: usize = 16;

/// Why a case ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Fail(String),
    LeftOut(String),
}

pub(super) type Checked<T = ()> = Result<T, Stop>;

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Fail(what) => Self::Failed(what),
            Stop::LeftOut(why) => Self::LeftOut(why),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fail(chain(&error))
    }
}

impl From<KeyError> for Stop {
    fn from(error: KeyError) -> Self {
        Self::Fail(format!("a key of the suite is none: {error}"))
    }
}

impl From<tokio::task::JoinError> for Stop {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Fail(format!("the repository panicked: {error}"))
    }
}

/// An error with all its causes.
pub(super) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Ends the case unless `condition` holds; the text is what was seen.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        // A match and not an if, so that no condition reads as a negated comparison.
        match $condition {
            true => {}
            false => return Err($crate::testing::conformance::context::Stop::Fail(format!($($what)+))),
        }
    };
}
pub(super) use ensure;

/// A place to run one case in.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) repository: Arc<dyn Repository>,
    factory: Arc<dyn Factory>,
    pub(super) options: Options,
    pub(super) folder: Prefix,
}

impl Context {
    pub(super) fn new(repository: Arc<dyn Repository>, factory: Arc<dyn Factory>, options: Options) -> Self {
        Self { repository, factory, options, folder: Prefix::root() }
    }

    /// The same, with a handle of its own.
    pub(super) async fn second_handle(&self) -> Checked<Self> {
        if !self.factory.reopens() {
            return Err(Stop::LeftOut("the suite was given one handle, and no way to open the place anew".to_owned()));
        }
        Ok(Self { repository: self.factory.open().await?, ..self.clone() })
    }

    pub(super) fn key(&self, name: &str) -> Checked<Key> {
        Ok(self.folder.key(name)?)
    }

    pub(super) async fn put(&self, key: &Key, content: &Bytes) -> Checked {
        Ok(self.repository.put(key, content.clone()).await?)
    }

    /// Reads an object as a whole and compares.
    pub(super) async fn expect_content(&self, key: &Key, content: &[u8]) -> Checked {
        let found = self.repository.get(key, content.len() as u64 + 1_000).await?;
        ensure!(found == content, "{key} reads back otherwise than written: {}", difference(&found, content));
        Ok(())
    }

    pub(super) async fn expect_absent(&self, key: &Key) -> Checked {
        let answer = self.repository.get(key, u64::MAX).await;
        expect_kind(answer, &[ErrorKind::NotFound], || format!("reading {key}, which does not exist,"))?;
        let listed = self.list_names().await?;
        ensure!(!listed.contains(&key.to_string()), "{key} does not exist, and is listed");
        Ok(())
    }

    /// All of the case's objects, a page after the other.
    pub(super) async fn list(&self) -> Checked<Vec<ObjectInfo>> {
        Ok(self.repository.list_all(&self.folder).await?)
    }

    pub(super) async fn list_names(&self) -> Checked<Vec<String>> {
        Ok(self.list().await?.into_iter().map(|object| object.key.to_string()).collect())
    }

    /// The length of the place's parts and that of an object of more than two; where it tells of no parts, half of the largest
    /// object that is tried, and that object's.
    pub(super) fn part_and_large_bytes(&self) -> Checked<(usize, usize)> {
        let limits = self.repository.limits();
        let large_bytes = match limits.part_bytes {
            None => self.options.large_object_bytes as u64,
            Some(part_bytes) => part_bytes.saturating_mul(2).saturating_add(321),
        };
        let tried_bytes_max = self.options.tried_bytes_max;
        let why = match limits.part_bytes {
            Some(part_bytes) if large_bytes > tried_bytes_max => {
                format!(
                    "a part has {part_bytes} bytes here; more than {tried_bytes_max} are not written to try two of them"
                )
            }
            _ if large_bytes > limits.object_bytes_max => {
                format!("it takes an object of {large_bytes} bytes, and {} are the most here", limits.object_bytes_max)
            }
            _ => {
                let large = usize::try_from(large_bytes).map_err(|error| Stop::Fail(error.to_string()))?;
                let part = limits.part_bytes.and_then(|part| usize::try_from(part).ok()).unwrap_or(large / 2);
                return Ok((part, large));
            }
        };
        Err(Stop::LeftOut(why))
    }

    /// Starts an object and writes all of it, in chunks that end at no part's end.
    pub(super) async fn written(&self, key: &Key, content: &Bytes) -> Checked<Box<dyn ObjectWriter>> {
        let mut writer = self.repository.create(key).await?;
        for chunk in content.chunks((content.len() / 7).max(1_000)) {
            writer.write(vec![content.slice_ref(chunk)]).await?;
        }
        Ok(writer)
    }

    /// Stores a large object. One that does not arrive as a whole ends the case: another one names that.
    pub(super) async fn put_large(&self, key: &Key, content: &Bytes) -> Checked {
        self.written(key, content).await?.finish().await?;
        self.expect_stored_whole(key, content).await
    }

    pub(super) async fn expect_stored_whole(&self, key: &Key, content: &Bytes) -> Checked {
        let listed = self.list().await?.into_iter().find(|object| object.key == *key).map(|object| object.length);
        if listed == Some(content.len() as u64) {
            return Ok(());
        }
        let length = content.len();
        Err(Stop::LeftOut(format!("an object of {length} bytes is not stored whole, which large_content tells")))
    }

    /// Neither reads nor listings know `key`; `when` says after what.
    pub(super) async fn expect_no_trace(&self, key: &Key, when: &str) -> Checked {
        let what = || format!("{when}, reading {key}");
        expect_kind(self.repository.get(key, u64::MAX).await, &[ErrorKind::NotFound], what)?;
        expect_kind(self.repository.get_range(key, 0..1).await, &[ErrorKind::NotFound], what)?;
        ensure!(!self.list_names().await?.contains(&key.to_string()), "{when}, {key} is listed");
        Ok(())
    }

    /// Writes objects of these names with these contents, some at a time.
    pub(super) async fn put_many(&self, objects: Vec<(Key, Bytes)>) -> Checked {
        let puts = objects.into_iter().map(|(key, content)| async move { self.repository.put(&key, content).await });
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await.map_err(Stop::from)
    }

    /// Deletes what the case wrote, and no more.
    pub(super) async fn clean_up(&self) -> Checked {
        let objects = self.list().await?;
        // A repository that lists other folders' objects must not make the suite delete them.
        let own = objects.into_iter().filter(|object| self.folder.contains(&object.key));
        let deletes = own.map(|object| async move { self.repository.delete(&object.key).await });
        let answers: Vec<crate::Result<()>> = stream::iter(deletes).buffer_unordered(AT_ONCE).collect().await;
        let first = answers.into_iter().collect::<crate::Result<()>>().map_err(Stop::from);
        // What the retention case locked stays until its date.
        if self.options.retain_secs > 0 { Ok(()) } else { first }
    }
}

/// The call must fail with one of `kinds`.
pub(super) fn expect_kind<T>(
    answer: crate::Result<T>,
    kinds: &[ErrorKind],
    what: impl FnOnce() -> String,
) -> Checked<ErrorKind> {
    match answer {
        Ok(_) => Err(Stop::Fail(format!("{} succeeds instead of failing with {kinds:?}", what()))),
        Err(error) if kinds.contains(&error.kind()) => Ok(error.kind()),
        Err(error) => Err(Stop::Fail(format!("{} fails otherwise than with {kinds:?}: {}", what(), chain(&error)))),
    }
}

/// A call that wrote: whether it won. Other failures end the case.
pub(super) fn won(answer: crate::Result<()>) -> Checked<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.into()),
    }
}
