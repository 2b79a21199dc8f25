//! What the cases share.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Factory, Options, Outcome};
use crate::{Error, ErrorKind, Key, KeyError, ObjectInfo, Prefix, Repository, RepositoryExt};

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

    /// Deletes what the case wrote, and no more.
    pub(super) async fn clean_up(&self) -> Checked {
        let mut first = Ok(());
        for object in self.list().await? {
            // A repository that lists other folders' objects must not make the suite delete them.
            if self.folder.contains(&object.key) {
                let deleted = self.repository.delete(&object.key).await;
                first = first.and(deleted.map_err(Stop::from));
            }
        }
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

/// Bytes that look random, the same each time for a seed, without a zero among them: what a hole reads as is none of them.
pub(super) fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = (0..length).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[5] | 1
    });
    bytes.collect::<Vec<u8>>().into()
}

/// Where two contents differ.
pub(super) fn difference(found: &[u8], wanted: &[u8]) -> impl Display {
    if found.len() != wanted.len() {
        return format!("{} bytes instead of {}", found.len(), wanted.len());
    }
    match found.iter().zip(wanted).position(|(found, wanted)| found != wanted) {
        Some(position) => format!("byte {position} is {:#04x} instead of {:#04x}", found[position], wanted[position]),
        None => "no difference".to_owned(),
    }
}

/// A part of a buffer by the repository's kind of offsets.
pub(super) fn part<'a>(content: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    let bound = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    &content[bound(range.start)..bound(range.end)]
}
