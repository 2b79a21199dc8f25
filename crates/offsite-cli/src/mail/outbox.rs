//! The outbox: mails that no server has taken yet, one file each, in the state folder.
//!
//! Several runs and a daemon may use it at once. A run that sends a mail holds a lock on its file. So no other run sends it meanwhile.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use offsite::runner::StateFolder;
use serde::{Deserialize, Serialize};

use super::html::html;
use super::letter::{Letter, clean};
use super::text::text;

/// The greatest number of mails. If there are more, the oldest go.
const MAILS_MAX: usize = 100;
/// The version that is written. A file of another version is not read.
const VERSION: u32 = 1;
const ENDING: &str = ".json";

/// A mail without addresses. It goes to those of the config at the time when it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mail {
    version: u32,
    /// What it is about. This tells its addresses.
    pub(crate) origin: Origin,
    /// Its identity. It is the same each time that the mail is sent.
    pub(super) message_id: String,
    /// The time at which it was written, in RFC 3339.
    pub(crate) written: String,
    pub(crate) subject: String,
    pub(super) text: String,
    pub(super) html: String,
    /// Why it was not sent the last time. `None` if no try has ended yet.
    pub(crate) why: Option<String>,
}

/// What a mail is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    Job(String),
    Digest,
}

impl Mail {
    /// Returns the mail of a letter that the host of this name wrote at a time.
    pub(crate) fn new(letter: &Letter, origin: Origin, written: String, host: &str) -> Self {
        let host: String =
            host.chars().filter(|letter| letter.is_ascii_alphanumeric() || ".-".contains(*letter)).collect();
        Self {
            version: VERSION,
            origin,
            message_id: format!("<{}@{host}>", unique()),
            written,
            subject: clean(&letter.subject),
            text: text(letter),
            html: html(letter),
            why: None,
        }
    }
}

/// Returns a name that sorts by time, and that no other mail of this host has.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{nanos:020}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The outbox.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(PathBuf);

/// The name of a mail's file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MailName(String);

/// A mail that was put into the outbox.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) name: MailName,
    /// How many of the oldest mails had to make room.
    pub(super) dropped: usize,
}

/// A mail that only its holder sends.
#[derive(Debug)]
pub(super) struct Claim {
    /// The file, which is locked.
    _file: File,
    folder: PathBuf,
    name: MailName,
    pub(super) mail: Mail,
}

/// What `status` tells of a mail that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Unsent {
    /// The job. `None` for a digest.
    pub(crate) job: Option<String>,
    pub(crate) subject: String,
    pub(crate) written: String,
    /// Why it was not sent the last time. `None` if no try has ended yet.
    pub(crate) why: Option<String>,
}

impl Outbox {
    /// Returns the outbox in a folder. The folder need not exist yet.
    pub(crate) const fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a mail into the outbox. It survives a power cut from then on.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub(super) fn put(&self, mail: &Mail) -> Result<Put, String> {
        let name = MailName(format!("{}{ENDING}", unique()));
        write(&self.0, &name, mail).map_err(|error| format!("cannot be kept in {}: {error}", self.0.display()))?;
        let names = self.names();
        let dropped =
            names.iter().take(names.len().saturating_sub(MAILS_MAX)).filter(|old| self.drop_mail(old)).count();
        Ok(Put { name, dropped })
    }

    /// Returns the names of all mails, the oldest first.
    pub(super) fn names(&self) -> Vec<MailName> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut names: Vec<MailName> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            // Other files are half written.
            .filter(|name| name.ends_with(ENDING) && name.starts_with(|first: char| first.is_ascii_digit()))
            .map(MailName)
            .collect();
        names.sort();
        names
    }

    /// Claims a mail to send it. `None` if another run has claimed it, or has sent it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn claim(&self, name: &MailName) -> Result<Option<Claim>, String> {
        let path = self.0.join(&name.0);
        let wrong = |why: String| format!("{} cannot be read: {why}", path.display());
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            // Some file systems have no locks. A mail that comes twice is better than none.
            Ok(()) | Err(fs::TryLockError::Error(_)) => {}
        }
        // Another run may have sent it between opening and locking.
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        match (fs::metadata(&path).map(identity), file.metadata().map(identity)) {
            (Ok(there), Ok(here)) if there == here => {}
            _ => return Ok(None),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
        let mail: Mail = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        match mail.version {
            VERSION => Ok(Some(Claim { _file: file, folder: self.0.clone(), name: name.clone(), mail })),
            other => Err(wrong(format!("it has version {other}, and this is one for version {VERSION}"))),
        }
    }

    /// Returns the mails that wait, the oldest first, and what is wrong with the files that cannot be read.
    pub(crate) fn unsent(&self) -> (Vec<Unsent>, Vec<String>) {
        let (mut unsent, mut faults) = (Vec::new(), Vec::new());
        for name in self.names() {
            let path = self.0.join(&name.0);
            let read = fs::read(&path).map_err(|error| (error.kind(), error.to_string()));
            let mail = read.and_then(|bytes| {
                serde_json::from_slice::<Mail>(&bytes).map_err(|error| (ErrorKind::InvalidData, error.to_string()))
            });
            match mail {
                Ok(Mail { origin, subject, written, why, .. }) => {
                    let job = match origin {
                        Origin::Job(job) => Some(job),
                        Origin::Digest => None,
                    };
                    unsent.push(Unsent { job, subject, written, why });
                }
                // It has been sent meanwhile.
                Err((ErrorKind::NotFound, _)) => {}
                Err((_, why)) => faults.push(format!("{} cannot be read: {why}", path.display())),
            }
        }
        (unsent, faults)
    }

    fn drop_mail(&self, name: &MailName) -> bool {
        fs::remove_file(self.0.join(&name.0)).is_ok()
    }
}

