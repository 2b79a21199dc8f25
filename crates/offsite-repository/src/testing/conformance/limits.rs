//! The largest object, and one byte more.

use bytes::Bytes;

use super::content::noise;
use super::context::{Checked, Context, Stop, ensure, expect_kind};
use crate::{ErrorKind, Extent, Piece};

/// An object of the largest length is stored; one byte more is refused, kills its writer, and leaves nothing.
pub(super) async fn size_limit(context: Context) -> Checked {
    let limit_bytes = context.repository.limits().object_bytes_max;
    let tried_bytes = context.options.tried_bytes_max;
    if limit_bytes > tried_bytes {
        let why = format!("objects may have {limit_bytes} bytes; more than {tried_bytes} are not written to try that");
        return Err(Stop::LeftOut(why));
    }
    let limit = usize::try_from(limit_bytes).map_err(|error| Stop::Fail(error.to_string()))?;
    let content = noise(50, limit + 1);
    let largest = context.key("largest")?;
    context.put(&largest, &content.slice(..limit)).await?;
    context.expect_content(&largest, &content[..limit]).await?;

    // The byte too many in the only call, and in one of its own.
    for (name, first) in [("one-call", 0), ("two-calls", limit)] {
        let key = context.key(name)?;
        let mut writer = context.repository.create(&key).await?;
        if first > 0 {
            writer.write(vec![content.slice(..first)]).await?;
        }
        let answer = match writer.write(vec![content.slice(first..)]).await {
            Err(error) => {
                let next = writer.write(vec![Bytes::from_static(b"x")]).await;
                ensure!(next.is_err(), "a writer whose call failed ({error}) takes more");
                let end = writer.finish().await;
                ensure!(end.is_err(), "a writer whose call failed ({error}) finishes");
                Err(error)
            }
            Ok(()) => writer.finish().await,
        };
        let what = || format!("writing {} bytes where {limit_bytes} are the most", limit + 1);
        expect_kind(answer, &[ErrorKind::Unsupported, ErrorKind::NoSpace], what)?;
        context.expect_absent(&key).await?;
    }

    if let Some(patch) = context.repository.patch() {
        let extent = Extent::new(limit_bytes, vec![Bytes::from_static(b"x")]);
        let answer = patch.write_extents(&largest, vec![extent]).await;
        expect_kind(answer, &[ErrorKind::Unsupported, ErrorKind::NoSpace], || {
            format!("patching an object of {limit_bytes} bytes, which are the most, at its end")
        })?;
        context.expect_content(&largest, &content[..limit]).await?;
    }
    if let Some(cloner) = context.repository.clone_range() {
        let key = context.key("clone")?;
        let unit = cloner.clone_granularity_bytes().max(1);
        let whole = limit_bytes / unit * unit;
        if whole > 0 {
            // All whole granules, and as many again.
            let piece = Piece::new(largest.clone(), 0..whole);
            let rounds = usize::try_from(limit_bytes / whole + 1).map_err(|error| Stop::Fail(error.to_string()))?;
            let answer = cloner.create_from(&key, &vec![piece; rounds]).await;
            expect_kind(answer, &[ErrorKind::Unsupported, ErrorKind::NoSpace], || {
                format!("cloning more than {limit_bytes} bytes, which are the most,")
            })?;
            context.expect_absent(&key).await?;
        }
    }
    Ok(())
}
