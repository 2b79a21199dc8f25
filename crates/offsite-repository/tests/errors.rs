//! What an error says, and what it carries for callers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::error::Error as _;
use std::sync::Arc;

use offsite_repository::testing::{CrashImage, Fault, Faulty, Memory};
use offsite_repository::{Error, ErrorClass, ErrorKind, Key, Repository, RepositoryExt, Retry, RetryOptions};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

#[test]
fn each_kind_has_its_text_and_its_class() {
    use ErrorClass::{Busy, Damaged, FreeSpace, NotThere, RetryLater, WrongInput};
    let goldens = [
        (ErrorKind::NotFound, "cannot read job/head: not found, look elsewhere", NotThere),
        (ErrorKind::AlreadyExists, "cannot read job/head: already exists, look elsewhere", Busy),
        (ErrorKind::Indeterminate, "cannot read job/head: outcome unknown, look elsewhere", RetryLater),
        (ErrorKind::Unavailable, "cannot read job/head: unavailable, look elsewhere", RetryLater),
        (ErrorKind::NoSpace, "cannot read job/head: no space left, look elsewhere", FreeSpace),
        (ErrorKind::PermissionDenied, "cannot read job/head: permission denied, look elsewhere", WrongInput),
        (ErrorKind::MediaAbsent, "cannot read job/head: medium absent, look elsewhere", RetryLater),
        (ErrorKind::WrongMedia, "cannot read job/head: wrong medium, look elsewhere", WrongInput),
        (ErrorKind::Corrupt, "cannot read job/head: damaged, look elsewhere", Damaged),
        (ErrorKind::Linked, "cannot read job/head: shared by a hard link, look elsewhere", Busy),
        (ErrorKind::Unsupported, "cannot read job/head: not supported, look elsewhere", WrongInput),
    ];
    for (kind, text, class) in goldens {
        let error = Error::new(kind, "read").with_key(&key("job/head")).with_detail("look elsewhere");
        assert_eq!(error.to_string(), text);
        assert_eq!((error.kind(), error.class()), (kind, class));
        assert_eq!(error.is_retryable(), kind == ErrorKind::Unavailable, "{kind}");
    }
}

#[test]
fn the_text_names_what_is_nearest() {
    let error = || Error::new(ErrorKind::NotFound, "open");
    assert_eq!(error().to_string(), "cannot open: not found");
    assert_eq!(error().with_location("/srv/backup").to_string(), "cannot open /srv/backup: not found");
    let of_object = error().with_location("/srv/backup").with_key(&key("a/b"));
    assert_eq!(of_object.to_string(), "cannot open a/b: not found");
    assert_eq!(of_object.with_subject("medium Blue").to_string(), "cannot open medium Blue: not found");
}

#[test]
fn a_layer_adds_and_takes_nothing_away() {
    let error = Error::new(ErrorKind::Corrupt, "read")
        .with_key(&key("inner"))
        .with_location("inner place")
        .with_detail("it is short")
        .with_source(std::io::Error::other("beneath"));
    let error = error.with_key(&key("outer")).with_location("outer place").with_detail("look elsewhere");
    assert_eq!(error.key(), Some(&key("inner")));
    assert_eq!(error.location(), Some("inner place"));
    assert_eq!(error.to_string(), "cannot read inner: damaged, it is short; look elsewhere");
    assert_eq!(error.source().unwrap().to_string(), "beneath");
}

#[tokio::test(start_paused = true)]
async fn decorators_and_fakes_keep_key_and_location() {
    let absent = key("job/absent");
    let faulty = Faulty::new(Memory::new());
    let retry = Retry::new(faulty.clone(), RetryOptions::default());
    let image = CrashImage::new(1);
    let places: [Arc<dyn Repository>; 4] =
        [Arc::new(Memory::new()), Arc::new(faulty.clone()), Arc::new(retry), Arc::new(image.clone())];
    for place in &places {
        let error = place.get(&absent, 10).await.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::NotFound, Some(&absent)), "{place:?}");
        assert!(error.location().is_some(), "{place:?}");
    }
    faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).for_ever());
    image.cut_after(0);
    for place in &places[1..] {
        let error = place.get(&absent, 10).await.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Unavailable, Some(&absent)), "{place:?}");
        assert_eq!(error.location(), Some(place.location().as_str()), "{place:?}");
    }
}