impl Claim {
    /// Removes the mail from the outbox.
    ///
    /// # Errors
    /// Why it cannot be removed.
    pub(super) fn remove(self) -> Result<(), String> {
        let path = self.folder.join(&self.name.0);
        fs::remove_file(&path).map_err(|error| format!("{} cannot be removed: {error}", path.display()))
    }

    /// Leaves the mail in the outbox, with the reason why it was not sent.
    pub(super) fn keep(mut self, why: &str) {
        self.mail.why = Some(why.to_owned());
        // If this fails, the mail stays without the reason.
        let _ = write(&self.folder, &self.name, &self.mail);
    }
}

fn write(folder: &Path, name: &MailName, mail: &Mail) -> std::io::Result<()> {
    let bytes = serde_json::to_vec_pretty(mail)?;
    StateFolder::new(folder).replace(&name.0, &bytes, true)
}

#[cfg(test)]
mod tests {
    use super::super::letter::Tone;
    use super::*;

    fn mail(subject: &str) -> Mail {
        let letter =
            Letter { subject: subject.to_owned(), tone: Tone::Well, title: String::new(), sections: Vec::new() };
        Mail::new(&letter, Origin::Job("job".to_owned()), "2026-11-22T22:00:00Z".to_owned(), "ho st")
    }

    fn subjects(outbox: &Outbox) -> Vec<String> {
        outbox.unsent().0.into_iter().map(|unsent| unsent.subject).collect()
    }

    #[test]
    fn mails_come_out_as_they_went_in_and_in_their_order() {
        let folder = offsite_tests::folder();
        let outbox = Outbox::new(folder.path().join("mail"));
        assert_eq!((outbox.names(), outbox.unsent().0), (Vec::new(), Vec::new()));
        let (one, two) = (mail("one\r\nBcc: x"), mail("two"));
        assert_ne!(one.message_id, two.message_id);
        assert!(one.message_id.ends_with("@host>"));
        let put = outbox.put(&one).unwrap();
        outbox.put(&two).unwrap();
        assert_eq!(subjects(&outbox), ["one\u{fffd}\u{fffd}Bcc: x", "two"]);
        assert_eq!(outbox.names()[0], put.name);
        assert_eq!(outbox.claim(&put.name).unwrap().unwrap().mail, one);
    }

    #[test]
    fn a_mail_has_one_sender_and_goes_once() {
        let folder = offsite_tests::folder();
        let outbox = Outbox::new(folder.path().to_owned());
        let name = outbox.put(&mail("one")).unwrap().name;
        let claim = outbox.claim(&name).unwrap().unwrap();
        assert!(outbox.claim(&name).unwrap().is_none());
        claim.keep("no route");
        assert_eq!(outbox.unsent().0[0].why.as_deref(), Some("no route"));
        let claim = outbox.claim(&name).unwrap().unwrap();
        claim.remove().unwrap();
        assert!(outbox.claim(&name).unwrap().is_none());
        assert_eq!(subjects(&outbox), [""; 0]);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_and_that_is_told() {
        let folder = offsite_tests::folder();
        let outbox = Outbox::new(folder.path().to_owned());
        for number in 0..MAILS_MAX {
            assert_eq!(outbox.put(&mail(&number.to_string())).unwrap().dropped, 0);
        }
        assert_eq!(outbox.put(&mail("new")).unwrap().dropped, 1);
        let subjects = subjects(&outbox);
        assert_eq!((subjects.len(), subjects[0].as_str(), subjects[MAILS_MAX - 1].as_str()), (MAILS_MAX, "1", "new"));
    }

    #[test]
    fn what_is_no_mail_is_told_of_and_passed_over() {
        let folder = offsite_tests::folder();
        let outbox = Outbox::new(folder.path().to_owned());
        fs::write(folder.path().join("0.json"), "{").unwrap();
        fs::write(folder.path().join(".1.json.77"), "{").unwrap();
        let name = outbox.names()[0].clone();
        assert!(outbox.claim(&name).unwrap_err().contains("cannot be read"));
        assert_eq!(outbox.unsent().1.len(), 1);
        let mut later = mail("later");
        later.version = 2;
        let name = outbox.put(&later).unwrap().name;
        assert!(outbox.claim(&name).unwrap_err().contains("version 2"));
    }
}
