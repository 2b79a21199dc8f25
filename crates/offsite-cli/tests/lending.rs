//! What need not cross the link, by the command: what it refuses, what it tells, and what the cache does.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};

use offsite_s3_server::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, Server};
use support::golden::Transcript;
use support::{COPY_JOB, Offsite, Ran, Random, assert_same_bytes};
use tokio::runtime::Runtime;

const JOB: &str = "Offsite Copy";

/// A config whose target has these keys.
fn with(keys: &str) -> String {
    COPY_JOB.replace("location = \"second\"\n", &format!("location = \"second\"\n{keys}\n"))
}

fn cache(path: &str, size: &str) -> String {
    format!("cache = {{ path = \"{path}\", size = \"{size}\" }}")
}

#[test]
fn a_cache_that_cannot_be_one_is_refused_with_its_key_and_the_way_out() {
    let offsite = Offsite::new();
    let mut transcript = Transcript::default();
    offsite.config(&with(""));
    offsite.ok(["init", "primary"]);
    offsite.ok(["init", "second"]);
    fs::create_dir_all(offsite.path("photos")).unwrap();
    fs::write(offsite.path("photos/cat.jpg"), "miaow").unwrap();
    fs::write(offsite.path("file"), "text").unwrap();
    let mut refuse = |what: &str, keys: &str| {
        transcript.heading(what);
        offsite.config(&with(keys));
        transcript.run(&offsite, 2, ["cache", "populate", "primary"]);
    };
    refuse("no cache", "");
    refuse("a size of 0", &cache("cache", "0 GiB"));
    refuse("no size", &cache("cache", "much"));
    refuse("too small", &cache("cache", "1 MiB"));
    refuse("in the target", &cache("second/cache", "1 GiB"));
    refuse("in the source", &cache("primary", "1 GiB"));
    refuse("around the target", &cache(".", "1 GiB"));
    refuse("a folder with other files", &cache("photos", "1 GiB"));
    refuse("a file", &cache("file", "1 GiB"));
    refuse("an unknown key", "cache = { path = \"cache\", size = \"1 GiB\", ttl = 3 }");
    transcript.heading("no such lending");
    offsite.config(&COPY_JOB.replace("target = \"second\"\n", "target = \"second\"\nlending = \"sometimes\"\n"));
    transcript.run(&offsite, 2, ["run"]);
    transcript.compare(&offsite, "bad-caches.txt");
    assert_eq!(fs::read_to_string(offsite.path("photos/cat.jpg")).unwrap(), "miaow");
}

/// From a bucket to a folder: what was looked up, where it was found, and what the cache is worth.
#[test]
fn a_copy_from_a_bucket_takes_what_the_targets_side_has() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let offsite = Offsite::new();
    let bucket = format!("location = \"s3://{BUCKET}/primary\"\nendpoint = \"{}\"\n", server.endpoint());
    let config = with(&cache("cache", "1 GiB")).replace("location = \"primary\"\n", &bucket);
    let second = format!(
        "{config}\n[jobs.Second]\nsource = {{ repository = \"primary\", job = \"nightly\" }}\ntarget = \"second\"\n"
    );
    offsite.config(&second);
    let run = |status: i32, arguments: &[&str]| {
        let mut command = offsite.command(arguments);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
        for name in ["AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"] {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        Ran::new(&command, &output).expect(status)
    };
    run(0, &["init", "primary"]);
    offsite.ok(["init", "second"]);
    let mut random = Random::new(7);
    let disk: Vec<u8> = (0..(8 << 20) / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    fs::write(offsite.path("web01.img"), disk).unwrap();
    run(0, &["backup", "--repo", "primary", "--job", "nightly", "--at", "2026-11-01T22:20:00Z", "web01=web01.img"]);
    let clock = ["--now", "2026-11-01T22:30:00Z", "--json"];
    let savings = |ran: &Ran| ran.json()["syncs"][0]["savings"].clone();

    let planned = run(0, &[&["run", JOB, "--dry-run"][..], &clock[..]].concat()).json();
    let first = run(0, &[&["run", JOB][..], &clock[..]].concat());
    assert_eq!(planned["sync"]["savings"], savings(&first), "{planned}");
    assert_eq!(savings(&first)["sent"]["blocks"], 8);
    assert_eq!(savings(&first)["look_up"], "made");
    assert_eq!(first.json()["syncs"][0]["cached"]["blocks"], 8);
    // Another job of the same repository.
    let other = run(0, &[&["run", "Second"][..], &clock[..]].concat());
    assert_eq!((&savings(&other)["sent"]["blocks"], &savings(&other)["other_job"]["blocks"]), (&0.into(), &8.into()));
    // The chains are gone, the cache is not.
    fs::remove_dir_all(offsite.path("second")).unwrap();
    offsite.ok(["init", "second"]);
    let again = run(0, &["run", JOB, "--now", "2026-11-02T22:30:00Z"]);
    assert!(again.out.contains("8.0 MiB in the cache (each block was looked up"), "{}", again.out);
    run(0, &["restore", "second", JOB, "web01", "--to", "restored.img"]);
    assert_same_bytes(&offsite.path("restored.img"), &offsite.path("web01.img"));
    // Another process uses it: a copy goes on without, and the filling of the cache refuses.
    fs::remove_dir_all(offsite.path("second")).unwrap();
    offsite.ok(["init", "second"]);
    let lock = File::options().write(true).open(offsite.path("cache/lock")).unwrap();
    lock.lock().unwrap();
    let without = run(3, &["run", JOB, "--now", "2026-11-03T22:30:00Z"]).out;
    assert!(
        without.contains("goes without its cache: repository second: cache.path: another process uses"),
        "{without}"
    );
    run(1, &["cache", "populate", "second"]).says(&["cache.path: another process uses", "stop it"]);
    drop(lock);
    // The cache is deleted, and filled from the repository that is near.
    fs::remove_dir_all(offsite.path("cache")).unwrap();
    let filled = run(0, &["cache", "populate", "second", "--json"]).json();
    assert_eq!((&filled["added"]["blocks"], &filled["there_before"]["blocks"]), (&8.into(), &0.into()), "{filled}");
    let filled = run(0, &["cache", "populate", "second"]).out;
    assert!(filled.contains("0 blocks (0 B) added, 8 blocks (8.0 MiB) there before"), "{filled}");
}
