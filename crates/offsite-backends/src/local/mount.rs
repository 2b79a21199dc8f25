//! Where a folder is: on this host, or on a server that it is mounted from.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use offsite_repository::Endpoint;
use tokio::net::lookup_host;
use tokio::time::timeout;

const MOUNTS: &str = "/proc/self/mountinfo";
/// How long a name server may take. After that, the place counts as one that does not tell.
const LOOKUP: Duration = Duration::from_secs(5);

/// Kinds of file systems that lie on other hosts. Of the last list, only that is known.
const NFS: [&str; 2] = ["nfs", "nfs4"];
const SMB: [&str; 4] = ["cifs", "smb2", "smb3", "smbfs"];
const SSH: [&str; 1] = ["fuse.sshfs"];
const OTHERS: [&str; 10] =
    ["9p", "afs", "beegfs", "ceph", "davfs", "fuse.davfs2", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "lustre"];

/// What the kernel tells of the mount that a folder lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mount {
    ThisHost,
    /// A server with this name or address.
    Server(String),
    /// Another host, of which no name is told.
    Elsewhere,
}

/// The mount that the folder at `path` lies in. What cannot be read counts as this host.
pub(super) fn mount_of(path: &Path) -> Mount {
    let (Ok(path), Ok(mounts)) = (path.canonicalize(), std::fs::read(MOUNTS)) else { return Mount::ThisHost };
    innermost(&mounts, &path)
}

/// The innermost mount of a list as in proc_pid_mountinfo(5) that `path` lies in. The list comes from whoever may mount: lines that
/// make no sense are passed over.
fn innermost(mounts: &[u8], path: &Path) -> Mount {
    let mut found: Option<(usize, Mount)> = None;
    for line in mounts.split(|byte| *byte == b'\n') {
        let Some((place, mount)) = read_line(line) else { continue };
        let depth = place.components().count();
        // Of two mounts at one place, the later one lies above the other.
        if path.starts_with(&place) && found.as_ref().is_none_or(|(deepest, _)| depth >= *deepest) {
            found = Some((depth, mount));
        }
    }
    found.map_or(Mount::ThisHost, |(_, mount)| mount)
}

/// `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [TAG...] - TYPE SOURCE SUPER_OPTIONS`
fn read_line(line: &[u8]) -> Option<(PathBuf, Mount)> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let place = PathBuf::from(unescaped(fields.get(4)?));
    let dash = 6 + fields.get(6..)?.iter().position(|field| *field == b"-")?;
    let kind = std::str::from_utf8(fields.get(dash + 1)?).ok()?;
    let source = unescaped(fields.get(dash + 2)?);
    let source = source.to_string_lossy();
    let options = String::from_utf8_lossy(fields.get(dash + 3).copied().unwrap_or_default());
    // The address that the kernel talks to; the source may have a name.
    let address = options.split(',').find_map(|option| option.strip_prefix("addr=")).map(str::to_owned);
    let server = if NFS.contains(&kind) || SSH.contains(&kind) {
        address.or_else(|| before_colon(&source))
    } else if SMB.contains(&kind) {
        address.or_else(|| share_host(&source))
    } else if OTHERS.contains(&kind) {
        None
    } else {
        return Some((place, Mount::ThisHost));
    };
    Some((place, server.map_or(Mount::Elsewhere, Mount::Server)))
}

/// The host of `[USER@]HOST:PATH`. An IPv6 address stands in brackets.
fn before_colon(source: &str) -> Option<String> {
    let source =
        source.rsplit_once('@').filter(|(user, _)| !user.contains([':', '/'])).map_or(source, |(_, rest)| rest);
    let host = match source.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => source.split_once(':')?.0,
    };
    (!host.is_empty()).then(|| host.to_owned())
}

/// The host of `//HOST/SHARE`, with slashes either way.
fn share_host(source: &str) -> Option<String> {
    let rest = source.strip_prefix("//").or_else(|| source.strip_prefix("\\\\"))?;
    let host = rest.split(['/', '\\']).next()?;
    (!host.is_empty()).then(|| host.to_owned())
}

/// The kernel writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\').map(OsStr::from_bytes);
        let escaped = digits.and_then(OsStr::to_str).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

