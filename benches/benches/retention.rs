//! Lives of chains: ten years of daily points, and a million points, under a policy with all tiers.
//!
//! The bounds are one second and ten; memory is what the policy keeps, whatever the number of points.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use offsite_core::Timestamp;
use offsite_core::retention::{ArchiveMethod, Gfs, Policy, Simulation, Zone};

/// 2016-01-01T22:00:00Z.
const FIRST_UNIX_SECS: i64 = 1_451_685_600;

fn policy(method: ArchiveMethod) -> Policy {
    let gfs = Gfs::new(4, 12, 4, 3).expect("tiers").with_method(method);
    Policy::default().with_gfs(gfs).with_zone(Zone::named("Europe/Berlin").expect("a zone"))
}

/// What the chain and the archive hold at most, and at the end.
fn live(policy: &Policy, points: i64, step_secs: i64) -> (usize, usize) {
    let mut simulation = Simulation::new(policy.clone()).expect("a policy by count");
    let mut most = 0;
    for point in 0..points {
        let time = Timestamp::from_unix_secs(FIRST_UNIX_SECS + point * step_secs).expect("a time in range");
        simulation.add(time).expect("ascending");
        most = most.max(simulation.points().len() + simulation.archives().len());
    }
    (most, simulation.points().len() + simulation.archives().len())
}

fn lives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("retention");
    group.sample_size(10);
    for (name, points, step_secs) in [
        ("ten years daily", 3653, 86_400),
        ("a million hourly", 1_000_000, 3600),
        ("a million daily", 1_000_000, 86_400),
    ] {
        let (most, _) = live(&policy(ArchiveMethod::Shared), points, step_secs);
        assert!(most <= 7 + 4 + 12 + 4 + 3, "{name}: {most} points were held at a time");
        group.throughput(Throughput::Elements(points.unsigned_abs()));
        for (method_name, method) in [("shared", ArchiveMethod::Shared), ("active", ArchiveMethod::Active)] {
            let policy = policy(method);
            group.bench_function(format!("{name}, {method_name}"), |bencher| {
                bencher.iter(|| black_box(live(&policy, points, step_secs)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, lives);
criterion_main!(benches);
