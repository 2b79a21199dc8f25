//! Turns errors of images and sinks, which are those of `std::io`, into errors of the engine, and back.

use std::io;
use std::path::Path;

use crate::Error;

/// Lets an error of the engine pass through interfaces of `std::io`. [`downcast`](io::Error::downcast) gets it back.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Damaged { .. } => io::ErrorKind::InvalidData,
            Error::Image { source: Some(source), .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Returns the engine's error for a failed call of an image or a sink at `location`. An error that already names an image stays as
/// it is.
pub(crate) fn failed(location: &str, detail: &str, error: io::Error) -> Error {
    let path = Path::new(location);
    match error.downcast::<Error>() {
        Ok(own @ (Error::Image { .. } | Error::Defect { .. })) => own,
        Ok(other) => Error::image(path, detail, Some(io::Error::other(other))),
        Err(error) => Error::image(path, detail, Some(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobName;

    #[test]
    fn an_error_of_an_image_stays_what_it_is_and_another_becomes_one() {
        let through = |error: Error| failed("/vm/web01", "it cannot be read", error.into());
        let own = through(Error::image(Path::new("/vm/base"), "it became shorter", None));
        assert_eq!(own.to_string(), "disk image /vm/base: it became shorter");
        let expired = through(Error::expired(&JobName::new("nightly").unwrap()));
        assert!(matches!(&expired, Error::Image { source: Some(_), .. }), "{expired}");
        let plain = failed("here", "it cannot be read", io::ErrorKind::TimedOut.into());
        assert!(
            matches!(&plain, Error::Image { source: Some(source), .. } if source.kind() == io::ErrorKind::TimedOut)
        );
    }
}