/// Where that is. It asks the name server, and takes the first address.
pub(super) async fn endpoint_of(mount: Mount) -> Endpoint {
    let name = match mount {
        Mount::ThisHost => return Endpoint::ThisHost,
        Mount::Elsewhere => return Endpoint::Unknown,
        Mount::Server(name) => name,
    };
    // An address of this link only has its interface behind it.
    let literal = name.split('%').next().unwrap_or_default().parse::<IpAddr>();
    let address = match literal {
        Ok(address) => Some(address),
        Err(_) => match timeout(LOOKUP, lookup_host((name, 0))).await {
            Ok(Ok(mut found)) => found.next().map(|found| found.ip()),
            Ok(Err(_)) | Err(_) => None,
        },
    };
    address.map_or(Endpoint::Unknown, |address| Endpoint::Address(address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTED: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:44 / /mnt/nfs rw shared:7 master:2 - nfs4 store.example:/export rw,vers=4.2,addr=10.2.0.9,clientaddr=10.1.0.4
31 22 0:45 / /mnt/smb rw - cifs //files.example/backup rw,username=offsite
32 22 0:46 / /mnt/my\\040ssh rw - fuse.sshfs offsite@[fd00::7]:/srv rw
33 30 8:17 / /mnt/nfs/disk rw - xfs /dev/sdb1 rw
34 22 0:47 / /mnt/gluster rw - fuse.glusterfs store:/volume rw
35 22 0:48 / /mnt/again rw - ext4 /dev/sdc1 rw
36 22 0:49 / /mnt/again rw - nfs old:/export rw
";

    fn at(path: &str) -> Mount {
        innermost(MOUNTED.as_bytes(), Path::new(path))
    }

    fn server(name: &str) -> Mount {
        Mount::Server(name.to_owned())
    }

    #[test]
    fn the_innermost_mount_tells_the_server() {
        assert_eq!(at("/srv/backup"), Mount::ThisHost);
        assert_eq!(at("/mnt/nfs"), server("10.2.0.9"));
        assert_eq!(at("/mnt/nfs/offsite"), server("10.2.0.9"));
        assert_eq!(at("/mnt/nfsx"), Mount::ThisHost);
        assert_eq!(at("/mnt/smb/a"), server("files.example"));
        assert_eq!(at("/mnt/my ssh/a"), server("fd00::7"));
        assert_eq!(at("/mnt/nfs/disk/a"), Mount::ThisHost);
        assert_eq!(at("/mnt/gluster"), Mount::Elsewhere);
        assert_eq!(at("/mnt/again"), server("old"), "the later mount lies above");
    }

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        let noise: &[&[u8]] = &[
            b"",
            b" ",
            b"- - - - - - -",
            b"1 2 3 4",
            b"1 2 3 4 /",
            b"1 2 3 4 / rw",
            b"1 2 3 4 / rw -",
            b"1 2 3 4 / rw - nfs",
            b"1 2 3 4 / rw - \xff\xfe x",
            b"1 2 3 4 \\04 rw - nfs \\9 rw",
            b"1 2 3 4 \\777 rw - cifs // rw",
        ];
        for line in noise {
            let mounts = [line, MOUNTED.as_bytes()].join(&b'\n');
            assert_eq!(innermost(&mounts, Path::new("/mnt/nfs/a")), server("10.2.0.9"), "{line:?}");
        }
        assert_eq!(innermost(b"1 2 3 4 / rw - nfs :/x rw", Path::new("/a")), Mount::Elsewhere);
        assert_eq!(innermost(b"1 2 3 4 / rw - cifs //", Path::new("/a")), Mount::Elsewhere);
        assert_eq!(innermost(b"1 2 3 4 / rw - nfs [::1 rw", Path::new("/a")), Mount::Elsewhere);
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        assert_eq!(endpoint_of(server("10.2.0.9")).await, Endpoint::Address([10, 2, 0, 9].into()));
        assert_eq!(endpoint_of(server("::ffff:10.2.0.9")).await, Endpoint::Address([10, 2, 0, 9].into()));
        let link_local = IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(endpoint_of(server("fe80::1%eth0")).await, Endpoint::Address(link_local));
        assert_eq!(endpoint_of(Mount::ThisHost).await, Endpoint::ThisHost);
        assert_eq!(endpoint_of(Mount::Elsewhere).await, Endpoint::Unknown);
    }
}
