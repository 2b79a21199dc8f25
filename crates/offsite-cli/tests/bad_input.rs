//! Bad images and bad words: an error that names the thing and the way out, and nothing lost.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use offsite_cli::workload::Disk;
use offsite_tests::qemu::{self, Format};
use serde_json::json;
use support::golden::Transcript;
use support::{Offsite, assert_same_bytes, copy_sparse, day, repository};

const SIZE_MIB: u64 = 8;

/// Repositories with one restore point of `web01`, and a kept copy of its disk.
fn with_a_point() -> Offsite {
    let offsite = Offsite::with_copy_job();
    disk().write_full(&offsite.path("web01.img"), 0).unwrap();
    copy_sparse(&offsite.path("web01.img"), &offsite.path("kept.img"));
    offsite.backup(&day(0), &["web01=web01.img"]);
    offsite.ok(["run", "--now", &day(0)]);
    offsite
}

fn disk() -> Disk {
    Disk::new("web01", 3, SIZE_MIB)
}

/// The first point still restores from both repositories, and the next run leaves nothing behind.
#[track_caller]
fn assert_nothing_lost(offsite: &Offsite) {
    for (repo, job) in [("primary", "nightly"), ("second", "Offsite Copy")] {
        let restored = offsite.restore(repo, job, "web01", 1, "restored.img");
        assert_same_bytes(&restored, &offsite.path("kept.img"));
        fs::remove_file(restored).unwrap();
    }
    offsite.backup(&day(50), &["web01=kept.img", "--format", "raw"]);
    offsite.ok(["run", "--now", &day(50)]);
    repository::assert_tidy(&offsite.path("primary/nightly"));
    repository::assert_tidy(&offsite.path("second/Offsite Copy"));
    // What the host keeps of its jobs is there to stay.
    let is_left = |path: &String| {
        let name = path.strip_prefix(".offsite/jobs/").unwrap_or(path);
        name.ends_with(".partial") || name.split('/').any(|part| part.starts_with('.'))
    };
    let left: Vec<_> = repository::files(offsite.root()).into_iter().filter(is_left).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Tries to back `image` up, which must fail and leave the repository as it was, to the byte.
#[track_caller]
fn refused<'a>(offsite: &Offsite, transcript: &mut Transcript, status: i32, images: impl IntoIterator<Item = &'a str>) {
    let before = points(offsite);
    let backup = ["backup", "--repo", "primary", "--job", "nightly"];
    let ran = transcript.run(offsite, status, backup.into_iter().chain(images));
    assert_eq!(ran.out, "", "{ran}");
    assert_eq!(points(offsite), before, "{ran}");
}

#[track_caller]
fn points(offsite: &Offsite) -> serde_json::Value {
    offsite.json(["points", "primary"])
}

#[test]
fn images_that_are_none() {
    let offsite = with_a_point();
    let before = repository::contents(&offsite.path("primary"));
    let mut transcript = Transcript::default();
    transcript.heading("missing, a directory, empty, two at once");
    fs::create_dir(offsite.path("folder")).unwrap();
    fs::write(offsite.path("empty.img"), b"").unwrap();
    refused(&offsite, &mut transcript, 1, ["web01=missing.img"]);
    refused(&offsite, &mut transcript, 1, ["web01=folder"]);
    refused(&offsite, &mut transcript, 1, ["web01=empty.img"]);
    refused(&offsite, &mut transcript, 1, ["web01=web01.img,missing.img"]);
    refused(&offsite, &mut transcript, 2, ["web01=web01.img,"]);
    refused(&offsite, &mut transcript, 2, ["web01.img"]);
    refused(&offsite, &mut transcript, 2, ["web/01=web01.img"]);
    transcript.heading("a machine given twice");
    refused(&offsite, &mut transcript, 2, ["web01=web01.img", "web01=kept.img"]);
    transcript.heading("formats that are not read");
    fs::write(offsite.path("disk.vmdk"), [&b"KDMV"[..], &[0; 4096]].concat()).unwrap();
    refused(&offsite, &mut transcript, 1, ["new01=disk.vmdk"]);
    fs::write(offsite.path("disk.vhdx"), [&b"vhdxfile"[..], &[0; 4096]].concat()).unwrap();
    refused(&offsite, &mut transcript, 1, ["new01=disk.vhdx"]);
    refused(&offsite, &mut transcript, 1, ["web01=web01.img", "--format", "qcow2"]);
    transcript.compare(&offsite, "bad-images.txt");
    assert!(
        repository::contents(&offsite.path("primary")) == before,
        "an image is looked at before anything is written"
    );
    assert_nothing_lost(&offsite);
}

