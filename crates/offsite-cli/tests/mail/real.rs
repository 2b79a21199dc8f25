//! A server of mail that is not ours: aiosmtpd, in a virtual environment of Python.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use offsite_tests::TempDir;
use serde_json::Value;

use crate::support::day;
use crate::{JOB, mail_test, mailing, prepared, write_login};

/// The server, as long as the test holds its standard input open.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Its ports: without TLS, with STARTTLS, with TLS from the first byte.
    ports: Value,
    folder: TempDir,
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// Why there is none on this host.
    fn start() -> Result<Self, String> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
        let install = Command::new(tests.join("servers/run")).args(["--install", "aiosmtpd"]).output();
        let install = install.map_err(|error| format!("tests/servers/run does not start: {error}"))?;
        let told = String::from_utf8_lossy(&install.stdout).into_owned();
        if !install.status.success() {
            return Err(format!("aiosmtpd cannot be installed: {}", String::from_utf8_lossy(&install.stderr).trim()));
        }
        let python = PathBuf::from(told.lines().last().unwrap()).join("bin/python");
        let folder = offsite_tests::folder();
        let certificates = tests.join("src/smtp");
        let mut child = Command::new(python)
            .arg(tests.join("servers/smtp.py"))
            .args([folder.path(), &certificates.join("server.pem"), &certificates.join("server.key")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python does not start: {error}"))?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Ok(Self { child, stdin, ports, folder })
    }

    fn url(&self, kind: &str) -> String {
        let scheme = if kind == "tls" { "smtps" } else { "smtp" };
        format!("{scheme}://127.0.0.1:{}", self.ports[kind])
    }

    /// The mail of this number, counted from 1, as Python's parser understands it.
    fn mail(&self, number: usize) -> Value {
        let path = self.folder.path().join(format!("{number}.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends by itself now.
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_server_takes_mail_and_understands_it() {
    let server = match Server::start() {
        Ok(server) => server,
        Err(why) => return println!("skipped: {why}"),
    };
    let offsite = prepared();
    offsite.config(&mailing(&server.url("plain"), ""));
    offsite.ok(["run", "--now", &day(0)]);
    let mail = server.mail(1);
    assert_eq!(mail["defects"], Value::Array(Vec::new()), "{mail}");
    assert_eq!((&mail["mail_from"], &mail["rcpt_tos"][1]), (&"offsite@example.org".into(), &"boss@example.org".into()));
    assert_eq!(mail["headers"]["To"], "ops@example.org, Boss <boss@example.org>");
    assert!(mail["headers"]["Subject"].as_str().unwrap().starts_with("[offsite] SUCCESS: Offsite Copy ("), "{mail}");
    assert!(mail["plain"].as_str().unwrap().contains("web01    copied"), "{mail}");
    assert!(mail["html"].as_str().unwrap().contains(">web01</td>"), "{mail}");
    assert_eq!((&mail["kind"], &mail["user"]), (&"plain".into(), &Value::Null));

    write_login(&offsite, "user = ops\npassword = hunter2\n");
    for (number, kind) in [(2, "starttls"), (3, "tls")] {
        offsite.config(&mailing(&server.url(kind), ", credentials = \"smtp\""));
        mail_test(&offsite, &[JOB]).expect(0);
        let mail = server.mail(number);
        assert_eq!((&mail["kind"], &mail["user"]), (&kind.into(), &"ops".into()), "{mail}");
    }
    write_login(&offsite, "ops:hunter3");
    mail_test(&offsite, &[JOB]).expect(1).says(&["refused user and password"]);
    // It takes nothing of those who have not logged in.
    offsite.config(&mailing(&server.url("starttls"), ""));
    mail_test(&offsite, &[JOB]).expect(1).says(&["530"]);
}
