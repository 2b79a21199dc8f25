//! Measures Offsite beside other tools on generated disks, and writes the page about it. See `compare --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    offsite_benches::figures::compare::main()
}
