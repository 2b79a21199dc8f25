//! What a page holds.

use std::sync::LazyLock;

use super::PAGE_BYTES;
use super::draw::{Stream, fill_noise};

/// What the content of a block is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Never written.
    Zero,
    /// Noise, as of encrypted or compressed files.
    Incompressible,
    /// Pages of log text, of binary records and of noise; about 2:1 under zstd.
    Mixed,
}

/// Of a hundred pages of mixed content, so many are text, and so many records; the others are noise.
const TEXT_PAGES_PERCENT: usize = 45;
const RECORD_PAGES_PERCENT: usize = 30;

/// The page that `kind` and `seed` stand for. `page` is [`PAGE_BYTES`] long.
pub(super) fn fill_page(page: &mut [u8], kind: Kind, seed: u64) {
    debug_assert_eq!(page.len(), PAGE_BYTES);
    let mut stream = Stream::new(seed);
    match kind {
        Kind::Zero => page.fill(0),
        Kind::Incompressible => fill_noise(page, seed),
        Kind::Mixed => match stream.below(100) {
            draw if draw < TEXT_PAGES_PERCENT => fill_text(page, &mut stream),
            draw if draw < TEXT_PAGES_PERCENT + RECORD_PAGES_PERCENT => fill_records(page, &mut stream),
            _ => fill_noise(page, seed),
        },
    }
}

/// Bytes in a phrase. Phrases of one length are copied without a branch, which is what makes the text fast.
const PHRASE_BYTES: usize = 16;

/// A power of two: a phrase is chosen by the bits of a number.
const PHRASES: usize = 1024;

/// The words of a server's logs.
const WORDS: &str = "accepted address backup block cache client closed committed connection daemon denied device disk \
    error failed file finished from host index info interrupt kernel listening loaded lock mounted network opened \
    password point port process queue read received refused request restored retry running scheduled sector segment \
    server service session signal snapshot socket started status stopped sync table thread timeout transaction user \
    volume waiting warning worker write";

/// Phrases that text is put together from, made once in a process.
static PHRASE_BOOK: LazyLock<Vec<[u8; PHRASE_BYTES]>> = LazyLock::new(|| {
    let words: Vec<&[u8]> = WORDS.split_whitespace().map(str::as_bytes).collect();
    let mut stream = Stream::new(1);
    (0..PHRASES)
        .map(|number| {
            let mut phrase = [b' '; PHRASE_BYTES];
            let mut end = 0;
            while end < PHRASE_BYTES {
                let word = words[stream.below(words.len())];
                let taken = word.len().min(PHRASE_BYTES - end);
                phrase[end..end + taken].copy_from_slice(&word[..taken]);
                end += taken + 1;
            }
            // A line has some eight phrases.
            phrase[PHRASE_BYTES - 1] = if number % 8 == 0 { b'\n' } else { b' ' };
            phrase
        })
        .collect()
});

/// Lines of log text: known phrases, some of them with a number that is new.
fn fill_text(page: &mut [u8], stream: &mut Stream) {
    let phrases = &*PHRASE_BOOK;
    for slot in page.chunks_exact_mut(PHRASE_BYTES) {
        slot.copy_from_slice(&phrases[stream.below(PHRASES)]);
        let draw = stream.next().to_le_bytes();
        if draw[7] < NUMBERED_OF_256 {
            for (digit, noise) in slot.iter_mut().zip(&draw[2..6]) {
                *digit = b'0' + noise % 10;
            }
        }
    }
}

/// Of 256 phrases, so many begin with a number: what makes the text compress like logs and not like a chorus.
const NUMBERED_OF_256: u8 = 64;

/// Bytes in a binary record: a counter, 20 bytes of noise, constants and a position.
const RECORD_BYTES: usize = 64;

/// Records of a database table.
fn fill_records(page: &mut [u8], stream: &mut Stream) {
    let first = stream.next();
    for (position, record) in (0_u32..).zip(page.chunks_exact_mut(RECORD_BYTES)) {
        record.fill(0);
        record[0..8].copy_from_slice(&first.wrapping_add(u64::from(position)).to_le_bytes());
        record[8..16].copy_from_slice(&stream.next().to_le_bytes());
        record[16..24].copy_from_slice(&stream.next().to_le_bytes());
        record[24..28].copy_from_slice(&stream.next().to_le_bytes()[4..]);
        record[32..40].copy_from_slice(b"customer");
        record[48..52].copy_from_slice(&(position * 100).to_le_bytes());
    }
}
