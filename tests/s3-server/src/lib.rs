//! An S3 server in the test's own process: objects in memory, and failures when told to.
//!
//! [`Server::start`] listens on a free port of the loopback interface until the value is dropped. Signatures, checksums and
//! XML are those of `s3s`, a second implementation of the protocol, so that both sides do not share one's mistakes.

mod counts;
mod faults;
mod protocol;
mod serve;
mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use counts::Counts;
pub use faults::{Effect, Fault, Operation};
pub use store::Conditions;

use counts::Ledger;
use faults::Script;
use store::Store;

/// The id of the access key.
pub const ACCESS_KEY_ID: &str = "OFFSITETESTKEY";
/// The access key. It is in no message of anything that is tested.
pub const SECRET_ACCESS_KEY: &str = "canary-5f1c9a0e7d";
/// The id of a key that may only read; its secret is the same.
pub const READER_KEY_ID: &str = "OFFSITEREADER";
/// The one bucket.
pub const BUCKET: &str = "backups";

/// How a server behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// What becomes of conditions on writes.
    pub conditions: Conditions,
    /// Whether objects lose their metadata.
    pub forgets_metadata: bool,
    /// Whether the bucket keeps versions and locks objects.
    pub locks: bool,
    /// Whether it checks what it gets, remembers its length, and forgets the bytes: for measurements of who sends them.
    pub forgets_content: bool,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    inner: Arc<Inner>,
    address: SocketAddr,
    listening: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    script: Script,
    ledger: Ledger,
    latency_millis: AtomicU64,
    rate_bytes_per_sec: AtomicU64,
    reader_key_id: String,
}

impl Server {
    /// Starts a server that behaves.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start() -> Self {
        Self::start_with(Behaviour::default()).await
    }

    /// Starts a server.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start_with(behaviour: Behaviour) -> Self {
        Self::start_at(behaviour, "127.0.0.1:0").await
    }

    /// Starts a server that listens at `address`, which other hosts may reach.
    ///
    /// # Panics
    /// If it cannot listen there.
    pub async fn start_at(behaviour: Behaviour, address: &str) -> Self {
        let forgets_content = behaviour.forgets_content;
        let store = Arc::new(Store::new(BUCKET.to_owned(), behaviour));
        let inner = Arc::new(Inner {
            store: Arc::clone(&store),
            script: Script::default(),
            ledger: Ledger::default(),
            latency_millis: AtomicU64::new(0),
            rate_bytes_per_sec: AtomicU64::new(0),
            reader_key_id: READER_KEY_ID.to_owned(),
        });
        let mut auth = SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY);
        auth.register(READER_KEY_ID.to_owned(), SECRET_ACCESS_KEY.into());
        let mut builder = S3ServiceBuilder::new(protocol::Protocol { store, forgets_content });
        builder.set_auth(auth);
        let listener = TcpListener::bind(address).await;
        let listener = listener.unwrap_or_else(|error| panic!("cannot listen at {address}: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let listening = tokio::spawn(listen(listener, Arc::clone(&inner), builder.build()));
        Self { inner, address, listening }
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a failure to come. Where several match, the one added first is taken.
    pub fn inject(&self, fault: Fault) {
        self.inner.script.add(fault);
    }

    /// Removes all failures to come.
    pub fn heal(&self) {
        self.inner.script.clear();
    }

    /// Changes what becomes of conditions from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        *self.inner.store.conditions.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
    }

    /// Lets each request wait so long before anything is done.
    pub fn set_latency_millis(&self, millis: u64) {
        self.inner.latency_millis.store(millis, Ordering::Relaxed);
    }

    /// Lets each request wait, besides, as long as its body and that of its answer take at this rate; not at all at 0.
    pub fn set_rate_bytes_per_sec(&self, rate: u64) {
        self.inner.rate_bytes_per_sec.store(rate, Ordering::Relaxed);
    }

    /// Puts the server's clock forward.
    pub fn put_clock_forward(&self, secs: u32) {
        self.inner.store.ahead_secs.fetch_add(secs.into(), Ordering::SeqCst);
    }

    /// What was asked so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.ledger.snapshot()
    }

    /// Counts from zero again.
    pub fn reset_counts(&self) {
        self.inner.ledger.reset();
    }

    /// The names of all objects, hidden ones included.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.inner.store.lock().names().map(|(name, _)| name.clone()).collect()
    }

    /// How many versions there are of a name, deletions included.
    #[must_use]
    pub fn versions(&self, name: &str) -> usize {
        self.inner.store.lock().versions(name)
    }

    /// The names of the uploads under way.
    #[must_use]
    pub fn uploads(&self) -> Vec<String> {
        self.inner.store.lock().uploads.values().map(|upload| upload.key.clone()).collect()
    }

    /// The id of the upload under way for a name.
    #[must_use]
    pub fn upload_id(&self, name: &str) -> Option<String> {
        let state = self.inner.store.lock();
        state.uploads.iter().find_map(|(id, upload)| (upload.key == name).then(|| id.clone()))
    }

    /// The metadata of an object, by its names without `x-amz-meta-`.
    #[must_use]
    pub fn metadata(&self, name: &str, key: &str) -> Option<String> {
        self.inner.store.lock().newest(name)?.metadata.as_ref()?.get(key).cloned()
    }

    /// Stores an object behind the back of whoever uses the server; its metadata stays.
    pub fn overwrite(&self, name: &str, bytes: impl Into<bytes::Bytes>) {
        let mut content = store::Content::default();
        content.push(bytes.into());
        let metadata = self.inner.store.lock().newest(name).and_then(|object| object.metadata.clone());
        // Without a condition nothing can be in its way.
        let _ = self.inner.store.put(name, content, metadata, false);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, inner: Arc<Inner>, s3: S3Service) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Small answers are not to wait for more to be sent with them.
        let _ = stream.set_nodelay(true);
        let (inner, s3) = (Arc::clone(&inner), s3.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| serve::answer(Arc::clone(&inner), s3.clone(), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            // A connection that is dropped on purpose ends with an error, too.
            let _ = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
