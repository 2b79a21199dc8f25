//! The command on buckets: copies from a folder to a bucket, from a bucket to a folder, and from one store to another.
//!
//! The stores are servers in this process; the test `live` uses the one that the environment names, as `tests/servers/run`
//! starts it.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Command;

use offsite_cli::workload::Disk;
use offsite_s3_server::{ACCESS_KEY_ID, BUCKET, Behaviour, Conditions, Counts, Operation, SECRET_ACCESS_KEY, Server};
use support::{Offsite, Ran, assert_same_bytes, copy_sparse, day, hour};
use tokio::runtime::Runtime;

const KEEP: u32 = 2;
const DAYS: i64 = 4;
/// Larger than a part of an upload.
const SIZE_MIB: u64 = 40;
/// What must be printed nowhere.
const TOKEN: &str = "canary-of-a-session";

/// A store, as the command is to be told of it.
struct Store {
    endpoint: String,
    bucket: String,
    key: (String, String),
    /// Lives as long.
    server: Option<(Server, Runtime)>,
}

impl Store {
    fn start(behaviour: Behaviour) -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(Server::start_with(behaviour));
        Self {
            endpoint: server.endpoint(),
            bucket: BUCKET.to_owned(),
            key: (ACCESS_KEY_ID.to_owned(), SECRET_ACCESS_KEY.to_owned()),
            server: Some((server, runtime)),
        }
    }

    /// The one that the environment names.
    fn live() -> Option<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Self {
            endpoint: variable("OFFSITE_S3_ENDPOINT")?,
            bucket: variable("OFFSITE_S3_BUCKET")?,
            key: (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?),
            server: None,
        })
    }

    /// What the server in this process was asked for since the last call.
    fn counts(&self) -> Counts {
        let (server, _) = self.server.as_ref().unwrap();
        let counts = server.counts();
        server.reset_counts();
        counts
    }

    fn config(&self, name: &str, prefix: &str, more: &str) -> String {
        let Self { endpoint, bucket, .. } = self;
        format!("[repositories.{name}]\nlocation = \"s3://{bucket}/{prefix}\"\nendpoint = \"{endpoint}\"\n{more}\n")
    }

    /// Runs the command with this store's key in the environment, and holds that it prints none of it.
    #[track_caller]
    fn run<'a>(&self, offsite: &Offsite, status: i32, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        let mut command = offsite.command(arguments);
        command.env("AWS_ACCESS_KEY_ID", &self.key.0).env("AWS_SECRET_ACCESS_KEY", &self.key.1);
        ended(without_surroundings(command), status, &self.key.1)
    }
}

/// Settings of whoever runs the tests are not to matter.
fn without_surroundings(mut command: Command) -> Command {
    for name in ["AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"] {
        if !command.get_envs().any(|(set, _)| set == name) {
            command.env_remove(name);
        }
    }
    command
}

#[track_caller]
fn ended(mut command: Command, status: i32, secret: &str) -> Ran {
    let output = command.output().unwrap();
    let ran = Ran::new(&command, &output).expect(status);
    for canary in [secret, TOKEN] {
        assert!(!ran.out.contains(canary) && !ran.err.contains(canary), "a secret was printed by {}", ran.line);
    }
    ran
}

/// A copy job's table.
fn copy_job(name: &str, source: &str, job: &str, target: &str) -> String {
    format!(
        "[jobs.\"{name}\"]\nsource = {{ repository = \"{source}\", job = \"{job}\" }}\ntarget = \"{target}\"\n\
         [jobs.\"{name}\".retention]\nkeep = {KEEP}\n"
    )
}

fn disk() -> Disk {
    Disk::new("web01", 11, SIZE_MIB)
}

