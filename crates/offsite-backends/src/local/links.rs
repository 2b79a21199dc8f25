//! Other names of an object's file.

use async_trait::async_trait;
use offsite_repository::{Error, ErrorKind, Key, Links, Result};
use rustix::fs::{OFlags, Stat};

use super::errors::fault;
use super::repository::Local;

#[async_trait]
impl Links for Local {
    async fn is_linked(&self, key: &Key) -> Result<bool> {
        self.run("look for links of", key, |shared, key| {
            let opened = shared.root.open_file(key, OFlags::RDONLY);
            opened.map(|(_, stat)| has_other_name(&stat)).map_err(|errno| fault("look for links of", key, errno))
        })
        .await
    }
}

fn has_other_name(stat: &Stat) -> bool {
    // A file that was removed while it was opened has none; some drivers count none at all.
    stat.st_nlink > 1
}

/// Holds that whatever is written into a file is seen nowhere else.
pub(super) fn refuse_linked(action: &'static str, key: &Key, stat: &Stat) -> Result<()> {
    if !has_other_name(stat) {
        return Ok(());
    }
    let detail = "its file has another name (a hard link), where the change would be seen";
    Err(Error::new(ErrorKind::Linked, action).with_key(key).with_detail(detail))
}
