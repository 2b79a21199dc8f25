//! Transcripts that are compared with files under `tests/golden/`.
//!
//! `OFFSITE_UPDATE_GOLDENS=1` writes the files anew; the change is then reviewed as any other.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{Offsite, Ran};

/// What commands said, one after the other.
#[derive(Default)]
pub struct Transcript(String);

impl Transcript {
    /// A line for the reader of the golden file.
    pub fn heading(&mut self, text: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}# {text}");
    }

    /// Adds a command with all it printed.
    pub fn add(&mut self, ran: &Ran) {
        let _ = writeln!(self.0, "$ {}", ran.line);
        self.0.push_str(&ran.out);
        for line in ran.err.lines() {
            let _ = writeln!(self.0, "! {line}");
        }
        if ran.status != 0 {
            let _ = writeln!(self.0, "[status {}]", ran.status);
        }
    }

    /// Runs a command, holds its status, and adds it.
    #[track_caller]
    pub fn run<'a>(&mut self, offsite: &Offsite, status: i32, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        let ran = offsite.run(arguments).expect(status);
        self.add(&ran);
        ran
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Holds that all of it is what the golden file has.
    #[track_caller]
    pub fn compare(&self, offsite: &Offsite, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let actual = normalised(&self.0, offsite.root());
        if std::env::var_os("OFFSITE_UPDATE_GOLDENS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, actual).unwrap();
            return;
        }
        let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Some((line, (expected, actual))) =
            lines(&expected).zip(lines(&actual)).enumerate().find(|(_, (expected, actual))| expected != actual)
        {
            panic!(
                "{name}, line {}:\n  golden {expected:?}\n  now    {actual:?}\nOFFSITE_UPDATE_GOLDENS=1 rewrites it; all of \
                 it now:\n{}",
                line + 1,
                normalised(&self.0, offsite.root()),
            );
        }
    }
}

/// All lines, then nothing for ever, so that the longer text differs from the shorter.
fn lines(text: &str) -> impl Iterator<Item = Option<&str>> {
    text.lines().map(Some).chain(std::iter::repeat_n(None, 100_000))
}

/// The text without what differs from run to run: the folder, ids, durations, rates, numbers of processes.
pub fn normalised(text: &str, root: &Path) -> String {
    let text = text.replace(root.to_str().unwrap(), "DIR");
    text.split_inclusive('\n').map(normalised_line).collect()
}

fn normalised_line(line: &str) -> String {
    let mut done = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        if let Some((with, length)) = volatile(&done, rest) {
            done.push_str(with);
            rest = &rest[length..];
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            done.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    done
}

/// What to write in place of the text that `rest` starts with, and how long that is, if it differs from run to run.
fn volatile(before: &str, rest: &str) -> Option<(&'static str, usize)> {
    if before.ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '.') {
        return None;
    }
    let span = |accept: fn(&char) -> bool| rest.chars().take_while(accept).count();
    if span(|letter| letter.is_ascii_hexdigit()) == 32 {
        return Some(("ID", 32));
    }
    let number = span(|letter| letter.is_ascii_digit() || *letter == '.');
    if number == 0 {
        return None;
    }
    if before.ends_with("process ") {
        return Some(("PID", number));
    }
    let unit = rest[number..].strip_prefix(' ')?;
    let word: String = unit.chars().take_while(|letter| letter.is_ascii_alphabetic() || *letter == '/').collect();
    match word.as_str() {
        "B" | "KiB" | "MiB" | "GiB" | "TiB" if unit[word.len()..].starts_with(" free") => {
            Some(("ROOM", number + 1 + word.len()))
        }
        "us" | "ms" | "s" | "min" => Some(("TIME", number + 1 + word.len())),
        "MiB/s" => Some(("RATE", number + 1 + word.len())),
        _ => None,
    }
}
