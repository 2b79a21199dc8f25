//! Bad places: no repository, damage, no space, no permission, and somebody else at work.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use offsite_cli::workload::{Disk, Profile};
use serde_json::Value;
use support::golden::Transcript;
use support::{Offsite, Ran, assert_same_bytes, copy_sparse, day, repository};

const BACKUP: [&str; 6] = ["backup", "--repo", "primary", "--job", "nightly", "web01=web01.img"];

fn disk() -> Disk {
    Disk::new("web01", 4, 6)
}

/// A job with three points; each day's disk is kept as `kept-N.img`, by the point's number.
fn with_points() -> Offsite {
    let offsite = Offsite::with_copy_job();
    let image = offsite.path("web01.img");
    disk().write_full(&image, 0).unwrap();
    for number in 1..=3 {
        if number > 1 {
            // A block of each day, so that each point has a file of its own.
            let mut file = OpenOptions::new().write(true).open(&image).unwrap();
            file.write_all(format!("boot sector of day {number}").as_bytes()).unwrap();
        }
        copy_sparse(&image, &offsite.path(&format!("kept-{number}.img")));
        offsite.backup(&day(number - 1), &["web01=web01.img"]);
    }
    offsite
}

#[track_caller]
fn assert_restores(offsite: &Offsite, points: impl IntoIterator<Item = u64>) {
    for point in points {
        let restored = offsite.restore("primary", "nightly", "web01", point, "restored.img");
        assert_same_bytes(&restored, &offsite.path(&format!("kept-{point}.img")));
        fs::remove_file(restored).unwrap();
    }
}

