//! Whether a repository keeps the contract.
//!
//! [`check`] runs every case against a live place, below a random folder that it removes afterwards, and returns a
//! [`Report`]. It neither panics nor waits for a clock. In a test suite, [`conformance_tests!`](crate::conformance_tests)
//! makes a test of each case instead:
//!
//! ```
//! use std::sync::Arc;
//! use offsite_repository::testing::{Memory, conformance::Options};
//!
//! async fn open() -> (Arc<Memory>, Options) {
//!     (Arc::new(Memory::new()), Options::default())
//! }
//! offsite_repository::conformance_tests!(open);
//! # fn main() {}
//! ```

mod cancel;
mod capabilities;
mod context;
mod create;
mod list;
mod read;
mod report;

use std::sync::Arc;

use futures::future::BoxFuture;

use self::cancel::cancelled_calls;
use self::capabilities::{clone_range, patch, punch, retain};
use self::context::Context;
use self::create::{
    abort_and_drop, atomic_finish, create_if_absent, many_at_once, odd_keys, race_one_name, sizes, sweep_spares_writers,
};
use self::list::{delete, list_order, list_pages, list_prefix};
use self::read::{missing_objects, read_ranges, read_whole, read_your_writes};
pub use self::report::{CaseReport, Outcome, Report};
use crate::{Prefix, Repository};

/// How hard to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many writers race for one name.
    pub racers: usize,
    /// How many races there are.
    pub races: usize,
    /// The length of the largest object written.
    pub large_bytes: usize,
    /// How many objects the listings are tried with.
    pub listed: usize,
    /// For how many seconds an object may be made undeletable; zero leaves [`Retain`](crate::Retain) untried, as what it
    /// locks cannot be cleaned up.
    pub retain_secs: u32,
}

impl Default for Options {
    /// Enough to catch what goes wrong now and then, on a place that answers within milliseconds.
    fn default() -> Self {
        Self { racers: 8, races: 12, large_bytes: (5 << 20) + 321, listed: 23, retain_secs: 0 }
    }
}

impl Options {
    /// A short probe: small objects and few races, for attaching to a place over a slow link.
    #[must_use]
    pub fn quick() -> Self {
        Self { racers: 4, races: 3, large_bytes: 70_001, listed: 7, retain_secs: 0 }
    }
}

/// The names of all cases, in the order in which they run.
#[must_use]
pub fn cases() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}

/// Runs every case against `repository`.
pub async fn check(repository: Arc<dyn Repository>, options: &Options) -> Report {
    check_cases(repository, options, &cases()).await
}

/// Runs the cases that are named, in the suite's order.
pub async fn check_cases(repository: Arc<dyn Repository>, options: &Options, names: &[&str]) -> Report {
    let location = repository.location();
    let mut reports = Vec::new();
    for case in CASES.iter().filter(|case| names.contains(&case.name)) {
        let outcome = run(case, Arc::clone(&repository), options.clone()).await;
        reports.push(CaseReport { name: case.name, outcome });
    }
    for name in names.iter().filter(|name| !CASES.iter().any(|case| case.name == **name)) {
        let outcome = Outcome::Failed(format!("there is no case {name:?}"));
        reports.push(CaseReport { name: "unknown", outcome });
    }
    Report { location, cases: reports }
}

async fn run(case: &Case, repository: Arc<dyn Repository>, options: Options) -> Outcome {
    let context = match Context::new(case.name, repository, options) {
        Ok(context) => context,
        Err(stop) => return stop.into(),
    };
    // In a task of its own, so that a panic in the repository ends its case and not the suite.
    let outcome = match tokio::spawn((case.run)(context.clone())).await {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(stop)) => stop.into(),
        Err(error) => Outcome::Failed(format!("the repository panicked: {error}")),
    };
    match (outcome, tokio::spawn(async move { context.clean_up().await }).await) {
        (Outcome::Passed, Ok(Err(stop))) => Outcome::Failed(format!("cleaning up: {}", Outcome::from(stop))),
        (Outcome::Passed, Err(error)) => Outcome::Failed(format!("the repository panicked: {error}")),
        (outcome, _) => outcome,
    }
}

struct Case {
    name: &'static str,
    run: fn(Context) -> BoxFuture<'static, Result<(), context::Stop>>,
}

static CASES: &[Case] = crate::conformance_tests!(@cases table);

/// The folder below which a case keeps all it writes.
fn folder(case: &str) -> Result<Prefix, context::Stop> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| context::Stop::Fail(format!("no random name: {error}")))?;
    let random = u64::from_le_bytes(random);
    Ok(Prefix::new(format!("conformance-{random:016x}/{case}"))?)
}

/// Makes one `#[tokio::test]` of each case of the [suite](mod@crate::testing::conformance).
///
/// Takes an `async fn` or closure without arguments that returns the repository in an [`Arc`](std::sync::Arc) and
/// [`Options`](crate::testing::conformance::Options), or as a third part whatever is to live as long as the repository.
/// The caller's crate needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! conformance_tests {
    // The one list of cases.
    (@cases $then:ident $($arguments:tt)*) => {
        // In braces, for these are fine for items and for an expression.
        $crate::conformance_tests! {
            @$then [$($arguments)*]
            create_if_absent race_one_name atomic_finish abort_and_drop read_your_writes read_ranges read_whole
            missing_objects sizes odd_keys many_at_once list_order list_prefix list_pages delete cancelled_calls
            sweep_spares_writers punch clone_range patch retain
        }
    };
    (@table [] $($case:ident)*) => {
        &[$(Case { name: stringify!($case), run: |context| Box::pin($case(context)) }),*]
    };
    (@tests [$open:expr] $($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $case() {
            let place = $crate::testing::conformance::Place::from(($open)().await);
            let names = [stringify!($case)];
            let report = $crate::testing::conformance::check_cases(place.repository, &place.options, &names).await;
            assert!(report.passed(), "{report}");
            for case in report.skipped() {
                println!("skipped {case}");
            }
        }
    )*};
    ($open:expr) => {
        $crate::conformance_tests! { @cases tests $open }
    };
}

/// What a test of [`conformance_tests!`](crate::conformance_tests) opens; made from the tuples that it takes.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "a detail of the macro")]
pub struct Place {
    pub repository: Arc<dyn Repository>,
    pub options: Options,
    pub keep: Box<dyn Send>,
}

impl<R: Repository + 'static> From<(Arc<R>, Options)> for Place {
    fn from((repository, options): (Arc<R>, Options)) -> Self {
        Self { repository, options, keep: Box::new(()) }
    }
}

impl<R: Repository + 'static, K: Send + 'static> From<(Arc<R>, Options, K)> for Place {
    fn from((repository, options, keep): (Arc<R>, Options, K)) -> Self {
        Self { repository, options, keep: Box::new(keep) }
    }
}
