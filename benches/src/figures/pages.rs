//! What is printed, and kept for a file.

use std::time::Duration;

use super::table::Table;

/// The result so far. Each part is printed when it is known.
#[derive(Debug, Default)]
pub(super) struct Pages {
    text: String,
    bars: Vec<Bar>,
}

#[derive(Debug)]
struct Bar {
    what: String,
    measured: String,
    bar: String,
    held: bool,
}

impl Pages {
    /// A heading, with an empty line on both sides.
    pub(super) fn heading(&mut self, level: usize, title: &str) {
        if !self.text.is_empty() {
            self.line("");
        }
        self.line(&format!("{} {title}\n", "#".repeat(level)));
    }

    pub(super) fn line(&mut self, line: &str) {
        println!("{line}");
        self.text += line;
        self.text.push('\n');
    }

    pub(super) fn table(&mut self, table: &Table) {
        self.line(&table.render());
    }

    /// Puts a measured value beside what it must not exceed.
    pub(super) fn bar(&mut self, what: &str, measured: f64, bar: f64, text: impl Fn(f64) -> String) {
        self.check(what, text(measured), format!("at most {}", text(bar)), measured <= bar);
    }

    /// Notes whether something that must hold does.
    pub(super) fn check(&mut self, what: &str, measured: String, bar: String, held: bool) {
        self.bars.push(Bar { what: what.to_owned(), measured, bar, held });
    }

    /// Lists the bars; whether all were held.
    pub(super) fn end(&mut self, elapsed: Duration) -> bool {
        let bars = std::mem::take(&mut self.bars);
        if !bars.is_empty() {
            self.heading(3, "Bars");
            let mut table = Table::new(&["", "measured", "bar", "result"]);
            for bar in &bars {
                let result = if bar.held { "pass" } else { "FAIL" };
                table.row(vec![bar.what.clone(), bar.measured.clone(), bar.bar.clone(), result.to_owned()]);
            }
            self.table(&table);
        }
        self.line(&format!("All of it took {:.0} s.", elapsed.as_secs_f64()));
        bars.iter().all(|bar| bar.held)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}
