//! A machine that is backed up and copied to drives, and what is on each of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use offsite_cli::workload::{Changes, Disk, Profile};
use serde_json::Value;

use crate::support::{Offsite, assert_same_bytes, copy_sparse, day};
use crate::{BACKUP, COPY};

/// A copy job from `primary` to the drives that show up at `places`, which keeps `keep` points.
pub(crate) fn config(places: &[&str], keep: u32) -> String {
    format!(
        "[repositories.primary]\nlocation = \"primary\"\n\n[repositories.rotation]\nlocation = \"removable:weekly\"\n\
         places = {places:?}\n\n[jobs.\"{COPY}\"]\nsource = {{ repository = \"primary\", job = \"nightly\" }}\n\
         target = \"rotation\"\n[jobs.\"{COPY}\".retention]\nkeep = {keep}\n"
    )
}

/// A machine whose every day is kept, to compare with what is restored.
pub(crate) struct World {
    pub offsite: Offsite,
    disk: Disk,
    days: BTreeMap<String, u32>,
    version: u32,
}

impl World {
    pub(crate) fn new(size_mib: u64, places: &[&str], keep: u32) -> Self {
        let offsite = Offsite::new();
        offsite.config(&config(places, keep));
        offsite.ok(["init", "primary"]);
        let profile = Profile { changes: Changes::WholeBlocks(2), ..Profile::default() };
        let disk = Disk { profile, ..Disk::new("web01", 11, size_mib) };
        disk.write_full(&offsite.path("web01.img"), 0).unwrap();
        Self { offsite, disk, days: BTreeMap::new(), version: 0 }
    }

    /// Puts the folder `name` where drives show up.
    pub(crate) fn insert(&self, name: &str) {
        self.take_out();
        let folder = self.offsite.path(name);
        fs::create_dir_all(&folder).unwrap();
        symlink(folder, self.offsite.path("mount")).unwrap();
    }

    pub(crate) fn take_out(&self) {
        let _ = fs::remove_file(self.offsite.path("mount"));
    }

    /// Makes the folder `name` a drive, and takes it out.
    pub(crate) fn prepare(&self, name: &str) {
        self.insert(name);
        self.offsite.ok(["init", "rotation", "--label", name, "--allow-unmounted"]);
        self.take_out();
    }

    /// A day of work, and its backup.
    pub(crate) fn work(&mut self, number: i64) {
        let image = self.offsite.path("web01.img");
        if number > 0 {
            self.version += 1;
            self.disk.apply(&image, self.version).unwrap();
        }
        copy_sparse(&image, &self.offsite.path(&format!("day-{number}.img")));
        self.days.insert(day(number), number as u32);
        let at = day(number);
        self.offsite.ok(BACKUP.into_iter().chain(["web01=web01.img", "--at", &at]));
    }

    /// Runs the copy job; what it reports, in JSON.
    #[track_caller]
    pub(crate) fn copy(&self, number: i64) -> Value {
        let ran = self.offsite.ok(["run", "--json", "--now", &day(number)]);
        let last = ran.events().pop().unwrap();
        assert!(last.0 == "safe_to_remove" && last.1["safe_to_remove"]["label"].is_string(), "{ran}");
        ran.json()
    }

    /// What a run on the drive of this label would do, wherever it is.
    #[track_caller]
    pub(crate) fn plan(&self, label: &str, number: i64) -> Value {
        let ran = self.offsite.ok(["run", "--dry-run", "--json", "--now", &day(number)]);
        let mut plans = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut plan =
            plans.find(|plan| plan["medium"]["label"] == label).unwrap_or_else(|| panic!("no {label}: {ran}"));
        plan.as_object_mut().unwrap().remove("medium");
        // What is free on a drive that is away nobody knows.
        if let Some(room) = plan.get_mut("room").and_then(Value::as_object_mut) {
            room.remove("free_bytes");
        }
        if let Some(room) = plan.pointer_mut("/sync/room").and_then(Value::as_object_mut) {
            room.remove("free_bytes");
        }
        plan
    }

    /// The points of the drive of this label that `chain` says the next run keeps, and not only until one is newer.
    #[track_caller]
    pub(crate) fn promised(&self, label: &str, number: i64) -> Vec<String> {
        let ran = self.offsite.run(["chain", "rotation", COPY, "--json", "--now", &day(number)]);
        let mut chains = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let Some(chain) = chains.find(|chain| chain["medium"]["label"] == label) else { return Vec::new() };
        let stays = |point: &&Value| {
            let reasons = point["reasons"].as_array().unwrap();
            reasons.iter().any(|reason| !reason.as_str().unwrap().ends_with("until 1 newer"))
        };
        let points = chain["points"].as_array().unwrap().iter().filter(stays);
        points.map(|point| point["time"].as_str().unwrap().to_owned()).collect()
    }

    /// What each drive holds, as `points` tells it: its label, whether it is away, and the times.
    #[track_caller]
    pub(crate) fn points(&self) -> BTreeMap<String, (bool, Vec<String>)> {
        let ran = self.offsite.ok(["points", "rotation", "--json"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let medium = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap();
            let times = value["points"].as_array().unwrap().iter().map(|point| text(&point["time"])).collect();
            (text(&value["medium"]["label"]), (value["medium"]["is_away"].as_bool().unwrap(), times))
        };
        ran.out.lines().map(medium).collect()
    }

    /// Restores every point of the drive that is there and compares it with the machine of that day; the numbers of the days.
    #[track_caller]
    pub(crate) fn check(&self) -> Vec<u32> {
        let label = self.points().into_iter().find(|(_, (is_away, _))| !is_away).expect("a drive is there").0;
        let times = &self.points()[&label].1;
        let mut days = Vec::new();
        for time in times {
            let day = self.days[time];
            let to = self.offsite.path("restored.img");
            self.offsite.ok(["restore", "rotation", COPY, "web01", "--at", time, "--to", "restored.img"]);
            assert_same_bytes(&to, &self.offsite.path(&format!("day-{day}.img")));
            fs::remove_file(to).unwrap();
            days.push(day);
        }
        self.offsite.ok(["verify", "rotation", "--read-data"]);
        days
    }
}
