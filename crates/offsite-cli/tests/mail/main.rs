//! Mail of runs and of days, as a server gets it: one in this process, and one that is not ours.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod digest;
mod real;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use offsite_cli::workload::Disk;
use offsite_tests::smtp::{Conduct, SmtpServer, Tls};
use support::golden::Transcript;
use support::{COPY_JOB, Offsite, Ran, day};

const JOB: &str = "Offsite Copy";

/// A config whose job has these keys, too, and which has these tables.
fn config(keys: &str, tables: &str) -> String {
    COPY_JOB.replace("target = \"second\"\n", &format!("target = \"second\"\n{keys}\n")) + tables
}

/// A config whose job sends mail by this server, with these keys.
fn mailing(server: &str, keys: &str) -> String {
    let to = "to = [\"ops@example.org\", \"Boss <boss@example.org>\"], from = \"offsite@example.org\"";
    config(&format!("after = {{ mail = {{ {to}, server = \"{server}\"{keys} }} }}"), "")
}

/// Repositories, a disk, and a restore point of day 0 that waits to be copied.
fn prepared() -> Offsite {
    let offsite = Offsite::with_copy_job();
    Disk::new("web01", 3, 2).write_full(&offsite.path("web01.img"), 0).unwrap();
    offsite.backup(&day(0), &["web01=web01.img"]);
    offsite
}

