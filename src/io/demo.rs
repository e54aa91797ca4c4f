//! The quickstart's backend: HTTPS that demands a client certificate and says what it saw.
//!
//! It is what a user of Ringate would have behind it, so it shares nothing with the data path but
//! the parser: monoio-rustls' stream, one request at a time.

use std::sync::Arc;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Canceller};
use monoio::net::TcpStream;
use monoio_rustls::TlsAcceptor;
use rustls::ServerConfig;

use super::runtime::{self, Driver, Runtime};
use super::socket::{self, BoundListener};
use crate::http;
use crate::http1::{self, Body, Framing, HeadLimits, Parsed};

/// Serves `listener` for as long as the process lives. Call it on a thread of its own.
///
/// # Errors
/// The runtime could not be made.
pub(crate) fn serve(listener: std::net::TcpListener, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let best = runtime::detect().unwrap_or(Driver::Epoll);
    let made = Runtime::new(best).or_else(|_| Runtime::new(Driver::Epoll))?;
    made.block_on(async move {
        let listener = socket::adopt(BoundListener::Tcp(listener))?;
        let acceptor = TlsAcceptor::from(config);
        let never = Canceller::new();
        while let Ok((tcp, _)) = listener.accept(never.handle()).await {
            let acceptor = acceptor.clone();
            runtime::spawn(async move {
                if let Err(reason) = connection(acceptor, tcp).await {
                    tracing::debug!("quickstart backend: {reason}");
                }
            });
        }
        Ok(())
    })
}

async fn connection(acceptor: TlsAcceptor, tcp: TcpStream) -> Result<(), String> {
    let mut stream = acceptor.accept(tcp).await.map_err(|error| error.to_string())?;
    let mut held: Vec<u8> = Vec::new();
    let mut block = vec![0u8; 16 * 1024];
    loop {
        if let Some((reply, consumed, body)) = answer(&held)? {
            held.drain(..consumed);
            skip(&mut stream, &mut held, body).await?;
            stream.write_all(reply).await.0.map_err(|error| error.to_string())?;
            stream.flush().await.map_err(|error| error.to_string())?;
            continue;
        }
        let (result, returned) = stream.read(block).await;
        block = returned;
        match result.map_err(|error| error.to_string())? {
            0 => return Ok(()),
            n => held.extend_from_slice(&block[..n]),
        }
    }
}

/// Reads a request's body to its end.
async fn skip(stream: &mut impl AsyncReadRent, held: &mut Vec<u8>, mut body: Body) -> Result<(), String> {
    loop {
        let taken = body.take(held).map_err(|error| error.to_string())?;
        held.drain(..taken.consumed);
        if taken.done {
            return Ok(());
        }
        let (result, block) = stream.read(vec![0u8; 16 * 1024]).await;
        match result.map_err(|error| error.to_string())? {
            0 => return Err("closed within a body".to_owned()),
            n => held.extend_from_slice(&block[..n]),
        }
    }
}

/// What the backend says: the request as it arrived.
fn answer(held: &[u8]) -> Result<Option<(Vec<u8>, usize, Body)>, String> {
    let mut slots = http1::header_slots();
    let limits = HeadLimits::from(&crate::base::limits::Limits::default());
    let head = match http1::parse_request(held, &mut slots, &limits) {
        Ok(Parsed::Complete(head)) => head,
        Ok(Parsed::Partial) => return Ok(None),
        Err(error) => return Err(error.reason().to_owned()),
    };
    let mut text = format!(
        "Hello from the quickstart backend. You came here through Ringate, over mutual TLS.\n\n{} {}\n",
        head.method.as_str(),
        head.target.path
    );
    for header in head.fields.iter() {
        text.push_str(&format!("{}: {}\n", header.name, String::from_utf8_lossy(header.value)));
    }
    let body = Body::new(if head.framing == Framing::None { Framing::Length(0) } else { head.framing });
    let mut reply = Vec::new();
    let head_only = matches!(head.method, http::Method::Head);
    http1::encode_reply(200, &text, false, head_only, &[], &mut reply);
    Ok(Some((reply, head.len, body)))
}
