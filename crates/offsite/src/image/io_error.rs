//! Errors of images and sinks, which speak in those of `std::io`, as errors of the engine and back.

use std::io;
use std::path::Path;

use crate::Error;

/// So that an error of the engine can pass through interfaces of `std::io`; whoever gets it finds it with
/// [`downcast`](io::Error::downcast).
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

/// The engine's error for what an image or a sink at `location` could not do. One that speaks of images already is passed on.
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
