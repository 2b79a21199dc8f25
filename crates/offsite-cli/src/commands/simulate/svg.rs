//! Draws a simulated life as an SVG picture: a bar for each restore point, over time.

use std::fmt::Write as _;

use offsite::model::Timestamp;

use super::life::{Drawable, Row, State, names};

const LEFT: f64 = 150.0;
const CHART: f64 = 820.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 96.0;
const ROW: f64 = 16.0;
const BAR: f64 = 10.0;
const TICKS: i64 = 6;

/// The names of tiers as in [`offsite::retention::Flags::names`], with their colours.
const TIERS: [(&str, &str); 4] =
    [("weekly", "#0f766e"), ("monthly", "#b45309"), ("quarterly", "#7c3aed"), ("yearly", "#be123c")];

const STYLE: &str = "text{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#1f2937}\
.title{font-size:18px;font-weight:600}.soft{fill:#6b7280}.mono{font-variant-numeric:tabular-nums}\
.badge{fill:#fff;font-size:9px;font-weight:700;text-anchor:middle}.end{text-anchor:end}.middle{text-anchor:middle}\
.increment{fill:#93c5fd}.full{fill:#1d4ed8}.archive{fill:#f59e0b}.grid{stroke:#e5e7eb}.now{stroke:#9ca3af;stroke-dasharray:3 3}";

/// Returns the picture. Its colours have a legend, and each bar has a tooltip.
pub(super) fn svg(life: &Drawable) -> String {
    let mut picture = Picture { text: String::new(), ends: life.ends };
    // Writing to a string cannot fail.
    let _ = picture.draw(life);
    picture.text
}

struct Picture {
    text: String,
    ends: Option<(Timestamp, Timestamp)>,
}

impl Picture {
    fn draw(&mut self, life: &Drawable) -> std::fmt::Result {
        let height = TOP + life.rows.len() as f64 * ROW + 40.0;
        let width = LEFT + CHART + RIGHT;
        writeln!(
            self.text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
             <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
        )?;
        self.legend(life)?;
        let bottom = TOP + life.rows.len() as f64 * ROW + 6.0;
        self.axis(bottom)?;
        for (position, (row, name)) in life.rows.iter().zip(names(&life.rows)).enumerate() {
            self.row(TOP + position as f64 * ROW, row, &name)?;
        }
        if life.left_out > 0 {
            let (y, count) = (bottom + 24.0, life.left_out);
            writeln!(
                self.text,
                "<text class=\"soft\" x=\"{LEFT}\" y=\"{y}\">{count} older restore points are not drawn</text>"
            )?;
        }
        self.text.push_str("</svg>\n");
        Ok(())
    }

    fn legend(&mut self, life: &Drawable) -> std::fmt::Result {
        let day = |time: Timestamp| time.to_string().chars().take(10).collect::<String>();
        let title = life.ends.map_or(String::new(), |(first, last)| format!("{} to {}", day(first), day(last)));
        writeln!(self.text, "<text class=\"title\" x=\"24\" y=\"34\">The life of a chain</text>")?;
        writeln!(self.text, "<text class=\"soft end\" x=\"{}\" y=\"34\">{title}</text>", LEFT + CHART)?;
        let mut x = 24.0;
        for (class, words) in [("full", "full"), ("increment", "increment"), ("archive", "archive")] {
            writeln!(
                self.text,
                "<rect class=\"{class}\" x=\"{x}\" y=\"48\" width=\"22\" height=\"{BAR}\" rx=\"2\"/>\
                 <text x=\"{}\" y=\"57\">{words}</text>",
                x + 28.0
            )?;
            x += 48.0 + 7.0 * words.len() as f64 + 14.0;
        }
        for (name, colour) in TIERS {
            if life.rows.iter().any(|row| row.flags.names().any(|flag| flag == name)) {
                self.badge(x + 7.0, 53.0, name, colour)?;
                writeln!(self.text, "<text x=\"{}\" y=\"57\">{name}</text>", x + 20.0)?;
                x += 40.0 + 7.0 * name.len() as f64;
            }
        }
        Ok(())
    }

    fn axis(&mut self, bottom: f64) -> std::fmt::Result {
        let Some((first, last)) = self.ends else { return Ok(()) };
        let secs = last.unix_secs() - first.unix_secs();
        for tick in 0..=TICKS {
            let time = first.saturating_add_secs(secs / TICKS * tick);
            let (x, day) = (self.x(time), time.to_string().chars().take(10).collect::<String>());
            writeln!(
                self.text,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\"/>\
                 <text class=\"soft middle\" x=\"{x:.1}\" y=\"{}\">{day}</text>",
                TOP - 6.0,
                TOP - 12.0
            )?;
        }
        Ok(())
    }

    fn row(&mut self, y: f64, row: &Row, name: &str) -> std::fmt::Result {
        let (middle, flags) = (y + BAR / 2.0, row.flags.names().collect::<Vec<_>>());
        let class = if flags.is_empty() { "mono end soft" } else { "mono end" };
        writeln!(self.text, "<text class=\"{class}\" x=\"{}\" y=\"{}\">{name}</text>", LEFT - 12.0, middle + 4.0)?;
        let last = self.ends.map_or(row.time, |(_, last)| last);
        let ends = row.states.iter().skip(1).map(|(time, _)| *time).chain([row.gone.unwrap_or(last)]);
        let mut end = self.x(row.time);
        for ((from, state), until) in row.states.iter().zip(ends) {
            let (class, words) = match state {
                State::Increment => ("increment", "increment"),
                State::Full => ("full", "full of the chain"),
                State::Archive => ("archive", "archive"),
            };
            let x = self.x(*from);
            // A point that has just begun is drawn wide enough to be seen.
            end = self.x(until).max(x + 3.0);
            writeln!(
                self.text,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\">\
                 <title>{name}: {words} from {from}{}</title></rect>",
                end - x,
                if row.gone.is_some() || until < last { format!(" to {until}") } else { String::new() }
            )?;
        }
        for (position, (name, colour)) in TIERS.iter().filter(|(name, _)| flags.contains(name)).enumerate() {
            self.badge(end + 11.0 + position as f64 * 16.0, middle, name, colour)?;
        }
        Ok(())
    }

    fn badge(&mut self, x: f64, y: f64, tier: &str, colour: &str) -> std::fmt::Result {
        let letter = tier.chars().next().unwrap_or_default().to_ascii_uppercase();
        writeln!(
            self.text,
            "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"6.5\" fill=\"{colour}\"/>\
             <text class=\"badge\" x=\"{x:.1}\" y=\"{}\">{letter}</text>",
            y + 3.2
        )
    }

    fn x(&self, time: Timestamp) -> f64 {
        let Some((first, last)) = self.ends else { return LEFT };
        let (all, secs) = (last.unix_secs() - first.unix_secs(), time.unix_secs() - first.unix_secs());
        if all == 0 { LEFT } else { LEFT + CHART * (secs as f64 / all as f64) }
    }
}
