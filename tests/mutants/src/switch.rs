//! Source in which every mutant can be switched on when the program runs.

use std::ops::Range;

use crate::sites::{Site, SiteKind};

/// What a mutated crate asks: which mutant is switched on, and whether the ones that are reached are to be written down.
pub(crate) fn module(count: usize) -> String {
    include_str!("switch_module.txt").replace("COUNT", &count.max(1).to_string())
}

/// The source with the mutants of `sites`.
///
/// What belongs to a mutant lies between `/*<number*/` and `/*number>*/`, so that an error of the compiler can be told its own.
pub(crate) fn rewrite(source: &str, sites: &[Site]) -> String {
    render(source, 0..source.len(), sites)
}

fn marked(mutant: usize, text: &str) -> String {
    format!("/*<{mutant}*/{text}/*{mutant}>*/")
}

fn is_on(mutant: usize) -> String {
    format!("crate::mutant_switch::is_on({mutant})")
}

/// A part of the source. `sites` are those that start in it, outer ones first.
fn render(source: &str, part: Range<usize>, sites: &[Site]) -> String {
    let mut text = String::new();
    let mut from = part.start;
    let mut next = 0;
    while let Some(site) = sites.get(next) {
        next += 1;
        if site.span.start < from || site.span.end > part.end {
            continue;
        }
        text.push_str(&source[from..site.span.start]);
        let inner = &sites[next..];
        let within = |range: &Range<usize>| {
            let own: Vec<Site> = inner
                .iter()
                .filter(|site| range.start <= site.span.start && site.span.end <= range.end)
                .cloned()
                .collect();
            render(source, range.clone(), &own)
        };
        text.push_str(&written(source, site, within));
        from = site.span.end;
    }
    text.push_str(&source[from..part.end]);
    text
}

/// What stands at a site; `within` renders a part of it with the mutants that lie deeper.
fn written(source: &str, site: &Site, within: impl Fn(&Range<usize>) -> String) -> String {
    match &site.kind {
        SiteKind::Entry(mutants) => {
            let each = mutants
                .iter()
                .map(|(mutant, value)| marked(*mutant, &format!("if {} {{ return {value}; }} ", is_on(*mutant))));
            each.collect()
        }
        SiteKind::Binary { left, right, mutants } => {
            let operator = source[left.end..right.start].trim();
            let mut text = String::from("(");
            for (mutant, other) in mutants {
                // Comments between the operands stay out.
                let (left, right) = (&source[left.clone()], &source[right.clone()]);
                text.push_str(&marked(*mutant, &format!("if {} {{ {left} {other} {right} }} else ", is_on(*mutant))));
            }
            text.push_str(&format!("{{ {} {operator} {} }})", within(left), within(right)));
            text
        }
        SiteKind::Unary { operand, mutant } => {
            let changed = marked(*mutant, &format!("if {} {{ {} }} else", is_on(*mutant), &source[operand.clone()]));
            let operator = &source[site.span.start..operand.start];
            format!("({changed} {{ {operator}{} }})", within(operand))
        }
        SiteKind::Guard { delete, constants } => {
            let has_guard = !site.span.is_empty();
            let mut text = String::new();
            if let Some(mutant) = delete {
                text.push_str(&marked(*mutant, &format!("!{}", is_on(*mutant))));
            }
            if has_guard {
                let mut guard = within(&site.span);
                for (mutant, value) in constants {
                    let joined = if value == "true" {
                        format!("{} ||", is_on(*mutant))
                    } else {
                        format!("!{} &&", is_on(*mutant))
                    };
                    guard = format!("({} ({guard}))", marked(*mutant, &joined));
                }
                return if text.is_empty() { guard } else { format!("{text} && {guard}") };
            }
            format!(" if {text}")
        }
        SiteKind::Field { name, is_shorthand, base, mutant } => {
            let before = if *is_shorthand { format!("{name}: ") } else { String::new() };
            let base = &source[base.clone()];
            let changed = marked(*mutant, &format!("if {} {{ ({base}).{name} }} else", is_on(*mutant)));
            format!("{before}{changed} {{ {} }}", within(&site.span))
        }
        SiteKind::Drained(mutant) => {
            format!("({}){}", within(&site.span), marked(*mutant, &format!(".filter(|_| !{})", is_on(*mutant))))
        }
        SiteKind::Const => String::new(),
    }
}
