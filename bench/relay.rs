//! The floor: a bare byte relay on the same runtime and ring flags as Ringate.
//!
//! One backend connection per client connection, bytes moved both ways, nothing parsed. What it costs
//! per request is what the kernel and the runtime charge anyone, so the distance to it is what a proxy
//! adds. It does less than any proxy (no headers, no pooling, no timeouts) and is no candidate to beat.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a tool that is run by hand

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use clap::Parser;
use monoio::IoUringDriver;
use monoio::RuntimeBuilder;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

/// A bare byte relay: relay --listen 127.0.0.1:8080 --backend 127.0.0.1:9000
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where each client connection is relayed to.
    #[arg(long)]
    backend: SocketAddr,
    /// Bytes of each direction's buffer.
    #[arg(long, default_value_t = 16 * 1024)]
    buffer: usize,
}

fn main() -> io::Result<()> {
    let options = Rc::new(Options::parse());
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun();
    let mut runtime =
        RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring).with_entries(4096).build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Rc<Options>) -> io::Result<()> {
    let listener = TcpListener::from_std(listen(options.listen)?)?;
    loop {
        let (client, _) = listener.accept().await?;
        let options = Rc::clone(&options);
        monoio::spawn(async move {
            if let Err(error) = relay(client, &options).await {
                // A connection that ends anyhow is how load generators stop; anything else is worth a line.
                use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
                if !matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected) {
                    eprintln!("relay: {error}");
                }
            }
        });
    }
}

/// TCP_NODELAY on the listening socket is inherited by what it accepts: one call instead of one each.
fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

async fn relay(client: TcpStream, options: &Options) -> io::Result<()> {
    let backend = TcpStream::connect_addr(options.backend).await?;
    backend.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (backend_read, backend_write) = backend.into_split();
    let upload = monoio::spawn(copy(client_read, backend_write, options.buffer));
    let download = copy(backend_read, client_write, options.buffer).await;
    let upload = upload.await;
    download.and(upload)
}

/// Moves bytes until the reader ends, then passes the end on.
async fn copy(mut from: impl AsyncReadRent, mut to: impl AsyncWriteRent, size: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(size);
    loop {
        let (read, filled) = from.read(buffer).await;
        let outcome = match read {
            Ok(0) => return to.shutdown().await,
            Ok(_) => to.write_all(filled).await,
            Err(error) => {
                // The other direction must end too, or its task would wait for ever.
                let _ = to.shutdown().await;
                return Err(error);
            }
        };
        outcome.0?;
        buffer = outcome.1;
        buffer.clear();
    }
}
