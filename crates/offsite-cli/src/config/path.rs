//! Finds paths that only a shell would understand, and misspelt locations.

use std::path::Path;

/// Says what is wrong with a path of the config, or with one that was typed in quotes. Nobody replaces `~` and variables in it. A
/// folder of that name would be made on the wrong disk.
pub(crate) fn fault(path: &Path) -> Option<String> {
    let text = path.to_string_lossy();
    let is_home = text.starts_with('~');
    let is_variable = |(at, _): (usize, &str)| {
        text.get(at + 1..)
            .and_then(|rest| rest.chars().next())
            .is_some_and(|next| next.is_ascii_alphabetic() || "{_".contains(next))
    };
    let what = match () {
        () if is_home => "~ stands for no folder here",
        () if text.match_indices('$').any(is_variable) => "variables are not replaced here",
        () => return None,
    };
    Some(format!("{text}: {what}, as no shell reads it: write the path in full, as in /srv/backup"))
}

/// Says what is wrong with the location of a repository that would be taken for a folder: the same as [`fault`], or it should be a
/// bucket.
pub(crate) fn location_fault(location: &str) -> Option<String> {
    let is_bucket = location.get(..3).is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3:"));
    if is_bucket {
        return Some(format!(
            "{location}: a location in S3 is written s3://bucket/prefix; a folder of that name is written ./{location}"
        ));
    }
    fault(Path::new(location))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_is_misspelt_is_no_folder() {
        for text in ["s3:/bucket", "s3:bucket/prefix", "S3:/bucket", "s3:"] {
            assert!(location_fault(text).is_some_and(|why| why.contains("s3://bucket/prefix")), "{text}");
        }
        for text in ["s3", "./s3:/bucket", "/srv/s3:x", "\u{e9}\u{e9}"] {
            assert_eq!(location_fault(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_shell_would_replace_is_refused() {
        for text in ["~", "~/backup", "~ann/backup", "$HOME/backup", "/srv/${SITE}", "/mnt/$_x"] {
            assert!(fault(Path::new(text)).is_some_and(|why| why.contains(text) && why.contains("in full")), "{text}");
        }
        for text in ["/srv/backup", "backup", "./~", "/srv/a~b", "/srv/100$", "/srv/$1", ""] {
            assert_eq!(fault(Path::new(text)), None, "{text}");
        }
    }
}
