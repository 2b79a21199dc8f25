//! `offsite demo`

use crate::args::Demo;
use crate::status::{Failure, Status};

pub(crate) async fn run(_arguments: &Demo) -> Result<Status, Failure> {
    Ok(Status::Done)
}
