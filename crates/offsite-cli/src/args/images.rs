//! Disks and their formats on the command line.

use std::path::PathBuf;

use clap::ValueEnum;
use offsite::DiskName;
use offsite::model::MachineName;

use super::{Format, machine_name};

/// A disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) name: Option<DiskName>,
    pub(crate) image: PathBuf,
}

/// The format of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormatOf {
    /// `MACHINE` or `MACHINE:DISK`. `None` if all images have the format.
    pub(crate) whose: Option<String>,
    pub(crate) format: Format,
}

/// Parses `MACHINE=[NAME=]IMAGE[,[NAME=]IMAGE...]`. If a path has an equals sign before its first slash, it is written with `./`.
pub(super) fn machine_images(text: &str) -> Result<(MachineName, Vec<Disk>), String> {
    let (machine, images) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?}: write MACHINE=IMAGE, or MACHINE=IMAGE,IMAGE for two disks"))?;
    let disks = images.split(',').map(|disk| {
        let (name, image) = match disk.split_once('=') {
            Some((name, image)) if !name.contains('/') => {
                (Some(DiskName::new(name).map_err(|error| error.to_string())?), image)
            }
            _ => (None, disk),
        };
        match image {
            "" => Err(format!("{text:?} names an empty image path")),
            image => Ok(Disk { name, image: image.into() }),
        }
    });
    Ok((machine_name(machine)?, disks.collect::<Result<_, _>>()?))
}

/// Parses `FORMAT`, `MACHINE:FORMAT` or `MACHINE:DISK:FORMAT`. Names may contain colons, so the format follows the last colon.
pub(super) fn format_of(text: &str) -> Result<FormatOf, String> {
    let (whose, format) = match text.rsplit_once(':') {
        Some((whose, format)) => (Some(whose.to_owned()), format),
        None => (None, text),
    };
    let format = Format::from_str(format, true)
        .map_err(|_| format!("{format:?} is no format that is read: write raw or qcow2"))?;
    Ok(FormatOf { whose, format })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_may_have_names() {
        let disk = |name: Option<&str>, image: &str| Disk {
            name: name.map(|name| DiskName::new(name).unwrap()),
            image: image.into(),
        };
        let read = |text: &str| machine_images(text).unwrap().1;
        assert_eq!(read("web01=a.img,/b.img"), [disk(None, "a.img"), disk(None, "/b.img")]);
        assert_eq!(read("web01=vda=a.img,vdb=/b=c"), [disk(Some("vda"), "a.img"), disk(Some("vdb"), "/b=c")]);
        assert_eq!(read("web01=./a=b"), [disk(None, "./a=b")]);
        for text in ["web01", "web01=", "web01=a,", "web01=vda=", "web01==a", "=a"] {
            assert!(machine_images(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_format_may_be_of_one_machine_or_disk() {
        let read = |text: &str| format_of(text).map(|of| (of.whose, of.format));
        assert_eq!(read("raw"), Ok((None, Format::Raw)));
        assert_eq!(read("web01:qcow2"), Ok((Some("web01".to_owned()), Format::Qcow2)));
        assert_eq!(read("a:b:vda:raw"), Ok((Some("a:b:vda".to_owned()), Format::Raw)));
        assert!(read("vmdk").is_err() && read("web01:").is_err());
    }
}
