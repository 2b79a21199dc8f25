//! Whether what others share stays as it is.
#![expect(clippy::single_range_in_vec_init, reason = "ranges of an object, not collections of numbers")]

use bytes::Bytes;

use super::content::noise;
use super::context::{Checked, Context, Stop, ensure, expect_kind};
use super::linker::Linker;
use crate::{ErrorKind, Extent, Reclaim};

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
    let unit = reclaim.map_or(4_096, Reclaim::punch_granularity_bytes);
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
            let extent = Extent::new(offset, vec![Bytes::from_static(b"new")]);
            expect_kind(patch.write_extents(&key, vec![extent]).await, &[ErrorKind::Linked], || {
                format!("writing into a linked object at {offset}")
            })?;
            context.expect_content(&key, &content).await?;
        }
    }
    // Its name is the place's own.
    context.repository.delete(&key).await?;
    context.expect_absent(&key).await
}
