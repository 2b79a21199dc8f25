//! The call that makes a file system stop at once, as in a power cut.
//!
//! It cannot be made from safe Rust, so that Python makes it: one process for all cuts, as starting one takes longer than a cut.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Stop now, and do not write the journal out.
const CUT: &str = "import fcntl, os, struct, sys
for line in sys.stdin:
    try:
        folder = os.open(line.rstrip('\\n'), os.O_RDONLY)
        fcntl.ioctl(folder, 0x8004587d, struct.pack('I', 2))
        os.close(folder)
        print('cut', flush=True)
    except OSError as error:
        print(error, flush=True)";

/// Ends with this process, when its input does.
static CUTTER: Mutex<Option<Cutter>> = Mutex::new(None);

struct Cutter {
    _process: Child,
    paths: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Cutter {
    fn start() -> Result<Self, String> {
        let mut command = Command::new("python3");
        command.args(["-c", CUT]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("python3, which cuts the power: {error}"))?;
        let (Some(paths), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("python3 has no input or output".to_owned());
        };
        Ok(Self { _process: process, paths, answers: BufReader::new(answers) })
    }

    fn cut(&mut self, folder: &Path) -> std::io::Result<String> {
        writeln!(self.paths, "{}", folder.display())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

/// Cuts the power of the file system that is mounted at `folder`.
pub(crate) fn cut(folder: &Path) -> Result<(), String> {
    let mut cutter = CUTTER.lock().unwrap_or_else(PoisonError::into_inner);
    if cutter.is_none() {
        *cutter = Some(Cutter::start()?);
    }
    let Some(running) = cutter.as_mut() else { return Err("there is no python3".to_owned()) };
    match running.cut(folder).map_err(|error| error.to_string())?.as_str() {
        "cut" => Ok(()),
        other => Err(format!("cutting the power: {other}")),
    }
}
