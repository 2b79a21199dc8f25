//! Adds to errors of the engine what an operator can type. The engine knows of no command line.

use std::path::Path;

use offsite::{DamagedPart, Error};

use crate::error_text::chain_of;

/// What to do about a damaged head. Readers pass it by, but no run can write.
pub(crate) const OF_DAMAGED_HEAD: &str = "`offsite repair` makes the folder writable again";

/// Returns an error with its causes, one per line, and the way out.
pub(crate) fn text_of(error: &Error) -> String {
    with(chain_of(error), "\n  ", error)
}

/// The same on one line.
pub(crate) fn line_of(error: &Error) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    with(line, "; ", error)
}

fn with(text: String, between: &str, error: &Error) -> String {
    match of(error) {
        Some(advice) => format!("{text}{between}way out: {advice}"),
        None => text,
    }
}

/// Returns the way out of an error. `None` if there is nothing to tell.
fn of(error: &Error) -> Option<String> {
    match error {
        Error::NotARepository { location, .. } => {
            Some(format!("`offsite init {location}` makes a new repository there"))
        }
        // The text already says that a newer version is needed.
        Error::Damaged { .. } if error.is_of_newer_version() => None,
        Error::Damaged { part, .. } => {
            // A drive has no path of its own, and a bucket needs what the config says of it.
            let folder = error.location().filter(|location| Path::new(location).is_dir());
            let repository = folder.map_or("REPO".to_owned(), quoted);
            of_damage(part, &format!("`offsite repair {repository} {}`", error.job().map_or("JOB".to_owned(), quoted)))
        }
        Error::MachineDamaged { intact, is_salvageable, source, .. } => {
            let intact = intact.map(|(sequence, _)| format!("`--point {sequence}` restores the intact one"));
            let salvage = "`--salvage` restores this one, with zeros in place of damaged blocks".to_owned();
            join(intact.into_iter().chain(is_salvageable.then_some(salvage)).chain(of(source)))
        }
        Error::Torn { source, .. } => of(source),
        Error::PathTaken { .. } => Some("`--overwrite` writes over what is there".to_owned()),
        Error::OtherOrigin { .. } => Some("`offsite run --adopt` takes the machine over".to_owned()),
        Error::NoRoom { min_free_bytes, .. } if *min_free_bytes > 0 => {
            Some("`min_free` in the config says how much is to stay free".to_owned())
        }
        Error::NoMachine { failed, .. } => failed.iter().find_map(|(_, error)| of(error)),
        Error::Image { source: Some(source), .. } | Error::ExportFile { source: Some(source), .. } => of_file(source),
        _ => None,
    }
}

/// Returns the way out of damage. `repair` is the command that repairs the job.
fn of_damage(part: &DamagedPart, repair: &str) -> Option<String> {
    let advice = match part {
        DamagedPart::Marker => format!("{repair} makes a new one"),
        DamagedPart::Head => format!("{repair} makes the folder writable again"),
        DamagedPart::Heads => format!("{repair} brings them back from their second copies"),
        DamagedPart::Index { .. } => format!(
            "{repair} rebuilds the index from its second copy or from the backup files, and says what it cannot rebuild"
        ),
        DamagedPart::Point => "restore the machine from another restore point".to_owned(),
        DamagedPart::File | DamagedPart::Block { .. } => {
            "`offsite verify --read-data` lists what is damaged and which restore points it touches".to_owned()
        }
        DamagedPart::Seed => "carry the seed again".to_owned(),
        DamagedPart::Export => "export the restore point again".to_owned(),
        _ => return None,
    };
    Some(advice)
}

fn of_file(source: &std::io::Error) -> Option<String> {
    const LIMITS: [rustix::io::Errno; 2] = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    let errno = rustix::io::Errno::from_io_error(source)?;
    LIMITS.contains(&errno).then(|| "raise the limit of open files (ulimit -n)".to_owned())
}

/// Returns a word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/:._-@%+=".contains(letter);
    match word {
        word if word.chars().all(is_plain) => word.to_owned(),
        word if word.contains(['"', '$', '`', '\\', '!']) => format!("'{}'", word.replace('\'', "'\\''")),
        word => format!("\"{word}\""),
    }
}

fn join(advice: impl Iterator<Item = String>) -> Option<String> {
    let advice: Vec<String> = advice.collect();
    (!advice.is_empty()).then(|| advice.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_each_word_as_it_is() {
        assert_eq!(quoted("/srv/backup"), "/srv/backup");
        assert_eq!(quoted("s3://bucket/dr"), "s3://bucket/dr");
        assert_eq!(quoted("Offsite Copy"), "\"Offsite Copy\"");
        assert_eq!(quoted("a $x"), "'a $x'");
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
    }
}
