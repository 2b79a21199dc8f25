//! Config files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = offsite_cli::fuzzing::config(text);
});
