//! `offsite demo`: shows everything on generated disks.

mod account;
mod machines;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use offsite::model::Timestamp;
use offsite::report::{BackupReport, CopyReport, Operation};
use offsite::retention::Gfs;
use offsite::retention::Policy;
use offsite::retention::Simple;
use offsite::{
    BackupJob, CopyJob, ImageSource, JobFolder, JobName, OpenRepository, PointSelector, Restore, Transforms, Verify,
};
use offsite_backends::Local;

use crate::args::Demo;
use crate::commands::chain::draw;
use crate::commands::freed;
use crate::config::Config;
use crate::local_time::LocalTime;
use crate::render::{bytes, count, duration, table};
use crate::status::{Failure, Status};
use crate::{print, words};
use account::Account;
use machines::{Machine, fleet};

/// The number of evenings.
const DAYS: u32 = 10;
/// The number of restore points that the copy job keeps.
const KEEP: u32 = 3;
/// The number of weekly archives that it keeps beside them.
const WEEKLY: u32 = 2;
/// 2026-10-30T22:00:00Z, a Friday.
const FIRST_EVENING_UNIX_SECS: i64 = 1_793_397_600;

const CONFIG: &str = r#"# Left by `offsite demo`. In this folder, try:
#   offsite points dr
#   offsite chain dr "Offsite Copy"
#   offsite restore dr "Offsite Copy" web01 --to web01.raw
#   offsite backup --repo primary --job nightly web01=disks/web01-disk0.img db01=disks/db01-disk0.img,disks/db01-disk1.img mail01=disks/mail01-disk0.img
#   offsite run --dry-run

[repositories.primary]
location = "primary"

[repositories.dr]
DR
[jobs."Offsite Copy"]
source = { repository = "primary", from = "job", job = "nightly" }
target = "dr"

[jobs."Offsite Copy".retention]
keep = 3
gfs = { weekly = 2 }
"#;

pub(crate) async fn run(arguments: &Demo) -> Result<Status, Failure> {
    let start = Instant::now();
    let folder = make_folder(arguments.dir.as_deref())?;
    print::line(format_args!("The story of a backup copy job, told in {}", folder.display()));
    let story = Story::begin(folder, arguments.s3.as_deref()).await?;
    let account = story.ten_days().await?;
    story.draw_chain().await?;
    story.verify().await?;
    let same = story.restore_everything().await?;
    heading(6, "What it cost", "each operation's plan, made before it ran, beside what was counted while it ran");
    print::text(account.render());
    print::line(format_args!(
        "\nDone in {}. {} has an offsite.toml to play with; its first lines say what to try.",
        duration(start.elapsed()),
        story.folder.display()
    ));
    if same && account.kept_to_plan() { Ok(Status::Done) } else { Ok(Status::Failed) }
}

/// The folder of the demonstration, its repositories and its machines.
struct Story {
    folder: PathBuf,
    machines: Vec<Machine>,
    primary: OpenRepository,
    second: OpenRepository,
    nightly: JobName,
    copy: JobName,
}

impl Story {
    async fn begin(folder: PathBuf, bucket: Option<&str>) -> Result<Self, Failure> {
        let machines = fleet();
        let start = Instant::now();
        let disks = folder.join("disks");
        std::fs::create_dir(&disks).map_err(|error| failed(&disks, &error))?;
        let mut size = 0;
        for machine in &machines {
            size += machine.create(&disks)?;
        }
        heading(
            1,
            "Disks",
            &format!(
                "{} with {}, {} in all, made in {}",
                count(machines.len(), "machine", "machines"),
                count(machines.iter().map(|machine| machine.disks.len()).sum(), "disk", "disks"),
                bytes(size),
                duration(start.elapsed())
            ),
        );
        let primary = make_repository(&folder.join("primary")).await?;
        let second = match bucket {
            None => make_repository(&folder.join("dr")).await?,
            Some(url) if !url.starts_with("s3://") => {
                return Err(Failure::WrongUse(format!("{url} is no bucket: write s3://bucket/prefix")));
            }
            Some(url) => crate::place::initialise(url, &Config::default(), evening(0)?).await?,
        };
        heading(2, "Repositories", "primary, where the backup job writes; dr, where the copies go");
        let config = folder.join("offsite.toml");
        std::fs::write(&config, CONFIG.replace("DR\n", &copies_config(bucket)))
            .map_err(|error| failed(&config, &error))?;
        let job = |name: &str| JobName::new(name).map_err(|error| Failure::Failed(error.to_string()));
        Ok(Self { folder, machines, primary, second, nightly: job("nightly")?, copy: job("Offsite Copy")? })
    }

