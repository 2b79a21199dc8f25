//! Laws of the registry, on the paused clock of tokio.

use std::future::Future;
use std::sync::{Arc, Mutex};

use offsite_core::Timestamp;
use offsite_core::retention::Zone;
use offsite_core::schedule::Window;
use offsite_repository::Endpoint;
use proptest::prelude::*;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout, timeout_at};

use super::scheduler::{capacity, grant_bytes};
use super::{Direction, Flow, FlowName, Traffic, TrafficRule};
use crate::JobName;

const MIB: u64 = 1 << 20;
const PEER: Endpoint = Endpoint::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
const WINDOW: Duration = Duration::from_secs(10);

fn on_paused_clock<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(work)
}

/// A registry with one rule, of the repository `dr`.
fn limited(bytes_per_sec: u64) -> Traffic {
    let traffic = Traffic::new();
    traffic.set_rules(vec![TrafficRule::of_repository("dr", bytes_per_sec).unwrap()]).unwrap();
    traffic
}

fn flow(traffic: &Traffic, name: FlowName, direction: Direction) -> Flow {
    let flow = traffic.flow(name, direction);
    flow.set_endpoint(PEER);
    flow
}

fn dr(traffic: &Traffic) -> Flow {
    flow(traffic, FlowName::new("dr"), Direction::Writing)
}

/// What was granted: when, to which flow, how much.
type Log = Arc<Mutex<Vec<(Instant, usize, u64)>>>;

/// Asks for one request after the other until `end`.
async fn greedy(flow: Flow, number: usize, request: u64, end: Instant, log: Log) {
    while let Ok(bytes) = timeout_at(end, flow.grant(request)).await {
        log.lock().unwrap().push((Instant::now(), number, bytes));
        if Instant::now() >= end {
            break;
        }
    }
}

