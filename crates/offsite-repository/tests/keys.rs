//! Names.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use offsite_repository::{Key, KeyError, Prefix};
use proptest::prelude::*;

#[test]
fn portable_names_are_keys() {
    let long = "x".repeat(200);
    for name in ["a", "a/b", "Job 1/blocks/000001", "a.b", "(x)+@~", "console", "com10", "nul-1", long.as_str()] {
        assert_eq!(Key::new(name).unwrap().as_str(), name);
    }
}

#[test]
fn names_that_some_file_system_refuses_are_none() {
    for name in ["", "/", "/a", "a/", "a//b"] {
        assert_eq!(Key::new(name), Err(KeyError::Empty), "{name:?}");
    }
    for name in [".", "..", "a/../b", ".hidden", "a.", " a", "a ", "a/b /c"] {
        assert!(matches!(Key::new(name), Err(KeyError::DotOrBlankAtEnd(_))), "{name:?}");
    }
    for name in ["a:b", "a\\b", "a\0b", "a\nb", "caf\u{e9}", "a*", "a?", "<a", "a|b", "\"a"] {
        assert!(matches!(Key::new(name), Err(KeyError::ForbiddenCharacter { .. })), "{name:?}");
    }
    for name in ["con", "a/NUL", "Com1.txt", "lpt9.a.b", "aux .x"] {
        assert!(matches!(Key::new(name), Err(KeyError::ReservedName(_))), "{name:?}");
    }
    for name in ["x".repeat(201), "x/".repeat(450) + "x"] {
        assert!(matches!(Key::new(name.clone()), Err(KeyError::TooLong { .. })), "{name:?}");
    }
}

#[test]
fn a_prefix_is_a_folder() {
    let (folder, key) = (Prefix::new("a").unwrap(), Key::new("a/b").unwrap());
    assert!(folder.contains(&key) && Prefix::root().contains(&key));
    assert!(!folder.contains(&Key::new("ab/c").unwrap()) && !folder.contains(&Key::new("a").unwrap()));
    assert_eq!((folder.key("b").unwrap(), key.name(), key.folder()), (key.clone(), "b", folder));
    assert_eq!(Key::new("a").unwrap().folder(), Prefix::root());
}

proptest! {
    #[test]
    fn any_text_is_a_key_or_an_error_and_never_leaves_its_folder(text in "[a-c./ \\\\:\u{e9}-]{0,12}") {
        if let Ok(key) = Key::new(text.clone()) {
            prop_assert_eq!(key.as_str(), &text);
            prop_assert!(text.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            prop_assert!(key.folder().contains(&key));
            prop_assert_eq!(key.folder().key(key.name()), Ok(key));
        }
    }
}
