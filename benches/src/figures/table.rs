//! Tables in Markdown.

use super::sample::Samples;

/// A table whose first column is text and whose others are numbers.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()] }
    }

    /// A table of operations that carry `what` (a word in the title) of data.
    pub(super) fn of_operations(what: &str) -> Self {
        let rate = format!("MB/s of {what}");
        Self::new(&["", "samples", "seconds", &rate, "CPU seconds", "peak RSS, MB", "foreign CPU seconds"])
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// An operation of this program that carried so many bytes.
    pub(super) fn operation(&mut self, name: &str, samples: &Samples, bytes: u64) {
        let rss = samples.peak_rss_mb().map_or_else(String::new, |rss| format!("{rss:.0}"));
        self.samples(name, samples, bytes, rss);
    }

    /// An operation of other programs: this one's memory says nothing of theirs.
    pub(super) fn yardstick(&mut self, name: &str, samples: &Samples, bytes: u64) {
        self.samples(name, samples, bytes, "-".to_owned());
    }

    fn samples(&mut self, name: &str, samples: &Samples, bytes: u64, rss: String) {
        let secs = samples.secs();
        self.row(vec![
            name.to_owned(),
            secs.count.to_string(),
            secs.text(1.0, 2),
            format!("{:.0}", bytes as f64 / 1e6 / secs.median),
            samples.cpu_secs().text(1.0, 2),
            rss,
            samples.foreign_cpu_secs().text(1.0, 1),
        ]);
    }

    /// The table, its columns aligned for those who read it as it is.
    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(2)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                text += &if column == 0 { format!("| {cell:<width$} |") } else { format!(" {cell:>width$} |") };
            }
            text.push('\n');
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let line = "-".repeat(width - usize::from(column > 0));
                    text += &if column == 0 { format!("| {line} |") } else { format!(" {line}: |") };
                }
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let mut table = Table::new(&["name", "n"]);
        table.row(vec!["a".to_owned(), "123".to_owned()]);
        assert_eq!(table.render(), "| name |   n |\n| ---- | --: |\n| a    | 123 |\n");
    }
}
