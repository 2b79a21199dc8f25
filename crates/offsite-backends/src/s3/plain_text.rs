//! Texts of settings, which are plain ASCII.

/// What a text has that belongs into none of these settings.
pub(super) fn odd(text: &str) -> Option<&'static str> {
    match text.chars().find(|character| !character.is_ascii_graphic())? {
        character if character.is_control() => Some("it has a control character, perhaps the end of a line"),
        character if character.is_whitespace() => Some("it has a blank"),
        _ => Some("it has a letter that is not ASCII"),
    }
}
