//! The fakes and the decorators keep the contract.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use offsite_repository::Recording;
use offsite_repository::conformance_tests;
use offsite_repository::testing::conformance::{self, Linker, Options, Outcome};
use offsite_repository::testing::{CrashImage, CrashOptions, Faulty, Memory, MemoryOptions};

fn options() -> Options {
    Options::default().with_retain_secs(3_600)
}

/// As `cp -l` of an object of `memory` does.
fn linker(memory: &Memory) -> Linker {
    let memory = memory.clone();
    Linker::new(move |key| {
        assert!(memory.link(key, true));
        Ok(())
    })
}

mod memory {
    use super::*;
    conformance_tests!(async || {
        let memory = Memory::new();
        let options = options().with_linker(linker(&memory));
        (Arc::new(memory), options)
    });
}

mod memory_with_a_limit_opened_anew {
    use super::*;
    conformance_tests!(async || {
        let place = Memory::with_options(MemoryOptions::default().with_object_bytes_max(500_000).with_yields(true));
        let factory = conformance::factory(move || std::future::ready(Ok(place.clone())));
        (factory, options().with_large_object_bytes(250_000))
    });
}

mod memory_that_yields {
    use super::*;
    conformance_tests!(async || {
        (Arc::new(Memory::with_options(MemoryOptions::default().with_yields(true))), options())
    });
}

mod crash_image {
    use super::*;
    conformance_tests!(async || {
        let image = CrashImage::with_options(1, CrashOptions::default().with_yields(true));
        (conformance::factory(move || std::future::ready(Ok(image.clone()))), options())
    });
}

mod recording {
    use super::*;
    conformance_tests!(async || {
        let memory = Memory::new();
        let options = options().with_linker(linker(&memory));
        (Arc::new(Recording::new(memory)), options)
    });
}

mod faulty_without_faults {
    use super::*;
    conformance_tests!(async || {
        let memory = Memory::new();
        let options = options().with_linker(linker(&memory));
        (Arc::new(Faulty::new(Arc::new(memory))), options)
    });
}

/// What takes other processes or a second handle, in the suite's order.
const WITHOUT_A_HOOK: [&str; 7] = [
    "race_processes",
    "killed_process",
    "second_handle",
    "second_handle_reads",
    "second_handle_lists",
    "second_handle_lengths",
    "second_handle_aborts",
];

#[tokio::test]
async fn nothing_is_left_out_or_left_behind_and_what_was_there_stays() {
    let memory = Memory::new();
    let key = offsite_repository::Key::new("a/b").unwrap();
    offsite_repository::RepositoryExt::put(&memory, &key, bytes::Bytes::from_static(b"mine")).await.unwrap();
    let report = conformance::check(Arc::new(memory.clone()), &Options::default()).await;
    assert!(report.nothing_failed(), "{report}");
    let left_out: Vec<&str> = report.left_out().map(|case| case.name).collect();
    assert_eq!(left_out, [&WITHOUT_A_HOOK[..], &["size_limit", "linked", "retain"]].concat());
    let counted = [report.passed().count(), left_out.len()];
    assert_eq!(counted, [conformance::cases().len() - left_out.len(), left_out.len()]);
    assert_eq!(memory.contents(), [(key, bytes::Bytes::from_static(b"mine"))]);
    assert_eq!(memory.used_bytes(), 4);
}

#[tokio::test]
async fn what_a_place_does_not_offer_is_left_out() {
    let options =
        MemoryOptions::default().with_reclaim(false).with_clone_range(false).with_patch(false).with_retain(false);
    let report = conformance::check(Arc::new(Memory::with_options(options)), &Options::quick()).await;
    assert!(report.nothing_failed(), "{report}");
    let left_out: Vec<&str> = report.left_out().map(|case| case.name).collect();
    let when_quick = ["size_limit", "list_long"];
    let without_a_capability = ["linked", "punch", "clone_range", "patch", "retain", "cancelled_capabilities"];
    assert_eq!(left_out, [&WITHOUT_A_HOOK[..], &when_quick, &without_a_capability].concat());
    let counted = format!("{} passed, 0 failed, 15 left out", conformance::cases().len() - 15);
    assert!(report.to_string().contains(&counted), "{report}");
}

#[tokio::test]
async fn a_place_that_fails_or_a_case_that_does_not_exist_is_reported() {
    let faulty = Faulty::new(Memory::new());
    faulty.inject(
        offsite_repository::testing::Fault::after_calls(0, offsite_repository::ErrorKind::Unavailable).for_ever(),
    );
    let report = conformance::check(Arc::new(faulty), &Options::quick()).await;
    assert_eq!(report.failed().count() + report.left_out().count(), conformance::cases().len(), "{report}");
    let closed = conformance::factory(|| async {
        Err::<Memory, _>(offsite_repository::Error::new(offsite_repository::ErrorKind::MediaAbsent, "open"))
    });
    let report = conformance::check(closed, &Options::quick()).await;
    assert!(matches!(report.outcome("open"), Some(Outcome::Failed(_))) && report.cases.len() == 1, "{report}");
    let report = conformance::check_cases(Arc::new(Memory::new()), &Options::quick(), &["no_such_case"]).await;
    assert!(matches!(report.outcome("unknown"), Some(Outcome::Failed(_))), "{report}");
}

#[test]
fn without_a_runtime_the_report_says_so() {
    let options = Options::quick();
    let report = futures::FutureExt::now_or_never(conformance::check(Arc::new(Memory::new()), &options)).unwrap();
    assert!(matches!(report.outcome("open"), Some(Outcome::Failed(_))), "{report}");
}
