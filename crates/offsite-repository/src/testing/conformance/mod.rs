//! The conformance suite: it checks whether a repository keeps the contract.
//!
//! [`check`] opens a place with a [`Factory`], runs every case against it, and returns a [`Report`]. A shared repository is a
//! factory.
//!
//! - The suite works below a random top-level folder, and deletes its objects there afterwards. So it may run on a live store. A
//!   place that has real folders may keep them, empty.
//! - It does not panic. It has no time limits, so it waits for a repository that never answers.
//! - A case that cannot be tried does not pass: it is [left out](Outcome::LeftOut), with the reason. Cases with several processes
//!   need [`Options::processes`]. Cases with two handles need a factory that opens the place anew, see [`factory()`].
//!
//! In a test suite, use [`conformance_tests!`](crate::conformance_tests). It makes a test of each case:
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
mod cancel_rest;
mod capabilities;
mod content;
mod context;
mod create;
mod factory;
mod large;
mod late;
mod limits;
mod linker;
mod links;
mod list;
mod options;
mod processes;
mod racers;
mod read;
mod recreate;
mod report;
mod visibility;

use std::sync::Arc;

use futures::future::BoxFuture;

use self::cancel::cancelled_calls;
use self::cancel_rest::{cancelled_capabilities, cancelled_others};
use self::capabilities::{clone_range, patch, punch, retain};
use self::context::Context;
use self::create::{
    abort_and_drop, atomic_finish, create_if_absent, many_at_once, odd_keys, race_one_name, sizes, sweep_spares_writers,
};
pub use self::factory::{Factory, factory};
use self::large::{
    large_abort_and_drop, large_atomic_finish, large_content, large_create_if_absent, large_delete, large_past_end,
    large_ranges,
};
use self::late::{abort_then_finish, late_abort, late_delete, late_drop, late_loser, second_handle_aborts};
use self::limits::size_limit;
pub use self::linker::Linker;
use self::links::linked;
use self::list::{delete, list_long, list_order, list_pages, list_prefix};
pub use self::options::Options;
use self::processes::{killed_process, race_processes};
pub use self::racers::{RacerProcess, play_racer};
use self::read::{missing_objects, range_ends, read_ranges, read_whole, read_your_writes};
use self::recreate::{
    recreated_content, recreated_length, second_handle_lengths, second_handle_lists, second_handle_reads,
};
pub use self::report::{CaseReport, Outcome, Report};
use self::visibility::{second_handle, whole_or_nothing};
use crate::{Prefix, Repository};

/// The names of all cases, in the order in which they run.
#[must_use]
pub fn cases() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}

/// Runs every case against the place that `factory` opens.
///
/// It needs a tokio runtime around it.
///
/// ```
/// use std::sync::Arc;
/// use offsite_repository::testing::Memory;
/// use offsite_repository::testing::conformance::{Options, Outcome, check};
///
/// # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
/// let report = check(Arc::new(Memory::new()), &Options::quick()).await;
/// assert!(report.nothing_failed(), "{report}");
/// // The suite does not know how to start another process, and says so.
/// assert!(matches!(report.outcome("race_processes"), Some(Outcome::LeftOut(_))));
/// # });
/// ```
pub async fn check(factory: impl Factory + 'static, options: &Options) -> Report {
    check_cases(factory, options, &cases()).await
}

/// Runs the cases with these `names`, in the order of the suite.
///
/// See [`cases`].
pub async fn check_cases(factory: impl Factory + 'static, options: &Options, names: &[&str]) -> Report {
    check_shared(Arc::new(factory), options, names).await
}

#[doc(hidden)]
pub fn check_shared<'a>(factory: Arc<dyn Factory>, options: &'a Options, names: &'a [&str]) -> BoxFuture<'a, Report> {
    Box::pin(async move {
        let mut report = Report { location: String::new(), folder: String::new(), cases: Vec::new() };
        let (folder, (repository, location)) = match begin(&factory).await {
            Ok(begun) => begun,
            Err(why) => {
                report.cases.push(CaseReport { name: "open", outcome: Outcome::Failed(why) });
                return report;
            }
        };
        for case in CASES.iter().filter(|case| names.contains(&case.name)) {
            let context = Context::new(Arc::clone(&repository), Arc::clone(&factory), options.clone());
            let outcome = run(case, context, &folder).await;
            report.cases.push(CaseReport { name: case.name, outcome });
        }
        for name in names.iter().filter(|name| !CASES.iter().any(|case| case.name == **name)) {
            let outcome = Outcome::Failed(format!("there is no case {name:?}"));
            report.cases.push(CaseReport { name: "unknown", outcome });
        }
        Report { location, folder, ..report }
    })
}

