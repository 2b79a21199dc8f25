//! Repositories for Offsite.
//!
//! - [`Local`] keeps objects as files in a folder of this machine or of a mounted share.
//! - [`Removable`] keeps them on media that come and go.
//! - [`S3`] (feature `s3`) keeps them in a bucket of S3, or of a store that speaks its protocol.
//!
//! The documentation of each says what makes it safe. A backend knows [`Repository`](offsite_repository::Repository) and nothing of
//! backups.

#[cfg(target_os = "linux")]
mod local;
#[cfg(feature = "s3")]
mod s3;

#[cfg(target_os = "linux")]
mod removable;

#[cfg(target_os = "linux")]
pub use local::{CreateMethod, Local, LocalOptions};
#[cfg(all(target_os = "linux", feature = "fuzzing"))]
#[doc(hidden)]
pub use removable::fuzzing;
#[cfg(target_os = "linux")]
pub use removable::{
    AbsentMedium, EjectedMedium, KnownMedium, MediaCatalogue, Medium, MediumAbilities, MediumId, MediumIdError,
    RememberOptions, Removable, RemovableOptions,
};
#[cfg(feature = "s3")]
pub use s3::{
    S3, S3Checksum, S3CredentialProvider, S3CredentialSource, S3Credentials, S3Location, S3Options, S3RetentionMode,
};
