//! Transforms in words and as JSON.

use offsite::MergeMethod;
use offsite::model::MachineName;
use offsite::model::Sequence;
use offsite::report::{Carriage, FullFrom, HealedFrom, Operation};
use serde_json::{Value, json};

/// Says what an operation does. The first part is the verb that begins the line, the second the rest of the line.
pub(crate) fn words(operation: &Operation) -> (&'static str, String) {
    match operation {
        Operation::Heal { blocks, points, from } => {
            let blocks =
                crate::render::count(usize::try_from(*blocks).unwrap_or(usize::MAX), "damaged block", "damaged blocks");
            ("heal", format!("{blocks} of {}, {}", numbers(points), healed_from(*from)))
        }
        Operation::Merge { absorbed, full, method, archived, .. } => {
            let archived = archived.map_or_else(String::new, |archived| format!("; #{archived} stays as an archive"));
            let how = match method {
                MergeMethod::Fold => "by writing into its file",
                MergeMethod::Auto | MergeMethod::Adopt => "without moving data",
            };
            ("merge", format!("{} into #{full} {how}{archived}", numbers(absorbed)))
        }
        Operation::RemoveArchive { sequence } => ("remove", format!("archive #{sequence}")),
        Operation::RemovePoints { points, archived } if archived.is_empty() => ("remove", numbers(points)),
        Operation::RemovePoints { points, archived } => {
            ("remove", format!("{}, of which stays as an archive: {}", numbers(points), numbers(archived)))
        }
        Operation::MarkAgain { points } => {
            ("mark", format!("{} for long-term retention again, as a repair could not tell", numbers(points)))
        }
        Operation::StandIn { tier, damaged, sequence } => {
            ("keep", format!("#{sequence} as the {tier} archive in place of #{damaged}, which has damaged blocks"))
        }
        Operation::BackFill { sequence, time, tiers, moved } => {
            let tiers: Vec<&str> = tiers.iter().map(|tier| tier.name()).collect();
            let moved = match &moved[..] {
                [] => String::new(),
                moved => format!(", which {} stood for until now", numbers(moved)),
            };
            ("fill", format!("the missed slot ({}) with #{sequence} of {time}{moved}", tiers.join(", ")))
        }
        Operation::MakeIndependent { sequence, carriage } => {
            ("copy", format!("archive #{sequence} to blocks of its own ({})", carried(*carriage)))
        }
        Operation::MakeFull { sequence, from } => ("full", format!("of #{sequence}, {}", origin(*from))),
        Operation::RemoveMachines { machines, points, fulls } => {
            let points = if points.is_empty() { String::new() } else { format!("; with them {}", numbers(points)) };
            let fulls = if fulls.is_empty() { String::new() } else { format!("; fulls now: {}", numbers(fulls)) };
            ("remove", format!("machines {}{points}{fulls}", names(machines).join(", ")))
        }
        Operation::Compact { files, carriage } => {
            ("compact", format!("live blocks of {files} backup files ({})", carried(*carriage)))
        }
        _ => ("transform", String::new()),
    }
}

/// Returns the fields of an operation, without its cost.
pub(crate) fn fields(operation: &Operation) -> Value {
    match operation {
        Operation::Heal { blocks, points, from } => json!({
            "operation": "heal",
            "blocks": blocks,
            "points": sequences(points),
            "from": healed_from(*from),
        }),
        Operation::Merge { absorbed, full, method, why, archived } => json!({
            "operation": "merge",
            "absorbed": sequences(absorbed),
            "full": full.0,
            "method": name(*method),
            "why": why.to_string(),
            "archived": archived.map(|sequence| sequence.0),
        }),
        Operation::RemoveArchive { sequence } => json!({ "operation": "remove archive", "sequence": sequence.0 }),
        Operation::RemovePoints { points, archived } => json!({
            "operation": "remove points",
            "points": sequences(points),
            "archived": sequences(archived),
        }),
        Operation::MarkAgain { points } => json!({ "operation": "mark again", "points": sequences(points) }),
        Operation::StandIn { tier, damaged, sequence } => json!({
            "operation": "stand in",
            "tier": tier.name(),
            "damaged": damaged.0,
            "sequence": sequence.0,
        }),
        Operation::BackFill { sequence, time, tiers, moved } => json!({
            "operation": "back-fill",
            "sequence": sequence.0,
            "time": time.to_string(),
            "tiers": tiers.iter().map(|tier| tier.name()).collect::<Vec<_>>(),
            "moved": sequences(moved),
        }),
        Operation::MakeIndependent { sequence, carriage } => json!({
            "operation": "make independent",
            "sequence": sequence.0,
            "carriage": carried(*carriage),
        }),
        Operation::MakeFull { sequence, from } => json!({
            "operation": "make full",
            "sequence": sequence.0,
            "from": origin(*from),
        }),
        Operation::RemoveMachines { machines, points, fulls } => json!({
            "operation": "remove machines",
            "machines": names(machines),
            "points": sequences(points),
            "fulls": sequences(fulls),
        }),
        Operation::Compact { files, carriage } => json!({
            "operation": "compact",
            "files": files,
            "carriage": carried(*carriage),
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

fn carried(carriage: Carriage) -> String {
    match carriage {
        Carriage::Cloned => "cloned by the repository".to_owned(),
        Carriage::Moved { why } => format!("read and written: {why}"),
    }
}

fn origin(from: FullFrom) -> String {
    match from {
        FullFrom::Source => "read whole from the source".to_owned(),
        FullFrom::Chain(carriage) => format!("from the chain's own blocks ({})", carried(carriage)),
    }
}

fn healed_from(from: HealedFrom) -> &'static str {
    match from {
        HealedFrom::Chain => "from other blocks with the same bytes",
        HealedFrom::Source => "from the source",
    }
}

fn names(machines: &[MachineName]) -> Vec<String> {
    machines.iter().map(ToString::to_string).collect()
}

fn numbers(sequences: &[Sequence]) -> String {
    sequences.iter().map(|sequence| format!("#{sequence}")).collect::<Vec<_>>().join(", ")
}

fn sequences(sequences: &[Sequence]) -> Vec<u64> {
    sequences.iter().map(|sequence| sequence.0).collect()
}
