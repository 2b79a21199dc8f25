//! Serves the test server's bucket at an address until it is killed: `serve 10.0.0.2:9000`.

use offsite_s3_server::{Behaviour, Server};

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let _server = Server::start_at(Behaviour::default(), &address).await;
    std::future::pending::<()>().await;
}
