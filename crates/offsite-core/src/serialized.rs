//! The serialized form of values, with the feature `serde`.
//!
//! Names, times and ids are texts. Reading checks them like their constructors do. All other types derive their form: fields and
//! variants are named in snake_case, and a variant with fields is a map whose only key is its name.

use std::collections::BTreeSet;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::retention::{Flags, Tier, Zone};
use crate::schedule::{Period, TimeOfDay};
use crate::{BlockSize, Digest, DiskName, Labels, MachineName, ObjectId, Timestamp};

/// The text that `Display` writes, read by the given function.
macro_rules! as_text {
    ($($name:ident: $read:expr;)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $read(text.as_str()).map_err(D::Error::custom)
            }
        }
    )*};
}

as_text! {
    Timestamp: Timestamp::parse;
    MachineName: MachineName::new;
    DiskName: DiskName::new;
    ObjectId: |text: &str| ObjectId::parse(text).ok_or_else(|| format!("{text:?} is no id of an object"));
    Digest: str::parse::<Digest>;
    Period: Period::parse;
    TimeOfDay: TimeOfDay::parse;
    Zone: Zone::named;
}

/// The bytes of a block.
impl Serialize for BlockSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        u64::from(self.bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BlockSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(u64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The tiers, shortest period first.
impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.tiers().collect::<Vec<_>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Tier>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Labels")]
        struct Unchecked {
            tags: BTreeSet<String>,
            containers: BTreeSet<String>,
        }

        let Unchecked { tags, containers } = Unchecked::deserialize(deserializer)?;
        Self::new(tags, containers).map_err(D::Error::custom)
    }
}
