//! Where a place says that it is.

use std::net::IpAddr;

use bytes::Bytes;

use super::context::{Checked, Context, ensure};
use crate::Endpoint;

/// The address is one that a connection can go to. Whether bytes cross a network does not change while the place is open.
pub(super) async fn endpoint(context: Context) -> Checked {
    let before = context.repository.endpoint();
    let key = context.key("object")?;
    context.put(&key, &Bytes::from_static(b"content")).await?;
    context.expect_content(&key, b"content").await?;
    let after = context.repository.endpoint();
    for endpoint in [before, after] {
        if let Endpoint::Address(address) = endpoint {
            let is_group = address.is_multicast() || matches!(address, IpAddr::V4(address) if address.is_broadcast());
            ensure!(!address.is_unspecified() && !is_group, "no connection goes to {address}");
        }
    }
    let is_here = |endpoint: Endpoint| endpoint == Endpoint::ThisHost;
    ensure!(is_here(before) == is_here(after), "it says that it is at {before:?}, and then at {after:?}");
    Ok(())
}
