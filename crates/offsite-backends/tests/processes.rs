//! What several processes do to one folder: racing for a name, and dying.
//!
//! The other processes are this test binary, told by an environment variable to play a part.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use offsite_backends::{CreateMethod, Local, LocalOptions};
use offsite_repository::{ErrorKind, Key, Prefix, Repository, RepositoryExt};

const FOLDER: &str = "OFFSITE_TEST_FOLDER";
const WAY: &str = "OFFSITE_TEST_WAY";
const WAYS: [(&str, CreateMethod); 4] = [
    ("unnamed", CreateMethod::LinkingUnnamed),
    ("renaming", CreateMethod::RenamingStaged),
    ("linking", CreateMethod::LinkingStaged),
    ("claiming", CreateMethod::RenamingClaimed),
];
const RACERS: usize = 5;
const ROUNDS: usize = 8;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

async fn open(folder: &Path, way: &str) -> Local {
    let create_method = WAYS.iter().find(|(name, _)| *name == way).map(|(_, by)| *by);
    Local::open_with(folder, LocalOptions::default().with_create_method(create_method)).await.unwrap()
}

/// Starts the test `part` of this binary in a process of its own.
fn start(part: &str, folder: &Path, way: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([part, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, folder).env(WAY, way).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Reads a child's output until it says that it is ready, and returns it.
fn await_ready(child: &mut Child) -> String {
    // Byte by byte, as nothing after the line must be taken.
    let mut output = Vec::new();
    while !output.ends_with(b"ready\n") {
        let mut byte = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        output.push(byte[0]);
    }
    String::from_utf8(output).unwrap()
}

/// The part that a child plays, if this process is one.
fn child() -> Option<(std::path::PathBuf, String)> {
    Some((std::env::var_os(FOLDER)?.into(), std::env::var(WAY).unwrap()))
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// Plays a racer: writes one object a round, and finishes it when told to.
#[tokio::test]
async fn part_of_a_racer() {
    let Some((folder, way)) = child() else { return };
    let local = open(&folder, &way).await;
    let mut lines = BufReader::new(std::io::stdin()).lines();
    let content = Bytes::from(format!("racer {}", std::process::id()));
    for round in 0..ROUNDS {
        let key = key(&format!("race/deep/{round}"));
        // It may find out at once that it is late.
        let writer = match local.create(&key).await {
            Ok(mut writer) => {
                writer.write(vec![content.clone()]).await.unwrap();
                Some(writer)
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
                None
            }
        };
        say("ready");
        lines.next().unwrap().unwrap();
        match writer {
            Some(writer) => match writer.finish().await {
                Ok(()) => say(&format!("won {round} {}", std::process::id())),
                Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
            },
            None => say("late"),
        }
    }
}

#[tokio::test]
async fn one_of_several_processes_gets_a_name() {
    for (way, _) in WAYS {
        let folder = tempfile::tempdir().unwrap();
        let mut racers: Vec<Child> = (0..RACERS).map(|_| start("part_of_a_racer", folder.path(), way)).collect();
        let mut said = String::new();
        for _ in 0..ROUNDS {
            said.extend(racers.iter_mut().map(await_ready));
            for racer in &mut racers {
                racer.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
            }
        }
        for racer in racers {
            let output = racer.wait_with_output().unwrap();
            said += &String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{said}");
        }
        let local = open(folder.path(), way).await;
        for round in 0..ROUNDS {
            let start = format!("won {round} ");
            let winners: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix(start.as_str())).collect();
            assert_eq!(winners.len(), 1, "{way}: {winners:?} won round {round}");
            let stored = local.get(&key(&format!("race/deep/{round}")), 100).await.unwrap();
            assert_eq!(stored, format!("racer {}", winners[0]));
        }
        local.sweep().await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("race/deep")).unwrap().count(), ROUNDS, "{way}");
    }
}

