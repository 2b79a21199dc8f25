//! Objects that cannot be deleted until a date: object lock.

use async_trait::async_trait;
use offsite_repository::{Error, ErrorKind, Key, Result, Retain};

use super::repository::S3;

#[async_trait]
impl Retain for S3 {
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()> {
        // Some stores would take a date back, if this user may.
        let answer = match self.retained_until(key).await? {
            Some(present) if present == until_unix_secs => Ok(()),
            Some(present) if present > until_unix_secs => {
                let detail = "it is retained for longer already, and a date only moves forward";
                Err(Error::new(ErrorKind::PermissionDenied, "retain").with_key(key).with_detail(detail))
            }
            _ => self.shared.bucket.set_retention(key.as_str(), until_unix_secs).await,
        };
        self.shared.named(Some(key), answer)
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<i64>> {
        self.shared.named(Some(key), self.shared.bucket.retention(key.as_str()).await)
    }
}
