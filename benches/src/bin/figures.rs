//! Measures Offsite beside plain file copies on generated disks. See `figures --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    offsite_benches::figures::main()
}
