//! Exports that are right but for what the fuzzer asks to be wrong.

use offsite_core::format::WireFormat;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arbitrary::Arbitrary;
use offsite::{DamagedPart, Error, Import, JobFolder, JobName, OpenRepository, Restore, Verify};
use offsite_core::Index;
use offsite_core::format::backup_file::{BackupFileHeader, MachineLabel, region_bytes};
use offsite_core::format::frame::{Codec, Header, Identity};
use offsite_core::format::records::{EXPORT_ALIGNMENT_BYTES, ExportEnd, ExportHeader};
use offsite_core::format::{Kind, checksum, encode_record};
use offsite_core::plan::{Placement, Placer};
use offsite_core::{
    BlockMap, BlockSize, Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, FolderId, ImageFormat, MachineMap,
    MachineName, MachineNumber, MachineState, ObjectId, PointKind, Run, Sequence, Status, StoredBlock, Timestamp,
};
use offsite_repository::testing::Memory;
use sha2::Digest as _;

use crate::{mended, now, run_with};

const BLOCK: u64 = 256 << 10;
const ID: FolderId = FolderId::new([7; 16]);
const FILE: ObjectId = ObjectId::new(1, 1);
const INDEX: ObjectId = ObjectId::new(1, 2);

/// What is exported, and what is wrong with it.
#[derive(Debug, Default, Arbitrary)]
pub struct Built {
    /// Machines, their disks, and those.
    pub machines: Vec<Vec<Disk>>,
    /// Names that the header of the backup file has more than there are machines.
    pub labels: u8,
    /// Added to the header's word for the length of the backup file.
    pub file_bytes_off: i8,
    /// Added to the end's word for the number of frames.
    pub frames_off: i8,
    /// Added to the sequence number, the kind and the status of the index, in this order.
    pub index_off: [u8; 3],
    /// The part (header, index, file), the byte of it and what it is changed by; envelopes are mended after that.
    pub patches: Vec<(u8, u16, u8)>,
    /// What comes after the end.
    pub rest: Vec<u8>,
}

/// A disk: its size, and for each block a byte that fills it and how much longer it is than it ought to be.
#[derive(Debug, Default, Arbitrary)]
pub struct Disk {
    /// In bytes; what is over three and a half blocks does not count.
    pub size_bytes: u32,
    /// None: zeros.
    pub blocks: Vec<(u8, i8)>,
}

impl Built {
    /// Two machines and nothing wrong.
    pub fn plain() -> Self {
        let disk =
            |size_bytes, fills: &[u8]| Disk { size_bytes, blocks: fills.iter().map(|fill| (*fill, 0)).collect() };
        let machines = vec![vec![disk(600_000, &[1, 0, 3]), disk(5, &[9])], vec![disk(262_144, &[1])]];
        Self { machines, ..Self::default() }
    }

    /// Whether it asks for anything to be wrong.
    pub fn is_right(&self) -> bool {
        let lengths = self.machines.iter().flatten().flat_map(|disk| &disk.blocks).all(|(_, off)| *off == 0);
        let offs = self.file_bytes_off == 0 && self.frames_off == 0 && self.index_off == [0; 3];
        lengths && offs && self.patches.is_empty() && self.rest.is_empty() && self.labels == 0
    }

