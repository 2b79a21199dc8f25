//! Names: what is taken for one is one everywhere, and says itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offsite::JobName;
use offsite_core::selection::Pattern;
use offsite_core::{MachineName, ObjectId};
use offsite_repository::{Key, Prefix};

/// A path below a folder, on any file system.
fn is_portable(text: &str) -> bool {
    let is_plain = |name: &str| {
        !name.is_empty()
            && name.len() <= 200
            && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"<>:\"\\|?*".contains(&byte))
            && !name.starts_with(['.', ' '])
            && !name.ends_with(['.', ' '])
    };
    text.len() <= 900 && text.split('/').all(is_plain)
}

fn keys(first: &str, second: &str) {
    let key = Key::new(first);
    assert_eq!(Prefix::new(first).is_ok(), key.is_ok());
    if let Ok(key) = &key {
        assert!(is_portable(first), "{first:?}");
        assert_eq!((key.as_str(), key.to_string().as_str()), (first, first));
        assert!(first.ends_with(key.name()) && !key.name().contains('/'));
        assert!(Prefix::root().contains(key));
    }
    let Ok(prefix) = Prefix::new(second) else { return };
    if let Ok(key) = &key {
        assert_eq!(prefix.contains(key), first.starts_with(&format!("{second}/")));
    }
    if let Ok(below) = prefix.key(first) {
        assert_eq!(below.as_str(), format!("{second}/{first}"));
        assert!(prefix.contains(&below) && key.is_ok());
    }
}

fn names(text: &str) {
    if let Ok(job) = JobName::new(text) {
        assert!(is_portable(text) && !text.contains('/'));
        assert_eq!(job.as_str(), text);
        assert!(Key::new(format!("{job}/blocks/0000000100000001.index")).is_ok());
        assert!(job.same_folder(&job));
    }
    if let Ok(machine) = MachineName::new(text) {
        assert_eq!((machine.as_str(), machine.to_string().as_str()), (text, text));
        // An image of this name stays in its folder.
        let path = std::path::Path::new("/restore").join(format!("{machine}-disk0.raw"));
        assert_eq!(path.parent(), Some(std::path::Path::new("/restore")));
        assert!(!text.chars().any(char::is_control));
        assert!(Pattern::new("*").matches(text));
    }
    if let Some(id) = ObjectId::parse(text) {
        assert_eq!(id.to_string(), text);
        assert_eq!(ObjectId::from_stored(id.stored()), id);
    }
    let _ = offsite::fuzzing::holder(text);
}

fuzz_target!(|text: &str| {
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    for text in [text, first, second] {
        names(text);
    }
    keys(first, second);
    keys(second, first);
    let _ = Pattern::new(second).matches(first);
});
