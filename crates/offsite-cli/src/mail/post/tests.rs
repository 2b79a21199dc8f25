//! Sending to a server that is as unfriendly as it is told to be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use offsite_tests::TempDir;
use offsite_tests::smtp::{Conduct, Moment, SmtpServer, Tls};

use super::super::account::{Server, mailbox};
use super::super::credentials::CredentialSource;
use super::super::outbox::Unsent;
use super::*;

const HANDED_OVER: [Moment; 7] = [
    Moment::Greeting,
    Moment::Hello,
    Moment::Sender,
    Moment::Recipient,
    Moment::Data,
    Moment::Message,
    Moment::StartTls,
];

struct World {
    server: SmtpServer,
    folder: TempDir,
    limits: Limits,
}

impl World {
    fn new(conduct: Conduct) -> Self {
        Self { server: SmtpServer::start(conduct), folder: offsite_tests::folder(), limits: Limits::default() }
    }

    fn outbox(&self) -> Outbox {
        Outbox::new(self.folder.path().join("mail"))
    }

    fn account(&self) -> Account {
        Account {
            server: Server::parse(&self.server.url()).unwrap(),
            credentials: None,
            from: mailbox("offsite@vm").unwrap(),
            to: vec![mailbox("ops@example.org").unwrap(), mailbox("Boss <boss@example.org>").unwrap()],
        }
    }

    async fn send(&self, subject: &str) -> Vec<String> {
        self.send_by(subject, self.account()).await
    }

    async fn send_by(&self, subject: &str, account: Account) -> Vec<String> {
        let account = Box::new(move |origin: &Origin| (*origin != job("gone")).then(|| account.clone()));
        let post = Post { outbox: self.outbox(), account, host: "vm".to_owned(), limits: self.limits };
        post.send(&mail(subject, job("job"))).await
    }

    /// The subjects of the mails that the server has taken.
    fn taken(&self) -> Vec<String> {
        self.server.received().iter().map(|mail| mail.header("Subject").unwrap()).collect()
    }

    fn unsent(&self) -> Vec<Unsent> {
        let (unsent, faults) = self.outbox().unsent();
        assert_eq!(faults, [""; 0]);
        unsent
    }

    /// How often a command was heard.
    fn heard(&self, verb: &str) -> usize {
        self.server.heard().iter().filter(|line| line.starts_with(verb)).count()
    }
}

fn job(name: &str) -> Origin {
    Origin::Job(name.to_owned())
}

fn mail(subject: &str, origin: Origin) -> Mail {
    let letter = Letter { subject: subject.to_owned(), ..trial("job Büro", "vm") };
    Mail::new(&letter, origin, "2026-11-22T22:00:00Z".to_owned(), "vm")
}

fn credentials(folder: &Path, text: &str) -> Option<CredentialSource> {
    let path = folder.join("smtp");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Some(CredentialSource::File(path))
}

#[tokio::test]
async fn a_mail_arrives_whole() {
    let world = World::new(Conduct::default());
    assert_eq!(world.send("one").await, [""; 0]);
    let [mail] = &world.server.received()[..] else { panic!("{:?}", world.server.received()) };
    assert_eq!(mail.from, "offsite@vm");
    assert_eq!(mail.to, ["ops@example.org", "boss@example.org"]);
    assert_eq!((mail.is_encrypted, &mail.user), (false, &None));
    let header = |name| mail.header(name).unwrap_or_default();
    assert_eq!(header("Subject"), "one");
    assert_eq!(header("To"), "ops@example.org, Boss <boss@example.org>");
    assert_eq!(header("Date"), "Sun, 22 Nov 2026 22:00:00 +0000");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert!(header("Message-ID").ends_with("@vm>"), "{}", header("Message-ID"));
    assert!(mail.part("text/plain").contains("TEST: job Büro\n=============="), "{}", mail.part("text/plain"));
    assert!(mail.part("text/html").contains("<b>TEST: job Büro</b>"), "{}", mail.part("text/html"));
    assert_eq!(world.unsent(), []);
}

/// Wherever a server refuses, the mail is kept with what the server said, and comes with the next one.
#[tokio::test]
async fn a_mail_that_is_refused_is_kept_and_comes_with_the_next() {
    for moment in HANDED_OVER {
        let tls = if moment == Moment::StartTls { Tls::Offered } else { Tls::None };
        let world = World::new(Conduct { tls, ..Conduct::answering(moment, "454 come back on Monday") });
        let warnings = world.send("one").await;
        assert!(warnings[0].starts_with("mail was not sent: to ops@example.org, "), "{moment:?}: {warnings:?}");
        assert!(warnings[0].contains("come back on Monday"), "{moment:?}: {warnings:?}");
        assert!(warnings[1].starts_with("1 mail is kept in "), "{moment:?}: {warnings:?}");
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let unsent = world.unsent();
        assert_eq!((unsent[0].subject.as_str(), unsent[0].job.as_deref()), ("one", Some("job")));
        assert!(unsent[0].why.as_ref().unwrap().contains("come back on Monday"), "{unsent:?}");
        world.server.behave(Conduct::default());
        assert_eq!(world.send("two").await, [""; 0], "{moment:?}");
        assert_eq!(world.taken(), ["two", "one"], "{moment:?}");
        assert_eq!(world.unsent(), []);
    }
}

