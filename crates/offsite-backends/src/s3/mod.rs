//! A bucket of S3, or of a store that speaks its protocol, as a repository.

mod bucket;
mod calls;
mod claim;
mod clone;
mod credentials;
mod errors;
mod finishing;
mod life;
mod list;
mod location;
mod options;
mod plain_text;
mod probe;
mod read;
mod record;
mod repository;
mod retain;
mod settings;
mod shared;
mod signed;
mod sweep;
mod truth;
mod upload;
mod wire;
mod writer;
mod xml;

pub use self::credentials::{S3CredentialProvider, S3CredentialSource, S3Credentials};
pub use self::location::S3Location;
pub use self::options::{S3Checksum, S3Options, S3RetentionMode};
pub use self::repository::S3;