#[test]
fn a_backing_file_must_be_allowed() {
    let offsite = with_a_point();
    qemu::create_overlay(&offsite.path("overlay.qcow2"), &offsite.path("web01.img"), Format::Raw);
    qemu::write_pattern(&offsite.path("overlay.qcow2"), Format::Qcow2, 1 << 20, 70_000, 0xAB);
    let mut transcript = Transcript::default();
    refused(&offsite, &mut transcript, 1, ["new01=overlay.qcow2"]);
    transcript.compare(&offsite, "bad-backing-file.txt");
    offsite.backup(&day(1), &["web01=overlay.qcow2", "--allow-backing-files", "--format", "qcow2"]);
    let restored = offsite.restore("primary", "nightly", "web01", 2, "restored.img");
    qemu::assert_same(&restored, Format::Raw, &offsite.path("overlay.qcow2"), Format::Qcow2);
    fs::remove_file(restored).unwrap();
    fs::remove_file(offsite.path("web01.img")).unwrap();
    let ran = offsite.run([
        "backup",
        "--repo",
        "primary",
        "--job",
        "nightly",
        "--allow-backing-files",
        "web01=overlay.qcow2",
    ]);
    ran.expect(1).says(&["web01.img", "no such file"]);
    assert_nothing_lost(&offsite);
}

/// Wherever a qcow2 image ends too early, in its header, its tables or its data, no emptier disk is backed up instead.
#[test]
fn a_truncated_qcow2_is_no_disk() {
    let offsite = with_a_point();
    for options in [&["-o", "cluster_size=64k"][..], &["-o", "cluster_size=4k"], &["-c"]] {
        let whole = offsite.path("whole.qcow2");
        qemu::convert_with(&offsite.path("web01.img"), Format::Raw, &whole, Format::Qcow2, options);
        let bytes = fs::read(&whole).unwrap();
        let (first_table, second_table) = tables(&bytes);
        let data = bytes.len();
        let cuts =
            [4, 50, 71, 72, 103, 104, first_table, first_table + 3, first_table + 8, second_table, second_table + 9]
                .into_iter()
                .chain([second_table + 4000, data / 4, data / 2, data * 3 / 4, data - 70_000]);
        for cut in cuts.filter(|cut| *cut < data) {
            fs::write(offsite.path("cut.qcow2"), &bytes[..cut]).unwrap();
            let ran = offsite.run(["backup", "--repo", "primary", "--job", "nightly", "new01=cut.qcow2"]);
            if ran.status == 0 {
                // Only if the disk is the same: behind the cut there was nothing that counts.
                offsite.ok(["restore", "primary", "nightly", "new01", "--to", "restored.img"]);
                assert_same_bytes(&offsite.path("restored.img"), &offsite.path("kept.img"));
                fs::remove_file(offsite.path("restored.img")).unwrap();
                assert!(cut > second_table, "cut at {cut} of {data}");
            } else {
                ran.expect(1).says(&["disk image cut.qcow2: it is truncated", &format!("the file at {cut}")]);
            }
        }
    }
    assert_nothing_lost(&offsite);
}

/// Where the first table of a qcow2 image lies, and the first of the second tables.
fn tables(image: &[u8]) -> (usize, usize) {
    let number = |at: usize| u64::from_be_bytes(image[at..at + 8].try_into().unwrap()) & 0x00ff_ffff_ffff_fe00;
    let first = number(40) as usize;
    (first, number(first) as usize)
}