    /// Makes a backup and a copy on each evening.
    async fn ten_days(&self) -> Result<Account, Failure> {
        heading(
            3,
            &format!("{DAYS} days"),
            &format!(
                "each evening a backup of what changed, then the copy job, which keeps {KEEP} restore points and {WEEKLY} \
                 weekly archives"
            ),
        );
        let copy = CopyJob::new(self.copy.clone(), &self.primary, self.nightly.clone(), &self.second)?;
        let copy = copy.transforms(policy()?);
        let mut account = Account::default();
        let mut rows = vec![["day", "backup", "copy", "transform"].map(str::to_owned).to_vec()];
        for day in 0..DAYS {
            let now = evening(day)?;
            for machine in self.machines.iter().filter(|_| day > 0) {
                machine.change(&self.disks(), day)?;
            }
            let backup = self.backup(now).await?;
            let report = copy.run(now).await?;
            rows.push(day_row(day, &backup, &report));
            account.add(&report);
        }
        print::text(indent(&table(&rows, &[0])));
        Ok(account)
    }

    async fn backup(&self, now: Timestamp) -> Result<BackupReport, Failure> {
        let job = self.machines.iter().fold(BackupJob::new(&self.primary, self.nightly.clone()), |job, machine| {
            job.machine(machine.name.clone(), machine.paths(&self.disks()).into_iter().map(ImageSource::new).collect())
        });
        Ok(job.run(now).await?)
    }

    async fn draw_chain(&self) -> Result<(), Failure> {
        heading(
            4,
            "The chain",
            "one full and its increments, which share their blocks with the archives beside them; a merge moves no data",
        );
        let folder = JobFolder::open(&self.second, &self.copy).await?;
        let verdicts = folder.verdicts(&Transforms::keeping(policy()?), evening(DAYS - 1)?);
        print::text(indent(&draw(
            &folder,
            &offsite::KnownDamage::default(),
            verdicts.as_deref(),
            None,
            &LocalTime::host(),
        )));
        Ok(())
    }

    async fn verify(&self) -> Result<(), Failure> {
        let report = Verify::new(&self.second, self.copy.clone()).read_data(true).run().await?;
        if let Some(damage) = report.damage.first() {
            return Err(Failure::Failed(format!("{} is damaged: {}", damage.object, words::damage(&damage.what))));
        }
        print::line(format_args!(
            "   Every block read and compared with its digest: {} in {}, intact.",
            bytes(report.bytes_read),
            duration(report.duration)
        ));
        Ok(())
    }

    /// Restores every kept point of every machine while the source is away. Compares it with what the disks held.
    async fn restore_everything(&self) -> Result<bool, Failure> {
        heading(5, "Restores", "primary is moved away: the copies need nothing of it");
        let (primary, away) = (self.folder.join("primary"), self.folder.join("primary.away"));
        std::fs::rename(&primary, &away).map_err(|error| failed(&primary, &error))?;
        let result = self.restore_points().await;
        std::fs::rename(&away, &primary).map_err(|error| failed(&away, &error))?;
        result
    }

    async fn restore_points(&self) -> Result<bool, Failure> {
        let chain = JobFolder::open(&self.second, &self.copy).await?.chain().clone();
        let to = self.folder.join("restored");
        let mut rows = Vec::new();
        let mut all_same = true;
        for point in chain.all() {
            let day = day_of(point.time);
            let start = Instant::now();
            let (mut disks, mut data, mut same) = (0, 0, true);
            for machine in &self.machines {
                std::fs::create_dir(&to).map_err(|error| failed(&to, &error))?;
                let restore = Restore::new(&self.second, self.copy.clone(), machine.name.clone());
                let report = restore.point(PointSelector::Sequence(point.sequence)).run(&to).await?;
                for (disk, restored) in machine.disks.iter().zip(&report.disks) {
                    let path = restored.path.as_deref().unwrap_or(&to);
                    same &= disk.is_same(path, day).map_err(|error| failed(path, &error))?;
                    disks += 1;
                    data += restored.size_bytes;
                }
                std::fs::remove_dir_all(&to).map_err(|error| failed(&to, &error))?;
            }
            all_same &= same;
            rows.push(vec![
                format!("#{}", point.sequence),
                point.time.to_string(),
                format!("{}, {}", count(disks, "disk", "disks"), bytes(data)),
                if same { "equal byte for byte" } else { "DIFFERENT" }.to_owned(),
                format!("in {}", duration(start.elapsed())),
            ]);
        }
        print::text(indent(&table(&rows, &[])));
        Ok(all_same)
    }