/// The next backup succeeds, restores, and nothing is left over.
#[track_caller]
fn assert_goes_on(offsite: &Offsite) {
    // What was found damaged is told until it was seen to be well again.
    offsite.ok(["verify", "primary", "nightly", "--read-data"]);
    let report = offsite.backup(&day(9), &["web01=web01.img"]);
    let restored = offsite.restore("primary", "nightly", "web01", report["sequence"].as_u64().unwrap(), "restored.img");
    assert_same_bytes(&restored, &offsite.path("web01.img"));
    fs::remove_file(restored).unwrap();
    repository::assert_tidy(&offsite.path("primary/nightly"));
    let hidden: Vec<_> = repository::files(offsite.root())
        .into_iter()
        .filter(|path| {
            // What the host keeps of its jobs is there to stay.
            let name = path.strip_prefix(".offsite/jobs/").unwrap_or(path);
            name.ends_with(".partial") || name.split('/').any(|part| part.starts_with('.'))
        })
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn places_that_are_no_repository() {
    let offsite = with_points();
    fs::create_dir(offsite.path("photos")).unwrap();
    fs::write(offsite.path("photos/cat.jpg"), b"meow").unwrap();
    fs::create_dir(offsite.path("empty")).unwrap();
    let mut transcript = Transcript::default();
    transcript.heading("reading and writing there");
    for place in ["photos", "empty", "missing", "web01.img", "webdav://host/backup", ""] {
        let status = if place.is_empty() || place.contains("://") { 2 } else { 1 };
        transcript.run(&offsite, status, ["points", place]);
        transcript.run(&offsite, status, ["backup", "--repo", place, "--job", "nightly", "web01=web01.img"]);
    }
    transcript.heading("making one there");
    transcript.run(&offsite, 1, ["init", "photos"]);
    transcript.run(&offsite, 1, ["init", "primary"]);
    transcript.run(&offsite, 1, ["init", "web01.img"]);
    transcript.run(&offsite, 1, ["init", "web01.img/below"]);
    transcript.run(&offsite, 0, ["init", "empty"]);
    transcript.run(&offsite, 0, ["init", "new/and/deep"]);
    transcript.heading("a marker that is gone, or damaged");
    let marker = offsite.path("primary/offsite-repository");
    let bytes = fs::read(&marker).unwrap();
    fs::remove_file(&marker).unwrap();
    transcript.run(&offsite, 1, ["points", "primary"]);
    transcript.run(&offsite, 1, ["init", "primary"]);
    fs::write(&marker, &bytes[..bytes.len() - 1]).unwrap();
    transcript.run(&offsite, 1, ["points", "primary"]);
    fs::write(&marker, &bytes).unwrap();
    transcript.compare(&offsite, "bad-places.txt");
    assert_eq!(repository::files(&offsite.path("photos")).into_iter().collect::<Vec<_>>(), ["cat.jpg"]);
    assert!(!offsite.path("missing").exists());
    assert_restores(&offsite, 1..=3);
    assert_goes_on(&offsite);
}

/// A marker that something else was written over is made anew, however long that is.
#[test]
fn a_marker_that_is_too_long_is_mended() {
    let offsite = with_points();
    let marker = offsite.path("primary/offsite-repository");
    fs::remove_file(&marker).unwrap();
    fs::write(&marker, [7_u8; 9000]).unwrap();
    offsite.run(["points", "primary"]).expect(1).says(&["offsite-repository in primary is damaged", "offsite repair"]);
    let ran = offsite.run(["repair", "primary", "nightly"]).expect(0);
    assert!(ran.out.contains("there is a new one"), "{ran}");
    assert_restores(&offsite, 1..=3);
}

/// Flips a bit of one object, takes what the command says, and puts the object back.
#[track_caller]
fn with_damage(offsite: &Offsite, object: &Path, at: usize, look: impl FnOnce()) {
    let bytes = fs::read(object).unwrap();
    fs::set_permissions(object, Permissions::from_mode(0o600)).unwrap();
    repository::flip(object, at);
    look();
    fs::write(object, bytes).unwrap();
    assert_restores(offsite, 1..=3);
}

/// The only name, or the last, in a folder of the job.
fn object(offsite: &Offsite, part: &str, position: usize) -> PathBuf {
    let job = offsite.path("primary/nightly");
    let name = repository::names(&job, part).into_iter().nth(position).unwrap();
    job.join(part).join(name)
}

/// The sequences that `verify` says are touched.
fn touched(ran: &Ran) -> Vec<u64> {
    let report: Value = ran.json();
    let damage = report["damage"].as_array().unwrap().iter();
    let mut touched: Vec<u64> = damage
        .flat_map(|damage| damage["touches"].as_array().unwrap().clone())
        .map(|point| point["sequence"].as_u64().unwrap())
        .collect();
    touched.dedup();
    touched
}

/// A damaged frame, index or head: verify names it and what it touches; the other points restore; the touched never do.
#[test]
fn damage_is_named_and_never_restored() {
    let offsite = with_points();
    let mut transcript = Transcript::default();
    let restore = |point: &'static str| ["restore", "primary", "nightly", "web01", "--point", point, "--to", "new.img"];

    transcript.heading("a frame of the second point, which the third does not have any more");
    with_damage(&offsite, &object(&offsite, "blocks", 1), 8192, || {
        let ran = offsite.run(["verify", "primary", "nightly", "--read-data", "--json"]).expect(1);
        assert_eq!(touched(&ran), [2], "{ran}");
        transcript.run(&offsite, 1, ["verify", "primary", "nightly", "--read-data"]);
        // What was read before is not forgotten by a look.
        transcript.run(&offsite, 3, ["verify", "primary", "nightly"]);
        transcript.run(&offsite, 1, restore("2"));
        assert_restores(&offsite, [1, 3]);
        offsite.ok(["run", "--now", &day(5)]);
    });
    transcript.heading("the index of the second point");
    with_damage(&offsite, &object(&offsite, "index", 1), 200, || {
        let ran = offsite.run(["verify", "primary", "nightly", "--json"]).expect(1);
        assert_eq!(touched(&ran), [2, 3], "{ran}");
        transcript.run(&offsite, 1, ["verify", "primary", "nightly"]);
        transcript.run(&offsite, 1, restore("3"));
        transcript.run(&offsite, 1, BACKUP.into_iter().chain(["--at", &day(5)]));
        assert_restores(&offsite, [1]);
    });
    transcript.heading("an index that is gone");
    let index = object(&offsite, "index", 2);
    fs::rename(&index, offsite.path("aside")).unwrap();
    transcript.run(&offsite, 1, ["verify", "primary", "nightly"]);
    transcript.run(&offsite, 1, restore("3"));
    assert_restores(&offsite, [1, 2]);
    fs::rename(offsite.path("aside"), &index).unwrap();
    transcript.heading("a backup file that is cut short");
    let file = object(&offsite, "blocks", 1);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    transcript.run(&offsite, 1, ["verify", "primary", "nightly"]);
    fs::write(&file, &bytes).unwrap();
    transcript.heading("the newest head: the one before it is read, and nobody writes");
    let newest = repository::names(&offsite.path("primary/nightly"), "head").len() - 1;
    with_damage(&offsite, &object(&offsite, "head", newest), 100, || {
        transcript.run(&offsite, 3, ["points", "primary", "nightly"]);
        transcript.run(&offsite, 3, ["verify", "primary", "nightly"]);
        transcript.run(&offsite, 1, BACKUP.into_iter().chain(["--at", &day(5)]));
        assert_restores(&offsite, 1..=3);
    });
    transcript.heading("all heads");
    let job = offsite.path("primary/nightly");
    let heads: Vec<_> = repository::names(&job, "head").into_iter().map(|name| job.join("head").join(name)).collect();
    let whole: Vec<_> = heads.iter().map(|head| fs::read(head).unwrap()).collect();
    heads.iter().for_each(|head| repository::flip(head, 60));
    transcript.run(&offsite, 1, ["points", "primary", "nightly"]);
    transcript.run(&offsite, 1, restore("1"));
    heads.iter().zip(whole).for_each(|(head, bytes)| fs::write(head, bytes).unwrap());
    transcript.compare(&offsite, "damage.txt");
    assert!(!offsite.path("new.img").exists() && !offsite.path("new.img.partial").exists());
    assert_restores(&offsite, 1..=3);
    assert_goes_on(&offsite);
}

/// A bit anywhere in any object: restored bytes are right or there are none, and nothing panics.
#[test]
fn a_flipped_bit_never_gives_wrong_bytes() {
    let offsite = with_points();
    let mut random = support::Random::new(support::seed());
    for part in ["head", "index", "blocks"] {
        let count = repository::names(&offsite.path("primary/nightly"), part).len();
        for position in count.saturating_sub(3)..count {
            let object = object(&offsite, part, position);
            let at = usize::try_from(random.below(fs::metadata(&object).unwrap().len())).unwrap();
            println!("{} at {at}", object.display());
            with_damage(&offsite, &object, at, || {
                for point in 1..=3 {
                    let number = point.to_string();
                    let to = offsite.path("restored.img");
                    let restored = offsite.run([
                        "restore",
                        "primary",
                        "nightly",
                        "web01",
                        "--point",
                        &number,
                        "--to",
                        "restored.img",
                    ]);
                    if restored.status == 0 {
                        assert_same_bytes(&to, &offsite.path(&format!("kept-{point}.img")));
                        fs::remove_file(&to).unwrap();
                    } else {
                        assert_eq!(restored.status, 1, "{restored}");
                        assert!(!to.exists());
                    }
                }
            });
        }
    }
    assert_goes_on(&offsite);
}

/// Whether this process may do what only root may; tests that need it say so where they cannot.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[test]
fn a_full_disk_loses_nothing() {
    let offsite = with_points();
    if !is_root() {
        println!("skipped: only root can mount a small file system");
        return;
    }
    let small = offsite.path("small");
    fs::create_dir(&small).unwrap();
    // In a mount namespace of its own, which ends with the shell: nothing is left mounted, however the test ends.
    let script = r#"
        set -e
        mount -t tmpfs -o size=8m offsite-test small
        offsite="$1"
        "$offsite" init small
        "$offsite" backup --repo small --job nightly --at 2026-11-01T22:00:00Z web01=kept-1.img
        cp big.img web01.img
        set +e
        "$offsite" backup --repo small --job nightly --at 2026-11-02T22:00:00Z web01=web01.img 2> full.txt
        echo $? > full.status
        "$offsite" verify small --read-data || exit 10
        "$offsite" restore small nightly web01 --to restored.img || exit 11
        cmp restored.img kept-1.img || exit 12
        "$offsite" backup --repo small --job nightly --at 2026-11-03T22:00:00Z web01=kept-2.img || exit 13
        "$offsite" restore small nightly web01 --to restored-2.img || exit 14
        cmp restored-2.img kept-2.img || exit 15
        find small -name '.*' -not -path small -o -name '*.partial' > left.txt
        ls small/nightly/blocks | grep -v '[.]' > blocks.txt
        "$offsite" restore small nightly web01 --to small/restored.img 2> restore.txt
        echo $? > restore.status
        ls -A small > after.txt
    "#;
    let profile = Profile { zero: 0.0, incompressible: 1.0, ..Profile::default() };
    Disk { profile, ..Disk::new("big", 1, 24) }.write_full(&offsite.path("big.img"), 0).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_offsite")])
        .current_dir(offsite.root())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !offsite.path("full.txt").exists() && said.contains("mount") {
        println!("skipped: this root may not mount: {said}");
        return;
    }
    assert!(output.status.success(), "{}: {said}", output.status);
    let read = |name: &str| fs::read_to_string(offsite.path(name)).unwrap();
    let full = read("full.txt");
    assert_eq!(read("full.status").trim(), "1", "{full}");
    assert!(full.contains("small") && full.contains("no space left"), "{full}");
    assert_eq!(read("left.txt"), "");
    assert_eq!(read("blocks.txt").lines().count(), 2, "the file that did not fit is gone: {}", read("blocks.txt"));
    assert_eq!(read("restore.status").trim(), "1");
    assert!(read("restore.txt").contains("no space left to restore to"), "{}", read("restore.txt"));
    assert!(!read("after.txt").contains("restored"), "{}", read("after.txt"));
}

#[test]
fn without_permission() {
    let offsite = with_points();
    if !is_root() || !Path::new("/usr/bin/setpriv").exists() {
        println!("skipped: only root can become nobody, by setpriv");
        return;
    }
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/setpriv");
        // Of the group that may look into the repository, but not write to it.
        command.args(["--reuid", "65534", "--regid", "0", "--clear-groups", env!("CARGO_BIN_EXE_offsite")]);
        command.args(arguments).current_dir(offsite.root());
        let output = command.output().unwrap();
        Ran::new(&command, &output)
    };
    let mode = |path: &str, mode: u32| fs::set_permissions(offsite.path(path), Permissions::from_mode(mode)).unwrap();
    mode("", 0o755);
    let version = Command::new("/usr/bin/setpriv")
        .args(["--reuid", "65534", "--regid", "0", "--clear-groups", env!("CARGO_BIN_EXE_offsite"), "--version"])
        .output()
        .unwrap();
    if !version.status.success() {
        println!("skipped: nobody may not start the command where it was built");
        return;
    }
    let backup = ["backup", "--repo", "primary", "--job", "nightly", "web01=web01.img"];
    mode("web01.img", 0o600);
    as_nobody(&backup).expect(1).says(&["disk image web01.img: no permission to read it"]);
    mode("web01.img", 0o644);
    as_nobody(&backup).expect(1).says(&["primary", "permission denied, this user lacks a permission"]);
    as_nobody(&["init", "theirs"]).expect(1).says(&["theirs", "permission denied"]);
    let restore = ["restore", "primary", "nightly", "web01", "--to"];
    as_nobody(&[&restore[..], &["new.img"]].concat())
        .expect(1)
        .says(&["new.img: no permission to write in its folder"]);
    // Who may read the repository may restore, to a place of its own.
    fs::create_dir(offsite.path("theirs")).unwrap();
    mode("theirs", 0o777);
    as_nobody(&[&restore[..], &["theirs/web01.img"]].concat()).expect(0);
    assert_same_bytes(&offsite.path("theirs/web01.img"), &offsite.path("kept-3.img"));
    mode("primary", 0o700);
    as_nobody(&["points", "primary"]).expect(1).says(&["primary", "permission denied"]);
    mode("primary", 0o750);
    assert_restores(&offsite, 1..=3);
    assert_goes_on(&offsite);
}

