//! The guide shows this crate's code and no other.

use std::fs;
use std::path::Path;

/// The blocks of `language` in a Markdown text.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block)).collect()
}

#[test]
fn each_piece_of_code_in_the_guide_is_a_piece_of_this_crate() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(here.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let sources = ["src/lib.rs", "tests/conformance.rs"].map(read);
    let guide = read("../../docs/write-a-backend.md");
    let blocks = blocks(&guide, "rust");
    assert!(blocks.len() >= 6, "the guide has {} pieces of code", blocks.len());
    for block in blocks {
        // Whole lines, with the indentation that they have in the source.
        let is_quoted = sources.iter().any(|source| format!("\n{source}").contains(&format!("\n{block}")));
        assert!(is_quoted, "docs/write-a-backend.md shows code that is not in this crate:\n{block}");
    }
}
