//! `offsite simulate`

mod draw;
mod life;
mod svg;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

use offsite::model::PointKind;
use offsite::model::Timestamp;
use offsite::retention::Flags;
use offsite::retention::Policy;
use offsite::retention::Simulation;

use crate::args::Simulate;
use crate::policy::RetentionConfig;
use crate::status::{Failure, Status};
use crate::{json, print, render};

pub(crate) fn run(arguments: &Simulate) -> Result<Status, Failure> {
    let policy = read_policy(&arguments.policy)?;
    let mut simulation = Simulation::new(policy).map_err(|error| wrong(&arguments.policy, format_args!("{error}")))?;
    let points = &arguments.points;
    let file = File::open(points).map_err(|error| wrong(points, format_args!("{error}")))?;
    let mut reader = BufReader::new(file);
    let mut output = print::long();
    let mut life = (arguments.draw || arguments.svg.is_some()).then(life::Life::default);
    let (mut line, mut step, mut number, mut last) = (String::new(), String::new(), 0_u64, None);
    // It reads one line at a time, as the file may be longer than memory.
    loop {
        line.clear();
        number += 1;
        let at = |why: String| wrong(points, format_args!("line {number}: {why}"));
        if reader.read_line(&mut line).map_err(|error| at(error.to_string()))? == 0 {
            break;
        }
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        let time = Timestamp::parse(text).map_err(|error| at(error.to_string()))?;
        simulation.add(time).map_err(|error| at(error.to_string()))?;
        last = Some(time);
        if let Some(life) = &mut life {
            life.add(time, &simulation);
        }
        if arguments.draw {
            continue;
        }
        step.clear();
        let told = if arguments.json {
            step_json(&mut step, time, &simulation)
        } else {
            step_line(&mut step, time, &simulation)
        };
        told.map_err(|error| Failure::Failed(error.to_string()))?;
        step.push('\n');
        if let Some(ended) = written(output.write_all(step.as_bytes())) {
            return ended;
        }
    }
    let Some(last) = last else {
        return Err(wrong(points, format_args!("no restore point in it: write one RFC 3339 time a line")));
    };
    let life = life.map(life::Life::finish);
    if let (Some(life), Some(path)) = (&life, &arguments.svg) {
        std::fs::write(path, svg::svg(life))
            .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))?;
    }
    let text = match &life {
        Some(life) if arguments.draw => draw::draw(life),
        _ if arguments.json => String::new(),
        _ => drawing(last, &simulation),
    };
    if let Some(ended) = written(output.write_all(text.as_bytes())) {
        return ended;
    }
    written(output.flush()).unwrap_or(Ok(Status::Done))
}

fn wrong(path: &Path, why: std::fmt::Arguments<'_>) -> Failure {
    Failure::WrongUse(format!("{}: {why}", path.display()))
}

fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| wrong(path, format_args!("{error}")))?;
    let config: RetentionConfig = toml::from_str(&text).map_err(|error| wrong(path, format_args!("{error}")))?;
    config.policy().map_err(|error| wrong(path, format_args!("{error}")))
}

/// Returns how the command ends after a failed write. A reader that closes the pipe early has seen enough.
fn written(result: std::io::Result<()>) -> Option<Result<Status, Failure>> {
    match result {
        Ok(()) => None,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Some(Ok(Status::Done)),
        Err(error) => Some(Err(Failure::Failed(format!("cannot write the result: {error}")))),
    }
}

/// Writes the state after `time` as JSON. It uses no serializer, as a long life has millions of states, and as names of tiers and
/// times need no escapes.
fn step_json(text: &mut String, time: Timestamp, simulation: &Simulation) -> std::fmt::Result {
    write!(text, "{{\"after\":\"{time}\",\"chain\":[")?;
    for (position, member) in simulation.points().enumerate() {
        comma(text, position);
        write!(text, "{{\"time\":\"{}\",\"kind\":\"{}\",", member.time, json::kind(member.kind))?;
        push_flags(text, member.flags);
    }
    text.push_str("],\"archive\":[");
    for (position, archived) in simulation.archives().enumerate() {
        comma(text, position);
        write!(text, "{{\"time\":\"{}\",", archived.time)?;
        push_flags(text, archived.flags);
    }
    text.push_str("]}");
    Ok(())
}

fn push_flags(text: &mut String, flags: Flags) {
    text.push_str("\"flags\":[");
    for (position, name) in flags.names().enumerate() {
        comma(text, position);
        text.push('"');
        text.push_str(name);
        text.push('"');
    }
    text.push_str("]}");
}

fn comma(text: &mut String, position: usize) {
    if position > 0 {
        text.push(',');
    }
}

/// Writes the state after `time` in one line: the archives, then the chain. `F` is a full, `i` an increment, `*` a flag.
fn step_line(line: &mut String, time: Timestamp, simulation: &Simulation) -> std::fmt::Result {
    const DRAWN_MAX: usize = 40;
    write!(line, "{time}  {:>3} archived  ", simulation.archives().len())?;
    let skipped = simulation.points().len().saturating_sub(DRAWN_MAX);
    if skipped > 0 {
        write!(line, "({skipped} more) ")?;
    }
    for member in simulation.points().skip(skipped) {
        line.push(match member.kind {
            PointKind::Full => 'F',
            PointKind::Increment => 'i',
            PointKind::Rollback => 'r',
        });
        if !member.flags.is_empty() {
            line.push('*');
        }
    }
    Ok(())
}

/// Returns the last state, one point per line.
fn drawing(last: Timestamp, simulation: &Simulation) -> String {
    let names = |flags: Flags| flags.names().collect::<Vec<_>>().join(" ");
    let (archives, points) = (simulation.archives().len(), simulation.points().len());
    let mut text = format!(
        "\nAfter {last}: {} and a chain of {}\n",
        render::count(archives, "archive", "archives"),
        render::count(points, "restore point", "restore points")
    );
    let archive = simulation.archives().map(|archived| {
        vec!["  \u{2588}".to_owned(), archived.time.to_string(), "archive".to_owned(), names(archived.flags)]
    });
    let chain = simulation.points().enumerate().map(|(position, member)| {
        let edge = match member.kind {
            PointKind::Full => "  \u{2588}",
            PointKind::Increment if position + 1 == points => "  \u{2514}\u{2500}",
            PointKind::Increment => "  \u{251c}\u{2500}",
            PointKind::Rollback => "  \u{250c}\u{2500}",
        };
        vec![edge.to_owned(), member.time.to_string(), json::kind(member.kind).to_owned(), names(member.flags)]
    });
    text.push_str(&render::table(&archive.chain(chain).collect::<Vec<_>>(), &[]));
    text
}