#[test]
fn a_damaged_qcow2_header_is_told() {
    let offsite = with_a_point();
    let whole = offsite.path("whole.qcow2");
    qemu::convert(&offsite.path("web01.img"), Format::Raw, &whole, Format::Qcow2);
    let bytes = fs::read(&whole).unwrap();
    let (first_table, _) = tables(&bytes);
    // Where, what, and what is said of it.
    let damages: [(usize, &[u8], &str); 9] = [
        (4, &9_u32.to_be_bytes(), "v9 is not supported"),
        (20, &40_u32.to_be_bytes(), "clusters of 2^40 bytes"),
        (20, &0_u32.to_be_bytes(), "clusters of 2^0 bytes"),
        (32, &2_u32.to_be_bytes(), "it is encrypted"),
        (72, &(1_u64 << 1).to_be_bytes(), "qemu-img check"),
        (72, &(1_u64 << 63).to_be_bytes(), "feature"),
        (36, &u32::MAX.to_be_bytes(), "first table"),
        (40, &(1_u64 << 40).to_be_bytes(), "truncated"),
        (first_table, &(0x8000_0000_0000_0000_u64 | 1 << 45).to_be_bytes(), "truncated"),
    ];
    for (at, damage, said) in damages {
        let mut damaged = bytes.clone();
        damaged[at..at + damage.len()].copy_from_slice(damage);
        fs::write(offsite.path("disk.qcow2"), damaged).unwrap();
        let ran = offsite.run(["backup", "--repo", "primary", "--job", "nightly", "new01=disk.qcow2"]);
        ran.expect(1).says(&["disk image disk.qcow2: ", said]);
    }
    assert_nothing_lost(&offsite);
}

/// What QEMU writes in a way that is not read is refused by its name, and the way out works.
#[test]
fn qcow2_of_other_kinds() {
    let offsite = with_a_point();
    let mut transcript = Transcript::default();
    // Absolute, as qemu-img takes it from where it runs.
    let data_file = format!("data_file={}", offsite.path("disk.data").display());
    let options = [data_file.as_str(), "compression_type=zstd", "extended_l2=on"];
    for options in options {
        let path = offsite.path("other.qcow2");
        qemu::convert_with(&offsite.path("web01.img"), Format::Raw, &path, Format::Qcow2, &["-o", options]);
        transcript.heading(options);
        refused(&offsite, &mut transcript, 1, ["new01=other.qcow2"]);
        qemu::convert(&path, Format::Qcow2, &offsite.path("plain.qcow2"), Format::Qcow2);
        let report = offsite.backup(&day(1), &["web01=plain.qcow2", "--format", "qcow2"]);
        assert_eq!(report["machines"][0]["changed_bytes"], 0, "the same disk as ever");
    }
    transcript.heading("encrypted");
    let key =
        ["--object", "secret,id=key,data=abc", "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"];
    let mut create = Command::new(offsite_tests::find("qemu-img", "qemu-utils"));
    create.args(["create", "-q", "-f", "qcow2"]).args(key).args(["locked.qcow2", "4M"]);
    offsite_tests::run(create.current_dir(offsite.root()));
    refused(&offsite, &mut transcript, 1, ["new01=locked.qcow2"]);
    transcript.compare(&offsite, "bad-qcow2.txt");
    assert_nothing_lost(&offsite);
}

/// A disk may be another size each day; each day restores as it was.
#[test]
fn an_image_that_grows_and_shrinks() {
    let offsite = with_a_point();
    let image = offsite.path("web01.img");
    for (number, bytes) in [(1, (SIZE_MIB << 20) + 3_000_001), (2, 2_500_007), (3, 1), (4, 5 << 20)] {
        let file = OpenOptions::new().write(true).open(&image).unwrap();
        file.set_len(bytes).unwrap();
        file.write_all_at(b"the end", bytes.saturating_sub(7)).unwrap();
        let bytes = file.metadata().unwrap().len();
        copy_sparse(&image, &offsite.path(&format!("kept-{number}.img")));
        let report = offsite.backup(&day(number), &["web01=web01.img"]);
        assert_eq!(report["machines"][0]["disk_bytes"], bytes);
        let ran = offsite.run(["run", "--now", &day(number)]);
        // A disk that lost more than half is told of.
        if [2, 3].contains(&number) {
            assert!(ran.expect(3).out.contains("disk 0 of web01 has shrunk"));
        } else {
            ran.expect(0);
        }
    }
    for number in 2..=4 {
        for (repo, job) in [("primary", "nightly"), ("second", "Offsite Copy")] {
            let restored = offsite.restore(repo, job, "web01", number + 1, "restored.img");
            assert_same_bytes(&restored, &offsite.path(&format!("kept-{number}.img")));
            fs::remove_file(restored).unwrap();
        }
    }
}

