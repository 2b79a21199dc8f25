//! The content of a mail. Text and HTML are both made of it.

/// How things are. Each tone has a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tone {
    Well,
    Warning,
    Failed,
}

/// A letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    pub(crate) tone: Tone,
    pub(crate) title: String,
    pub(crate) sections: Vec<Section>,
}

/// A section. The first one has no heading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Section {
    pub(crate) heading: String,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A sentence.
    Line(String),
    /// A sentence that nobody should miss.
    Alert(Tone, String),
    /// Names with their values.
    Facts(Vec<(&'static str, String)>),
    Table(Table),
}

/// Rows below a head. A head of empty texts does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<Cell>>,
    /// How many rows were left out.
    pub(crate) more: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Text(String),
    /// Flush right.
    Number(String),
    Bar(Bar),
}

/// A share of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) tone: Tone,
    /// The share in thousandths, from 0 to 1000.
    pub(crate) permille: u16,
}

impl Bar {
    /// Returns the share of `part` in `whole`, which is at most the whole.
    pub(crate) fn of(tone: Tone, part: u64, whole: u64) -> Self {
        let permille = match whole {
            0 => 0,
            whole => (u128::from(part.min(whole)) * 1000).div_ceil(u128::from(whole)),
        };
        Self { tone, permille: u16::try_from(permille).unwrap_or(1000) }
    }
}

impl Table {
    /// The greatest number of rows. Nobody reads a longer mail.
    const ROWS_MAX: usize = 200;

    /// Returns a table of the first rows.
    pub(crate) fn of(head: &[&'static str], rows: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        let mut rows = rows.into_iter();
        let shown = rows.by_ref().take(Self::ROWS_MAX).collect();
        Self { head: head.to_vec(), rows: shown, more: rows.count() }
    }

    /// Returns `true` if the head has a text.
    pub(super) fn has_head(&self) -> bool {
        self.head.iter().any(|name| !name.is_empty())
    }
}

/// Returns a text on one line. Names and errors come from outside, and must not change the shape of a mail.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// Checks that text and HTML of a letter are those of the golden files. `OFFSITE_UPDATE_GOLDENS=1` writes the files anew.
#[cfg(test)]
#[track_caller]
pub(super) fn golden(letter: &Letter, name: &str) {
    use super::{html::html, text::text};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mail");
    for (ending, actual) in [("txt", text(letter)), ("html", html(letter))] {
        let path = folder.join(format!("{name}.{ending}"));
        if std::env::var_os("OFFSITE_UPDATE_GOLDENS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(actual, expected, "{}: OFFSITE_UPDATE_GOLDENS=1 rewrites it", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_longer_than_the_whole_nor_empty_where_there_is_something() {
        let permille = |part, whole| Bar::of(Tone::Well, part, whole).permille;
        assert_eq!(
            [permille(0, 0), permille(5, 0), permille(0, 9), permille(9, 9), permille(20, 9)],
            [0, 0, 0, 1000, 1000]
        );
        assert_eq!([permille(1, u64::MAX), permille(u64::MAX - 1, u64::MAX), permille(1, 2)], [1, 1000, 500]);
    }

    #[test]
    fn long_tables_say_how_many_rows_are_left_out() {
        let rows = (0..Table::ROWS_MAX + 3).map(|number| vec![Cell::Number(number.to_string())]);
        let table = Table::of(&["number"], rows);
        assert_eq!((table.rows.len(), table.more), (Table::ROWS_MAX, 3));
    }
}
