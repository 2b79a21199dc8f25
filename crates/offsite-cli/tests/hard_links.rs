//! A repository that was copied by hard links stays as it was, whatever becomes of the one that it shares files with.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Command;

use support::{Offsite, Random, day, repository};

#[test]
fn a_copy_by_hard_links_stays_intact() {
    let mut random = Random::new(3);
    for merge in ["adopt", "fold"] {
        let offsite = Offsite::with_copy_job();
        let config = format!("{}\n[jobs.\"Offsite Copy\".transform]\nmerge = {merge:?}\n", support::COPY_JOB);
        offsite.config(&config);
        let mut image: Vec<u8> = (0..8 << 20).map(|_| random.next() as u8).collect();
        let (mut copied, mut merges) = (None, 0);
        for number in 0..8_u32 {
            image[(number as usize) << 20..][..1 << 20].iter_mut().for_each(|byte| *byte ^= 1);
            fs::write(offsite.path("web01.img"), &image).unwrap();
            offsite.backup(&day(number.into()), &["web01=web01.img"]);
            let run = offsite.ok(["run", "--now", &day(number.into())]);
            if number == 3 {
                offsite_tests::run(Command::new("cp").args(["-al", "second", "copied"]).current_dir(offsite.root()));
                copied = Some(repository::contents(&offsite.path("copied")));
            }
            if number > 3 && run.out.contains("merge ") {
                merges += 1;
                assert!(run.out.contains("others share"), "day {number}: {run}");
            }
        }
        assert_eq!(merges, 4, "a point goes into the full each day");
        assert!(copied == Some(repository::contents(&offsite.path("copied"))), "{merge}: the copy has changed");
        offsite.ok(["verify", "copied", "--read-data"]);
        offsite.ok(["verify", "second", "--read-data"]);
    }
}