/// While one run of a job works (here it is stopped in the middle), a second is refused and harms nothing.
#[test]
fn a_second_run_of_the_same_job() {
    let offsite = with_points();
    Disk::new("slow", 5, 96).write_full(&offsite.path("web01.img"), 0).unwrap();
    let mut number = 3;
    let (first, child) = loop {
        let mut first = offsite.command(BACKUP.into_iter().chain(["--at", &day(number)]));
        let child = first.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(child) = stopped_in_the_middle(&offsite, child) {
            break (first, child);
        }
        // On a busy machine the run may be over before it could be stopped.
        number += 1;
        assert!(number < 13, "no run could be stopped in the middle");
    };
    let mut transcript = Transcript::default();
    transcript.run(&offsite, 1, BACKUP);
    transcript.compare(&offsite, "busy.txt");
    // Others are not kept from working: readers of the same job, and writers of another.
    assert_restores(&offsite, 1..=3);
    // A copy waits for the point that is being made, and says so.
    let waiting = offsite.run(["run", "--now", &day(number)]).expect(3);
    assert!(waiting.out.contains("web01: a backup is at work"), "{waiting}");
    offsite.ok(["backup", "--repo", "primary", "--job", "other", "web01=kept-1.img"]);
    assert_eq!(Ran::new(&first, &child.output()).status, 0);
    assert_restores(&offsite, 1..=3);
    offsite.ok(["restore", "primary", "nightly", "web01", "--at", &day(number), "--to", "restored.img"]);
    assert_same_bytes(&offsite.path("restored.img"), &offsite.path("web01.img"));
    fs::remove_file(offsite.path("restored.img")).unwrap();
    let report = offsite.backup(&day(20), &["web01=web01.img"]);
    assert_eq!(report["machines"][0]["changed_bytes"], 0);
    repository::assert_tidy(&offsite.path("primary/nightly"));
}

