//! Serves a folder as S3 on a port of this machine that is free, which it prints; until its standard input ends.

use std::io::Read;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

mod objects;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [folder, key, secret] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("usage: realign-s3-server FOLDER ACCESS_KEY SECRET_KEY".into());
    };
    let mut service = S3ServiceBuilder::new(objects::Objects::new(folder.as_ref())?);
    service.set_auth(SimpleAuth::from_single(key.as_str(), secret.as_str()));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    // Whoever started it is gone.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    loop {
        let (socket, _) = listener.accept().await?;
        let _ = socket.set_nodelay(true);
        let service = service.clone();
        tokio::spawn(async move {
            // A client that goes away is its own affair.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
