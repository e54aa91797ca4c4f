//! A server of ours and the `h2` crate's client, over a pair of sockets.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use super::h2_client::{content, flush, read_some};
use super::peer::*;
use crate::http2::{Config, Event, FieldLimits, HeadKind, Role, StreamId};

/// What is left to be echoed on a stream.
#[derive(Default)]
struct Echo {
    left: Vec<u8>,
    ended: bool,
    trailers: bool,
}

/// Sends back the content of each request, with its trailers, until the client closes the connection.
async fn serve(socket: UnixStream, config: Config) {
    let mut peer = Peer::new(Role::Server, config);
    let mut echoes: BTreeMap<StreamId, Echo> = BTreeMap::new();
    loop {
        if flush(&socket, &mut peer.out).await.is_err() {
            return;
        }
        let Ok(bytes) = read_some(&socket).await else { return };
        if bytes.is_empty() {
            return;
        }
        peer.each(&bytes, |peer, event, input| {
            let Peer { connection, fields, out, .. } = peer;
            match event {
                Event::Head { stream, kind: HeadKind::Request, end_stream } => {
                    let line = fields.request_line().unwrap();
                    assert_eq!((line.authority, line.scheme), ("a.example", Some("https")));
                    let path = line.path.unwrap().to_owned();
                    let head = [field("x-path", &path), field("server", "ringate")];
                    connection.send_response(*stream, 200, head.into_iter(), *end_stream, out).unwrap();
                    if !end_stream {
                        echoes.insert(*stream, Echo::default());
                    }
                }
                Event::Data { stream, data, end_stream } => {
                    let echo = echoes.get_mut(stream).unwrap();
                    echo.left.extend_from_slice(&input[data.clone()]);
                    echo.ended |= end_stream;
                    connection.want_to_send(*stream, true);
                }
                Event::Trailers { stream } => {
                    assert_eq!(fields.get(b"x-check"), Some(&b"sum"[..]));
                    let echo = echoes.get_mut(stream).unwrap();
                    (echo.ended, echo.trailers) = (true, true);
                    connection.want_to_send(*stream, true);
                }
                Event::Settings | Event::WindowAvailable { .. } | Event::GoAway { .. } => {}
                other => panic!("{other:?}"),
            }
        })
        .unwrap();
        let Peer { connection, out, .. } = &mut peer;
        let mut ended = Vec::new();
        // What trailers or an end follow needs no window.
        for (stream, echo) in &mut echoes {
            let end = echo.ended && !echo.trailers;
            let sent = connection.send_data(*stream, &echo.left, end, out).unwrap();
            echo.left.drain(..sent);
            connection.consume(*stream, sent, out);
            if echo.ended && echo.left.is_empty() {
                if echo.trailers {
                    let trailers = [field("x-check", "sum")];
                    connection.send_trailers(*stream, trailers.into_iter(), out).unwrap();
                }
                ended.push(*stream);
            }
        }
        for stream in ended {
            echoes.remove(&stream);
        }
    }
}

async fn exchange(client: h2::client::SendRequest<Bytes>, number: usize) {
    let mut client = client.ready().await.unwrap();
    let length = [0, 1, 100, 20_000, 200_000][number % 5];
    let trailers = number.is_multiple_of(2) && length > 0;
    let long = "v".repeat(number * 211 % 9000);
    let request = http::Request::builder()
        .method("POST")
        .uri(format!("https://a.example/path/{number}"))
        .header("x-long", &long)
        .header("x-same", "same")
        .body(())
        .unwrap();
    let (response, mut body) = client.send_request(request, length == 0).unwrap();
    let sent = content(number, length);
    let mut rest = Bytes::from(sent.clone());
    let upload = async move {
        while !rest.is_empty() {
            body.reserve_capacity(rest.len());
            let granted = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
            let piece = rest.split_to(granted.min(rest.len()));
            body.send_data(piece, rest.is_empty() && !trailers).unwrap();
        }
        if trailers {
            let mut fields = http::HeaderMap::new();
            fields.insert("x-check", "sum".parse().unwrap());
            body.send_trailers(fields).unwrap();
        }
    };
    let download = async move {
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-path"], format!("/path/{number}"));
        let mut body = response.into_body();
        let mut received = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            received.extend_from_slice(&piece);
            body.flow_control().release_capacity(piece.len()).unwrap();
        }
        let found = body.trailers().await.unwrap();
        assert_eq!(found.is_some_and(|fields| fields["x-check"] == "sum"), trailers);
        received
    };
    let (_, received) = tokio::join!(upload, download);
    assert!(received == sent, "{number}");
}

#[test]
fn h2s_client_is_served() {
    let configs = [
        Config::default(),
        Config { stream_window: 5000, connection_window: 0, max_concurrent_streams: 3, ..Config::default() },
        Config {
            decoder_table_bytes: 0,
            encoder_table_bytes: 0,
            fields: FieldLimits { bytes: 32_000, fields: 20 },
            ..Config::default()
        },
    ];
    for (at, config) in configs.into_iter().enumerate() {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        LocalSet::new().block_on(&runtime, async move {
            let (ours, theirs) = UnixStream::pair().unwrap();
            tokio::task::spawn_local(serve(ours, config));
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size([65_535, 100, 1 << 20][at]).header_table_size([4096, 0, 100][at]);
            builder.initial_max_send_streams(3); // until our SETTINGS are known
            let (client, connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
            let connection = tokio::task::spawn_local(connection);
            let mut exchanges = JoinSet::new();
            for number in 0..40 {
                exchanges.spawn_local(exchange(client.clone(), number));
            }
            while let Some(done) = exchanges.join_next().await {
                done.unwrap();
            }
            drop(client);
            connection.await.unwrap().unwrap();
        });
    }
}
