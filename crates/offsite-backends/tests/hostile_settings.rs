//! Settings that make no sense are refused with the name of the setting, and never end in a panic, whatever is in them.
#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

mod support;

use std::time::Duration;

use offsite_backends::{Local, MediaCatalogue, Removable, S3, S3Credentials, S3Location, S3Options};
use offsite_repository::{ErrorKind, Key, Prefix, StreamRange, StreamShare};
use offsite_s3_server::{Behaviour, Server};

/// What people paste, and what a library may take for something else.
const HOSTILE: [&str; 22] = [
    "",
    " ",
    "a b",
    "a\nb",
    "a\r\nX-Evil: 1",
    "\0",
    "\u{7f}",
    "schl\u{fc}ssel",
    "\u{202e}",
    "\u{1f511}",
    "..",
    "../..",
    "%00",
    "%zz",
    "[",
    "[::",
    "a:b:c",
    "https://",
    "http://host:99999999999",
    "https://host:0",
    "\\\\host\\share",
    "a\"b<c>d`e{f}",
];

/// SplitMix64, for texts that nobody has thought of. The seed is in the message of a failure.
fn texts(seed: u64, count: usize) -> Vec<String> {
    let mut state = seed;
    let mut draw = move |below: u64| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 27)) % below
    };
    let odd: Vec<char> = "\0\t\n\r \"%/:@[]\\{}~\u{7f}\u{e9}\u{2028}\u{1f4a9}".chars().collect();
    let mut text = || {
        let letter = |draw: &mut dyn FnMut(u64) -> u64| match draw(3) {
            0 => char::from(b'!' + u8::try_from(draw(94)).unwrap()),
            _ => odd[usize::try_from(draw(odd.len() as u64)).unwrap()],
        };
        // At least one that is in no setting.
        let length = draw(12);
        (0..length).map(|_| letter(&mut draw)).chain([odd[1]]).collect::<String>()
    };
    (0..count).map(|_| text()).collect()
}

fn hostile() -> Vec<String> {
    HOSTILE.iter().map(|text| (*text).to_owned()).chain(texts(7, 60)).chain(["x".repeat(1 << 20)]).collect()
}

/// Opens in a task of its own, so that a panic is seen as such; what was said.
async fn refused(what: &str, options: S3Options) -> String {
    let opened = tokio::spawn(S3::open(options)).await;
    let answer = opened.unwrap_or_else(|panic| panic!("{what}: {panic}"));
    let error = answer.err().unwrap_or_else(|| panic!("{what}: it was opened"));
    let mut said = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        said.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    said
}

#[tokio::test]
async fn texts_of_a_bucket_are_refused_by_name() {
    let server = Server::start_with(Behaviour::default()).await;
    let base = || support::options(&server, "");
    for text in hostile() {
        let mut options = base();
        options.endpoint = Some(text.clone());
        let said = refused(&format!("endpoint {text:?}"), options).await;
        assert!(said.contains("endpoint"), "{text:?}: {said}");
        let mut options = base();
        // A number where a port is expected would be one.
        options.endpoint = Some(format!("http://localhost:{text}x"));
        let said = refused(&format!("port {text:?}"), options).await;
        assert!(said.contains("endpoint"), "{text:?}: {said}");
        let mut options = base();
        options.region.clone_from(&text);
        let said = refused(&format!("region {text:?}"), options).await;
        assert!(said.contains("region"), "{text:?}: {said}");
        // Any graphic text may be a key.
        if text.is_empty() || text.len() > 1000 || text.chars().any(|letter| !letter.is_ascii_graphic()) {
            for name in ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"] {
                let mut key = S3Credentials::new("id", "secret").with_session_token("token");
                match name {
                    "aws_access_key_id" => key.access_key_id.clone_from(&text),
                    "aws_secret_access_key" => key.secret_access_key.clone_from(&text),
                    _ => key.session_token = Some(text.clone()),
                }
                let mut options = S3Options::new(S3Location::parse("s3://bucket").unwrap(), key);
                options.endpoint = base().endpoint;
                let said = refused(&format!("{name} {text:?}"), options).await;
                assert!(said.contains(name), "{text:?}: {said}");
                // A few letters may well be in any message.
                assert!(text.trim().len() < 8 || !said.contains(&text), "the key is in the message: {said}");
            }
        }
        // None of them names a bucket.
        assert!(S3Location::parse(&format!("s3://{text}")).is_err(), "{text:?}");
    }
}

#[tokio::test]
async fn numbers_of_a_bucket_are_refused_by_name() {
    let server = Server::start_with(Behaviour::default()).await;
    type Change = fn(&mut S3Options);
    let wrong: [(&str, Change); 9] = [
        ("part_bytes", |options| options.part_bytes = 0),
        ("part_bytes", |options| options.part_bytes = u64::MAX),
        ("streams", |options| options.streams = StreamShare::alone(StreamRange::up_to(usize::MAX))),
        ("least_rate_bytes_per_sec", |options| options.least_rate_bytes_per_sec = 0),
        ("retries", |options| options.retries = u32::MAX),
        ("first_pause", |options| options.first_pause = Duration::MAX),
        ("abandoned_after", |options| options.abandoned_after = Duration::ZERO),
        ("abandoned_after", |options| options.abandoned_after = Duration::MAX),
        ("endpoint", |options| options.endpoint = Some("http://127.0.0.1:65536".to_owned())),
    ];
    for (name, change) in wrong {
        let mut options = support::options(&server, "");
        change(&mut options);
        let said = refused(name, options).await;
        assert!(said.contains(name), "{name}: {said}");
    }
    assert_eq!(server.names(), [""; 0], "a request was sent");
}

#[test]
fn endpoints_that_make_sense_are_taken() {
    // Nobody answers there, and that is all that is wrong.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for url in ["http://127.0.0.1:1", "http://[::1]:1/", "http://localhost:1/store/s3"] {
        let key = S3Credentials::new("id", "se/cr+et=");
        let mut options = S3Options::new(S3Location::parse("s3://bucket/prefix").unwrap(), key);
        (options.endpoint, options.retries) = (Some(url.to_owned()), 0);
        let error = runtime.block_on(S3::open(options)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{url}: {error}");
    }
}

#[tokio::test]
async fn paths_and_names_never_end_in_a_panic() {
    let folder = offsite_tests::folder();
    for text in hostile() {
        let path = folder.path().join("none").join(text.trim_start_matches('/'));
        let opened = tokio::spawn(async move {
            // There is no such folder, or it is no repository's: what matters is that an error says so.
            (
                Local::open(&path).await.is_ok(),
                Removable::open(&path).await.is_ok(),
                MediaCatalogue::open(&path).await.is_ok(),
            )
        });
        let opened = opened.await.unwrap_or_else(|panic| panic!("{text:?}: {panic}"));
        assert!(!opened.1, "{text:?}: no medium is there");
        let (key, prefix) = (Key::new(text.clone()), Prefix::new(text.clone()));
        let is_portable = !text.chars().any(|letter| !(' '..='~').contains(&letter));
        assert!(is_portable || (key.is_err() && prefix.is_err()), "{text:?}");
    }
}