/// Four days of backups to `primary`, copied to `second` and from there to `third`; then the last points of each restore to
/// what the disk was.
#[track_caller]
fn tell_the_story(store: &Store, offsite: &Offsite) {
    let image = offsite.path("web01.img");
    disk().write_full(&image, 0).unwrap();
    for repository in ["primary", "second", "third"] {
        store.run(offsite, 0, ["init", repository]);
        store.run(offsite, 1, ["init", repository]).says(&["is a repository already"]);
    }
    for number in 0..DAYS {
        if number > 0 {
            disk().apply(&image, u32::try_from(number).unwrap()).unwrap();
        }
        copy_sparse(&image, &offsite.path(&format!("day-{number}.img")));
        let backup = ["backup", "--repo", "primary", "--job", "nightly", "--at", &day(number), "web01=web01.img"];
        store.run(offsite, 0, backup);
        for copy in ["one", "two"] {
            store.run(offsite, 0, ["run", copy, "--dry-run", "--now", &day(number)]);
            let ran = store.run(offsite, 0, ["run", copy, "--now", &day(number)]);
            assert!(ran.out.contains("as planned"), "{ran}");
        }
    }
    for (repository, job) in [("second", "one"), ("third", "two")] {
        let listed = store.run(offsite, 0, ["points", repository, job, "--json"]).json();
        assert_eq!(listed["points"].as_array().map(Vec::len), Some(KEEP as usize), "{listed}");
        store.run(offsite, 0, ["chain", repository, job]);
        store.run(offsite, 0, ["verify", repository, job, "--read-data"]);
        for point in DAYS - i64::from(KEEP)..DAYS {
            let number = (point + 1).to_string();
            store.run(offsite, 0, ["restore", repository, job, "web01", "--point", &number, "--to", "restored.img"]);
            assert_same_bytes(&offsite.path("restored.img"), &offsite.path(&format!("day-{point}.img")));
            fs::remove_file(offsite.path("restored.img")).unwrap();
        }
    }
}

#[test]
fn from_a_folder_to_a_bucket_and_back_to_a_folder() {
    let store = Store::start(Behaviour::default());
    let offsite = Offsite::new();
    offsite.config(&format!(
        "[repositories.primary]\nlocation = \"primary\"\n{}[repositories.third]\nlocation = \"third\"\n{}{}",
        store.config("second", "site a/deep", ""),
        copy_job("one", "primary", "nightly", "second"),
        copy_job("two", "second", "one", "third"),
    ));
    tell_the_story(&store, &offsite);
}

#[test]
fn from_a_bucket_to_another_server() {
    // The second store keeps versions, the third ignores conditions on uploads.
    let first = Store::start(Behaviour::default());
    let second = Store::start(Behaviour { locks: true, ..Behaviour::default() });
    let third = Store::start(Behaviour { conditions: Conditions::IgnoredOnComplete, ..Behaviour::default() });
    let offsite = Offsite::new();
    offsite.config(&format!(
        "{}{}{}{}{}",
        first.config("primary", "", ""),
        second.config("second", "copies", "checksum = \"crc64nvme\""),
        third.config("third", "copies/of copies", "region = \"eu-central-1\""),
        copy_job("one", "primary", "nightly", "second"),
        copy_job("two", "second", "one", "third"),
    ));
    tell_the_story(&first, &offsite);
}