    fn disks(&self) -> PathBuf {
        self.folder.join("disks")
    }
}

/// Makes the requested folder, or the first free one.
fn make_folder(wanted: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(wanted) = wanted {
        let entries = std::fs::create_dir_all(wanted).and_then(|()| std::fs::read_dir(wanted));
        return match entries.map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(wanted.to_owned()),
            Ok(false) => {
                Err(Failure::Failed(format!("{} is not empty; choose an empty folder with --dir", wanted.display())))
            }
            Err(error) => Err(failed(wanted, &error)),
        };
    }
    for number in 1..1000 {
        let folder =
            PathBuf::from(if number == 1 { "offsite-demo".to_owned() } else { format!("offsite-demo-{number}") });
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&folder, &error)),
        }
    }
    Err(Failure::Failed("there are 999 folders offsite-demo already; remove some".to_owned()))
}

/// Returns where the copies are, for the config.
fn copies_config(bucket: Option<&str>) -> String {
    let location = bucket.unwrap_or("dr");
    let mut text = format!("location = {location:?}\n");
    if let (Some(_), Ok(endpoint)) = (bucket, std::env::var("AWS_ENDPOINT_URL")) {
        text.push_str(&format!("endpoint = {endpoint:?}\n"));
    }
    text
}

async fn make_repository(path: &Path) -> Result<OpenRepository, Failure> {
    let backend = Local::create(path).await?;
    Ok(OpenRepository::initialise(Arc::new(backend), evening(0)?).await?)
}

fn evening(day: u32) -> Result<Timestamp, Failure> {
    Timestamp::from_unix_secs(FIRST_EVENING_UNIX_SECS + i64::from(day) * 86_400)
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// Returns what the copy job keeps.
fn policy() -> Result<Policy, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::Failed(error.to_string());
    let keep = Simple::new(KEEP).map_err(|error| failed(&error))?;
    let gfs = Gfs::new(WEEKLY, 0, 0, 0).map_err(|error| failed(&error))?;
    Ok(Policy::new(keep).with_gfs(gfs))
}

fn day_of(time: Timestamp) -> u32 {
    u32::try_from((time.unix_secs() - FIRST_EVENING_UNIX_SECS) / 86_400).unwrap_or_default()
}

fn day_row(day: u32, backup: &BackupReport, report: &CopyReport) -> Vec<String> {
    let copy = report.sync.as_ref().map_or_else(
        || "nothing new".to_owned(),
        |sync| {
            let kind = if sync.full { "full" } else { "increment" };
            format!("{kind} of {} in {}", bytes(sync.tally.target.bytes_written), duration(sync.tally.duration))
        },
    );
    let merge = report.transform.operations.iter().find_map(|report| match report.operation {
        Operation::Merge { full, .. } => Some((full, report.tally.duration)),
        _ => None,
    });
    let transform = merge.map_or_else(
        || "-".to_owned(),
        |(full, time)| {
            let freed = match &report.transform.released {
                released if released.bytes == 0 => String::new(),
                released => format!("; {} freed: {}", bytes(released.bytes), freed(released)),
            };
            format!("#{full} becomes the full in {}{freed}", duration(time))
        },
    );
    let kind = if backup.full { "full" } else { "increment" };
    let backup = format!("{kind} of {} in {}", bytes(backup.stored_bytes), duration(backup.duration));
    vec![(day + 1).to_string(), backup, copy, transform]
}

fn heading(number: u32, title: &str, text: &str) {
    print::line(format_args!("\n{number}  {title}: {text}"));
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}
