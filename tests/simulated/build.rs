//! Has the engine compiled for the simulation.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=offsite_simulation");
}
