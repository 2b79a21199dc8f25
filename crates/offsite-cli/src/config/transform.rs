//! How a chain is transformed: the table `[jobs.NAME.transform]`.

use std::num::NonZeroU64;

use offsite::retention::Policy;
use offsite::{Budget, Compact, LiveShare, MergeMethod, Transforms};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct TransformConfig {
    #[serde(default)]
    merge: MergeConfig,
    compact: Option<CompactConfig>,
    /// The number of MiB of the chain's blocks that each run reads and compares, in turn.
    verify_mib: Option<NonZeroU64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct CompactConfig {
    below_live: Option<f64>,
    every: Option<String>,
    budget_mib: Option<u64>,
}

/// Many times the largest block.
const BUDGET_MIB_MIN: u64 = 64;

impl TransformConfig {
    /// Returns how a chain is transformed that keeps what `policy` asks for.
    pub(super) fn transforms(&self, policy: Policy) -> Result<Transforms, String> {
        let merge = match self.merge {
            MergeConfig::Auto => MergeMethod::Auto,
            MergeConfig::Adopt => MergeMethod::Adopt,
            MergeConfig::Fold => MergeMethod::Fold,
        };
        let compact = self.compact.as_ref().map(CompactConfig::compact).transpose();
        let compact = compact.map_err(|error| format!("transform.compact: {error}"))?;
        let verify_bytes = self.verify_mib.map(|mib| mib.get().saturating_mul(1 << 20));
        Ok(Transforms::keeping(policy).merge(merge).compact(compact).verify_bytes(verify_bytes))
    }
}

impl CompactConfig {
    fn compact(&self) -> Result<Compact, String> {
        // Without a share, no file is below it. Then only the schedule counts.
        let below_live =
            LiveShare::new(self.below_live.unwrap_or(0.0)).map_err(|error| format!("below_live: {error}"))?;
        if self.below_live.is_none() && self.every.is_none() {
            return Err("give below_live, every or both".to_owned());
        }
        let every_days = self.every.as_deref().map(days).transpose().map_err(|error| format!("every: {error}"))?;
        if let Some(mib) = self.budget_mib.filter(|mib| *mib < BUDGET_MIB_MIN) {
            return Err(format!("budget_mib = {mib}: use at least {BUDGET_MIB_MIN}, so that each run gets somewhere"));
        }
        let budget = self.budget_mib.map(|mib| Budget::Bytes(mib.saturating_mul(1 << 20)));
        Ok(Compact::below(below_live).every_days(every_days).budget(budget))
    }
}

/// Parses the days of a text like `10 days`, `2 weeks` or `1 month` (30 days).
fn days(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?}: write a number of days, weeks or months, as in \"2 weeks\"");
    let (count, unit) = text.split_once(' ').ok_or_else(wrong)?;
    let count: u32 = count.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
    let days = match unit {
        "day" | "days" => 1,
        "week" | "weeks" => 7,
        "month" | "months" => 30,
        _ => return Err(wrong()),
    };
    count.checked_mul(days).ok_or_else(wrong)
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MergeConfig {
    #[default]
    Auto,
    Adopt,
    Fold,
}
