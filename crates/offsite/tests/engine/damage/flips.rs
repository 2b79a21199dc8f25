//! Bytes that are another.

use offsite::{JobFolder, Verify};
use offsite_core::format::ENVELOPE_BYTES;
use offsite_core::format::Envelope;
use offsite_core::format::Kind;

use super::{COPY, FRAME_HEADER_BYTES, Failing, Look, PAGE, Part, Scene, end, look_at};
use crate::support::{Random, job, seed};

/// Every byte of every object that is no backup file; of the many old heads, a sample.
#[tokio::test]
async fn a_flipped_byte_of_a_small_object() {
    let scene = Scene::new().await;
    let mut random = Random::new(seed(71));
    let newest = scene.newest();
    for object in scene.objects() {
        let part = scene.part(&object);
        let length = scene.bytes(&object).len() as u64;
        if object.as_str().contains("/blocks/") && !object.name().contains('.') {
            continue;
        }
        let step = if part == Part::Head && object != newest { 97 } else { 1 };
        for offset in (0..length).step_by(step) {
            let xor = 1 << random.below(8);
            assert!(scene.target.corrupt(&object, offset, xor));
            let what = format!("{object}, byte {offset} ^ {xor}");
            // Restoring everything takes longer than verifying, and what it meets is the same at most bytes.
            let look = if offset % 61 == 0 || offset + 1 == length { Look::Restore } else { look_at(offset) };
            scene.is_useless(&object, look, &what).await;
            let opened = JobFolder::open(&scene.second, &job(COPY)).await.unwrap();
            assert_eq!(opened.damaged_heads().len(), usize::from(object == newest), "{what}");
            assert!(scene.target.corrupt(&object, offset, xor));
        }
    }
    scene.is_harmless(Look::Restore, "undamaged").await;
}

/// Every byte of the header record and of frame headers, some of each payload, and the padding, which nobody needs.
#[tokio::test]
async fn a_flipped_byte_of_a_backup_file() {
    let scene = Scene::new().await;
    let mut random = Random::new(seed(72));
    for (file, id) in scene.files() {
        let bytes = scene.bytes(&file);
        let envelope = Envelope::decode(Kind::BackupFile, &bytes[..ENVELOPE_BYTES]).unwrap();
        let record_end = ENVELOPE_BYTES as u64 + envelope.record_bytes;
        let frames = scene.frames(id);
        let mut needed: Vec<u64> = (0..record_end).collect();
        for at in &frames {
            needed.extend(at.offset..at.offset + FRAME_HEADER_BYTES);
            let payload = u64::from(at.length) - FRAME_HEADER_BYTES;
            let drawn = (0..3).map(|_| random.below(usize::try_from(payload).unwrap()) as u64);
            needed.extend([0, payload - 1].into_iter().chain(drawn).map(|byte| at.offset + FRAME_HEADER_BYTES + byte));
        }
        for offset in needed {
            let xor = 1 << random.below(8);
            assert!(scene.target.corrupt(&file, offset, xor));
            let what = format!("{file}, byte {offset} ^ {xor}");
            let expected = scene.needing(|at| at.file == id && (at.offset..end(at)).contains(&offset));
            assert_eq!(expected.is_empty(), offset < record_end, "{what}");
            let look = if offset % 29 == 0 { Look::Restore } else { Look::Data };
            scene.is_told(&[&file], &expected, look, &what).await;
            let report = Verify::new(&scene.second, job(COPY)).run().await.unwrap();
            assert_eq!(report.damage.is_empty(), offset >= record_end, "{what}: presence alone tells of no frame");
            assert!(scene.target.corrupt(&file, offset, xor));
        }
        for padding in frames.iter().map(end).chain([record_end]).filter(|end| end % PAGE != 0) {
            assert!(scene.target.corrupt(&file, padding, 0xff));
            scene.is_harmless(Look::Restore, &format!("{file}, padding at {padding}")).await;
            assert!(scene.target.corrupt(&file, padding, 0xff));
        }
    }
    assert_eq!(scene.failing().await, Failing::new());
}
