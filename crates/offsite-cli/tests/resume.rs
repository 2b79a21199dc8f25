//! `kill -9` in the middle of a copy to a bucket: what the next run sends again is counted at the server.
//!
//! `OFFSITE_RESUME_MIB` sets the size of the disk. The long version has 1024: less than 1 % is sent again.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use offsite_s3_server::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, Server};
use support::{Offsite, Ran, Random, hour};
use tokio::runtime::Runtime;

const MIB: u64 = 1 << 20;

fn with_key(mut command: Command) -> Command {
    for name in ["AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"] {
        command.env_remove(name);
    }
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
    command
}

#[track_caller]
fn ok(command: Command) -> Ran {
    let mut command = with_key(command);
    let output = command.output().unwrap();
    Ran::new(&command, &output).expect(0)
}

/// The number of blocks that a run says it has copied.
fn blocks(ran: &Ran) -> u64 {
    let line = ran.out.lines().find_map(|line| line.trim().strip_prefix("copied")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_killed_copy_to_a_bucket_sends_little_again() {
    let size_mib: u64 = std::env::var("OFFSITE_RESUME_MIB").map_or(64, |text| text.parse().unwrap());
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let offsite = Offsite::new();
    offsite.config(&format!(
        "[repositories.primary]\nlocation = \"primary\"\n\
         [repositories.dr]\nlocation = \"s3://{BUCKET}/dr\"\nendpoint = \"{}\"\n\
         [jobs.\"Offsite Copy\"]\nsource = {{ repository = \"primary\", job = \"nightly\" }}\ntarget = \"dr\"\n",
        server.endpoint()
    ));
    // Bytes that do not shrink.
    let mut random = Random::new(41);
    let mut image = File::create(offsite.path("web01.img")).unwrap();
    for _ in 0..size_mib {
        let block: Vec<u8> = (0..MIB / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        image.write_all(&block).unwrap();
    }
    drop(image);
    offsite.ok(["init", "primary"]);
    ok(offsite.command(["init", "dr"]));
    offsite.backup(&hour(0), &["web01=web01.img"]);
    // The server keeps all of them in memory.
    let rounds = if size_mib > 256 { 1 } else { 3 };
    for round in 0..rounds {
        // A link that takes some 20 seconds for all of it, each time with another delay.
        server.set_rate_bytes_per_sec(size_mib * MIB / 16);
        server.set_latency_millis(round * 5);
        let job = format!("run --now {}", hour(1));
        let arguments: Vec<&str> = job.split(' ').collect();
        server.reset_counts();
        let mut running = with_key(offsite.command(&arguments));
        let mut child = running.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while server.counts().bytes_in < size_mib * MIB / 2 {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            assert!(start.elapsed() < Duration::from_secs(600));
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let before = server.counts().bytes_in;
        server.set_rate_bytes_per_sec(0);
        server.set_latency_millis(0);
        let ran = ok(offsite.command(&arguments));
        let after = server.counts().bytes_in - before;
        let kept = size_mib - blocks(&ran);
        // The indexes and heads of the checkpoints are among these bytes.
        let again = before - kept * MIB;
        let share = again as f64 * 100.0 / (size_mib * MIB) as f64;
        println!(
            "latency {} ms: {before} bytes before the kill, {kept} blocks kept, {after} bytes afterwards; {again} bytes ({share:.2} %) are \
             no blocks that were kept",
            round * 5
        );
        assert!(again < (size_mib * MIB / 100).max(13 * MIB), "{again}");
        let restored = format!("restored{round}.raw");
        ok(offsite.command(["restore", "dr", "Offsite Copy", "web01", "--to", &restored]));
        support::assert_same_bytes(&offsite.path(&restored), &offsite.path("web01.img"));
        std::fs::remove_file(offsite.path(&restored)).unwrap();
        // The next round begins anew, beside what is there.
        if round + 1 < rounds {
            let renamed = std::fs::read_to_string(offsite.path("offsite.toml")).unwrap();
            let renamed = renamed.replace(&format!("{BUCKET}/dr"), &format!("{BUCKET}/dr{round}"));
            offsite.config(&renamed);
            ok(offsite.command(["init", "dr"]));
        }
    }
}