/// Plays a writer that is killed half-way.
#[tokio::test]
async fn part_of_a_killed_writer() {
    let Some((folder, way)) = child() else { return };
    let local = open(&folder, &way).await;
    let mut writer = local.create(&key("job/blocks/killed")).await.unwrap();
    writer.write(vec![Bytes::from(vec![1; 1 << 20])]).await.unwrap();
    say("ready");
    // Until killed; or until the parent is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

#[tokio::test]
async fn a_killed_writer_leaves_nothing_that_a_sweep_does_not_remove() {
    for (way, by) in WAYS {
        let folder = tempfile::tempdir().unwrap();
        let hidden = || {
            let entries = std::fs::read_dir(folder.path().join("job/blocks")).unwrap();
            entries.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.')).count()
        };
        let mut child = start("part_of_a_killed_writer", folder.path(), way);
        await_ready(&mut child);
        let local = open(folder.path(), way).await;
        let mut alive = local.create(&key("job/blocks/alive")).await.unwrap();
        alive.write(vec![Bytes::from_static(b"still here")]).await.unwrap();
        let staged = if by == CreateMethod::LinkingUnnamed { 0 } else { 1 };
        // Another process at work is spared as this one's own writer is.
        local.sweep().await.unwrap();
        assert_eq!(hidden(), 2 * staged, "{way}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(local.list_all(&Prefix::root()).await.unwrap(), [], "{way}");
        assert_eq!(hidden(), 2 * staged, "{way}");
        local.sweep().await.unwrap();
        assert_eq!(hidden(), staged, "{way}: the dead writer's file is gone, the living one's is not");
        alive.finish().await.unwrap();
        assert_eq!(local.get(&key("job/blocks/alive"), 100).await.unwrap(), "still here", "{way}");
        local.put(&key("job/blocks/killed"), Bytes::from_static(b"anew")).await.unwrap();
        assert_eq!(hidden(), 0, "{way}");
    }
}

/// Plays a user who owns nothing.
#[tokio::test]
async fn part_of_another_user() {
    let Some((folder, _)) = child() else { return };
    let tried = match Local::open(&folder).await {
        Err(error) => vec![Err(error)],
        Ok(local) => vec![
            local.put(&key("job/new"), Bytes::new()).await,
            local.put(&key("new/new"), Bytes::new()).await,
            local.delete(&key("job/object")).await,
            local.get(&key("job/object"), 9).await.map(drop),
        ],
    };
    for answer in tried {
        match answer {
            Ok(()) => say("done"),
            Err(error) => say(&format!("{:?}: {error}", error.kind())),
        }
    }
}

#[tokio::test]
async fn another_user_is_refused_with_the_path_and_the_way_out() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;

    let folder = tempfile::tempdir().unwrap();
    let (binary, place) = (folder.path().join("binary"), folder.path().join("repository"));
    // Where anybody may start it.
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let allow = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    allow(folder.path(), 0o755);
    let local = Local::create(&place).await.unwrap();
    local.put(&key("job/object"), Bytes::from_static(b"x")).await.unwrap();
    let said_by_nobody = || {
        let mut command = Command::new(&binary);
        command.args(["part_of_another_user", "--exact", "--nocapture", "--test-threads=1"]);
        let output = command.env(FOLDER, &place).env(WAY, "").gid(NOBODY).uid(NOBODY).output();
        output.map(|output| String::from_utf8(output.stdout).unwrap())
    };
    // The repository is its owner's and group's.
    let said = match said_by_nobody() {
        Ok(said) => said,
        Err(error) => return println!("skipped: this user cannot become another: {error}"),
    };
    assert!(said.contains("PermissionDenied: cannot open"), "{said}");
    assert!(said.contains(place.to_str().unwrap()) && said.contains("chown"), "{said}");
    // If others may look in, they may still not write, nor read what the owner wrote.
    allow(&place, 0o755);
    allow(&place.join("job"), 0o755);
    let said = said_by_nobody().unwrap();
    for place in ["create job/new", "create new/new", "delete job/object", "read job/object"] {
        let line = format!("PermissionDenied: cannot {place}: permission denied, this user lacks a permission");
        assert!(said.contains(&line), "{line}\n{said}");
    }
}
