//! What survives a power cut.

mod capabilities;
mod disk;
mod image;
mod moment;
mod options;

pub use self::image::CrashImage;
pub use self::moment::CrashMoment;
pub use self::options::CrashOptions;
