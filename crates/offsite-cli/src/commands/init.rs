//! `offsite init`

use offsite::OpenRepository;
use serde_json::json;

use crate::args::Init;
use crate::config::Config;
use crate::media::Preparation;
use crate::status::{Failure, Status};
use crate::{json, place, print};

pub(crate) async fn run(arguments: &Init, config: &std::path::Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let Some(set) = place::media(&arguments.repo, &config)? else {
        let keys = [("--label", arguments.label.is_some()), ("--allow-unmounted", arguments.allow_unmounted)];
        if let Some((key, _)) = keys.into_iter().find(|(_, is_set)| *is_set) {
            return Err(Failure::WrongUse(format!("{key} is for drives, and {} is none", arguments.repo)));
        }
        let repository = place::initialise(&arguments.repo, &config, place::now()).await?;
        if arguments.json {
            json::print(&json!({ "location": repository.location(), "id": id(&repository) }))?;
        } else {
            print::line(format_args!("made the repository {} (id {})", repository.location(), id(&repository)));
        }
        return Ok(Status::Done);
    };
    let how = Preparation { label: arguments.label.as_deref(), allow_unmounted: arguments.allow_unmounted };
    let prepared = set.initialise(how, place::now()).await?;
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
    Ok(Status::Done)
}

fn id(repository: &OpenRepository) -> String {
    repository.id().to_string()
}
