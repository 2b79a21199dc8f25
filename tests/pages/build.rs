//! Puts the pieces of Rust in `docs/embed.md` together, in the order of the page: a reader types them into one program, too.

use std::path::Path;
use std::{env, fs};

const PAGE: &str = "../../docs/embed.md";

fn main() {
    println!("cargo::rerun-if-changed={PAGE}");
    let page = fs::read_to_string(PAGE).expect("the page is there");
    let pieces: Vec<&str> = page
        .split("\n```rust\n")
        .skip(1)
        .map(|rest| rest.split_once("\n```\n").expect("each piece of code ends").0)
        .collect();
    assert!(!pieces.is_empty(), "{PAGE} has no piece of Rust");
    let folder = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("embed.rs"), pieces.join("\n\n"))
        .expect("the folder of the build can be written to");
}