    /// The export's bytes; none if there can be no such export.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let machines = &self.machines[..self.machines.len().min(4)];
        let names: Vec<String> = (0..machines.len()).map(|number| format!("m{number}")).collect();
        let first_offset = region_bytes(names.iter().map(String::as_str), u64::from(EXPORT_ALIGNMENT_BYTES));
        let alignment = u64::from(EXPORT_ALIGNMENT_BYTES);
        let mut placer = Placer::new(Placement { first_offset, alignment, file_bytes_max: u64::MAX });
        let (mut frames, mut map, mut states) = (Vec::new(), BlockMap::empty(), Vec::new());
        for ((machine, name), number) in machines.iter().zip(&names).zip(0..) {
            let name = MachineName::new(name).ok()?;
            let disks = machine.iter().take(3).zip(0..).map(|(disk, disk_number)| {
                Some((DiskNumber(disk_number), disk.frames(number, disk_number, &mut placer, &mut frames)?))
            });
            map.insert(name.clone(), MachineMap::new(time(), disks.collect::<Option<BTreeMap<_, _>>>()?));
            let status = [Status::Complete, Status::Incomplete, Status::Carried][usize::from(self.index_off[2] % 3)];
            states.push((MachineState::new(name, status, time()), MachineNumber(number)));
        }
        let files = placer.into_files();
        let file_bytes: u64 = files.values().sum();
        let kinds = [
            (PointKind::Full, None),
            (PointKind::Increment, Some(Sequence(0))),
            (PointKind::Rollback, Some(Sequence(u64::MAX))),
        ];
        let (kind, base) = kinds[usize::from(self.index_off[1] % 3)];
        let index = Index {
            folder: ID,
            id: INDEX,
            sequence: Sequence(1 + u64::from(self.index_off[0])),
            time: time(),
            kind,
            is_back_filled: false,
            base,
            block_size: BlockSize::KiB256,
            below: Vec::new(),
            files,
            machines: states,
            map,
            spare: BlockMap::empty(),
        };
        let index = index.encode().ok()?;
        let job = "nightly".to_owned();
        let claimed = file_bytes.checked_add_signed(self.file_bytes_off.into())?;
        let header = ExportHeader { id: ID, job, index_bytes: index.len() as u64, file_bytes: claimed };
        let mut parts = [encode_record(Kind::Export, &header).ok()?, index, Vec::new()];
        if file_bytes > 0 {
            let labels = names.into_iter().zip(0..);
            let labels = labels.map(|(name, number)| MachineLabel { number, name, disks: Vec::new() });
            let more = 0..u32::from(self.labels) * 8;
            let more = more.map(|number| MachineLabel { number, name: "more".repeat(9), disks: Vec::new() });
            let record = BackupFileHeader {
                folder: ID,
                id: FILE.stored(),
                sequence: 1,
                time_unix_secs: time().unix_secs(),
                block_bytes: BlockSize::KiB256.bytes(),
                alignment_bytes: EXPORT_ALIGNMENT_BYTES,
                machines: labels.chain(more).collect(),
            };
            parts[2] = encode_record(Kind::BackupFile, &record).ok()?;
            let length = usize::try_from(file_bytes).ok()?.max(parts[2].len());
            parts[2].resize(length, 0);
            for (offset, frame) in &frames {
                let start = usize::try_from(*offset).ok()?;
                parts[2].get_mut(start..start + frame.len())?.copy_from_slice(frame);
            }
        }
        for (part, at, change) in &self.patches {
            let part = &mut parts[usize::from(part % 3)];
            let length = part.len();
            if let Some(byte) = part.get_mut(usize::from(*at) % length.max(1)) {
                *byte ^= change;
            }
            if let Some(mended) = mended(part) {
                *part = mended;
            }
        }
        let mut bytes = Vec::new();
        for part in &parts[..2] {
            bytes.extend_from_slice(part);
            pad(&mut bytes);
        }
        bytes.extend_from_slice(&parts[2]);
        let count = (frames.len() as u64).checked_add_signed(self.frames_off.into())?;
        bytes.extend_from_slice(&end_of(&bytes, count));
        bytes.extend_from_slice(&self.rest);
        Some(bytes)
    }
}

impl Disk {
    fn size_bytes(&self) -> u64 {
        u64::from(self.size_bytes) % (3 * BLOCK + BLOCK / 2)
    }

