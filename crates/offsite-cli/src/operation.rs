//! Transforms in words and as JSON.

use offsite::MergeMethod;
use offsite::core::Sequence;
use offsite::report::Operation;
use serde_json::{Value, json};

/// What an operation does, as the rest of a line that its verb begins.
pub(crate) fn words(operation: &Operation) -> (&'static str, String) {
    match operation {
        Operation::Merge { absorbed, full, method, why, archived } => {
            let archived = archived.map_or_else(String::new, |archived| format!("; #{archived} stays as an archive"));
            ("merge", format!("{} into #{full} by {} ({why}){archived}", numbers(absorbed), name(*method)))
        }
        Operation::RemoveArchive { sequence } => ("remove", format!("archive #{sequence}")),
        Operation::RemovePoints { points, archived } if archived.is_empty() => ("remove", numbers(points)),
        Operation::RemovePoints { points, archived } => {
            ("remove", format!("{}, of which stays as an archive: {}", numbers(points), numbers(archived)))
        }
        _ => ("transform", String::new()),
    }
}

/// An operation's own fields, without its cost.
pub(crate) fn fields(operation: &Operation) -> Value {
    match operation {
        Operation::Merge { absorbed, full, method, why, archived } => json!({
            "operation": "merge",
            "absorbed": sequences(absorbed),
            "full": full.0,
            "method": name(*method),
            "why": why,
            "archived": archived.map(|sequence| sequence.0),
        }),
        Operation::RemoveArchive { sequence } => json!({ "operation": "remove archive", "sequence": sequence.0 }),
        Operation::RemovePoints { points, archived } => json!({
            "operation": "remove points",
            "points": sequences(points),
            "archived": sequences(archived),
        }),
        _ => json!({ "operation": "other" }),
    }
}

fn name(method: MergeMethod) -> &'static str {
    match method {
        MergeMethod::Auto => "auto",
        MergeMethod::Adopt => "adoption",
        MergeMethod::Fold => "folding",
    }
}

fn numbers(sequences: &[Sequence]) -> String {
    sequences.iter().map(|sequence| format!("#{sequence}")).collect::<Vec<_>>().join(", ")
}

fn sequences(sequences: &[Sequence]) -> Vec<u64> {
    sequences.iter().map(|sequence| sequence.0).collect()
}
