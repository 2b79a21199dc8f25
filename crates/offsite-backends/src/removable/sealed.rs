//! Small files that tell what they are: a line with kind, version and checksum, then JSON.

use std::fmt::Write;

use crc64fast_nvme::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a file is not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsealed {
    /// It is none, is cut short or was altered.
    Damaged,
    /// A later version of this program wrote it.
    Newer,
}

/// `value` as a file of `kind`.
pub(super) fn seal(kind: &str, version: u32, value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_string(value)? + "\n";
    Ok(format!("{kind} {version} {:016x}\n{body}", checksum(body.as_bytes())).into_bytes())
}

/// What a file of `kind` holds.
pub(super) fn unseal<T: DeserializeOwned>(kind: &str, version: u32, file: &[u8]) -> Result<T, Unsealed> {
    let (header, body) =
        std::str::from_utf8(file).ok().and_then(|text| text.split_once('\n')).ok_or(Unsealed::Damaged)?;
    let mut words = header.split(' ');
    let (Some(found_kind), Some(found_version), Some(found_checksum), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Unsealed::Damaged);
    };
    let intact = found_kind == kind && found_checksum == format!("{:016x}", checksum(body.as_bytes()));
    match found_version.parse::<u32>() {
        Ok(found) if intact && found > version => Err(Unsealed::Newer),
        Ok(found) if intact && found == version => serde_json::from_str(body).map_err(|_| Unsealed::Damaged),
        _ => Err(Unsealed::Damaged),
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut digest = Digest::new();
    digest.write(bytes);
    digest.sum64()
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_comes_back_and_nothing_else_does() {
        let sealed = seal("thing", 1, &["a", "b"]).expect("JSON");
        assert_eq!(String::from_utf8_lossy(&sealed), "thing 1 36500b9b3cce1649\n[\"a\",\"b\"]\n");
        assert_eq!(unseal("thing", 1, &sealed), Ok(vec!["a".to_owned(), "b".to_owned()]));
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(unseal::<Vec<String>>("thing", 1, &altered).is_err(), "byte {place}");
            assert_eq!(unseal::<Vec<String>>("thing", 1, &sealed[..place]), Err(Unsealed::Damaged));
        }
        assert_eq!(unseal::<Vec<String>>("other", 1, &sealed), Err(Unsealed::Damaged));
        assert_eq!(unseal::<u32>("thing", 1, &sealed), Err(Unsealed::Damaged));
        let newer = seal("thing", 2, &0).expect("JSON");
        assert_eq!(unseal::<u32>("thing", 1, &newer), Err(Unsealed::Newer));
    }
}
