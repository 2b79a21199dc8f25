//! Access keys: from the environment, from a file, or from the caller.
//!
//! They never occur in a config or a message.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use offsite_repository::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::plain_text::odd;

/// The time for which the content of a file is kept. Then the file is read again, so keys can be changed during a run.
const FILE_KEPT: Duration = Duration::from_secs(60);

/// The longest part of an access key, in bytes. It is longer than any that a store gives.
const KEY_BYTES_MAX: usize = 16 << 10;

/// An access key.
///
/// Its `Debug` output shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3Credentials {
    /// The id of the key.
    pub access_key_id: String,
    /// The secret key.
    pub secret_access_key: String,
    /// The session token of a temporary key. `None` for a key without one.
    pub session_token: Option<String>,
}

impl S3Credentials {
    /// A key that is valid until its owner revokes it.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        let (access_key_id, secret_access_key) = (access_key_id.into(), secret_access_key.into());
        Self { access_key_id, secret_access_key, session_token: None }
    }

    /// Sets [`S3Credentials::session_token`].
    #[must_use]
    pub fn with_session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(token.into());
        self
    }
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("S3Credentials(hidden)")
    }
}

/// Provides the access key.
///
/// The backend asks before each request. So a provider should cache its answer.
#[async_trait]
pub trait S3CredentialProvider: fmt::Debug + Send + Sync {
    /// The key to use now.
    ///
    /// # Errors
    /// `PermissionDenied` if there is no key. The message says where the provider looked.
    async fn credentials(&self) -> Result<S3Credentials>;
}

/// A provider of this one key.
#[async_trait]
impl S3CredentialProvider for S3Credentials {
    async fn credentials(&self) -> Result<S3Credentials> {
        Ok(self.clone())
    }
}

/// A provider that looks for a key where AWS's tools do.
///
/// [`standard`](Self::standard) describes the places. The file has the format of AWS's [credentials
/// file](https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html).
#[derive(Debug, Default)]
pub struct S3CredentialSource {
    file: Option<PathBuf>,
    profile: Option<String>,
    read: Mutex<Option<(Instant, S3Credentials)>>,
}

impl S3CredentialSource {
    /// Looks at the environment first, then at the credentials file.
    ///
    /// - The environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    /// - The file: the one that `AWS_SHARED_CREDENTIALS_FILE` names, or `~/.aws/credentials`. There, the profile that
    ///   `AWS_PROFILE` names, or `default`.
    #[must_use]
    pub fn standard() -> Self {
        Self::default()
    }

    /// Reads this credentials file, and ignores the environment.
    ///
    /// `None` changes nothing.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<Option<PathBuf>>) -> Self {
        self.file = path.into();
        self
    }

    /// Uses this profile of the file, and ignores the environment.
    ///
    /// `None` changes nothing.
    #[must_use]
    pub fn with_profile(mut self, profile: impl Into<Option<String>>) -> Self {
        self.profile = profile.into();
        self
    }

    fn look_up(&self) -> Result<S3Credentials> {
        let named = self.file.is_some() || self.profile.is_some();
        if !named && let Some(credentials) = from_environment() {
            return Ok(credentials);
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, credentials)) = read.as_ref().filter(|(at, _)| at.elapsed() < FILE_KEPT) {
            return Ok(credentials.clone());
        }
        let missing = |why: String| Error::new(ErrorKind::PermissionDenied, "find an access key").with_detail(why);
        let hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a credentials file";
        let path = match self.file.clone().or_else(standard_file) {
            Some(path) => path,
            None => return Err(missing(format!("there is no home folder to look in; {hint}"))),
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => {
                return Err(missing(format!("neither the environment nor {} has one; {hint}", path.display())));
            }
            Err(error) => return Err(missing(format!("{} cannot be read; {hint}", path.display())).with_source(error)),
        };
        let profile = self.profile.clone().or_else(|| variable("AWS_PROFILE")).unwrap_or_else(|| "default".to_owned());
        let credentials = parse(&text, &profile).map_err(|why| missing(format!("{}: {why}", path.display())))?;
        *read = Some((Instant::now(), credentials.clone()));
        Ok(credentials)
    }
}

