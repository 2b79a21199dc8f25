//! A letter as plain text.

use super::letter::{Bar, Cell, Letter, Part, Section, Table, clean};
use crate::render;

/// The length of a bar in characters.
const BAR_CHARS: usize = 20;

/// Returns the letter as plain text.
pub(super) fn text(letter: &Letter) -> String {
    let title = clean(&letter.title);
    let mut text = format!("{title}\n{}\n", "=".repeat(title.chars().count()));
    for section in &letter.sections {
        text.push('\n');
        text.push_str(&section_text(section));
    }
    text
}

fn section_text(section: &Section) -> String {
    let mut text = String::new();
    if !section.heading.is_empty() {
        let heading = clean(&section.heading);
        text.push_str(&format!("{heading}\n{}\n", "-".repeat(heading.chars().count())));
    }
    for (number, part) in section.parts.iter().enumerate() {
        if number > 0 && matches!(part, Part::Facts(_) | Part::Table(_)) {
            text.push('\n');
        }
        match part {
            Part::Line(line) | Part::Alert(_, line) => text.push_str(&format!("{}\n", clean(line))),
            Part::Facts(facts) => {
                let rows: Vec<_> = facts.iter().map(|(name, value)| vec![(*name).to_owned(), clean(value)]).collect();
                text.push_str(&render::table(&rows, &[]));
            }
            Part::Table(table) => text.push_str(&table_text(table)),
        }
    }
    text
}

fn table_text(table: &Table) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Text(text) | Cell::Number(text) => clean(text),
        Cell::Bar(bar) => bar_text(*bar),
    };
    let head = table.has_head().then(|| table.head.iter().map(|name| (*name).to_owned()).collect());
    let rows = table.rows.iter().map(|row| row.iter().map(cell).collect());
    let is_number = |column: &usize| table.rows.iter().any(|row| matches!(row.get(*column), Some(Cell::Number(_))));
    let right: Vec<usize> = (0..table.head.len()).filter(is_number).collect();
    let mut text = render::table(&head.into_iter().chain(rows).collect::<Vec<_>>(), &right);
    if table.more > 0 {
        text.push_str(&format!("and {} more\n", table.more));
    }
    text
}

fn bar_text(bar: Bar) -> String {
    let filled = (usize::from(bar.permille) * BAR_CHARS).div_ceil(1000).min(BAR_CHARS);
    format!("{}{}", "#".repeat(filled), ".".repeat(BAR_CHARS - filled))
}
