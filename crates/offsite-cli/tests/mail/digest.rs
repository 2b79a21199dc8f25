//! The daily mail about all jobs, of a daemon whose clock the test moves.

use offsite_tests::smtp::{Conduct, Received, SmtpServer};

use crate::support::Offsite;
use crate::support::daemons::Daemon;
use crate::{JOB, config, host, prepared};

/// Waits for the digest of this number, counted from 1.
#[track_caller]
fn digest(daemon: &mut Daemon<'_>, server: &SmtpServer, number: usize) -> Received {
    daemon.wait_for(&format!("digest {number}"), |_| server.received().get(number - 1).cloned())
}

fn subject(result: &str) -> String {
    format!("[offsite] {result} ({})", host())
}

fn write_config(offsite: &Offsite, server: &str) {
    let job = "every = \"1 day\"\nat = \"22:00\"\nmax_age = \"26 hours\"";
    let mail = format!("[mail]\nto = \"ops@example.org\"\nserver = \"{server}\"\n");
    let digest = "[daemon.digest]\nat = \"07:00\"\ntime_zone = \"Europe/Berlin\"\n";
    offsite.config(&config(job, &(mail + digest)));
}

/// It comes once a day at its hour, says first what is overdue, and neither a kill nor a dead server loses or doubles it.
#[test]
fn a_digest_comes_once_a_day() {
    let offsite = prepared();
    let server = SmtpServer::start(Conduct::default());
    write_config(&offsite, &server.url());
    offsite.set_clock("2026-11-01T22:30:00Z");
    let mut daemon = offsite.daemon("log");
    daemon.wait_for_point(JOB, 1);
    daemon.wait_for("memory of the digest", |offsite| offsite.path(".offsite/digest.json").exists().then_some(()));
    // 07:00 in Berlin.
    offsite.set_clock("2026-11-02T06:00:00Z");
    let mail = digest(&mut daemon, &server, 1);
    assert_eq!(mail.header("Subject").unwrap(), subject("OK: all is well"));
    let text = mail.part("text/plain");
    for part in [
        "since    2026-11-01 23:30:00 CET",
        "Offsite Copy to second\n",
        "last result  success",
        "2026-11-01 23:00:00 CET  8 h",
        "In the next 7 days ",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    daemon.wait_for_line("the digest was sent to ops@example.org");
    daemon.kill();

    // The server is away at the hour of the second: the daemon that starts after a day of stop writes one, and keeps it.
    server.behave(Conduct::answering(offsite_tests::smtp::Moment::Greeting, "421 not now"));
    offsite.set_clock("2026-11-03T09:00:00Z");
    let mut daemon = offsite.daemon("log2");
    daemon.wait_for_line("not now");
    daemon.kill();
    assert_eq!(server.received().len(), 1);
    server.behave(Conduct::default());
    let mut daemon = offsite.daemon("log3");
    daemon.wait_for_line("started with");
    offsite.set_clock("2026-11-04T06:00:00Z");
    let third = digest(&mut daemon, &server, 2);
    assert!(third.header("Date").unwrap().starts_with("Wed, 04 Nov 2026"), "{third:?}");
    let text = third.part("text/plain");
    let overdue = format!("OVERDUE {JOB}: the newest copy of web01 is 56 h old");
    assert!(text.contains(&overdue), "{text}");
    assert_eq!(third.header("Subject").unwrap(), subject("OVERDUE: 1 of 1 job"));
    let second = digest(&mut daemon, &server, 3);
    assert!(second.header("Date").unwrap().starts_with("Tue, 03 Nov 2026 09:00"), "{second:?}");
    daemon.stop("TERM");
    assert_eq!(server.received().len(), 3);
}

/// A config that is loaded anew may take the digest away, or bring it.
#[test]
fn a_reload_moves_the_digest() {
    let offsite = prepared();
    let server = SmtpServer::start(Conduct::default());
    offsite.config(&config("every = \"1 day\"\nat = \"22:00\"", ""));
    offsite.set_clock("2026-11-01T22:30:00Z");
    let mut daemon = offsite.daemon("log");
    daemon.wait_for_point(JOB, 1);
    write_config(&offsite, &server.url());
    daemon.signal("HUP");
    daemon.wait_for("memory of the digest", |offsite| offsite.path(".offsite/digest.json").exists().then_some(()));
    offsite.set_clock("2026-11-02T06:00:00Z");
    let mail = digest(&mut daemon, &server, 1);
    assert!(mail.part("text/html").contains(">web01</td>"), "{mail:?}");
    daemon.stop("TERM");
}