#[test]
fn words_that_name_nothing() {
    let offsite = with_a_point();
    let mut transcript = Transcript::default();
    transcript.heading("names of jobs");
    for name in ["a/b", "..", "CON", "end.", "caf\u{e9}", "", "offsite-repository"] {
        transcript.run(&offsite, 2, ["backup", "--repo", "primary", "--job", name, "web01=web01.img"]);
        assert!(!offsite.path("primary").join(name).join("head").exists(), "{name:?}");
    }
    let case = ["backup", "--repo", "primary", "--job", "Nightly", "web01=web01.img"];
    transcript.run(&offsite, 1, case);
    transcript.run(&offsite, 1, ["backup", "--repo", "second", "--job", "Offsite Copy", "web01=web01.img"]);
    transcript.heading("numbers and times");
    for (option, value) in
        [("--keep", "1"), ("--block-size", "3MiB"), ("--at", "yesterday"), ("--at", "2026-02-30T00:00:00Z")]
    {
        transcript.run(
            &offsite,
            2,
            ["backup", "--repo", "primary", "--job", "other", option, value, "web01=web01.img"],
        );
    }
    transcript.run(
        &offsite,
        1,
        ["backup", "--repo", "primary", "--job", "nightly", "--block-size", "4MiB", "web01=web01.img"],
    );
    transcript.heading("jobs, machines and points");
    transcript.run(&offsite, 1, ["points", "primary", "nightley"]);
    transcript.run(&offsite, 1, ["chain", "primary", "nightley"]);
    transcript.run(&offsite, 1, ["verify", "primary", "nightley"]);
    transcript.run(&offsite, 2, ["run", "nightly"]);
    transcript.run(&offsite, 1, ["restore", "primary", "nightley", "web01", "--to", "new.img"]);
    transcript.run(&offsite, 1, ["restore", "primary", "nightly", "web02", "--to", "new.img"]);
    transcript.run(&offsite, 1, ["restore", "primary", "nightly", "web01", "--point", "7", "--to", "new.img"]);
    transcript.run(&offsite, 1, ["restore", "primary", "nightly", "web01", "--at", &day(-1), "--to", "new.img"]);
    transcript.run(
        &offsite,
        2,
        ["restore", "primary", "nightly", "web01", "--at", &day(0), "--point", "1", "--to", "new.img"],
    );
    transcript.heading("places to restore to");
    transcript.run(&offsite, 1, ["restore", "primary", "nightly", "web01", "--to", "kept.img"]);
    transcript.compare(&offsite, "bad-words.txt");
    assert!(!offsite.path("new.img").exists());
    assert_eq!(names(&offsite.path("primary")), ["nightly", "offsite-repository"]);
    assert_nothing_lost(&offsite);
}

#[test]
fn configs_that_cannot_be_meant() {
    let offsite = with_a_point();
    let good = fs::read_to_string(offsite.path("offsite.toml")).unwrap();
    let mut transcript = Transcript::default();
    let mut refuse = |what: &str, status: i32, text: &str| {
        transcript.heading(what);
        offsite.config(text);
        transcript.run(&offsite, status, ["run"]);
    };
    refuse("an unknown key", 2, &good.replace("keep = 3", "keep = 3\nkeep_forever = true"));
    refuse("an unknown table", 2, &format!("{good}\n[job.other]\n"));
    refuse("no TOML at all", 2, "repositories: primary");
    refuse("an unknown repository", 2, &good.replace("target = \"second\"", "target = \"third\""));
    refuse("a job name that names no folder", 2, &good.replace("Offsite Copy", "Offsite/Copy"));
    refuse("too few points", 2, &good.replace("keep = 3", "keep = 1"));
    refuse("no job", 2, "[repositories.primary]\nlocation = \"primary\"\n");
    refuse("an unknown source job", 1, &good.replace("job = \"nightly\"", "job = \"nightley\""));
    let select = "[jobs.\"Offsite Copy\"]\nselect = { machines = [\"mail01\"] }";
    refuse("unknown machines only", 3, &good.replace("[jobs.\"Offsite Copy\"]", select));
    let second_at = |location: &str| good.replace("location = \"second\"", location);
    refuse("a store of another kind", 2, &second_at("location = \"webdav://host/backup\""));
    refuse("drives that show up nowhere", 2, &second_at("location = \"removable:weekly\""));
    refuse("drives without a name", 2, &second_at("location = \"removable:\"\nplaces = [\"/media/backup\"]"));
    refuse("places of what is no drive", 2, &second_at("location = \"second\"\nplaces = [\"/media/backup\"]"));
    refuse("a repository that is not made yet", 1, &good.replace("location = \"second\"", "location = \"third\""));
    refuse("one repository as source and target", 1, &good.replace("target = \"second\"", "target = \"primary\""));
    std::os::unix::fs::symlink("primary", offsite.path("link")).unwrap();
    let two_paths = good.replace("location = \"second\"", "location = \"link\"");
    refuse("one repository by two paths", 1, &two_paths);
    refuse(
        "one repository by two spellings",
        1,
        &good.replace("location = \"second\"", "location = \"./second/../primary\""),
    );
    transcript.heading("a config that is not there");
    transcript.run(&offsite, 2, ["run", "--config", "missing.toml"]);
    transcript.compare(&offsite, "bad-configs.txt");
    offsite.config(&good);
    assert!(!offsite.path("third").exists());
    assert_eq!(offsite.json(["points", "second"])["points"][0]["machines"][0]["name"], json!("web01"));
    assert_nothing_lost(&offsite);
}