/// A daemon opens the bucket once, and copies each evening.
#[test]
fn a_daemon_copies_to_a_bucket_each_evening() {
    let store = Store::start(Behaviour::default());
    let offsite = Offsite::new();
    let schedule = "target = \"second\"\nevery = \"1 day\"\nat = \"23:00\"\n";
    offsite.config(&format!(
        "[repositories.primary]\nlocation = \"primary\"\n{}{}",
        store.config("second", "copies", ""),
        copy_job("one", "primary", "nightly", "second").replace("target = \"second\"\n", schedule),
    ));
    ["primary", "second"].iter().for_each(|repository| drop(store.run(&offsite, 0, ["init", repository])));
    let image = offsite.path("web01.img");
    disk().write_full(&image, 0).unwrap();
    // All evenings beforehand: a daemon copies no point of the future.
    for number in 0..3 {
        if number > 0 {
            disk().apply(&image, u32::try_from(number).unwrap()).unwrap();
        }
        copy_sparse(&image, &offsite.path(&format!("day-{number}.img")));
        offsite.ok(["backup", "--repo", "primary", "--job", "nightly", "--at", &day(number), "web01=web01.img"]);
    }
    offsite.set_clock(&hour(1));
    let mut daemon = offsite.daemon_with("log", |command| {
        command.env("AWS_ACCESS_KEY_ID", &store.key.0).env("AWS_SECRET_ACCESS_KEY", &store.key.1);
        command.env_remove("AWS_SESSION_TOKEN").env_remove("AWS_ENDPOINT_URL").env_remove("AWS_ENDPOINT_URL_S3");
    });
    daemon.wait_for_point("one", 1);
    offsite.set_clock(&hour(25));
    daemon.wait_for_point("one", 2);
    store.counts();
    offsite.set_clock(&hour(49));
    daemon.wait_for_point("one", 3);
    let of_one_evening = store.counts();
    let (status, log) = daemon.stop("TERM");
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains(&store.key.1), "the log has the secret key");
    // Opening a bucket anew would try what the store can do, copies of parts among others.
    assert_eq!(of_one_evening.of(Operation::CopyPart), 0, "{of_one_evening:?}");
    assert!(of_one_evening.bytes_in > 1 << 20, "{of_one_evening:?}");
    for point in 2..=3 {
        let number = point.to_string();
        store.run(&offsite, 0, ["restore", "second", "one", "web01", "--point", &number, "--to", "restored.img"]);
        assert_same_bytes(&offsite.path("restored.img"), &offsite.path(&format!("day-{}.img", point - 1)));
        fs::remove_file(offsite.path("restored.img")).unwrap();
    }
}

#[test]
fn live() {
    let Some(store) = Store::live() else {
        println!("not run: OFFSITE_S3_ENDPOINT and OFFSITE_S3_BUCKET name no live store (see tests/servers/run)");
        return;
    };
    let offsite = Offsite::new();
    // Each run has folders of its own; the name of the temporary one is random.
    let name = offsite.root().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
    // A store that looks and only then writes lets two writers win; attaching finds that out, as often as it loses the race.
    let lets_two_win = std::env::var("OFFSITE_S3_LETS_TWO_WIN").is_ok();
    let more = if lets_two_win { "single_writer = true" } else { "" };
    offsite.config(&format!(
        "[repositories.primary]\nlocation = \"primary\"\n{}{}{}{}",
        store.config("second", &format!("{name}-second"), more),
        store.config("third", &format!("{name}-third"), more),
        copy_job("one", "primary", "nightly", "second"),
        copy_job("two", "second", "one", "third"),
    ));
    tell_the_story(&store, &offsite);
    if lets_two_win {
        println!("not run: the demonstration, as the store is refused without single_writer");
        return;
    }
    let url = format!("s3://{}/{name}-demo", store.bucket);
    let mut demo = offsite.command(["demo", "--dir", "demo", "--s3", &url]);
    demo.env("AWS_ENDPOINT_URL", &store.endpoint).env("AWS_ACCESS_KEY_ID", &store.key.0);
    demo.env("AWS_SECRET_ACCESS_KEY", &store.key.1);
    println!("{}", ended(without_surroundings(demo), 0, &store.key.1));
}

