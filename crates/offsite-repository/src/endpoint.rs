//! Where a place is, as seen from this host.

use std::net::IpAddr;

/// Where a place is, as seen from this host. Rules about traffic go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Endpoint {
    /// What is read from the place and written to it crosses no network.
    ThisHost,
    /// What is read comes from this address, and what is written goes there: the other end of the connections to the place. If
    /// connections go through a proxy, that is the proxy.
    Address(IpAddr),
    /// The place does not tell.
    #[default]
    Unknown,
}