/// A table that is a number is told in the words of a config, not in those of the program.
#[test]
fn values_of_other_kinds_than_tables() {
    let offsite = Offsite::new();
    let job = "[jobs.copy]\nsource = { repository = \"a\", from = \"job\", job = \"n\" }\ntarget = \"b\"\n";
    let tables = ["repositories.a", "jobs.copy", "daemon", "daemon.digest", "mail", "traffic_rules"];
    let of_job =
        ["retention", "retention.gfs", "transform", "transform.compact", "after", "after.mail", "select", "source"];
    let wrong = tables.map(|key| format!("{key} = 3\n"));
    let wrong_in_job = of_job.map(|key| format!("{}{key} = 3\n", if key == "source" { "[jobs.copy]\n" } else { job }));
    for text in wrong.into_iter().chain(wrong_in_job) {
        offsite.config(&text);
        let ran = offsite.run(["run"]).expect(2);
        assert!(ran.err.contains("invalid type: integer `3`, expected "), "{text}{ran}");
        assert!(!ran.err.contains("struct") && !ran.err.contains("Config"), "{text}{ran}");
    }
}

/// What is nearly right is told with how it is written.
#[test]
fn words_that_are_nearly_right() {
    let offsite = with_a_point();
    offsite.run(["init", "s3:/bucket"]).expect(2).says(&["a location in S3 is written s3://bucket/prefix"]);
    assert!(!offsite.path("s3:").exists());
    // A folder that file systems have of their own is shown by no listing.
    let foreign = ["backup", "--repo", "primary", "--job", "lost+found", "web01=web01.img"];
    offsite.run(foreign).expect(2).says(&["\"lost+found\" cannot name a job", "file systems"]);
    assert!(!offsite.path("primary/lost+found").exists());
    let good = fs::read_to_string(offsite.path("offsite.toml")).unwrap();
    let target = "target = \"second\"\n";
    let cases: [(&str, &str, &[&str]); 5] = [
        ("location = \"second\"", "location = \"s3:/bucket\"", &["\"second\": location", "s3://bucket/prefix"]),
        (target, "target = \"./second\"\n", &["[repositories.\"./second\"]"]),
        (target, "target = \"second\"\nat = \"22:00:00\"\n", &["at: \"22:00:00\"", "HH:MM, such as \"22:00\""]),
        (target, "target = \"second\"\nat = 22:00:00\n", &["at = 22:00:00", "quotes", "HH:MM, such as \"22:00\""]),
        (target, "target = \"second\"\nat = 22:00\n", &["at = 22:00", "quotes", "HH:MM, such as \"22:00\""]),
    ];
    for (right, wrong, texts) in cases {
        assert!(good.contains(right), "{right}");
        offsite.config(&good.replace(right, wrong));
        let ran = offsite.run(["run"]).expect(2).says(texts);
        assert!(!ran.err.contains("invalid type"), "{ran}");
    }
    offsite.config(&good);
    assert_nothing_lost(&offsite);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
