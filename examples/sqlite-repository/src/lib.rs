//! A repository in an SQLite file: the example of `docs/write-a-backend.md`.
//!
//! It is small and keeps the whole contract. An object is one row, so it is held in memory while it is written and read;
//! that bounds its length.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use offsite_repository::bytes::Bytes;
use offsite_repository::{
    Error, ErrorKind, Key, Limits, ListPage, ObjectInfo, ObjectWriter, Prefix, ReadRequest, Repository, Result,
    async_trait,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

/// The longest object, in bytes: what a writer may hold in memory.
const OBJECT_BYTES_MAX: u64 = 16 << 20;
/// How long a call waits for other processes that use the file.
const BUSY: Duration = Duration::from_secs(60);

/// Objects as rows of a table. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

impl Sqlite {
    /// Opens the file at `path`, and makes it first if it is not there.
    ///
    /// # Errors
    /// Whatever hinders opening or writing it; `Corrupt` if it is no SQLite file.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let file = path.clone();
        let connection = blocking("open", move || {
            let open = || {
                let connection = Connection::open(file)?;
                connection.busy_timeout(BUSY)?;
                // With FULL a commit is on the disk when it returns, with the default of this mode it is not.
                connection.execute_batch(
                    "PRAGMA journal_mode = WAL;
                     PRAGMA synchronous = FULL;
                     CREATE TABLE IF NOT EXISTS objects (key TEXT NOT NULL UNIQUE, content BLOB NOT NULL);",
                )?;
                Ok(connection)
            };
            open().map_err(|error| fault("open", error))
        });
        let connection = connection.await.map_err(|error| error.with_location(path.display().to_string()))?;
        Ok(Self { path, connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` with the connection, where it may block. It is carried out whole, even if this future is dropped.
    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = Arc::clone(&self.connection);
        let answer = blocking(action, move || {
            // A panic leaves no transaction open: each is rolled back when it is dropped.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        });
        answer.await.map_err(|error| error.with_location(self.location()))
    }

    /// As [`Sqlite::run`], for one object, which an error names.
    async fn run_on<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &Key,
        work: impl FnOnce(&mut Connection, &str) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let name = key.to_string();
        self.run(action, move |connection| work(connection, &name)).await.map_err(|error| error.with_key(key))
    }
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => Err(Error::new(ErrorKind::Unavailable, action).with_source(error)),
    }
}

/// What SQLite says, in the words of the contract.
fn fault(action: &'static str, error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => ErrorKind::AlreadyExists,
        Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => ErrorKind::PermissionDenied,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        // The row may be in the log all the same.
        Some(ErrorCode::SystemIoFailure) if action == "finish" => ErrorKind::Indeterminate,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, action).with_source(error)
}

#[async_trait]
impl Repository for Sqlite {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn limits(&self) -> Limits {
        Limits::new(OBJECT_BYTES_MAX)
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(Writer { place: self.clone(), key: key.clone(), content: Some(Vec::new()) }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        let what = match what {
            ReadRequest::Whole { limit_bytes } => Wanted::Whole(limit_bytes),
            ReadRequest::Ranges(ranges) => Wanted::Ranges(ranges.to_vec()),
        };
        self.run_on("read", key, move |connection, key| read(connection, key, what)).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        // A key has printable ASCII only, and `0` is what follows `/`.
        let (low, high) = match prefix.as_str() {
            "" => (String::new(), "\u{7f}".to_owned()),
            folder => (format!("{folder}/"), format!("{folder}0")),
        };
        let low = after.map_or(low.clone(), |after| low.max(after.to_string()));
        let limit = limit.max(1);
        let page = move |connection: &mut Connection| {
            let sql = "SELECT key, length(content) FROM objects WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT ?3";
            let mut select = connection.prepare(sql)?;
            // One more than is asked for tells whether there are more.
            let limit = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
            let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
            select.query_map(params![low, high, limit], row)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        self.run("list", move |connection| {
            let mut rows = page(connection).map_err(|error| fault("list", error))?;
            let more = rows.len() > limit;
            rows.truncate(limit);
            let objects = rows.into_iter().map(|(key, length)| {
                let key = Key::new(key).map_err(|error| Error::new(ErrorKind::Corrupt, "list").with_source(error))?;
                Ok(ObjectInfo::new(key, length.unsigned_abs()))
            });
            Ok(ListPage::new(objects.collect::<Result<_>>()?, more))
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.run_on("delete", key, |connection, key| {
            let deleted = connection.execute("DELETE FROM objects WHERE key = ?1", [key]);
            deleted.map(drop).map_err(|error| fault("delete", error))
        })
        .await
    }
}

/// [`Read`], owned.
enum Wanted {
    Whole(u64),
    Ranges(Vec<Range<u64>>),
}

fn read(connection: &mut Connection, key: &str, wanted: Wanted) -> Result<Vec<Bytes>> {
    let fault = |error| fault("read", error);
    let corrupt = |detail: String| Error::new(ErrorKind::Corrupt, "read").with_detail(detail);
    // One state for all the statements: the object may be deleted meanwhile, and made anew.
    let state = connection.transaction().map_err(fault)?;
    let length = state.query_row("SELECT length(content) FROM objects WHERE key = ?1", [key], |row| row.get(0));
    let length: Option<i64> = length.optional().map_err(fault)?;
    let length = length.ok_or_else(|| Error::new(ErrorKind::NotFound, "read"))?.unsigned_abs();
    let ranges = match wanted {
        Wanted::Whole(limit_bytes) if length > limit_bytes => {
            return Err(corrupt(format!("it has {length} bytes, expected at most {limit_bytes}")));
        }
        Wanted::Whole(_) => vec![Range { start: 0, end: length }],
        Wanted::Ranges(ranges) => ranges,
    };
    let mut buffers = Vec::with_capacity(ranges.len());
    for Range { start, end } in ranges {
        if start > end || end > length {
            return Err(corrupt(format!("it has {length} bytes, bytes {start} to {end} were asked for")));
        }
        // Both fit: they are no larger than the length, which SQLite told. It counts from one.
        let (start, count) = (start.cast_signed() + 1, (end - start).cast_signed());
        let sql = "SELECT substr(content, ?2, ?3) FROM objects WHERE key = ?1";
        let part = state.query_row(sql, params![key, start, count], |row| row.get::<_, Option<Vec<u8>>>(0));
        // To SQLite a part of an empty object is no part.
        buffers.push(part.map_err(fault)?.unwrap_or_default().into());
    }
    Ok(buffers)
}

/// Collects an object; none after a failed call.
struct Writer {
    place: Sqlite,
    key: Key,
    content: Option<Vec<u8>>,
}

impl Writer {
    fn dead(&self, action: &'static str) -> Error {
        Error::new(ErrorKind::Unavailable, action)
            .with_key(&self.key)
            .with_location(self.place.location())
            .with_detail("an earlier call failed; write it anew")
    }
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let mut content = self.content.take().ok_or_else(|| self.dead("write"))?;
        let length = chunks.iter().fold(content.len() as u64, |sum, chunk| sum + chunk.len() as u64);
        if length > OBJECT_BYTES_MAX {
            let detail = format!("an object has at most {OBJECT_BYTES_MAX} bytes here");
            let error = Error::new(ErrorKind::Unsupported, "write").with_key(&self.key).with_detail(detail);
            return Err(error.with_location(self.place.location()));
        }
        chunks.iter().for_each(|chunk| content.extend_from_slice(chunk));
        self.content = Some(content);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let content = self.content.take().ok_or_else(|| self.dead("finish"))?;
        let insert = move |connection: &mut Connection, key: &str| {
            let inserted =
                connection.execute("INSERT INTO objects (key, content) VALUES (?1, ?2)", params![key, content]);
            inserted.map(drop).map_err(|error| fault("finish", error))
        };
        self.place.run_on("finish", &self.key, insert).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