/// Writes user and password, for nobody else to read.
fn write_login(offsite: &Offsite, text: &str) {
    fs::write(offsite.path("smtp"), text).unwrap();
    fs::set_permissions(offsite.path("smtp"), fs::Permissions::from_mode(0o600)).unwrap();
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

/// `offsite mail test`, where the test server's certificate counts.
fn mail_test(offsite: &Offsite, arguments: &[&str]) -> Ran {
    let mut command = offsite.command(["mail", "test"].iter().chain(arguments));
    command.env("SSL_CERT_FILE", SmtpServer::authority());
    let output = command.output().unwrap();
    Ran::new(&command, &output)
}

fn run(offsite: &Offsite, number: i64) -> Ran {
    offsite.run(["run", "--now", &day(number)])
}

#[test]
fn a_run_is_told_to_all_recipients() {
    let offsite = prepared();
    let server = SmtpServer::start(Conduct::default());
    offsite.config(&mailing(&server.url(), ""));
    run(&offsite, 0).expect(0);
    let [mail] = &server.received()[..] else { panic!("{:?}", server.received()) };
    assert_eq!(
        (mail.from.as_str(), &mail.to),
        ("offsite@example.org", &vec!["ops@example.org".to_owned(), "boss@example.org".to_owned()])
    );
    assert_eq!(mail.header("Subject").unwrap(), format!("[offsite] SUCCESS: {JOB} ({})", host()));
    let text = mail.part("text/plain");
    for part in ["SUCCESS: Offsite Copy\n====", "target         second", "restore point  #1", "web01    copied"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let html = mail.part("text/html");
    for part in ["<b>SUCCESS: Offsite Copy</b>", ">web01</td>", "bgcolor=", "carried from the source"] {
        assert!(html.contains(part), "no {part:?} in {html}");
    }
    assert!(
        !offsite.path(".offsite/mail").exists() || fs::read_dir(offsite.path(".offsite/mail")).unwrap().count() == 0
    );
}

#[test]
fn mail_comes_after_the_runs_that_it_is_wanted_of() {
    let offsite = prepared();
    let server = SmtpServer::start(Conduct::default());
    for when in ["warning", "failed"] {
        offsite.config(&mailing(&server.url(), &format!(", when = \"{when}\"")));
        run(&offsite, 0).expect(0);
        assert_eq!(server.received(), []);
    }
    // A script that fails makes it a warning.
    let failing = "after = { script = \"after.sh\",";
    offsite.script("after.sh", "exit 7");
    offsite.config(&mailing(&server.url(), ", when = \"failed\"").replace("after = {", failing));
    run(&offsite, 0).expect(3);
    assert_eq!(server.received(), []);
    offsite.config(&mailing(&server.url(), ", when = \"warning\"").replace("after = {", failing));
    run(&offsite, 0).expect(3);
    let received = server.received();
    assert_eq!(received[0].header("Subject").unwrap(), format!("[offsite] WARNING: {JOB} ({})", host()));
    assert!(received[0].part("text/plain").contains("after.sh failed: exit status: 7"));
    fs::rename(offsite.path("primary"), offsite.path("away")).unwrap();
    offsite.config(&mailing(&server.url(), ", when = \"failed\""));
    run(&offsite, 1).expect(1);
    let received = server.received();
    assert_eq!(received[1].header("Subject").unwrap(), format!("[offsite] FAILED: {JOB} ({})", host()));
    assert!(received[1].part("text/plain").contains("primary"), "{}", received[1].part("text/plain"));
}

/// Without its server, a mail is a warning: the copy is made, the mail is kept, told of, and comes with the next one.
#[test]
fn a_mail_that_cannot_be_sent_is_a_warning_and_comes_with_the_next() {
    let offsite = prepared();
    let nobody = SmtpServer::start(Conduct::default()).url();
    offsite.config(&mailing(&nobody, ""));
    let ran = run(&offsite, 0).expect(3);
    for part in ["mail was not sent: to ops@example.org, Boss <boss@example.org> by ", "1 mail is kept in "] {
        assert!(ran.out.contains(part), "no {part:?} in {ran}");
    }
    assert_eq!(offsite.json(["points", "second", JOB])["points"].as_array().unwrap().len(), 1);
    let ran = offsite.run(["run", "--now", &day(1), "--json"]).expect(3);
    assert!(ran.out.contains("2 mails were not sent"), "{ran}");
    let ran = offsite.run(["status"]).expect(3);
    assert!(ran.out.contains("2 mails were not sent, the oldest of "), "{ran}");
    assert!(offsite.run(["status", "--check"]).expect(1).out.contains("2 mails were not sent"));
    let status = offsite.run(["status", "--json"]).expect(3).json();
    let unsent = &status["unsent_mails"][0];
    assert_eq!((&unsent["job"], &unsent["written"]), (&JOB.into(), &day(0).into()));
    assert!(unsent["subject"].as_str().unwrap().contains("SUCCESS") && unsent["why"].is_string(), "{unsent}");

    let server = SmtpServer::start(Conduct::default());
    offsite.config(&mailing(&server.url(), ""));
    run(&offsite, 2).expect(0);
    let dates: Vec<_> = server.received().iter().map(|mail| mail.header("Date").unwrap()).collect();
    let sent =
        |number: u32| format!("{}, 0{} Nov 2026 22:00:00 +0000", ["Sun", "Mon", "Tue"][number as usize], number + 1);
    assert_eq!(dates, [sent(2), sent(0), sent(1)], "the new one first, and then the oldest");
    offsite.ok(["status"]);
}

/// Mail of jobs without keys of their own goes where `[mail]` says. Credentials go to a server that proves who it is.
#[test]
fn a_trial_logs_in_over_tls() {
    let offsite = prepared();
    write_login(&offsite, "ops:hunter2\n");
    let login = Some(("ops", "hunter2"));
    for tls in [Tls::FromTheStart, Tls::Offered] {
        let server = SmtpServer::start(Conduct { tls, login, ..Conduct::default() });
        let mail = format!("[mail]\nto = \"ops@example.org\"\nserver = \"{}\"\ncredentials = \"smtp\"\n", server.url());
        offsite.config(&config("after = { mail = {} }", &(mail + "[daemon.digest]\nat = \"07:00\"\n")));
        let ran = mail_test(&offsite, &[]).expect(0);
        let told =
            format!("job {JOB}: {url} has taken a mail to ops@example.org\nthe digest: {url} has", url = server.url());
        assert!(ran.out.starts_with(&told), "{ran}");
        let received = server.received();
        assert_eq!(received.len(), 2);
        assert!(received.iter().all(|mail| mail.is_encrypted && mail.user.as_deref() == Some("ops")), "{received:?}");
        assert_eq!(received[0].from, format!("offsite@{}", host()));
        // Nobody vouches for it: not even the name of the user goes out.
        let ran = offsite.run(["mail", "test"]).expect(1).says(&["certificate"]);
        assert!(!ran.err.contains("hunter2") && server.received().len() == 2, "{ran}");
        write_login(&offsite, "ops:hunter3\n");
        let ran =
            mail_test(&offsite, &["--json", JOB]).expect(1).says(&["refused user and password of credentials (535)"]);
        let told = ran.json();
        assert_eq!((&told["about"], &told["is_sent"]), (&format!("job {JOB}").into(), &false.into()), "{ran}");
        assert!(!ran.err.contains("hunter3"), "{ran}");
        write_login(&offsite, "ops:hunter2\n");
    }
    assert!(!offsite.path(".offsite/mail").exists(), "a trial is not kept");
    offsite.config(COPY_JOB);
    mail_test(&offsite, &[]).expect(2).says(&["sends no mail", "[mail]"]);
    mail_test(&offsite, &[JOB]).expect(2).says(&["job Offsite Copy sends no mail"]);
    mail_test(&offsite, &["other"]).expect(2);
}

#[test]
fn keys_that_cannot_be_meant() {
    let offsite = prepared();
    let mut transcript = Transcript::default();
    let mut refuse = |what: &str, keys: &str, tables: &str| {
        transcript.heading(what);
        offsite.config(&config(keys, tables));
        transcript.run(&offsite, 2, ["run"]);
    };
    let after = |mail: &str| format!("after = {{ mail = {{ {mail} }} }}");
    let right = "to = \"ops@example.org\", server = \"smtp://mail.example.org\"";
    refuse("nothing after a run", "after = {}", "");
    refuse("a time limit of no script", "after = { time_limit = \"1 minute\" }", "");
    refuse("an unknown key", &after(&format!("{right}, subject = \"x\"")), "");
    refuse("nobody to write to", &after("server = \"smtp://mail.example.org\""), "");
    refuse("an empty list of recipients", &after("to = [], server = \"smtp://mail.example.org\""), "");
    refuse("no address", &after("to = [\"ops\"], server = \"smtp://mail.example.org\""), "");
    refuse("no address of the sender", &after(&format!("{right}, from = \"offsite\"")), "");
    refuse("no server", &after("to = \"ops@example.org\""), "");
    refuse("no scheme", &after("to = \"ops@example.org\", server = \"mail.example.org:25\""), "");
    refuse("a password in the config", &after("to = \"ops@example.org\", server = \"smtp://ops:hunter2@host\""), "");
    refuse("an unknown occasion", &after(&format!("{right}, when = \"sometimes\"")), "");
    refuse("credentials that name nothing", &after(&format!("{right}, credentials = {{}}")), "");
    refuse(
        "credentials by two names",
        &after(&format!("{right}, credentials = {{ file = \"a\", credential = \"b\" }}")),
        "",
    );
    refuse("credentials for no server", "", "[mail]\ncredentials = \"smtp\"\n");
    refuse("a digest to nobody", "", "[daemon.digest]\nat = \"07:00\"\n");
    let digest = |keys: &str| format!("[mail]\n{}\n[daemon.digest]\n{keys}\n", right.replace(", ", "\n"));
    refuse("a digest at no time", "", &digest("at = \"7 o'clock\""));
    refuse("a digest without a time", "", &digest("time_zone = \"UTC\""));
    refuse("a digest in no zone", "", &digest("at = \"07:00\"\ntime_zone = \"Europe/Berlim\""));
    transcript.compare(&offsite, "bad-mail.txt");
    assert!(!transcript.text().contains("hunter2"));
}
