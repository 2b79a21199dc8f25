//! Media that come and go.

mod absent;
mod catalogue;
mod ejected;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guard;
mod known;
mod marker;
mod operations;
mod options;
mod remember;
mod repository;
mod sealed;
mod search;

pub use self::absent::AbsentMedium;
pub use self::catalogue::MediaCatalogue;
pub use self::ejected::EjectedMedium;
pub use self::known::{KnownMedium, MediumAbilities};
pub use self::marker::{Medium, MediumId, MediumIdError};
pub use self::options::RemovableOptions;
pub use self::remember::RememberOptions;
pub use self::repository::Removable;
