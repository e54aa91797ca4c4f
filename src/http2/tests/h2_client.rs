//! A client of ours and the `h2` crate's server, over a pair of sockets.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::peer::*;
use crate::http2::{Config, Event, HeadKind, RequestLine, Role, StreamId};

/// Writes all of it.
pub(super) async fn flush(socket: &UnixStream, out: &mut Vec<u8>) -> io::Result<()> {
    while !out.is_empty() {
        socket.writable().await?;
        match socket.try_write(out) {
            Ok(written) => drop(out.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What there is, nothing at the end.
pub(super) async fn read_some(socket: &UnixStream) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 7000];
    loop {
        socket.readable().await?;
        match socket.try_read(&mut buffer) {
            Ok(read) => {
                buffer.truncate(read);
                return Ok(buffer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn content(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number * 31 + at * 7 + at / 256) as u8).collect()
}

/// Echoes requests with `h2`.
async fn serve(socket: UnixStream, window: u32, streams: u32) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(window).max_concurrent_streams(streams);
    let mut connection = builder.handshake::<_, Bytes>(socket).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else { return };
        tokio::task::spawn_local(async move {
            assert_eq!(request.uri().authority().unwrap(), "a.example");
            let head = http::Response::builder()
                .header("x-path", request.uri().path())
                .header("x-same", "same")
                .body(())
                .unwrap();
            let mut request = request.into_body();
            let mut body = respond.send_response(head, false).unwrap();
            while let Some(piece) = request.data().await {
                let mut rest = piece.unwrap();
                request.flow_control().release_capacity(rest.len()).unwrap();
                while !rest.is_empty() {
                    body.reserve_capacity(rest.len());
                    let granted = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                    body.send_data(rest.split_to(granted.min(rest.len())), false).unwrap();
                }
            }
            match request.trailers().await.unwrap() {
                Some(trailers) => body.send_trailers(trailers).unwrap(),
                None => body.send_data(Bytes::new(), true).unwrap(),
            }
        });
    }
}

/// One exchange of ours.
struct Exchange {
    number: usize,
    sent: Vec<u8>,
    at: usize,
    received: Vec<u8>,
    trailers: bool,
}

/// Makes so many requests, as many at a time as the server takes.
async fn ask(socket: UnixStream, config: Config, count: usize) {
    let mut peer = Peer::new(Role::Client, config);
    let mut exchanges: BTreeMap<StreamId, Exchange> = BTreeMap::new();
    let (mut begun, mut done) = (0, 0);
    while done < count {
        let Peer { connection, out, .. } = &mut peer;
        // It would take streams that the server refuses before its SETTINGS are known.
        let may_open = connection.peer_settings().max_concurrent_streams.is_some();
        while may_open && begun < count && connection.capacity() > 0 {
            let path = format!("/{begun}");
            let line = RequestLine { method: "POST", path: Some(&path), ..GET };
            let fields = [field("x-same", "same"), field("Cookie", "a=b")];
            let stream = connection.send_request(&line, fields.into_iter(), false, out).unwrap();
            let sent = content(begun, [0, 1, 100, 20_000, 200_000][begun % 5]);
            let trailers = begun % 2 == 0;
            let exchange = Exchange { number: begun, sent, at: 0, received: Vec::new(), trailers };
            exchanges.insert(stream, exchange);
            begun += 1;
            match trailers || begun % 5 != 1 {
                true => connection.want_to_send(stream, true),
                false => assert_eq!(connection.send_data(stream, &[], true, out), Ok(0)),
            }
        }
        while let Some(stream) = connection.next_ready() {
            let exchange = exchanges.get_mut(&stream).unwrap();
            let (rest, end) = (&exchange.sent[exchange.at..], !exchange.trailers);
            let piece = &rest[..rest.len().min(3000)];
            let last = piece.len() == rest.len();
            exchange.at += connection.send_data(stream, piece, last && end, out).unwrap();
            if exchange.at == exchange.sent.len() && exchange.trailers {
                let trailers = [field("X-Check", "sum")];
                connection.send_trailers(stream, trailers.into_iter(), out).unwrap();
            }
            if out.len() > 100_000 {
                break;
            }
        }
        flush(&socket, &mut peer.out).await.unwrap();
        if done == count {
            break;
        }
        let bytes = read_some(&socket).await.unwrap();
        assert!(!bytes.is_empty());
        peer.each(&bytes, |peer, event, input| {
            let Peer { connection, fields, out, .. } = peer;
            match event {
                Event::Head { stream, kind: HeadKind::Response, end_stream: false } => {
                    let path = format!("/{}", exchanges[stream].number);
                    assert_eq!((fields.status(), fields.get(b"x-path")), (Some(200), Some(path.as_bytes())));
                }
                Event::Data { stream, data, end_stream } => {
                    let exchange = exchanges.get_mut(stream).unwrap();
                    exchange.received.extend_from_slice(&input[data.clone()]);
                    connection.consume(*stream, data.len(), out);
                    if *end_stream {
                        assert!(exchange.received == exchange.sent && !exchange.trailers);
                        done += 1;
                    }
                }
                Event::Trailers { stream } => {
                    let exchange = &exchanges[stream];
                    assert!(exchange.received == exchange.sent && exchange.trailers);
                    assert_eq!(fields.get(b"x-check"), Some(&b"sum"[..]));
                    done += 1;
                }
                Event::Settings | Event::WindowAvailable { .. } => {}
                other => panic!("{other:?}"),
            }
        })
        .unwrap();
    }
    assert_eq!(peer.connection.stream_count(), 0);
}

#[test]
fn h2s_server_is_asked() {
    let configs = [
        (Config::default(), 65_535, 100),
        (Config { stream_window: 3000, connection_window: 0, ..Config::default() }, 1000, 3),
        (Config { decoder_table_bytes: 0, encoder_table_bytes: 0, ..Config::default() }, 1 << 20, 10),
    ];
    for (config, window, streams) in configs {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        LocalSet::new().block_on(&runtime, async move {
            let (ours, theirs) = UnixStream::pair().unwrap();
            tokio::task::spawn_local(serve(theirs, window, streams));
            ask(ours, config, 40).await;
        });
    }
}
