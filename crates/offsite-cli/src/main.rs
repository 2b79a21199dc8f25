//! The `offsite` command.

fn main() -> std::process::ExitCode {
    offsite_cli::main()
}
