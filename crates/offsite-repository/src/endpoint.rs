//! Where a place is, as seen from this host.

use std::net::IpAddr;

/// Where a place is, as seen from this host. Rules about traffic go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Endpoint {
    /// On this host: what is read from the place and written to it crosses no network.
    ThisHost,
    /// The address at the other end of the connections to the place. If the connections go through a proxy, it is the proxy's.
    Address(IpAddr),
    /// The place cannot tell, or not yet.
    #[default]
    Unknown,
}
