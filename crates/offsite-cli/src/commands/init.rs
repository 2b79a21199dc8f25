//! `offsite init`

use serde_json::json;

use crate::args::Init;
use crate::config::Config;
use crate::status::{Failure, Status};
use crate::{json, place};

pub(crate) async fn run(arguments: &Init, config: &std::path::Path) -> Result<Status, Failure> {
    let config = Config::load(config)?;
    let repository = place::initialise(&arguments.repo, &config, place::now()).await?;
    let id: String = repository.id().iter().map(|byte| format!("{byte:02x}")).collect();
    if arguments.json {
        json::print(&json!({ "location": repository.location(), "id": id }))?;
    } else {
        println!("made the repository {} (id {id})", repository.location());
    }
    Ok(Status::Done)
}
