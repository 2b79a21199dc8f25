//! Where a flow runs: between which two addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use offsite_repository::Endpoint;

/// Any port will do: nothing is sent.
const PORT: u16 = 9;

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the repository to this host.
    Reading,
    /// From this host to the repository.
    Writing,
}

/// Where a flow runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// On this host: under no rule.
    Inside,
    /// Through a network, with its source and its target as far as they are known.
    Across(Option<(IpAddr, IpAddr)>),
}

/// The way to and from a repository that is at `endpoint`.
pub(super) fn path(endpoint: Endpoint, direction: Direction) -> Path {
    let peer = match endpoint {
        Endpoint::ThisHost => return Path::Inside,
        Endpoint::Address(peer) => peer.to_canonical(),
        Endpoint::Unknown => return Path::Across(None),
    };
    let ends = local_towards(peer).map(|local| match direction {
        Direction::Reading => (peer, local),
        Direction::Writing => (local, peer),
    });
    Path::Across(ends)
}

/// The address that this host has for connections to `peer`; none if there is no way to it.
fn local_towards(peer: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a datagram socket chooses a route, and sends nothing.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((peer, PORT)).ok()?;
    socket.local_addr().ok().map(|address| address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_talks_to_itself_from_its_own_address() {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(local_towards(loopback), Some(loopback));
    }
}