/// Lets flows ask as fast as they are granted, each from its start to its end in seconds, with its size of requests.
async fn run(traffic: &Traffic, flows: &[(f64, f64, u64)]) -> (Instant, Vec<(Instant, usize, u64)>) {
    let (begun, log) = (Instant::now(), Log::default());
    let tasks: Vec<_> = flows
        .iter()
        .enumerate()
        .map(|(number, (start, end, request))| {
            let (traffic, log, request) = (traffic.clone(), Arc::clone(&log), *request);
            let (start, end) = (begun + Duration::from_secs_f64(*start), begun + Duration::from_secs_f64(*end));
            tokio::spawn(async move {
                sleep_until(start).await;
                greedy(dr(&traffic), number, request, end, log).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let log = std::mem::take(&mut *log.lock().unwrap());
    (begun, log)
}

fn sum(log: &[(Instant, usize, u64)], is_meant: impl Fn(Instant, usize) -> bool) -> u64 {
    log.iter().filter(|(at, number, _)| is_meant(*at, *number)).map(|(_, _, bytes)| bytes).sum()
}

/// What may be missing or too much in a window: 2 %, or what one grant may have.
fn error_max(limit: u64, window: Duration) -> f64 {
    (limit as f64 * window.as_secs_f64() * 0.02).max(capacity(limit) as f64) + 1.0
}

/// No window has too much; none in which somebody asked all the time has too little.
fn check_windows(
    limit: u64,
    begun: Instant,
    log: &[(Instant, usize, u64)],
    flows: &[(f64, f64, u64)],
    window: Duration,
) {
    let whole = limit as f64 * window.as_secs_f64();
    let error = error_max(limit, window);
    let is_wanted = |from: Instant, until: Instant| {
        let (mut at, until) = ((from - begun).as_secs_f64(), (until - begun).as_secs_f64());
        // One flow hands over to the next until the window is over.
        while at < until {
            let reach = flows.iter().filter(|(start, end, _)| *start <= at && *end > at).map(|(_, end, _)| *end);
            let Some(end) = reach.reduce(f64::max) else { return false };
            at = end;
        }
        true
    };
    // The log ascends: a window is a slice of it.
    for first in 0..log.len() {
        let start = log[first].0;
        let within = |end: Instant| log.partition_point(|(at, _, _)| *at < end);
        let most: u64 = log[first..within(start + window)].iter().map(|(_, _, bytes)| bytes).sum();
        assert!(most as f64 <= whole + error, "{most} bytes from {:?}, of {whole} at {limit}", start - begun);
        // What came at the start itself does not count.
        let after = log.partition_point(|(at, _, _)| *at <= start);
        if is_wanted(start, start + window) {
            let end = log.partition_point(|(at, _, _)| *at <= start + window);
            let least: u64 = log[after.min(end)..end].iter().map(|(_, _, bytes)| bytes).sum();
            assert!(least as f64 >= whole - error, "{least} bytes after {:?}, of {whole} at {limit}", start - begun);
        }
    }
}

/// How even shares are: 1 if all are equal, 1/n if one has all.
fn jain(shares: &[f64]) -> f64 {
    let (sum, squares): (f64, f64) = (shares.iter().sum(), shares.iter().map(|share| share * share).sum());
    sum * sum / (shares.len() as f64 * squares)
}

/// From 64 kbit/s to 10 Gbit/s, as many of each power of ten.
fn rates() -> impl Strategy<Value = u64> {
    (8_000..80_000_u64, 0..=5_u32).prop_map(|(rate, tens)| (rate * 10_u64.pow(tens)).min(1_250_000_000))
}

/// Flows that come and go within 40 seconds.
fn comers() -> impl Strategy<Value = Vec<(f64, f64, u64)>> {
    let flow = (0.0..35.0, 0.5..40.0, 1..=4 * MIB);
    let flow = flow.prop_map(|(start, secs, request): (f64, f64, u64)| {
        // So that fast rates need no million requests.
        (start, (start + secs).min(40.0), request.max(MIB / 4))
    });
    prop::collection::vec(flow, 1..=64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_ten_seconds_have_what_the_rule_says(rate in rates(), flows in comers()) {
        let (begun, log) = on_paused_clock(async { run(&limited(rate), &flows).await });
        check_windows(rate, begun, &log, &flows, WINDOW);
    }
}

#[test]
fn slow_rules_keep_to_their_rate_over_long_times() {
    let window = Duration::from_secs(3_600);
    for count in [1, 8] {
        let flows = vec![(0.0, 20_000.0, 3 * MIB); count];
        let (begun, log) = on_paused_clock(async { run(&limited(8_000), &flows).await });
        check_windows(8_000, begun, &log, &flows, window);
    }
}

#[test]
fn flows_of_a_rule_share_evenly_whatever_they_ask_for() {
    for (rate, count) in [(5_000_000, 8), (125_000_000, 64), (1_250_000_000, 2), (100_000, 3)] {
        // Each asks for another size at a time.
        let size = |number: usize| (number as u64 % 5 + 1) * MIB * 4 / 5;
        let secs = if rate < 1_000_000 { 1_000.0 } else { 20.0 };
        let flows: Vec<_> = (0..count).map(|number| (0.0, secs, size(number))).collect();
        let (_, log) = on_paused_clock(async { run(&limited(rate), &flows).await });
        let shares: Vec<f64> = (0..count).map(|flow| sum(&log, |_, number| number == flow) as f64).collect();
        println!("{count} flows at {rate} bytes a second: Jain's index {:.5}", jain(&shares));
        assert!(jain(&shares) >= 0.99, "{rate}: {} of {shares:?}", jain(&shares));
    }
}

#[test]
fn a_flow_of_twice_the_weight_gets_twice_as_much() {
    on_paused_clock(async {
        let (traffic, log, end) = (limited(10 * MIB), Log::default(), Instant::now() + Duration::from_secs(30));
        let heavy = FlowName::new("dr").weight(2.try_into().unwrap());
        let heavy = flow(&traffic, heavy, Direction::Reading);
        tokio::join!(
            greedy(heavy, 0, MIB, end, Arc::clone(&log)),
            greedy(dr(&traffic), 1, 4 * MIB, end, Arc::clone(&log)),
        );
        let log = log.lock().unwrap();
        let (heavy, light) = (sum(&log, |_, number| number == 0) as f64, sum(&log, |_, number| number == 1) as f64);
        assert!((heavy / light - 2.0).abs() < 0.05, "{heavy} and {light}");
    });
}

#[test]
fn what_one_does_not_use_the_others_get_within_a_second() {
    // The second flow asks only from the 10th to the 20th second.
    let flows = [(0.0, 30.0, 4 * MIB), (10.0, 20.0, 4 * MIB)];
    let rate = 20 * MIB;
    let (begun, log) = on_paused_clock(async { run(&limited(rate), &flows).await });
    let first = |from: u64, until: u64| {
        let at = |secs| begun + Duration::from_secs(secs);
        sum(&log, |when, number| number == 0 && when > at(from) && when <= at(until)) as f64 / (until - from) as f64
    };
    let grant = grant_bytes(rate) as f64;
    for (from, until, share) in [(1, 10, 1.0), (11, 20, 0.5), (21, 29, 1.0)] {
        let (is, should) = (first(from, until), share * rate as f64);
        assert!((is - should).abs() <= grant, "{is} bytes a second from {from} to {until}, not {should}");
    }
}

#[test]
fn the_tightest_rule_holds_and_its_rest_goes_to_the_others() {
    on_paused_clock(async {
        let job = JobName::new("slow").unwrap();
        let traffic = limited(20 * MIB);
        let slow = TrafficRule::of_job(job.clone(), 2 * MIB).unwrap();
        let mut rules = traffic.rules();
        rules.push(slow);
        traffic.set_rules(rules).unwrap();
        let (log, end) = (Log::default(), Instant::now() + Duration::from_secs(30));
        let slow = flow(&traffic, FlowName::new("dr").in_job(job), Direction::Writing);
        tokio::join!(
            greedy(slow, 0, 4 * MIB, end, Arc::clone(&log)),
            greedy(dr(&traffic), 1, 4 * MIB, end, Arc::clone(&log)),
        );
        let log = log.lock().unwrap();
        let share = |number| sum(&log, |_, of| of == number) as f64 / MIB as f64 / 30.0;
        assert!((share(0) - 2.0).abs() < 0.1, "{} MiB/s under a rule of 2", share(0));
        assert!((share(1) - 18.0).abs() < 0.4, "{} MiB/s of the rest of 20", share(1));
    });
}

#[test]
fn both_directions_count() {
    on_paused_clock(async {
        let traffic = limited(10 * MIB);
        let (log, begun) = (Log::default(), Instant::now());
        let end = begun + Duration::from_secs(20);
        let reading = flow(&traffic, FlowName::new("dr"), Direction::Reading);
        tokio::join!(
            greedy(reading, 0, MIB, end, Arc::clone(&log)),
            greedy(dr(&traffic), 1, MIB, end, Arc::clone(&log)),
        );
        let sent = log.lock().unwrap();
        check_windows(10 * MIB, begun, &sent, &[(0.0, 20.0, MIB)], WINDOW);
        assert!(sum(&sent, |_, number| number == 0) > 90 * MIB && sum(&sent, |_, number| number == 1) > 90 * MIB);
    });
}

#[test]
fn new_rules_count_within_a_second_for_a_request_that_waits() {
    on_paused_clock(async {
        let traffic = limited(8_000);
        let flow = dr(&traffic);
        assert_eq!(flow.grant(4 * MIB).await, grant_bytes(8_000), "the first grant is there");
        let waiting = tokio::spawn(async move {
            let bytes = flow.grant(4 * MIB).await;
            (bytes, flow)
        });
        sleep(Duration::from_secs(5)).await;
        // At the old rate the grant is two minutes away.
        assert!(!waiting.is_finished());
        traffic.set_rules(vec![TrafficRule::of_repository("dr", 100 * MIB).unwrap()]).unwrap();
        let (bytes, flow) = timeout(Duration::from_secs(1), waiting).await.unwrap().unwrap();
        assert!(bytes > grant_bytes(8_000));
        traffic.set_rules(vec![TrafficRule::of_repository("dr", 8_000).unwrap()]).unwrap();
        assert!(
            timeout(Duration::from_secs(60), async { flow.grant(MIB).await + flow.grant(MIB).await }).await.is_err()
        );
        traffic.set_rules(Vec::new()).unwrap();
        assert_eq!(timeout(Duration::from_secs(1), flow.grant(1 << 40)).await.unwrap(), 1 << 40);
        assert!(!flow.is_limited());
    });
}

#[test]
fn the_hours_of_a_rule_begin_and_end_within_a_second_while_a_request_waits() {
    on_paused_clock(async {
        // A Monday, ten seconds before the hours begin.
        let (base, begun) = (Timestamp::parse("2026-11-23T07:59:50Z").unwrap(), Instant::now());
        let clock = move || {
            let secs = begun.elapsed().as_secs();
            base.saturating_add_secs(i64::try_from(secs).unwrap())
        };
        let traffic = Traffic::with_clock(clock);
        let hours = Window::parse(&["mon 08:00-08:01"], Zone::utc()).unwrap();
        traffic.set_rules(vec![TrafficRule::of_repository("dr", 8_000).unwrap().hours(hours)]).unwrap();
        let flow = dr(&traffic);
        let mut open = Vec::new();
        while begun.elapsed() < Duration::from_secs(80) {
            let bytes = flow.grant(64 * MIB).await;
            let at = begun.elapsed().as_secs_f64();
            if bytes < 64 * MIB {
                open.push(at);
            }
            sleep(Duration::from_millis(100)).await;
        }
        // One grant is there at the beginning. The next one would have come after two minutes, but the hours end.
        assert_eq!(open.len(), 1, "{open:?}");
        assert!((10.0..=11.0).contains(&open[0]), "{open:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(81),
            "a request waited on after the hours: {:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn data_on_this_host_and_restores_pass() {
    on_paused_clock(async {
        let traffic = limited(1);
        let inside = traffic.flow(FlowName::new("dr"), Direction::Writing);
        inside.set_endpoint(Endpoint::ThisHost);
        let restore = flow(&traffic, FlowName::new("dr").restoring(), Direction::Reading);
        let other = flow(&traffic, FlowName::new("primary"), Direction::Reading);
        for flow in [&inside, &restore, &other] {
            assert_eq!(flow.grant(1 << 40).await, 1 << 40);
        }
        // Its place becomes known while it waits.
        let flow = Arc::new(dr(&traffic));
        flow.grant(MIB).await;
        let waiting = tokio::spawn({
            let flow = Arc::clone(&flow);
            async move { flow.grant(4 * MIB).await }
        });
        sleep(Duration::from_secs(3)).await;
        flow.set_endpoint(Endpoint::ThisHost);
        assert_eq!(timeout(Duration::from_secs(1), waiting).await.unwrap().unwrap(), 4 * MIB);
        let rule = TrafficRule::of_repository("dr", 8_000).unwrap().restores(true);
        traffic.set_rules(vec![rule]).unwrap();
        assert!(restore.is_limited());
    });
}

#[test]
fn ranges_are_matched_by_both_ends() {
    on_paused_clock(async {
        let traffic = Traffic::new();
        let loopback = Some("127.0.0.0/8".parse().unwrap());
        traffic.set_rules(vec![TrafficRule::between(loopback, loopback, MIB).unwrap()]).unwrap();
        let flow = |endpoint| {
            let flow = traffic.flow(FlowName::new("dr"), Direction::Reading);
            flow.set_endpoint(endpoint);
            flow
        };
        assert!(flow(PEER).is_limited(), "an address of this host is no folder of this host");
        assert!(!flow(Endpoint::ThisHost).is_limited());
        assert!(!flow(Endpoint::Unknown).is_limited());
    });
}

#[test]
fn a_request_that_is_dropped_takes_nothing() {
    on_paused_clock(async {
        let traffic = limited(MIB);
        let (flow, other) = (dr(&traffic), dr(&traffic));
        flow.grant(MIB).await;
        let begun = Instant::now();
        for _ in 0..10 {
            assert!(timeout(Duration::from_millis(50), flow.grant(MIB)).await.is_err());
        }
        assert_eq!(other.grant(MIB).await, grant_bytes(MIB));
        assert!(begun.elapsed() <= Duration::from_millis(1_010), "{:?}", begun.elapsed());
    });
}

#[test]
fn later_requests_make_up_for_what_went_without_a_grant() {
    on_paused_clock(async {
        let flow = dr(&limited(MIB));
        flow.owe(11 * MIB);
        let begun = Instant::now();
        flow.grant(MIB).await;
        assert!((10.9..=11.1).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    });
}