/// A folder to work below, the place, and its location.
async fn begin(factory: &Arc<dyn Factory>) -> Result<(String, (Arc<dyn Repository>, String)), String> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err("there is no tokio runtime to run in".to_owned());
    }
    let factory = Arc::clone(factory);
    let opened = tokio::spawn(async move {
        let repository = factory.open().await?;
        let location = repository.location();
        crate::Result::Ok((repository, location))
    });
    let opened = opened.await.map_err(|error| format!("the repository panicked: {error}"))?;
    let opened = opened.map_err(|error: crate::Error| context::chain(&error))?;
    Ok((random_folder()?, opened))
}

async fn run(case: &Case, mut context: Context, folder: &str) -> Outcome {
    context.folder = match Prefix::new(format!("{folder}/{}", case.name)) {
        Ok(folder) => folder,
        Err(error) => return Outcome::Failed(error.to_string()),
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

/// The folder of a run, which nothing else uses.
fn random_folder() -> Result<String, String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| format!("there is no random name to work below: {error}"))?;
    Ok(format!("conformance-{:016x}", u64::from_le_bytes(random)))
}

/// Makes one `#[tokio::test]` of each case of the [suite](mod@crate::testing::conformance).
///
/// It takes an `async fn` or closure without arguments, which returns a tuple:
///
/// 1. a [`Factory`](crate::testing::conformance::Factory), for example an [`Arc`](std::sync::Arc) of a repository;
/// 2. the [`Options`](crate::testing::conformance::Options);
/// 3. optionally, whatever must live as long as the repository.
///
/// A test can only pass or fail. If the suite leaves a case out, its test passes, and prints the reason. The caller's crate needs
/// `tokio` with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! conformance_tests {
    // The one list of cases.
    (@cases $then:ident $($arguments:tt)*) => {
        // In braces, for these are fine for items and for an expression.
        $crate::conformance_tests! {
            @$then [$($arguments)*]
            create_if_absent race_one_name race_processes atomic_finish whole_or_nothing abort_and_drop late_abort
            late_drop late_loser abort_then_finish killed_process read_your_writes second_handle second_handle_reads
            second_handle_lists second_handle_lengths second_handle_aborts read_ranges range_ends read_whole
            missing_objects sizes size_limit odd_keys many_at_once list_order list_prefix list_pages list_long delete
            late_delete recreated_content recreated_length large_content large_ranges large_past_end large_delete
            large_create_if_absent large_atomic_finish large_abort_and_drop cancelled_calls cancelled_others
            sweep_spares_writers linked punch clone_range patch retain cancelled_capabilities
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
            let report = $crate::testing::conformance::check_shared(place.factory, &place.options, &names).await;
            assert!(report.nothing_failed(), "{report}");
            for case in report.left_out() {
                println!("{case}");
            }
        }
    )*};
    ($open:expr) => {
        $crate::conformance_tests! { @cases tests $open }
    };
}

/// What a test of [`conformance_tests!`](crate::conformance_tests) opens.
///
/// It is made from the tuples that the macro takes.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "a detail of the macro")]
pub struct Place {
    pub factory: Arc<dyn Factory>,
    pub options: Options,
    pub keep: Box<dyn Send>,
}

impl<F: Factory + 'static> From<(F, Options)> for Place {
    fn from((factory, options): (F, Options)) -> Self {
        Self { factory: Arc::new(factory), options, keep: Box::new(()) }
    }
}

impl<F: Factory + 'static, K: Send + 'static> From<(F, Options, K)> for Place {
    fn from((factory, options, keep): (F, Options, K)) -> Self {
        Self { factory: Arc::new(factory), options, keep: Box::new(keep) }
    }
}