/// A process that is stopped, and ends with the test if that fails.
struct Stopped(Option<Child>);

impl Stopped {
    /// Lets the process go on to its end.
    fn output(mut self) -> Output {
        let child = self.0.take().unwrap();
        signal(&child, "-CONT");
        child.wait_with_output().unwrap()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// Stops a backup between the head that takes the lease and the one that gives it back; nothing if it was too fast.
fn stopped_in_the_middle(offsite: &Offsite, mut child: Child) -> Option<Stopped> {
    let job = offsite.path("primary/nightly");
    let before = repository::names(&job, "head").last().cloned();
    while repository::names(&job, "head").last().cloned() == before && child.try_wait().unwrap().is_none() {}
    if child.try_wait().unwrap().is_some() {
        return None;
    }
    signal(&child, "-STOP");
    let stopped = Stopped(Some(child));
    if repository::newest_head(&job).lease.is_some() {
        return Some(stopped);
    }
    assert!(stopped.output().status.success());
    None
}

#[track_caller]
fn signal(child: &Child, name: &str) {
    offsite_tests::run(Command::new("kill").args([name, &child.id().to_string()]));
}

/// Verification in shares, by hand and with each run, and a run that puts back what was found damaged, for all points.
#[test]
fn damage_is_found_share_by_share_and_healed() {
    let offsite = with_points();
    let mut config = OpenOptions::new().append(true).open(offsite.path("offsite.toml")).unwrap();
    config.write_all(b"[jobs.\"Offsite Copy\".transform]\nverify_mib = 1\n").unwrap();
    let run = offsite.json(["run", "--now", &day(3)]);
    let first = &run["transform"]["verification"];
    assert!(first["bytes_read"].as_u64().unwrap() > 0 && first["bytes_left"].as_u64().unwrap() > 0, "{run}");
    let job = offsite.path("second/Offsite Copy");
    let file = job.join("blocks").join(repository::names(&job, "blocks").pop_first().unwrap());
    repository::flip(&file, 8192);
    // The share in which it lies, and all after it, know of it.
    let mut statuses = Vec::new();
    loop {
        let ran = offsite.run(["verify", "second", "Offsite Copy", "--budget-mib", "1", "--json"]);
        let report: Value = ran.json();
        statuses.push((
            ran.status,
            report["damage"].as_array().unwrap().len(),
            report["notes"].as_array().unwrap().len(),
        ));
        if report["bytes_left"] == 0 && statuses.iter().any(|(_, damage, _)| *damage > 0) {
            break;
        }
        assert!(statuses.len() < 20, "{statuses:?}");
    }
    assert_eq!(statuses.iter().filter(|status| **status == (1, 1, 0)).count(), 1, "{statuses:?}");
    let after = statuses.iter().skip_while(|(_, damage, _)| *damage == 0).skip(1);
    after.for_each(|status| assert_eq!(*status, (3, 0, 1), "{statuses:?}"));
    // A change elsewhere on the disk, so that the damaged block itself has not changed.
    let image = OpenOptions::new().write(true).open(offsite.path("web01.img")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&image, b"the last block", (4 << 20) - 4096).unwrap();
    offsite.backup(&day(4), &["web01=web01.img"]);
    let ran = offsite.run(["run", "--now", &day(4)]).expect(0);
    assert!(ran.out.contains("heal      1 damaged block of #1, from the source"), "{ran}");
    let restored = offsite.restore("second", "Offsite Copy", "web01", 2, "restored.img");
    assert_same_bytes(&restored, &offsite.path("web01.img"));
    offsite.run(["verify", "second", "Offsite Copy", "--read-data"]).expect(0);
}
