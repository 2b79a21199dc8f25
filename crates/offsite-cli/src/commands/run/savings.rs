//! Says what of a copy came from the source, and why the rest did not.

use offsite::report::{Amount, LookUp, Savings};

use crate::render;

/// Returns a line of a report.
pub(super) fn line(savings: &Savings, look_up: LookUp, cached: Option<Amount>) -> String {
    let Savings { asked, sent, unchanged, spare, zero, chain, machine, job, cache, twice, left, .. } = *savings;
    let reasons = [
        (unchanged, "unchanged"),
        (spare, "arrived before"),
        (chain, "in the chain"),
        (machine, "in the chain, of another machine"),
        (job, "in another job's chain"),
        (cache, "in the cache"),
        (twice, "of equal blocks"),
        (left, "not arrived"),
    ];
    let mut parts: Vec<String> = reasons
        .into_iter()
        .filter(|(amount, _)| amount.blocks > 0)
        .map(|(amount, why)| format!("{} {why}", render::bytes(amount.bytes)))
        .collect();
    if zero.blocks > 0 {
        let blocks = render::count(usize::try_from(zero.blocks).unwrap_or(usize::MAX), "block", "blocks");
        parts.push(format!("{blocks} of zeros"));
    }
    if let Some(cached) = cached.filter(|cached| cached.blocks > 0) {
        parts.push(format!("{} new in the cache", render::bytes(cached.bytes)));
    }
    let (asked, sent) = (render::bytes(asked.bytes), render::bytes(sent.bytes));
    let rest = if parts.is_empty() { String::new() } else { format!("; {}", parts.join(", ")) };
    format!("  asked     {asked}: {sent} from the source{rest} ({look_up})\n")
}
