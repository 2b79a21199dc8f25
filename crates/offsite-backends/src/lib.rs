//! Repositories for Offsite: folders, removable media and S3 buckets.
//!
//! Each backend implements [`Repository`](offsite_repository::Repository). It knows nothing about backups. The crate `offsite`
//! stores its chains in any of them, and other programs can use them alone.
//!
//! | to store in | use | notes |
//! |---|---|---|
//! | a folder of this machine, or of a mounted share | [`Local`] | Linux |
//! | media that are taken away and come back | [`Removable`], with a [`MediaCatalogue`] | Linux |
//! | a bucket of S3, or of a store with its protocol | [`S3`] | feature `s3` |
//!
//! The documentation of each type says how it keeps the contract of a repository, and what it needs.
//!
//! # Example
//!
//! ```
//! # async fn example(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//! use offsite_backends::Local;
//! use offsite_repository::{Key, RepositoryExt};
//!
//! let repository = Local::create(folder.join("backup")).await?;
//! let key = Key::new("folder/object")?;
//! repository.put(&key, "content".into()).await?;
//! assert_eq!(repository.get(&key, 1_000).await?, "content");
//! # Ok(())
//! # }
//! # let folder = tempfile::tempdir().unwrap();
//! # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(example(folder.path())).unwrap();
//! ```

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