#[test]
fn a_location_can_be_typed_and_keys_come_from_a_file() {
    let store = Store::start(Behaviour::default());
    let offsite = Offsite::new();
    let keys = format!("[site]\naws_access_key_id = {}\naws_secret_access_key = {}\n", store.key.0, store.key.1);
    fs::write(offsite.path("keys.ini"), keys).unwrap();
    let url = format!("s3://{}/typed", store.bucket);
    let run = |status, arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = offsite.command(arguments);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("HOME", offsite.root());
        command.envs(variables.iter().copied());
        ended(without_surroundings(command), status, &store.key.1)
    };
    let endpoint = ("AWS_ENDPOINT_URL", store.endpoint.as_str());
    run(1, &["init", &url], &[endpoint]).says(&["cannot find an access key", "set AWS_ACCESS_KEY_ID"]);
    let keys = offsite.path("keys.ini");
    let from_file = [endpoint, ("AWS_SHARED_CREDENTIALS_FILE", keys.to_str().unwrap()), ("AWS_PROFILE", "site")];
    let made = run(0, &["init", &url], &from_file);
    assert!(made.out.starts_with(&format!("made the repository {url} (id ")), "{made}");
    // The same repository by a config.
    offsite.config(&store.config("dr", "typed", "credentials_file = \"keys.ini\"\nprofile = \"site\""));
    run(0, &["points", "dr"], &[]);
    offsite.config(&store.config("dr", "typed", "credentials_file = \"keys.ini\"\nprofile = \"other\""));
    run(1, &["points", "dr"], &[]).says(&["keys.ini: it has no profile \"other\""]);
    let wrong = [
        endpoint,
        ("AWS_ACCESS_KEY_ID", &store.key.0),
        ("AWS_SECRET_ACCESS_KEY", "wrong"),
        ("AWS_SESSION_TOKEN", TOKEN),
    ];
    run(1, &["points", &url], &wrong).says(&["permission denied"]);
}

#[test]
fn a_bucket_is_checked_before_it_is_used() {
    let store = Store::start(Behaviour::default());
    let offsite = Offsite::new();
    offsite.config(&store.config("dr", "copies", ""));
    let ran = store.run(&offsite, 0, ["check-repository", "dr", "--quick"]);
    assert!(ran.out.contains("race_processes          passed"), "{ran}");
    store.run(&offsite, 0, ["init", "dr"]);
}

#[test]
fn what_goes_wrong_is_said_with_the_way_out() {
    let store = Store::start(Behaviour { conditions: Conditions::Ignored, ..Behaviour::default() });
    let offsite = Offsite::new();
    offsite.config(&store.config("dr", "copies", ""));
    store.run(&offsite, 1, ["init", "dr"]).says(&["ignores conditions on writes", "single_writer"]);
    offsite.config(&store.config("dr", "copies", "single_writer = true"));
    store.run(&offsite, 0, ["init", "dr"]);
    store.run(&offsite, 0, ["points", "dr"]);
    offsite.config(&store.config("dr", "none", "single_writer = true"));
    store.run(&offsite, 1, ["points", "dr"]).says(&["is not an Offsite repository", "offsite init s3://backups/none"]);
    offsite.config(&store.config("dr", "", "").replace("s3://backups", "s3://others"));
    store.run(&offsite, 1, ["points", "dr"]).says(&["there is no such bucket"]);
    for (text, status, what) in [
        ("[repositories.dr]\nlocation = \"s3://backups//x\"", 2, "its prefix is no portable path"),
        ("[repositories.dr]\nlocation = \"folder\"\nendpoint = \"http://x\"", 2, "endpoint is for buckets"),
        ("[repositories.dr]\nlocation = \"s3://b\"\nendpoint = \"http://me:CANARY@x\"", 1, "keys belong into"),
        ("[repositories.dr]\nlocation = \"s3://b\"\nsecret_access_key = \"CANARY\"", 2, "access keys belong into"),
    ] {
        offsite.config(text);
        let ran = store.run(&offsite, status, ["points", "dr"]).says(&[what]);
        assert!(!ran.err.contains("CANARY"), "{ran}");
    }
    offsite.config("[repositories.dr]\nlocation = \"s3://backups\"\nendpoint = \"http://127.0.0.1:1\"");
    let mut command = offsite.command(["points", "dr"]);
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y");
    let output = without_surroundings(command);
    ended(output, 1, "no secret").says(&["the endpoint is http://127.0.0.1:1"]);
}
