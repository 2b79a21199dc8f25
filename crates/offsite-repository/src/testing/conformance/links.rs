//! Whether what others share stays as it is.
#![expect(clippy::single_range_in_vec_init, reason = "ranges of an object, not collections of numbers")]

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::context::{Checked, Context, Stop, ensure, expect_kind, noise};
use crate::{ErrorKind, Extent, Key, Reclaim, Result};

type Link = dyn Fn(&Key) -> Result<()> + Send + Sync;

/// Gives an object of the tried place another name, outside of it: as `cp -l` does.
#[derive(Clone)]
pub struct Linker(Arc<Link>);

impl Linker {
    /// One that calls `link`, on a thread that may block.
    pub fn new(link: impl Fn(&Key) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(link))
    }
}

impl fmt::Debug for Linker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Linker")
    }
}

/// An object that has another name is told from others, and is neither punched nor written into.
pub(super) async fn linked(context: Context) -> Checked {
    let left_out = |why: &str| Stop::LeftOut(why.to_owned());
    let Linker(link) =
        context.options.linker.clone().ok_or_else(|| left_out("it is not told how to link an object"))?;
    let (reclaim, patch) = (context.repository.reclaim(), context.repository.patch());
    if context.repository.links().is_none() && reclaim.is_none() && patch.is_none() {
        return Err(left_out("this place writes into no object that is there"));
    }
    let links = context.repository.links();
    let links = links
        .ok_or_else(|| Stop::Fail("objects can be linked and written into, and nothing tells which are".to_owned()))?;
    let (key, neighbour, absent) = (context.key("object")?, context.key("object-2")?, context.key("absent")?);
    let unit = reclaim.map_or(4_096, Reclaim::granularity_bytes);
    let content = noise(19, usize::try_from(unit.min(1 << 20)).unwrap_or(4_096) * 4);
    for key in [&key, &neighbour] {
        context.put(key, &content).await?;
        ensure!(!links.is_linked(key).await?, "{key} is new, and is said to be linked");
    }
    link(&key)?;
    ensure!(links.is_linked(&key).await?, "{key} has another name, and is said to have none");
    ensure!(!links.is_linked(&neighbour).await?, "{neighbour} has no other name, and is said to have one");
    expect_kind(links.is_linked(&absent).await, &[ErrorKind::NotFound], || "asking for links of nothing".to_owned())?;
    if let Some(reclaim) = reclaim {
        expect_kind(reclaim.punch(&key, &[0..unit * 2]).await, &[ErrorKind::Linked], || {
            "punching a linked object".to_owned()
        })?;
        context.expect_content(&key, &content).await?;
        reclaim.punch(&neighbour, &[0..unit * 2]).await?;
    }
    if let Some(patch) = patch {
        for offset in [0, 5, content.len() as u64] {
            let extent = Extent { offset, chunks: vec![Bytes::from_static(b"new")] };
            expect_kind(patch.patch(&key, vec![extent]).await, &[ErrorKind::Linked], || {
                format!("writing into a linked object at {offset}")
            })?;
            context.expect_content(&key, &content).await?;
        }
    }
    // Its name is the place's own.
    context.repository.delete(&key).await?;
    context.expect_absent(&key).await
}
