//! `offsite init`

use offsite::OpenRepository;
use serde_json::json;

use crate::args::Init;
use crate::config::Config;
use crate::status::{Failure, Status};
use crate::{json, place, print};

pub(crate) async fn run(arguments: &Init, config: &std::path::Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let Some(set) = place::media(&arguments.repo, &config)? else {
        if arguments.label.is_some() {
            return Err(Failure::WrongUse(format!("--label is for drives, and {} is none", arguments.repo)));
        }
        let repository = place::initialise(&arguments.repo, &config, place::now()).await?;
        if arguments.json {
            json::print(&json!({ "location": repository.location(), "id": id(&repository) }))?;
        } else {
            print::line(format_args!("made the repository {} (id {})", repository.location(), id(&repository)));
        }
        return Ok(Status::Done);
    };
    let prepared = set.initialise(arguments.label.as_deref(), place::now()).await?;
    let repository = &prepared.repository;
    if arguments.json {
        json::print(&json!({
            "location": repository.location(),
            "id": id(repository),
            "medium": { "id": prepared.ejected.medium.id.to_string(), "label": prepared.ejected.medium.label },
            "is_adopted": prepared.is_adopted,
        }))?;
    } else {
        let verb = if prepared.is_adopted { "took in" } else { "made" };
        print::line(format_args!("{verb} the repository {} (id {})", repository.location(), id(repository)));
        print::line(&prepared.ejected);
    }
    match prepared.warning {
        None => Ok(Status::Done),
        Some(warning) => {
            print::warning(warning);
            Ok(Status::Warnings)
        }
    }
}

fn id(repository: &OpenRepository) -> String {
    repository.id().iter().map(|byte| format!("{byte:02x}")).collect()
}
