//! The content of pages.

use std::sync::LazyLock;

use super::PAGE_BYTES;
use super::draw::{Stream, fill_noise};

/// What the content of a block is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was never written.
    Zero,
    /// Noise, like encrypted or compressed files.
    Incompressible,
    /// Pages of log text, of binary records and of noise. They compress about 2:1 under zstd.
    Mixed,
}

/// How many of a hundred pages of mixed content are text, and how many are records. The others are noise.
const TEXT_PAGES_PERCENT: usize = 45;
const RECORD_PAGES_PERCENT: usize = 30;

/// Fills the page that `kind` and `seed` stand for. `page` has [`PAGE_BYTES`] bytes.
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

/// The number of bytes in a phrase. Phrases of one length are copied without a branch, which makes the text fast.
const PHRASE_BYTES: usize = 16;

/// The number of phrases. It is a power of two, as the bits of a number choose a phrase.
const PHRASES: usize = 1024;

/// The words of a server's logs.
const WORDS: &str = "accepted address backup block cache client closed committed connection daemon denied device disk \
    error failed file finished from host index info interrupt kernel listening loaded lock mounted network opened \
    password point port process queue read received refused request restored retry running scheduled sector segment \
    server service session signal snapshot socket started status stopped sync table thread timeout transaction user \
    volume waiting warning worker write";

/// The phrases of the text. They are made once in a process.
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
            // A line has about eight phrases.
            phrase[PHRASE_BYTES - 1] = if number % 8 == 0 { b'\n' } else { b' ' };
            phrase
        })
        .collect()
});

/// Fills a page with lines of log text: known phrases, some of them with a new number.
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

/// How many of 256 phrases begin with a number. The numbers make the text compress like logs.
const NUMBERED_OF_256: u8 = 64;

/// The number of bytes in a binary record: a counter, 20 bytes of noise, constants and a position.
const RECORD_BYTES: usize = 64;

/// Fills a page with records of a database table.
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