/// Wherever a server falls silent, sending ends, and the mail is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_holds_nothing_up() {
    let tries = HANDED_OVER.map(|moment| {
        tokio::spawn(async move {
            let tls = if moment == Moment::StartTls { Tls::Offered } else { Tls::None };
            let mut world = World::new(Conduct { tls, ..Conduct::silent_at(moment) });
            world.limits.step = Duration::from_secs(2);
            let warnings = world.send("one").await;
            assert!(warnings[0].contains("had no answer within 2 s"), "{moment:?}: {warnings:?}");
            assert_eq!((world.unsent().len(), world.taken().len()), (1, 0), "{moment:?}");
        })
    });
    for tried in tries {
        tried.await.unwrap();
    }
    // What it was to say to the farewell does not matter.
    let world = World::new(Conduct { answers: [(Moment::Quit, "421 no")].into(), ..Conduct::default() });
    assert_eq!(world.send("one").await, [""; 0]);
    assert_eq!((world.unsent(), world.taken()), (Vec::new(), vec!["one".to_owned()]));
}

#[tokio::test]
async fn all_of_it_has_a_time_limit_too() {
    let mut world = World::new(Conduct::silent_at(Moment::Data));
    world.limits.all = Duration::from_secs(1);
    let warnings = world.send("one").await;
    assert_eq!(warnings, ["mail: not all could be sent within 1 s"]);
    assert_eq!(world.unsent()[0].why, None);
}

/// The answer to a command that was given up is not taken for the answer to the next one: each mail has its own connection then.
#[tokio::test]
async fn after_silence_the_connection_is_given_up() {
    let mut world = World::new(Conduct::answering(Moment::Greeting, "421 not now"));
    world.send("one").await;
    world.limits.step = Duration::from_secs(1);
    world.server.behave(Conduct::silent_at(Moment::Message));
    let warnings = world.send("two").await;
    assert!(warnings[0].starts_with("2 mails were not sent: "), "{warnings:?}");
    assert_eq!((world.heard("EHLO"), world.heard("MAIL"), world.unsent().len()), (2, 2, 2));
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_asked_once_and_one_that_does_on_one_connection() {
    let world = World::new(Conduct::answering(Moment::Hello, "550 go away"));
    for subject in ["one", "two", "three"] {
        world.send(subject).await;
    }
    assert_eq!(world.heard("EHLO"), 3, "once a round");
    world.server.behave(Conduct::default());
    assert_eq!(world.send("four").await, [""; 0]);
    assert_eq!(world.taken(), ["four", "one", "two", "three"]);
    assert_eq!((world.heard("EHLO"), world.heard("MAIL")), (4, 4));
}

#[tokio::test]
async fn a_recipient_whom_the_server_refuses_keeps_the_mail_from_no_other() {
    let world = World::new(Conduct { strangers: vec!["ops@example.org"], ..Conduct::default() });
    let warnings = world.send("one").await;
    assert!(warnings[0].contains("has refused ops@example.org: ") && warnings[0].contains("no such user"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(world.server.received()[0].to, ["boss@example.org"]);
    assert_eq!(world.unsent(), []);
    let host = "vm";
    let tried = try_account(&world.account(), &mail("two", Origin::Digest), host, Limits::default()).await;
    assert!(tried.unwrap_err().contains("ops@example.org"));
    world.server.behave(Conduct { strangers: vec!["ops@example.org", "boss@example.org"], ..Conduct::default() });
    assert_eq!(world.send("three").await.len(), 2);
    assert_eq!(world.unsent().len(), 1);
}

#[tokio::test]
async fn a_server_that_offers_tls_gets_it_whoever_vouches_for_it() {
    let world = World::new(Conduct { tls: Tls::Offered, ..Conduct::default() });
    assert_eq!(world.send("one").await, [""; 0]);
    assert!(world.server.received()[0].is_encrypted);
}

/// No password goes out in the clear, nor to somebody who may be anybody.
#[tokio::test]
async fn credentials_go_to_a_proven_server_over_tls_only() {
    let login = Some(("ops", "hunter2"));
    for tls in [Tls::None, Tls::Offered, Tls::FromTheStart] {
        let world = World::new(Conduct { tls, login, ..Conduct::default() });
        let credentials = credentials(world.folder.path(), "ops:hunter2");
        let warnings = world.send_by("one", Account { credentials, ..world.account() }).await;
        let why = if tls == Tls::None { "leave credentials out" } else { "certificate" };
        assert!(warnings[0].contains(why), "{tls:?}: {warnings:?}");
        assert_eq!((world.heard("AUTH"), world.taken().len(), world.unsent().len()), (0, 0, 1), "{tls:?}");
    }
    let world = World::new(Conduct::default());
    let open = credentials(world.folder.path(), "ops:hunter2");
    fs::set_permissions(world.folder.path().join("smtp"), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = world.send_by("one", Account { credentials: open, ..world.account() }).await;
    assert!(warnings[0].contains("chmod o="), "{warnings:?}");
    assert_eq!(world.heard(""), 0, "the server is not even asked");
}

#[tokio::test]
async fn a_mail_of_a_job_that_sends_none_any_more_is_dropped() {
    let world = World::new(Conduct::default());
    world.outbox().put(&mail("old", job("gone"))).unwrap();
    let warnings = world.send("one").await;
    assert_eq!(warnings, ["mail: a kept mail of job gone was dropped, as the config no longer says where it goes"]);
    assert_eq!((world.taken(), world.unsent()), (vec!["one".to_owned()], Vec::new()));
}

#[tokio::test]
async fn a_mail_that_cannot_be_kept_is_sent_at_once() {
    let world = World::new(Conduct::default());
    fs::write(world.folder.path().join("mail"), "a file is no folder").unwrap();
    let warnings = world.send("one").await;
    assert!(warnings[0].contains("cannot be kept in ") && warnings[0].contains("state_dir"), "{warnings:?}");
    assert_eq!((warnings.len(), world.taken()), (1, vec!["one".to_owned()]));
}
