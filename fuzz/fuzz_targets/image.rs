//! Disk images, qcow2 above all: one that cannot be read is refused.
#![no_main]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use offsite::fuzzing::read_image;
use offsite::{Error, ImageFormat, ImageSource};

const READ_BYTES_MAX: usize = 4 << 20;

/// A header whose fields are near to those of images, and the tables behind it.
#[derive(Debug, Arbitrary)]
struct Built {
    is_version_2: bool,
    cluster_bits: u8,
    size_bytes: u64,
    l1_entries: u16,
    l1_cluster: u8,
    refcount_cluster: u8,
    features: u8,
    refcount_order: u8,
    header_bytes: u8,
    /// Cluster, entry in it, and what that says: a cluster, flags, and low bits.
    entries: Vec<(u8, u16, u8, u8, u8)>,
    clusters: u8,
}

impl Built {
    fn bytes(&self) -> Vec<u8> {
        // Mostly the smallest clusters, so that images are small; now and then others.
        let bits = if self.cluster_bits < 200 {
            9 + u32::from(self.cluster_bits % 4)
        } else {
            u32::from(self.cluster_bits % 24)
        };
        let cluster = 1_u64 << bits.clamp(9, 13);
        let length = (u64::from(self.clusters % 24) + 1) * cluster;
        let mut bytes = vec![0; length as usize];
        let mut put = |at: u64, field: &[u8]| {
            let at = at as usize;
            if let Some(place) = bytes.get_mut(at..at + field.len()) {
                place.copy_from_slice(field);
            }
        };
        put(0, b"QFI\xfb");
        put(4, &if self.is_version_2 { 2_u32 } else { 3 }.to_be_bytes());
        put(20, &bits.to_be_bytes());
        put(24, &self.size_bytes.to_be_bytes());
        put(36, &u32::from(self.l1_entries).to_be_bytes());
        put(40, &(u64::from(self.l1_cluster) * cluster).to_be_bytes());
        put(48, &(u64::from(self.refcount_cluster) * cluster).to_be_bytes());
        put(56, &1_u32.to_be_bytes());
        put(72, &u64::from(self.features & 0x1f).to_be_bytes());
        put(96, &u32::from(self.refcount_order % 8).to_be_bytes());
        put(100, &(104 + u32::from(self.header_bytes & 0x3f)).to_be_bytes());
        for (table, entry, target, flags, low) in &self.entries {
            let says = u64::from(*target) * cluster | u64::from(*low) | u64::from(*flags) << 56;
            put(u64::from(*table) * cluster + u64::from(*entry) * 8 % cluster, &says.to_be_bytes());
        }
        bytes
    }
}

fn read(file: &mut File, bytes: &[u8]) {
    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).expect("a file of ours");
    file.write_all(bytes).expect("a file of ours");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    for source in [ImageSource::new(&path), ImageSource::new(&path).with_format(ImageFormat::Qcow2)] {
        match read_image(&source, READ_BYTES_MAX) {
            Ok(read) => assert!(read <= READ_BYTES_MAX),
            Err(Error::Image { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

thread_local! {
    static FILE: std::cell::RefCell<File> =
        std::cell::RefCell::new(tempfile::tempfile_in("/dev/shm").expect("a file of ours"));
}

fuzz_target!(|bytes: &[u8]| {
    FILE.with_borrow_mut(|file| {
        read(file, bytes);
        if let Ok(built) = Built::arbitrary(&mut Unstructured::new(bytes)) {
            read(file, &built.bytes());
        }
    });
});