#[async_trait]
impl S3CredentialProvider for S3CredentialSource {
    async fn credentials(&self) -> Result<S3Credentials> {
        // The file is small, and is read once a minute.
        self.look_up()
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn from_environment() -> Option<S3Credentials> {
    Some(S3Credentials {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
        session_token: variable("AWS_SESSION_TOKEN"),
    })
}

fn standard_file() -> Option<PathBuf> {
    let named = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    named.or_else(|| Some(Path::new(&variable("HOME")?).join(".aws/credentials")))
}

/// Reads one profile of a credentials file.
///
/// An error says nothing of the file's content.
fn parse(text: &str, profile: &str) -> Result<S3Credentials, String> {
    let mut in_profile = false;
    let mut found = false;
    let mut values = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.split(']').next().unwrap_or_default().trim();
            in_profile = name.strip_prefix("profile ").unwrap_or(name).trim() == profile;
            found |= in_profile;
        } else if in_profile && let Some((name, value)) = line.split_once('=') {
            values.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    if !found {
        return Err(format!("it has no profile {profile:?}"));
    }
    let mut take = |name: &str| {
        let value = values.remove(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("profile {profile:?} has no {name}"))
    };
    Ok(S3Credentials {
        access_key_id: take("aws_access_key_id")?,
        secret_access_key: take("aws_secret_access_key")?,
        session_token: take("aws_session_token").ok(),
    })
}

/// Says which part of an access key is wrong, and how.
///
/// It says nothing of the key's content.
fn key_flaw(credentials: &S3Credentials) -> Option<String> {
    let parts = [
        ("aws_access_key_id", Some(&credentials.access_key_id)),
        ("aws_secret_access_key", Some(&credentials.secret_access_key)),
        ("aws_session_token", credentials.session_token.as_ref()),
    ];
    parts.into_iter().find_map(|(name, part)| {
        let part = part?;
        let why = match () {
            () if part.is_empty() => "it is empty",
            () if part.len() > KEY_BYTES_MAX => "it is longer than any key",
            () => odd(part)?,
        };
        Some(format!("{name}: {why}; copy it anew from where the store shows it"))
    })
}

/// The provider, as object_store asks it.
#[derive(Debug)]
pub(super) struct ProviderAdapter(pub(super) Arc<dyn S3CredentialProvider>);

#[async_trait]
impl CredentialProvider for ProviderAdapter {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let credentials = match self.0.credentials().await {
            Ok(credentials) => match key_flaw(&credentials) {
                None => Ok(credentials),
                Some(why) => Err(Error::new(ErrorKind::PermissionDenied, "use the access key").with_detail(why)),
            },
            Err(error) => Err(error),
        };
        match credentials {
            Ok(S3Credentials { access_key_id, secret_access_key, session_token }) => Ok(Arc::new(AwsCredential {
                key_id: access_key_id,
                secret_key: secret_access_key,
                token: session_token,
            })),
            Err(error) => Err(object_store::Error::Unauthenticated { path: String::new(), source: Box::new(error) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# keys\n[default]\naws_access_key_id = one\naws_secret_access_key=first secret=\n\n[ second ]\r\n; more\n\
AWS_ACCESS_KEY_ID=two\naws_secret_access_key = s2\naws_session_token = t2\nregion = x\n[profile third]\naws_access_key_id = three\n";

    #[test]
    fn profiles_are_told_apart() {
        let one = parse(FILE, "default").unwrap();
        assert_eq!((one.access_key_id.as_str(), one.secret_access_key.as_str()), ("one", "first secret="));
        assert_eq!(one.session_token, None);
        let two = parse(FILE, "second").unwrap();
        assert_eq!((two.access_key_id.as_str(), two.session_token.as_deref()), ("two", Some("t2")));
        assert_eq!(parse(FILE, "third").unwrap_err(), "profile \"third\" has no aws_secret_access_key");
        assert_eq!(parse(FILE, "fourth").unwrap_err(), "it has no profile \"fourth\"");
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named_with_the_way_out() {
        let source = S3CredentialSource::standard().with_file(PathBuf::from("/no/such/file"));
        let error = source.credentials().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("/no/such/file cannot be read; set AWS_ACCESS_KEY_ID"), "{error}");
    }
}