    fn frames(
        &self,
        machine: u32,
        disk: u16,
        placer: &mut Placer,
        frames: &mut Vec<(u64, Vec<u8>)>,
    ) -> Option<DiskMap> {
        let size_bytes = self.size_bytes();
        let count = BlockSize::KiB256.count(size_bytes);
        let mut runs = Vec::new();
        for block in 0..u32::try_from(count).ok()? {
            let (fill, off) = self.blocks.get(block as usize).copied().unwrap_or_default();
            if fill == 0 {
                runs.push(Run::Zero { first: block, count: 1 });
                continue;
            }
            let length = i64::from(BlockSize::KiB256.length_at(block, size_bytes)) + i64::from(off);
            let plain = vec![fill; usize::try_from(length).ok()?];
            let digest = Digest(sha2::Sha256::digest(&plain).into());
            let payload = zstd::bulk::compress(&plain, 1).ok()?;
            let identity = Identity {
                origin: FILE,
                ordinal: u32::try_from(frames.len()).ok()?,
                machine: MachineNumber(machine),
                disk: DiskNumber(disk),
                block,
                sequence: Sequence(1),
            };
            let header = Header::of(identity, Codec::Zstd, u32::try_from(length).ok()?, digest, &payload).ok()?;
            let length = header.frame_bytes();
            let (file, offset) = placer.place(length, || FILE);
            frames.push((offset, [&header.encode()[..], &payload].concat()));
            runs.push(Run::Stored { block, at: StoredBlock { file, offset, length, digest } });
        }
        let name = DiskName::nearest(&format!("vd{disk}"));
        DiskMap::new(DiskIdentity::new(name, ImageFormat::Raw), size_bytes, count, 0, runs).ok()
    }
}

fn time() -> Timestamp {
    Timestamp::from_unix_secs(1_790_000_000).expect("a time in range")
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(EXPORT_ALIGNMENT_BYTES as usize), 0);
}

/// The end of an export of these bytes, with so many frames.
pub fn end_of(bytes: &[u8], frames: u64) -> Vec<u8> {
    let end = ExportEnd { id: ID, frames, bytes: bytes.len() as u64, checksum: checksum(bytes) };
    encode_record(Kind::ExportEnd, &end).expect("a short record")
}

/// The job that exports are imported as.
pub fn job() -> JobName {
    JobName::new("copy").expect("a plain name")
}

/// Imports these bytes: they are refused as a bad export and leave no restore point, or they are proven. The repository, if there
/// is a point in it.
pub fn import(bytes: Vec<u8>) -> Option<Arc<Memory>> {
    run_with(2, async {
        let memory = Arc::new(Memory::new());
        let repository = OpenRepository::initialise(memory.clone(), now()).await.expect("an empty place");
        match Import::new(&repository, job()).run(Cursor::new(bytes), now()).await {
            Ok(report) => {
                let verify = Verify::new(&repository, job()).read_data(true).run().await.expect("a job that is there");
                assert!(verify.damage.is_empty(), "{:?}", verify.damage);
                let folder = JobFolder::open(&repository, &job()).await.expect("a job that is there");
                assert_eq!(folder.chain().points().len(), 1);
                for machine in report.machines {
                    restore(&repository, machine).await;
                }
                Some(memory)
            }
            Err(Error::Damaged { part: DamagedPart::Export, .. }) => {
                match JobFolder::open(&repository, &job()).await {
                    Ok(folder) => assert!(folder.chain().latest().is_none()),
                    Err(Error::UnknownJob { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
                None
            }
            Err(error) => panic!("{error:?}"),
        }
    })
}

/// Every disk of the machine is restored, with the size that it has.
async fn restore(repository: &OpenRepository, machine: MachineName) {
    let to = tempfile::tempdir_in("/dev/shm").expect("a folder");
    match Restore::new(repository, job(), machine).run(to.path()).await {
        Ok(report) => {
            for disk in report.disks {
                assert_eq!(disk.path.as_ref().expect("a path").metadata().expect("an image").len(), disk.size_bytes);
            }
        }
        // A disk may be larger than any file can be here.
        Err(Error::Image { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
}
