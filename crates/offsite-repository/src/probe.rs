//! A probe that finds out whether a place keeps *create if absent*.
//!
//! It tries names in turn and in a race.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use crate::{ErrorKind, Key, Prefix, Repository, RepositoryExt, Result};

/// The names that [`probe_create_by`] creates.
pub const PROBED_NAMES: &[&str] = &[IN_TURN, "race-1", "race-2"];
const IN_TURN: &str = "in-turn";
/// The name that only [`probe_create`] creates. Two writers start it, and the later one finishes it.
const LATE: &str = "late";
/// The number of writers that race for each of the other names.
const RACERS: usize = 4;

/// What a probe has seen of *create if absent*.
///
/// `Display` says it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateIfAbsent {
    /// The place keeps it. Of several writers of a name one won, its content stayed, and the others were told that they lost.
    Kept,
    /// The place created a name that was taken.
    IgnoredInTurn,
    /// Several writers created a name at the same time, and the place told more than one that it won.
    IgnoredInRace,
    /// One writer won, but its content is gone.
    WinnerReplaced,
}

impl fmt::Display for CreateIfAbsent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kept => "one of several writers of a name won, and the others were told that they lost",
            Self::IgnoredInTurn => "a name that was taken was created again",
            Self::IgnoredInRace => "several writers that created one name at once were all told that they won",
            Self::WinnerReplaced => "the content of a writer that won its name was replaced by another's",
        })
    }
}

/// The calls that a probe makes.
///
/// A backend implements this trait with bare calls of its store, while it finds out what the store supports. For a finished
/// repository, use [`probe_create`] instead.
#[async_trait]
pub trait CreateProbe: Send + Sync {
    /// Creates `name`, if it is free.
    ///
    /// The name is one of [`PROBED_NAMES`].
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken.
    async fn create(&self, name: &str, content: Bytes) -> Result<()>;

    /// The current content of `name`.
    ///
    /// `None` means that the store cannot tell.
    ///
    /// # Errors
    /// `NotFound` if the name is free.
    async fn content(&self, name: &str) -> Result<Option<Bytes>>;
}

/// Finds out whether `place` keeps *create if absent*.
///
/// All names of [`PROBED_NAMES`] must be free. The caller deletes them afterwards.
///
/// What a probe cannot see: the racing writers are futures of one task, so they do not race if the calls of the place never wait.
/// A writer whose call fails with another error counts neither as a winner nor as a loser.
///
/// # Errors
/// The errors of the place, except those of the racing writers.
pub async fn probe_create_by(place: &dyn CreateProbe) -> Result<CreateIfAbsent> {
    let races = join_all(PROBED_NAMES[1..].iter().map(|name| race(place, name)));
    let (in_turn, raced) = futures::join!(in_turn(place), races);
    let mut seen = in_turn?;
    for answer in raced {
        let answer = answer?;
        if seen == CreateIfAbsent::Kept {
            seen = answer;
        }
    }
    Ok(seen)
}

async fn in_turn(place: &dyn CreateProbe) -> Result<CreateIfAbsent> {
    take(place, IN_TURN).await?;
    if told_that_it_won(place.create(IN_TURN, Bytes::from_static(b"second")).await)? {
        return Ok(CreateIfAbsent::IgnoredInTurn);
    }
    stays(place, IN_TURN, b"first").await
}

/// Creates a free name.
///
/// If the name is taken, its content tells by whom: a repeated try finds its own object.
async fn take(place: &dyn CreateProbe, name: &str) -> Result<()> {
    told_that_it_won(place.create(name, Bytes::from_static(b"first")).await).map(drop)
}

async fn race(place: &dyn CreateProbe, name: &str) -> Result<CreateIfAbsent> {
    let contents: Vec<Bytes> = (0..RACERS).map(|racer| Bytes::from(format!("racer-{racer}"))).collect();
    let answers = join_all(contents.iter().map(|content| place.create(name, content.clone()))).await;
    let winners: Vec<&Bytes> =
        answers.iter().zip(&contents).filter(|(answer, _)| answer.is_ok()).map(|(_, won)| won).collect();
    match winners[..] {
        [] => Ok(CreateIfAbsent::Kept),
        [winner] => stays(place, name, winner).await,
        _ => Ok(CreateIfAbsent::IgnoredInRace),
    }
}

async fn stays(place: &dyn CreateProbe, name: &str, winner: &[u8]) -> Result<CreateIfAbsent> {
    let content = place.content(name).await?;
    let is_kept = content.is_none_or(|content| content == winner);
    Ok(if is_kept { CreateIfAbsent::Kept } else { CreateIfAbsent::WinnerReplaced })
}

fn told_that_it_won(answer: Result<()>) -> Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Finds out whether `repository` keeps *create if absent*, with a few small objects below `folder`.
///
/// Nothing else may use that folder. The probe deletes its objects afterwards. They stay if the place retains everything, or if
/// the caller drops the future. [`probe_create_by`] says what a probe cannot see.
///
/// # Errors
/// The errors of the repository, for example `PermissionDenied` if it is read-only.
pub async fn probe_create(repository: &dyn Repository, folder: &Prefix) -> Result<CreateIfAbsent> {
    let place = Folder { repository, folder };
    let seen = match late(&place).await {
        Ok(CreateIfAbsent::Kept) => probe_create_by(&place).await,
        answer => answer,
    };
    let deletes = PROBED_NAMES.iter().chain([&LATE]).map(|name| place.delete(name));
    let deleted = join_all(deletes).await.into_iter().collect::<Result<()>>();
    match deleted {
        Err(error) if seen.is_ok() && error.kind() != ErrorKind::PermissionDenied => Err(error),
        _ => seen,
    }
}

/// Tries a writer that starts before its name is taken, and finishes afterwards.
async fn late(place: &Folder<'_>) -> Result<CreateIfAbsent> {
    let mut late = place.repository.create(&place.key(LATE)?).await?;
    late.write(vec![Bytes::from_static(b"second")]).await?;
    take(place, LATE).await?;
    if told_that_it_won(late.finish().await)? {
        return Ok(CreateIfAbsent::IgnoredInTurn);
    }
    stays(place, LATE, b"first").await
}

/// A folder of a repository.
struct Folder<'a> {
    repository: &'a dyn Repository,
    folder: &'a Prefix,
}

impl Folder<'_> {
    fn key(&self, name: &str) -> Result<Key> {
        let no_key = |error| {
            let error = crate::Error::new(ErrorKind::Unsupported, "probe").with_source(error);
            error.with_subject(self.folder.as_str()).with_location(self.repository.location())
        };
        self.folder.key(name).map_err(no_key)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.repository.delete(&self.key(name)?).await
    }
}

#[async_trait]
impl CreateProbe for Folder<'_> {
    async fn create(&self, name: &str, content: Bytes) -> Result<()> {
        self.repository.put(&self.key(name)?, content).await
    }

    async fn content(&self, name: &str) -> Result<Option<Bytes>> {
        self.repository.get(&self.key(name)?, 100).await.map(Some)
    }
}
