//! Notes of reports in an operator's words, with keys of the config and commands that help.

use offsite::report::{DamageKind, Doubt, HealingSearch, ImageWarning, Note, PatternPlace, Reason, Unseen};
use offsite::schedule::ClockReading;

use crate::advice;

/// Returns notes and doubts, one per line.
pub(crate) fn notes(notes: &[Note], doubts: &[Doubt]) -> Vec<String> {
    notes.iter().map(note).chain(doubts.iter().map(doubt)).collect()
}

/// Returns a note of a report in words.
pub(crate) fn note(note: &Note) -> String {
    match note {
        Note::NotSeen(what) => unseen(what),
        Note::KeptFromChain { why, .. } => advised(note.to_string(), advice_of(why)),
        Note::ClockInDoubt { clock: ClockReading::Behind { .. } } => {
            format!("{note}; if the clock is right now, run once with `--trust-clock`")
        }
        Note::NotHealed { searched: HealingSearch::Chain, .. } => {
            format!("{note}; `offsite run` looks at the sources of a copy job")
        }
        Note::HealingWaits => format!("{note}: `offsite repair` brings it back"),
        Note::DamageFound { places } => format!(
            "verification found damage in {places} places: `offsite verify` tells what it touches; the next run puts back what a source \
             or another restore point has intact"
        ),
        Note::NewerHeadCopy { job, .. } => format!(
            "{note}. What only the copy tells comes back with the next run of the job, or with `offsite repair REPO \"{job}\"`"
        ),
        Note::IndexUnassigned { .. } => format!("{note}; which restore point it was for is not known"),
        _ => note.to_string(),
    }
}

/// Says what was not looked at.
pub(crate) fn unseen(unseen: &Unseen) -> String {
    match unseen {
        Unseen::Heads { .. } => format!("{unseen}; {}", advice::OF_DAMAGED_HEAD),
        Unseen::Elsewhere { .. } => format!("{unseen}; the next run on it mends that"),
        _ => unseen.to_string(),
    }
}

/// Says what is damaged.
pub(crate) fn damage(kind: &DamageKind) -> String {
    match kind {
        DamageKind::IndexCopy { fault } => format!("{fault}; `offsite repair` makes it again from the index"),
        _ => kind.to_string(),
    }
}

/// Returns a warning about an image in words.
pub(crate) fn image(warning: &ImageWarning) -> String {
    match warning {
        ImageWarning::LooksLike { .. } => format!(
            "{warning}. If you converted it, say so once (--format MACHINE:DISK:FORMAT); if its bytes are the disk, --format raw ends this \
             warning"
        ),
        _ => warning.to_string(),
    }
}

/// Says which setting probably does not do what it was meant to.
pub(crate) fn doubt(doubt: &Doubt) -> String {
    match doubt {
        Doubt::IdlePattern { place, pattern } => {
            let key = match place {
                PatternPlace::Include(kind) => format!("select.{}", kind.word()),
                PatternPlace::Exclude(kind) => format!("select.exclude ({})", kind.word()),
                _ => "machines of a source".to_owned(),
            };
            format!("{key} has {pattern:?}, which matches nothing in the sources: is it written as it is meant?")
        }
        Doubt::LeftBehind { .. } => format!("{doubt}; if it is gone for good, name it in exclude"),
        Doubt::Vanished { .. } => format!(
            "{doubt}: if it is gone for good, name it in exclude (and let deleted_machines_days remove its copy)"
        ),
        _ => doubt.to_string(),
    }
}

/// Says why a machine is not as it should be.
pub(crate) fn reason(reason: &Reason) -> String {
    advised(reason.to_string(), advice_of(reason))
}

fn advice_of(reason: &Reason) -> Option<&'static str> {
    match reason {
        Reason::OtherBlockSize { .. } => Some("copy it under another job name"),
        Reason::OtherOrigin { .. } => Some(
            "copy it under another job name; or, if it is the same machine, take it over once: `offsite run --adopt`",
        ),
        _ => None,
    }
}

fn advised(text: String, advice: Option<&str>) -> String {
    advice.map_or(text.clone(), |advice| format!("{text}; {advice}"))
}

#[cfg(test)]
mod tests {
    use offsite::JobName;
    use offsite::model::{BlockSize, FolderId, MachineName};
    use offsite::report::PatternKind;

    use super::*;

    #[test]
    fn patterns_are_told_by_their_keys() {
        let told = |place| doubt(&Doubt::IdlePattern { place, pattern: "web*".to_owned() });
        let end = " has \"web*\", which matches nothing in the sources: is it written as it is meant?";
        assert_eq!(told(PatternPlace::Include(PatternKind::Tags)), format!("select.tags{end}"));
        assert_eq!(told(PatternPlace::Exclude(PatternKind::Machines)), format!("select.exclude (machines){end}"));
        assert_eq!(told(PatternPlace::Source), format!("machines of a source{end}"));
    }

    #[test]
    fn what_helps_is_named() {
        let machine = MachineName::new("web01").unwrap();
        let job = JobName::new("nightly").unwrap();
        assert!(doubt(&Doubt::Vanished { machine }).contains("name it in exclude"));
        assert!(note(&Note::HealingWaits).contains("`offsite repair`"));
        assert!(note(&Note::DamageFound { places: 2 }).contains("`offsite verify`"));
        let copy = Note::NewerHeadCopy { job: job.clone(), copy: 9, newest: 7 };
        assert!(note(&copy).ends_with("`offsite repair REPO \"nightly\"`"));
        let (known, found) = (FolderId::new([1; 16]), FolderId::new([2; 16]));
        let origin = Reason::OtherOrigin { job: job.clone(), known, found };
        assert!(reason(&origin).ends_with("take it over once: `offsite run --adopt`"));
        let other = Reason::OtherBlockSize { job, source: BlockSize::KiB256, copy: BlockSize::MiB1 };
        assert!(reason(&other).ends_with("; copy it under another job name"));
    }
}
