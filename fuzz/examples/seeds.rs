//! Writes what the fuzzers start from: goldens of the format as they are, and the rest by the code that makes such files.
//!
//! `cargo +nightly run --manifest-path fuzz/Cargo.toml --example seeds`, after a change of the format.

use std::fs;
use std::path::{Path, PathBuf};

use offsite_fuzz::export::{Built, import};
use offsite_fuzz::sealed;

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("hexadecimal"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}

fn write(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(format!("seed-{name}")), bytes).expect("a file");
}

/// A qcow2 image with clusters of 512 bytes: two tables, one cluster of data, one of explicit zeros.
fn qcow2(version: u32) -> Vec<u8> {
    let mut image = vec![0; 6 * 512];
    let mut put = |at: usize, field: &[u8]| image[at..at + field.len()].copy_from_slice(field);
    put(0, b"QFI\xfb");
    put(4, &version.to_be_bytes());
    put(20, &9_u32.to_be_bytes());
    put(24, &40_000_u64.to_be_bytes());
    put(36, &2_u32.to_be_bytes());
    put(40, &(512_u64).to_be_bytes());
    put(48, &(4 * 512_u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(512, &(2 * 512_u64 | 1 << 63).to_be_bytes());
    put(1024, &(3 * 512_u64 | 1 << 63).to_be_bytes());
    put(1024 + 16, &1_u64.to_be_bytes());
    put(4 * 512, &(5 * 512_u64).to_be_bytes());
    image
}

fn main() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates/offsite-core/tests/golden");
    for entry in fs::read_dir(golden).expect("the goldens") {
        let path = entry.expect("a golden").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let target = match name.split('-').next() {
            Some("frame") => "frame",
            Some("head") => "head",
            Some("index") => "index",
            _ => "envelope",
        };
        write(target, &name, from_hex(&fs::read_to_string(&path).expect("a golden")));
    }
    let export = Built::plain().bytes().expect("an export");
    write("export", "plain", &export);
    // Read as what is to be built: two machines, disks of some blocks.
    write("export", "built", (0..=255_u8).cycle().step_by(7).take(300).collect::<Vec<_>>());
    let memory = import(export).expect("an import");
    for (key, bytes) in memory.contents() {
        if key.as_str().starts_with("copy/head/") {
            write("head", "of-an-import", bytes);
        }
    }
    write("folder", "noise", (0..=255_u8).cycle().step_by(11).take(400).collect::<Vec<_>>());
    write("block_map", "noise", (0..=255_u8).cycle().step_by(13).take(600).collect::<Vec<_>>());
    // Many operations each, as every few bytes are one.
    for number in 0..6_u64 {
        let noise = (1..400_u64).map(|at| (at * (2 * number + 3) * 0x9e37_79b9 >> 13) as u8);
        write("chain", &format!("noise-{number}"), noise.collect::<Vec<_>>());
    }
    write("image", "qcow2-version-2", qcow2(2));
    write("image", "qcow2-version-3", qcow2(3));
    write("image", "raw", [7; 100]);
    let id = "00112233445566778899aabbccddeeff";
    write("media", "marker", sealed("offsite-medium", &format!("{{\"id\":\"{id}\",\"label\":\"Blue 1\",\"is_folder\":false}}\n")));
    let can = "{\"punch_granularity_bytes\":4096,\"clone_granularity_bytes\":null,\"patches\":true}";
    let entry = format!(
        "{{\"id\":\"{id}\",\"label\":\"Blue 1\",\"seen_unix_secs\":77,\"object_bytes_max\":1073741824,\"can\":{can},\
         \"objects\":[[\"job/blocks/00000001-00000001\",4096],[\"job/head/00000000000000000001\",64]]}}\n"
    );
    write("media", "entry", sealed("offsite-catalogue", &entry));
    write("names", "key", "job/blocks/00000001-00000002.index\njob/blocks");
    write("names", "machine", "web (EU) + db\nweb*db?");
    write("names", "reserved", "nul.txt\n.hidden");
    write("names", "holder", "6b0e0b0e-boot pid:[4026531836] 4711 123456 0011223344");
    write("config", "jobs", CONFIG);
    write("policy", "all-keys", POLICY);
    write("policy", "days", "keep_days = 30\ndeleted_machines_days = 14\n");
}

const CONFIG: &str = r#"[repositories.primary]
location = "/srv/primary"

[repositories.second]
location = "s3://bucket/prefix"
endpoint = "https://store.example"
region = "eu-central-1"
single_writer = true
checksum = "crc64nvme"

[repositories.drives]
location = "removable:weekly"
places = ["/mnt/usb"]
file_mib_max = 2048

[daemon]
jobs_at_once = 2

[jobs.offsite]
source = [{ repository = "primary", job = "nightly" }, { repository = "second", from = "infrastructure" }]
target = "drives"
every = "1 day"
at = "22:30"
time_zone = "Europe/Berlin"
lookup = "back"
window = ["mon-fri 20:00-06:00", "sat-sun"]
after = { script = "./notify.sh", time_limit = "10 minutes" }
select = { machines = ["web*"], tags = ["gold"], exclude = ["web-test"] }

[jobs.offsite.retention]
keep = 7

[jobs.offsite.retention.gfs]
weekly = 4
monthly = 12
month_day = "last sunday"

[jobs.offsite.transform]
merge = "auto"
compact = { below_live = 0.5, every = "1 month" }
"#;

const POLICY: &str = r#"keep = 3
time_zone = "Europe/Berlin"
[gfs]
weekly = 4
monthly = 2
quarterly = 1
yearly = 3
method = "active"
marking = "in-interval"
weekday = "Saturday"
hour = 1
month_day = "last day"
quarter_month = "last"
quarter_day = 15
year_month = "december"
"#;
