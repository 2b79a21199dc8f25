//! Paths that only a shell would understand.

use std::path::Path;

/// What is wrong with a path of the config, or one that was typed in quotes: nobody replaces `~` and variables in it, and a folder of that
/// name would be made on the wrong disk.
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

#[cfg(test)]
mod tests {
    use super::*;

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
