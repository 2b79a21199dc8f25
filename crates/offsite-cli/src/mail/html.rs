//! A letter as HTML. Each client of mail shows tables and inline styles. There is no script, no image, and nothing from elsewhere.

use super::letter::{Bar, Cell, Letter, Part, Section, Table, Tone, clean};

/// The length of a bar in pixels.
const BAR_PIXELS: u32 = 160;
const FONT: &str = "font-family:Arial,Helvetica,sans-serif;font-size:14px;line-height:20px;color:#1f2328";

/// Returns the letter as HTML.
pub(super) fn html(letter: &Letter) -> String {
    let colour = colour(letter.tone);
    let title = escaped(&letter.title);
    let sections: String = letter.sections.iter().map(section_html).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n\
         <body style=\"margin:0;padding:16px;background:#ffffff;{FONT}\">\n\
         <table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" style=\"border-collapse:collapse\">\n\
         <tr><td bgcolor=\"{colour}\" style=\"padding:10px 14px;background:{colour};color:#ffffff;font-size:18px;line-height:24px\">\
         <b>{title}</b></td></tr>\n{sections}</table>\n</body>\n</html>\n",
        escaped(&letter.subject)
    )
}

const fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Well => "#2e7d32",
        Tone::Warning => "#a15c00",
        Tone::Failed => "#b71c1c",
    }
}

fn section_html(section: &Section) -> String {
    let mut html = String::from("<tr><td style=\"padding:14px 0 0 0\">\n");
    if !section.heading.is_empty() {
        html.push_str(&format!(
            "<h2 style=\"margin:0 0 6px 0;font-size:15px;line-height:20px\">{}</h2>\n",
            escaped(&section.heading)
        ));
    }
    for part in &section.parts {
        match part {
            Part::Line(line) => html.push_str(&format!("<p style=\"margin:0 0 4px 0\">{}</p>\n", escaped(line))),
            Part::Alert(tone, line) => html.push_str(&format!(
                "<p style=\"margin:0 0 4px 0;color:{}\"><b>{}</b></p>\n",
                colour(*tone),
                escaped(line)
            )),
            Part::Facts(facts) => {
                let row = |(name, value): &(&str, String)| {
                    format!(
                        "<tr><td style=\"padding:1px 16px 1px 0;color:#57606a;vertical-align:top\">{}</td>\
                         <td style=\"padding:1px 0\">{}</td></tr>\n",
                        escaped(name),
                        escaped(value)
                    )
                };
                html.push_str(&format!("{TABLE}{}</table>\n", facts.iter().map(row).collect::<String>()));
            }
            Part::Table(table) => html.push_str(&table_html(table)),
        }
    }
    html.push_str("</td></tr>\n");
    html
}

const TABLE: &str =
    "<table cellpadding=\"0\" cellspacing=\"0\" style=\"border-collapse:collapse;margin:4px 0 8px 0\">\n";

fn table_html(table: &Table) -> String {
    let cells: String = table
        .head
        .iter()
        .map(|name| {
            format!(
                "<th align=\"left\" style=\"padding:2px 16px 2px 0;border-bottom:1px solid #d0d7de\">{}</th>",
                escaped(name)
            )
        })
        .collect();
    let head = if table.has_head() { format!("<tr>{cells}</tr>\n") } else { String::new() };
    let rows: String =
        table.rows.iter().map(|row| format!("<tr>{}</tr>\n", row.iter().map(cell_html).collect::<String>())).collect();
    let more = match table.more {
        0 => String::new(),
        more => format!("<p style=\"margin:0 0 4px 0\">and {more} more</p>\n"),
    };
    format!("{TABLE}{head}{rows}</table>\n{more}")
}

fn cell_html(cell: &Cell) -> String {
    const STYLE: &str = "style=\"padding:2px 16px 2px 0;vertical-align:top\"";
    match cell {
        Cell::Text(text) => format!("<td {STYLE}>{}</td>", escaped(text)),
        Cell::Number(text) => format!("<td align=\"right\" {STYLE}>{}</td>", escaped(text)),
        Cell::Bar(bar) => format!("<td {STYLE}>{}</td>", bar_html(*bar)),
    }
}

/// Returns a bar of two cells: the share, and the rest of the whole.
fn bar_html(bar: Bar) -> String {
    let filled = (u32::from(bar.permille) * BAR_PIXELS).div_ceil(1000).min(BAR_PIXELS);
    let cell = |pixels: u32, colour: &str| match pixels {
        0 => String::new(),
        pixels => format!(
            "<td width=\"{pixels}\" bgcolor=\"{colour}\" style=\"width:{pixels}px;height:12px;background:{colour};font-size:1px;line-height:12px\">&nbsp;</td>"
        ),
    };
    format!(
        "<table role=\"presentation\" width=\"{BAR_PIXELS}\" cellpadding=\"0\" cellspacing=\"0\" style=\"border-collapse:collapse;margin-top:4px\">\
         <tr>{}{}</tr></table>",
        cell(filled, colour(bar.tone)),
        cell(BAR_PIXELS - filled, "#e1e4e8")
    )
}

/// Returns a text that is nothing but text in HTML, also in the value of an attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in clean(text).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_never_markup() {
        assert_eq!(escaped("<b>\"R&D's\"</b>\r\n"), "&lt;b&gt;&quot;R&amp;D&#39;s&quot;&lt;/b&gt;\u{fffd}\u{fffd}");
    }
}
