//! What is wrong with settings, before a library is given them: some panic on a header or a URL that is none.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::options::{PART_BYTES_MIN, S3Options};
use super::plain_text::odd;

const STREAMS_MAX: usize = 1_024;
const RETRIES_MAX: u32 = 100;
const FIRST_PAUSE_MAX: Duration = Duration::from_secs(10);
const ABANDONED_AFTER_MAX: Duration = Duration::from_secs(366 * 86_400);
/// The first setting that makes no sense: its name, what is wrong, and what to do.
pub(super) fn flaw(options: &S3Options) -> Option<String> {
    let named = |name: &str, why: Option<String>| why.map(|why| format!("{name}: {why}"));
    let endpoint = options.endpoint.as_deref().and_then(endpoint);
    named("endpoint", endpoint).or_else(|| named("region", region(&options.region))).or_else(|| numbers(options))
}

fn endpoint(url: &str) -> Option<String> {
    let wrong = |why: &str| Some(format!("{why}: write https://host:port"));
    if let Some(why) = odd(url) {
        return wrong(why);
    }
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return wrong("it is no URL");
    };
    if rest.contains('@') {
        return Some("it holds a user or a password: keys belong into the environment or a file".to_owned());
    }
    if rest.contains(['?', '#']) {
        return wrong("it has a query");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (is_host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host.parse::<Ipv6Addr>().is_ok(), port),
            None => (false, ""),
        },
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (is_host(host), port)
        }
    };
    if !is_host {
        return wrong("it has no name of a host");
    }
    let is_port =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0);
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return wrong("its port is no number from 1 to 65535");
    }
    let is_plain = |name: &str| {
        !matches!(name, "." | "..")
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._~".contains(letter))
    };
    if !path.trim_end_matches('/').split('/').all(is_plain) {
        return wrong("its path has more than letters, digits and - . _ ~");
    }
    None
}

/// Whether a text is a host's name or an IPv4 address.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
            && !label.starts_with('-')
    };
    // A number at the end makes an address of it.
    let is_number = |label: &str| label.starts_with(|first: char| first.is_ascii_digit());
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(is_label) && (!is_number(last) || text.parse::<Ipv4Addr>().is_ok())
}

fn region(region: &str) -> Option<String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    match region.len() {
        0 => Some("it is empty; leave it out for us-east-1".to_owned()),
        1..=64 if region.chars().all(is_plain) && !region.starts_with(['-', '_', '.']) => None,
        _ => {
            Some("it is no name of a region, which has letters, digits and - only: write eu-central-1, say".to_owned())
        }
    }
}

fn numbers(options: &S3Options) -> Option<String> {
    // One part must be sliced by the platform's sizes.
    if !(PART_BYTES_MIN..=1 << 30).contains(&options.part_bytes) {
        return Some(format!(
            "part_bytes: {} are too few or too many: S3 takes 5 MiB or more, and more than 1 GiB is not supported",
            options.part_bytes
        ));
    }
    if options.streams.range().most() > STREAMS_MAX {
        return Some(format!("streams: at most {STREAMS_MAX}"));
    }
    if options.least_rate_bytes_per_sec == 0 {
        return Some("least_rate_bytes_per_sec: it must be above zero".to_owned());
    }
    if options.retries > RETRIES_MAX {
        return Some(format!("retries: at most {RETRIES_MAX}"));
    }
    if options.first_pause > FIRST_PAUSE_MAX {
        return Some(format!("first_pause: at most {} s", FIRST_PAUSE_MAX.as_secs()));
    }
    if options.abandoned_after.is_zero() || options.abandoned_after > ABANDONED_AFTER_MAX {
        return Some("abandoned_after: above zero, and at most a year".to_owned());
    }
    None
}
