//! Whether a place keeps *create if absent*, found out on the place itself: in turn, and in a race.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use crate::{ErrorKind, Key, Prefix, Repository, RepositoryExt, Result};

/// The names that [`probe_create_by`] creates.
pub const PROBED_NAMES: &[&str] = &[IN_TURN, "race-1", "race-2"];
const IN_TURN: &str = "in-turn";
/// The name that [`probe_create`] creates besides: of two writers at work the later one finishes it.
const LATE: &str = "late";
/// How many writers race for each of the other names.
const RACERS: usize = 4;

/// What a place makes of *create if absent*, as far as a probe saw. `Display` says what the probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateIfAbsent {
    /// Of several writers of a name one won, and its content stayed. The place told the others that they lost.
    Kept,
    /// The place created a name again that was taken.
    IgnoredInTurn,
    /// The place told several writers that created one name at once that they won.
    IgnoredInRace,
    /// The content of the one winner is gone.
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

/// What a probe does to a place.
///
/// A backend that is still finding out what its store keeps implements it by the store's bare calls. A finished repository needs
/// none of this: [`probe_create`] probes it.
#[async_trait]
pub trait CreateProbe: Send + Sync {
    /// Creates `name`, one of [`PROBED_NAMES`], if it is free.
    ///
    /// # Errors
    /// `AlreadyExists` if it is taken.
    async fn create(&self, name: &str, content: Bytes) -> Result<()>;

    /// The content that `name` has now. `None` says that the store does not tell.
    ///
    /// # Errors
    /// `NotFound` if nothing has the name.
    async fn content(&self, name: &str) -> Result<Option<Bytes>>;
}

/// Finds out whether `place` keeps *create if absent*. The names of [`PROBED_NAMES`] must be free. The caller deletes them
/// afterwards.
///
/// The racers are futures of one task, so they do not race where the place's calls never wait. A racer whose call fails otherwise
/// counts neither as a winner nor as a loser.
///
/// # Errors
/// Those of the place, but for the racers'.
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

/// Takes a free name. Whose it is if it is taken already is told by its content: a try that was repeated finds its own object.
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

/// Finds out whether `repository` keeps *create if absent*, by a few small objects below `folder`. Nothing else may use that
/// folder.
///
/// It deletes the objects afterwards. They stay where the place retains all that is written, and where the caller drops the probe.
/// [`probe_create_by`] says what a probe cannot see.
///
/// # Errors
/// Those of the repository: `PermissionDenied` where it may only be read.
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

/// A writer that has begun before its name was taken, and finishes afterwards.
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
