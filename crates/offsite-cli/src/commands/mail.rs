//! `offsite mail`

use std::path::Path;

use serde_json::json;

use crate::args::{Mail as Arguments, MailCommand};
use crate::config::Config;
use crate::mail::{Account, Limits, Mail, Origin, host_name, trial, try_account};
use crate::status::{Failure, Status};
use crate::{clock, json, print};

pub(crate) async fn run(arguments: &Arguments, path: &Path) -> Result<Status, Failure> {
    let MailCommand::Test { jobs, json } = &arguments.command;
    test(jobs, *json, path).await
}

/// Sends a test mail by each account: that of each job in `named`, or those of all jobs and of the digest if `named` is empty.
async fn test(named: &[String], is_json: bool, path: &Path) -> Result<Status, Failure> {
    let config = Config::load(path)?;
    let accounts = accounts(&config, named, path)?;
    let (host, now) = (host_name(), clock::clock()?.now());
    let mut status = Status::Done;
    for (about, account) in accounts {
        let mail = Mail::new(&trial(&about, &host), Origin::Digest, now.to_string(), &host);
        let sent = try_account(&account, &mail, &host, Limits::default()).await;
        let (recipients, server) = (account.recipients(), &account.server);
        if is_json {
            json::print(&json!({
                "about": about,
                "to": account.to.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "server": server.to_string(),
                "is_sent": sent.is_ok(),
                "why": sent.as_ref().err(),
            }))?;
        } else if sent.is_ok() {
            print::line(format_args!("{about}: {server} has taken a mail to {recipients}"));
        }
        if let Err(why) = sent {
            print::problem(format_args!("{about}: mail to {recipients} by {server} was not sent: {why}"));
            status = Status::Failed;
        }
    }
    Ok(status)
}

/// Returns what each mail is about, and its account.
fn accounts(config: &Config, named: &[String], path: &Path) -> Result<Vec<(String, Account)>, Failure> {
    let names = match named {
        [] => config.jobs.keys().cloned().collect(),
        named => config.job_names(named, path)?.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    let mut accounts = Vec::new();
    for name in names {
        match config.job_mail(&name) {
            Some(mail) => accounts.push((format!("job {name}"), mail.account)),
            None if named.is_empty() => {}
            None => {
                return Err(Failure::WrongUse(format!(
                    "job {name} sends no mail: add after.mail with to and server to it"
                )));
            }
        }
    }
    if named.is_empty() {
        // A config with a fault is not in force.
        let digest = config.digest().ok().flatten();
        accounts.extend(digest.map(|digest| ("the digest".to_owned(), digest.account)));
        if accounts.is_empty() {
            accounts.extend(config.common_mail().map(|account| ("[mail]".to_owned(), account)));
        }
    }
    match accounts.is_empty() {
        false => Ok(accounts),
        true => Err(Failure::WrongUse(format!(
            "config {} sends no mail: add [mail] with to and server, and after.mail to a job or [daemon.digest]",
            path.display()
        ))),
    }
}
