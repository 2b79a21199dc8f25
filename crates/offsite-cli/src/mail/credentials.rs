//! User and password for a server of mail. They are read anew for each delivery, and never shown.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The greatest length of the file in bytes. A longer file holds something else.
const BYTES_MAX: u64 = 64 << 10;
/// The variable by which systemd names the folder of a service's credentials.
const SYSTEMD_FOLDER: &str = "CREDENTIALS_DIRECTORY";
/// The permissions of other users.
const OTHERS: u32 = 0o007;

/// The place of user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CredentialSource {
    /// In a file.
    File(PathBuf),
    /// In a credential that systemd gives the service (`LoadCredential=NAME:PATH`).
    Systemd(String),
}

/// User and password. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Login(..)")
    }
}

impl CredentialSource {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong, and the way out. It repeats nothing of the file.
    pub(super) fn read(&self) -> Result<Login, String> {
        self.read_in(std::env::var_os(SYSTEMD_FOLDER).map(PathBuf::from).as_deref())
    }

    fn read_in(&self, systemd: Option<&Path>) -> Result<Login, String> {
        let (path, is_guarded) = match (self, systemd) {
            (Self::File(path), _) => (path.clone(), false),
            // systemd closes the folder to other users.
            (Self::Systemd(name), Some(folder)) => (folder.join(name), true),
            (Self::Systemd(name), None) => {
                return Err(format!(
                    "credentials: systemd has given this process no credential {name}: add LoadCredential={name}:FILE to its unit, or \
                     name a file"
                ));
            }
        };
        let shown = path.display();
        let wrong = |why: String| format!("credentials: {shown} {why}");
        let cannot = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
        let file = File::open(&path).map_err(cannot)?;
        let mode = file.metadata().map_err(cannot)?.permissions().mode();
        if mode & OTHERS != 0 && !is_guarded {
            return Err(wrong(format!("is open to other users: close it with `chmod o= {shown}`")));
        }
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text).map_err(cannot)?;
        parse(&text).ok_or_else(|| {
            wrong(
                "has no user and password: write one line user:password, or two, user = ... and password = ..."
                    .to_owned(),
            )
        })
    }
}

/// Reads one line `user:password`, or the lines `user = ...` and `password = ...`. Empty lines and lines that begin with `#` do not
/// count.
fn parse(text: &str) -> Option<Login> {
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')).collect();
    let value = |key: &str| {
        lines.iter().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    };
    let (user, password) = match (value("user"), value("password"), lines.as_slice()) {
        (Some(user), Some(password), _) => (user, password),
        (_, _, [line]) => line.split_once(':').map(|(user, password)| (user.trim().to_owned(), password.to_owned()))?,
        _ => return None,
    };
    (!user.is_empty() && !password.is_empty()).then_some(Login { user, password })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn login(user: &str, password: &str) -> Option<Login> {
        Some(Login { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(parse("ops:hun:ter=2 \n"), login("ops", "hun:ter=2 "));
        assert_eq!(
            parse("# SMTP\n\nuser = ops@example.org\r\npassword = a:b # c\n"),
            login("ops@example.org", "a:b # c")
        );
        for text in ["", "ops", "ops:", ":secret", "user = ops", "user = ops\npassword =\n", "a:b\nc:d"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_nothing_is_shown() {
        let folder = offsite_tests::folder();
        let path = folder.path().join("smtp");
        fs::write(&path, "ops:hunter2\n").unwrap();
        let source = CredentialSource::File(path.clone());
        for mode in [0o644, 0o604, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let why = source.read_in(None).unwrap_err();
            assert!(why.contains("chmod o=") && !why.contains("hunter2"), "{why}");
        }
        for mode in [0o600, 0o640] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = source.read_in(None).unwrap();
            assert_eq!(Some(read.clone()), login("ops", "hunter2"));
            assert_eq!(format!("{read:?}"), "Login(..)");
        }
        fs::write(&path, "hunter2").unwrap();
        let why = source.read_in(None).unwrap_err();
        assert!(why.contains("user:password") && !why.contains("hunter2"), "{why}");
        fs::remove_file(&path).unwrap();
        assert!(source.read_in(None).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn a_credential_of_systemd_is_where_systemd_says() {
        let folder = offsite_tests::folder();
        fs::write(folder.path().join("smtp"), "ops:hunter2").unwrap();
        let source = CredentialSource::Systemd("smtp".to_owned());
        assert_eq!(source.read_in(Some(folder.path())).ok(), login("ops", "hunter2"));
        assert!(source.read_in(None).unwrap_err().contains("LoadCredential=smtp:FILE"));
    }
}
