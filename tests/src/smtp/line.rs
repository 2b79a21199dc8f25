//! The line to one who has connected, plain or encrypted.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const CERTIFICATE: &[u8] = include_bytes!("server.pem");
const KEY: &[u8] = include_bytes!("server.key");

pub(super) enum Line {
    Plain(TcpStream),
    Encrypted(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Line {
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Encrypted(_))
    }

    /// The line, encrypted from here on.
    pub(super) fn encrypted(self) -> io::Result<Self> {
        let Self::Plain(stream) = self else { return Ok(self) };
        let config = config().map_err(io::Error::other)?;
        let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
        Ok(Self::Encrypted(Box::new(StreamOwned::new(connection, stream))))
    }

    /// A line that was told, without its end. It takes no byte of the next one, as that may be encrypted.
    pub(super) fn read(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while bytes.last() != Some(&b'\n') {
            match self {
                Self::Plain(stream) => stream.read_exact(&mut byte)?,
                Self::Encrypted(stream) => stream.read_exact(&mut byte)?,
            }
            bytes.extend(byte);
        }
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned())
    }

    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        let bytes = format!("{line}\r\n");
        match self {
            Self::Plain(stream) => stream.write_all(bytes.as_bytes()),
            Self::Encrypted(stream) => stream.write_all(bytes.as_bytes()).and_then(|()| stream.flush()),
        }
    }
}

fn config() -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE)?;
    let key = PrivateKeyDer::from_pem_slice(KEY)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_no_client_auth().with_single_cert(vec![certificate], key)?)
}
