//! Who gets how much of what the rules allow.

/// A flow that wants as much as it can get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    /// Its part beside others: one of weight 2 gets twice what one of weight 1 gets.
    pub(super) weight: f64,
    /// The rules that it is under, by their number, each once.
    pub(super) rules: &'a [usize],
}

/// The rate of each flow, such that all of them are *max-min fair*: none can have more unless one that has no more for its weight
/// gets less. A flow under no rule has no bound.
///
/// All flows get more for their weights, evenly, until a rule is used up. Then the flows under this rule have what they get, and the
/// others go on. So no rule is exceeded, and what a flow cannot use, as another of its rules is tighter, goes to the others.
pub(super) fn max_min(limits: &[f64], claims: &[Claim<'_>]) -> Vec<f64> {
    let mut left = limits.to_vec();
    let mut rates: Vec<Option<f64>> =
        claims.iter().map(|claim| claim.rules.is_empty().then_some(f64::INFINITY)).collect();
    loop {
        // What each rule has for a weight of 1 of those that still get more.
        let mut weights = vec![0.0; limits.len()];
        for (claim, _) in claims.iter().zip(&rates).filter(|(_, rate)| rate.is_none()) {
            claim.rules.iter().for_each(|rule| weights[*rule] += claim.weight);
        }
        let levels =
            (0..limits.len()).filter(|rule| weights[*rule] > 0.0).map(|rule| (rule, left[rule] / weights[rule]));
        let Some((tightest, level)) = levels.min_by(|one, other| one.1.total_cmp(&other.1)) else { break };
        for (claim, rate) in claims.iter().zip(&mut rates) {
            if rate.is_none() && claim.rules.contains(&tightest) {
                let own = claim.weight * level.max(0.0);
                *rate = Some(own);
                claim.rules.iter().for_each(|rule| left[*rule] = (left[*rule] - own).max(0.0));
            }
        }
    }
    rates.into_iter().map(|rate| rate.unwrap_or(f64::INFINITY)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(limits: &[f64], flows: &[(f64, Vec<usize>)]) -> Vec<f64> {
        let claims: Vec<_> = flows.iter().map(|(weight, rules)| Claim { weight: *weight, rules }).collect();
        max_min(limits, &claims)
    }

    /// The definition, slowly: everybody gets a little more, until a rule is used up.
    fn slowly(limits: &[f64], flows: &[(f64, Vec<usize>)]) -> Vec<f64> {
        const STEP: f64 = 0.01;
        let mut rates = vec![0.0; flows.len()];
        let mut grows = vec![true; flows.len()];
        while grows.contains(&true) {
            for (rate, (weight, _)) in
                rates.iter_mut().zip(flows).zip(&grows).filter(|(_, grows)| **grows).map(|(at, _)| at)
            {
                *rate += weight * STEP;
            }
            for (rule, limit) in limits.iter().enumerate() {
                let used: f64 =
                    rates.iter().zip(flows).filter(|(_, flow)| flow.1.contains(&rule)).map(|(rate, _)| rate).sum();
                if used >= *limit {
                    flows
                        .iter()
                        .zip(&mut grows)
                        .filter(|(flow, _)| flow.1.contains(&rule))
                        .for_each(|(_, grows)| *grows = false);
                }
            }
        }
        rates
    }

    /// Limits of up to four rules, and flows that are under one of them at least.
    fn cases() -> impl Strategy<Value = (Vec<f64>, Vec<(f64, Vec<usize>)>)> {
        prop::collection::vec(1..=40_u32, 1..=4).prop_flat_map(|limits| {
            let rules = prop::sample::subsequence((0..limits.len()).collect::<Vec<_>>(), 1..=limits.len());
            let flow = (1..=4_u32, rules).prop_map(|(weight, rules)| (f64::from(weight), rules));
            let limits: Vec<f64> = limits.into_iter().map(f64::from).collect();
            (Just(limits), prop::collection::vec(flow, 1..=8))
        })
    }

    proptest! {
        #[test]
        fn shares_are_those_of_the_definition((limits, flows) in cases()) {
            let (fast, slow) = (shares(&limits, &flows), slowly(&limits, &flows));
            for (one, other) in fast.iter().zip(&slow) {
                prop_assert!((one - other).abs() <= 0.5, "{fast:?} and {slow:?}");
            }
        }

        #[test]
        fn no_rule_is_exceeded_and_each_flow_has_one_that_binds_it((limits, flows) in cases()) {
            let rates = shares(&limits, &flows);
            let used = |rule: usize| -> f64 {
                rates.iter().zip(&flows).filter(|(_, flow)| flow.1.contains(&rule)).map(|(rate, _)| rate).sum()
            };
            for (rule, limit) in limits.iter().enumerate() {
                prop_assert!(used(rule) <= limit * (1.0 + 1e-9), "rule {rule} of {limits:?}: {rates:?}");
            }
            for (rate, (weight, rules)) in rates.iter().zip(&flows) {
                let binds = |rule: &usize| {
                    let others = rates.iter().zip(&flows).filter(|(_, flow)| flow.1.contains(rule));
                    let most = others.map(|(rate, flow)| rate / flow.0).fold(0.0, f64::max);
                    used(*rule) >= limits[*rule] * (1.0 - 1e-9) && rate / weight >= most * (1.0 - 1e-9)
                };
                prop_assert!(rules.iter().any(binds), "{rate} of {rates:?} could be more: {limits:?}, {flows:?}");
            }
        }
    }

    #[test]
    fn what_one_cannot_use_the_others_get() {
        // The first flow has a tighter rule of its own.
        let flows = [(1.0, vec![0, 1]), (1.0, vec![0]), (1.0, vec![0])];
        assert_eq!(shares(&[90.0, 10.0], &flows), [10.0, 40.0, 40.0]);
        assert_eq!(shares(&[90.0], &[(2.0, vec![0]), (1.0, vec![0])]), [60.0, 30.0]);
        assert_eq!(shares(&[90.0], &[(1.0, vec![])]), [f64::INFINITY]);
    }
}
