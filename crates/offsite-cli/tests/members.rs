//! One bad member never stops the others: jobs, folders, sources, and what others have put beside them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use offsite_cli::workload::Disk;
use support::{COPY_JOB, Offsite, day};

/// A repository with the jobs `aa` and `zz`.
fn two_jobs() -> Offsite {
    let offsite = Offsite::with_copy_job();
    Disk::new("web01", 3, 2).write_full(&offsite.path("web01.img"), 0).unwrap();
    for job in ["aa", "zz"] {
        let machine = format!("{job}01=web01.img");
        offsite.ok(["backup", "--repo", "primary", "--job", job, "--at", &day(0), &machine]);
    }
    offsite
}

/// A copy of all jobs of `primary`.
fn infrastructure() -> String {
    COPY_JOB.replace("from = \"job\", job = \"nightly\"", "from = \"infrastructure\"")
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn what_others_put_beside_the_jobs_disturbs_nothing() {
    let offsite = two_jobs();
    offsite.config(&infrastructure());
    let foreign = [
        ("System Volume Information", "WPSettings.dat"),
        ("$RECYCLE.BIN", "desktop.ini"),
        ("@eaDir", "SYNO@.fileindexdb"),
        ("FOUND.000", "FILE0000.CHK"),
        ("lost+found", "#1234"),
        ("notes", "head/of-department.txt"),
        ("pictures", "blocks/0001.jpg"),
    ];
    for (folder, file) in foreign {
        let path = offsite.path("primary").join(folder).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    // A repository in the repository.
    offsite.ok(["init", "primary/inner"]);
    offsite.ok(["backup", "--repo", "primary/inner", "--job", "head", "--at", &day(0), "in01=web01.img"]);
    let points = offsite.json(["points", "primary"]);
    let jobs: Vec<_> = points["points"].as_array().unwrap().iter().map(|point| point["job"].as_str()).collect();
    assert_eq!(jobs, [Some("aa"), Some("zz")]);
    assert_eq!(count(&offsite.ok(["verify", "primary", "--read-data"]).out, "intact"), 2);
    let report = offsite.json(["run", "--now", &day(0)]);
    assert_eq!(report["machines"].as_array().unwrap().len(), 2, "{report}");
    assert_eq!(report["result"], "success", "{report}");
}

#[test]
fn a_folder_that_is_a_link_is_named() {
    let offsite = two_jobs();
    offsite.config(&infrastructure());
    fs::create_dir(offsite.path("big")).unwrap();
    fs::rename(offsite.path("primary/zz"), offsite.path("big/zz")).unwrap();
    for target in ["../big/zz", "../unmounted/zz"] {
        symlink(target, offsite.path("primary/zz")).unwrap();
        let listed = offsite.run(["points", "primary"]).expect(3).says(&["folder zz", "links are not followed"]);
        assert!(listed.out.contains("aa "), "{listed}");
        let verified = offsite.run(["verify", "primary"]).expect(3).says(&["folder zz"]);
        assert_eq!(count(&verified.out, "all files are there"), 1, "{verified}");
        let planned = offsite.run(["run", "--dry-run", "--now", &day(0)]).expect(3);
        assert!(planned.out.contains("aa01") && planned.out.contains("folder zz"), "{planned}");
        fs::remove_file(offsite.path("primary/zz")).unwrap();
    }
    symlink("../big/zz", offsite.path("primary/zz")).unwrap();
    let ran = offsite.run(["run", "--now", &day(0)]).expect(3);
    assert!(ran.out.contains("restore point #1") && ran.out.contains("folder zz"), "{ran}");
}

#[test]
fn a_job_without_heads_hides_no_other_and_is_not_begun_anew() {
    let offsite = two_jobs();
    let head = offsite.path("primary/aa/head");
    let check = |what: &str| {
        let listed = offsite.run(["points", "primary"]).expect(1).says(&["job aa", "offsite repair"]);
        assert!(listed.out.contains("zz "), "{what}: {listed}");
        let verified = offsite.run(["verify", "primary"]).expect(1).says(&["job aa", "offsite repair"]);
        assert!(verified.out.contains("zz: 1 restore point"), "{what}: {verified}");
        let value = offsite.run(["points", "primary", "--json"]).expect(1).json();
        assert_eq!(value["unread"][0]["job"], "aa", "{what}: {value}");
        offsite.config(&infrastructure());
        let ran = offsite.run(["run", "--now", &day(0)]).expect(3);
        assert!(ran.out.contains("not looked at: aa/head"), "{what}: {ran}");
        offsite.config(COPY_JOB);
    };
    for file in fs::read_dir(&head).unwrap() {
        fs::write(file.unwrap().path(), "").unwrap();
    }
    check("heads that are empty");
    fs::remove_dir_all(&head).unwrap();
    check("no heads");
    offsite.run(["repair", "primary", "aa"]);
    assert!(offsite.ok(["points", "primary"]).out.contains("aa "), "repaired");
    // The target of a copy, too.
    fs::remove_dir_all(offsite.path("second/Offsite Copy/head")).unwrap();
    let before = support::repository::contents(&offsite.path("second"));
    offsite.config(&infrastructure());
    let ran = offsite.run(["run", "--now", &day(1)]).expect(1);
    ran.says(&["Offsite Copy/head", "offsite repair"]);
    assert!(before == support::repository::contents(&offsite.path("second")), "something was written over it");
}

#[test]
fn a_source_that_is_away_stops_no_other_and_its_machines_are_not_gone() {
    let offsite = two_jobs();
    offsite.ok(["init", "third"]);
    offsite.ok(["backup", "--repo", "third", "--job", "far", "--at", &day(0), "far01=web01.img"]);
    let config = COPY_JOB
        .replace("source = { repository = \"primary\", from = \"job\", job = \"nightly\" }", "source = [{ repository = \"primary\", from = \"infrastructure\" }, { repository = \"third\", job = \"far\" }]")
        .replace("keep = 3", "keep = 3\ndeleted_machines_days = 2");
    offsite.config(&format!("{config}\n[repositories.third]\nlocation = \"third\"\n"));
    offsite.ok(["run", "--now", &day(0)]);
    fs::rename(offsite.path("third"), offsite.path("away")).unwrap();
    for number in [1, 4, 9] {
        offsite.ok(["backup", "--repo", "primary", "--job", "aa", "--at", &day(number), "aa01=web01.img"]);
        let ran = offsite.run(["run", "--now", &day(number)]).expect(3);
        assert!(ran.out.contains("restore point #") && ran.out.contains("not looked at: repository third"), "{ran}");
    }
    // All of them away: nothing is copied, and nothing goes.
    fs::rename(offsite.path("primary"), offsite.path("away1")).unwrap();
    for number in [12, 30] {
        offsite.run(["run", "--now", &day(number)]).expect(1).says(&["primary"]);
        offsite.ok(["transform", "--now", &day(number)]);
    }
    for machine in ["far01", "zz01", "aa01"] {
        offsite.ok(["restore", "second", "Offsite Copy", machine, "--to", &format!("{machine}.raw")]);
    }
}

#[test]
fn a_job_that_cannot_be_opened_stops_no_other() {
    let offsite = two_jobs();
    let job = |name: &str, target: &str| {
        format!("[jobs.{name}]\nsource = {{ repository = \"primary\", job = \"aa\" }}\ntarget = \"{target}\"\n")
    };
    let places = "[repositories.primary]\nlocation = \"primary\"\n[repositories.second]\nlocation = \"second\"\n\
                  [repositories.none]\nlocation = \"none\"\n[repositories.odd]\nlocation = \"ftp://host/x\"\n";
    offsite.config(&format!("{places}{}{}{}", job("a", "odd"), job("b", "none"), job("c", "second")));
    let ran = offsite.run(["run", "--now", &day(0)]).expect(1).says(&["job a: ftp://host/x", "job b: ", "none"]);
    assert!(ran.out.contains("c: restore point #1"), "{ran}");
    let planned = offsite.run(["run", "--dry-run", "--now", &day(1)]).expect(1).says(&["job a: ", "job b: "]);
    assert!(planned.out.contains("c: nothing new"), "{planned}");
    let transformed = offsite.run(["transform", "--now", &day(1)]).expect(1).says(&["job a: ", "job b: "]);
    assert!(transformed.out.contains("c: "), "{transformed}");
    offsite.run(["run", "a", "--now", &day(1)]).expect(2);
    offsite.run(["run", "nobody"]).expect(2).says(&["has no job", "a, b, c"]);
}

#[test]
fn what_cannot_be_copied_is_pruned_all_the_same() {
    let offsite = Offsite::with_copy_job();
    for number in 0..4 {
        Disk::new("web01", 3, 2).write_full(&offsite.path("web01.img"), u32::try_from(number).unwrap()).unwrap();
        offsite.backup(&day(number), &["web01=web01.img"]);
        offsite.ok(["run", "--now", &day(number)]);
    }
    let points = || offsite.json(["points", "second"])["points"].as_array().unwrap().len();
    assert_eq!(points(), 3);
    fs::rename(offsite.path("primary"), offsite.path("away")).unwrap();
    offsite.config(&COPY_JOB.replace("keep = 3", "keep = 2"));
    let planned = offsite.json(["transform", "--dry-run", "--apply-policy", "--now", &day(4)]);
    assert_eq!(planned["operations"][0]["operation"], "merge");
    assert_eq!(points(), 3);
    let ran = offsite.run(["run", "--apply-policy", "--now", &day(4)]).expect(1).says(&["primary"]);
    assert!(ran.out.contains("merge ") && ran.out.contains("nothing was copied"), "{ran}");
    assert_eq!(points(), 2);
    // Retention alone needs no source, and fails for none.
    offsite.config(
        &COPY_JOB
            .replace("keep = 3", "keep = 1")
            .replace("[jobs.\"Offsite Copy\".retention]\nkeep = 1", "[jobs.\"Offsite Copy\".retention]\nkeep = 2"),
    );
    let done = offsite.ok(["transform", "Offsite Copy", "--now", &day(4)]);
    assert!(done.out.contains("there is nothing to do"), "{done}");
    assert_eq!(
        offsite.json(["transform", "--now", &day(4)])["transform"]["operations"].as_array().map(Vec::len),
        Some(0)
    );
}

#[test]
fn a_path_that_only_a_shell_would_read_is_refused() {
    let offsite = Offsite::new();
    let refused = |config: &str, arguments: &[&str], texts: &[&str]| {
        offsite.config(config);
        offsite.run(arguments.iter().copied()).expect(2).says(texts);
        let names: Vec<_> = fs::read_dir(offsite.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["offsite.toml"]);
    };
    let home = "[repositories.home]\nlocation = \"~/backup\"\n";
    refused(home, &["init", "home"], &["repository \"home\"", "location", "~/backup", "in full"]);
    refused("[repositories.v]\nlocation = \"$HOME/backup\"\n", &["init", "v"], &["location", "variables"]);
    refused("", &["init", "~/backup"], &["~/backup", "in full"]);
    let drives = "[repositories.d]\nlocation = \"removable:d\"\nplaces = [\"/mnt/a\", \"${PLACE}\"]\n";
    refused(drives, &["points", "d"], &["places", "${PLACE}"]);
    refused("state_dir = \"~/state\"\n", &["status"], &["state_dir", "~/state"]);
}
