//! What is known of media: a marker or an entry of a catalogue that can be read says the same once it was written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offsite_backends::{MediumId, fuzzing};
use offsite_fuzz::sealed;

fn read(file: &[u8], id: MediumId) {
    if let Ok((medium, again)) = fuzzing::marker(file) {
        let (same, bytes) = fuzzing::marker(&again).expect("a marker that was read");
        assert_eq!((same, bytes), (medium, again));
    }
    if let Ok((known, again)) = fuzzing::entry(id, file) {
        assert!(known.objects.is_sorted_by(|left, right| left.key < right.key));
        let (same, bytes) = fuzzing::entry(id, &again).expect("an entry that was read");
        assert_eq!((same, bytes), (known, again));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let id: MediumId = "00112233445566778899aabbccddeeff".parse().expect("an id");
    read(bytes, id);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<MediumId>() {
        assert_eq!(id.to_string(), text);
    }
    // The corpus has whole files; what follows their first line is sealed anew, and so is the input as it stands.
    for body in [text, text.split_once('\n').map_or("", |(_, body)| body)] {
        for kind in ["offsite-medium", "offsite-catalogue"] {
            read(&sealed(kind, body), id);
        }
    }
});
