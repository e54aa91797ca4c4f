//! Two connections of ours against each other, with all that is at random drawn from a seed.
//!
//! Content is a pattern of its stream and place, so that each byte is known. At the end, whatever was reset, held back or
//! refused, no stream is left and both ends agree about all windows.

use std::collections::{BTreeMap, BTreeSet};

use super::peer::*;
use crate::http2::{
    Config, ErrorCode, Event, Field, FieldLimits, HeadKind, RequestLine, ResetCause, Role, StreamId,
};

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

fn pattern(stream: u32, at: usize) -> u8 {
    (stream as usize * 7 + at * 13 + at / 251) as u8
}

/// Content that one end has still to send.
struct Outgoing {
    sent: usize,
    total: usize,
    trailers: bool,
}

/// One end, and its application.
struct End {
    peer: Peer,
    outgoing: BTreeMap<u32, Outgoing>,
    /// Content so far, by stream.
    incoming: BTreeMap<u32, usize>,
    /// Content that is not consumed yet.
    owed: Vec<(u32, usize)>,
    /// Requests without a response yet.
    unanswered: Vec<u32>,
    /// What is on its way from this end.
    wire: Vec<u8>,
    /// Acknowledgements of SETTINGS that the simulation made up: they are not passed on.
    made_up: usize,
}

impl End {
    fn new(role: Role, config: Config) -> Self {
        Self {
            peer: Peer::new(role, config),
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            owed: Vec::new(),
            unanswered: Vec::new(),
            wire: Vec::new(),
            made_up: 0,
        }
    }

    /// Sends what it can of up to so many streams.
    fn send(&mut self, random: &mut Random, turns: usize) {
        for _ in 0..turns {
            let Some(id) = self.peer.connection.next_ready() else { break };
            self.send_some(id, 1 + random.below(900));
        }
    }

    fn send_some(&mut self, id: StreamId, most: usize) {
        let Some(outgoing) = self.outgoing.get_mut(&id.get()) else {
            return self.peer.connection.want_to_send(id, false);
        };
        let end = outgoing.total.min(outgoing.sent + most);
        let data: Vec<u8> = (outgoing.sent..end).map(|at| pattern(id.get(), at)).collect();
        let last = end == outgoing.total && !outgoing.trailers;
        let Peer { connection, out, .. } = &mut self.peer;
        outgoing.sent += connection.send_data(id, &data, last, out).unwrap();
        if outgoing.sent == outgoing.total {
            if outgoing.trailers {
                connection.send_trailers(id, [field("check", "sum")].into_iter(), out).unwrap();
            }
            self.outgoing.remove(&id.get());
        }
    }

    fn forget(&mut self, id: u32) {
        self.outgoing.remove(&id);
        self.unanswered.retain(|unanswered| *unanswered != id);
        self.owed.retain(|(owed, _)| *owed != id);
    }

    fn reset(&mut self, id: u32) {
        let Peer { connection, out, .. } = &mut self.peer;
        connection.reset(stream(id), ErrorCode::CANCEL, out);
        self.forget(id);
    }
}

/// The world: both ends, and what was meant.
struct World {
    random: Random,
    client: End,
    server: End,
    /// Content of each request and each response.
    meant: BTreeMap<(u32, HeadKindOf), usize>,
    /// Messages that were received whole.
    whole: BTreeSet<(u32, HeadKindOf)>,
    not_processed: BTreeSet<u32>,
    requests: BTreeSet<u32>,
    window: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum HeadKindOf {
    Request,
    Response,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let window = [100, 1000, 65_535, 100_000][random.below(4)];
        let config = Config {
            stream_window: window,
            connection_window: 70_000,
            max_concurrent_streams: 1 + random.below(20) as u32,
            decoder_table_bytes: [0, 200, 4096, 8192][random.below(4)],
            fields: FieldLimits { bytes: 64 * 1024, fields: 100 },
            ..Config::default()
        };
        let other = Config { encoder_table_bytes: [0, 300, 4096][random.below(3)], ..config.clone() };
        Self {
            client: End::new(Role::Client, other),
            server: End::new(Role::Server, config),
            random,
            meant: BTreeMap::new(),
            whole: BTreeSet::new(),
            not_processed: BTreeSet::new(),
            requests: BTreeSet::new(),
            window,
        }
    }

    fn open(&mut self) {
        if self.client.peer.connection.capacity() == 0 {
            return;
        }
        let total = if self.random.one_in(3) { 0 } else { self.random.below(3000) };
        let trailers = total > 0 && self.random.one_in(4);
        let long = "v".repeat(if self.random.one_in(10) { 20_000 } else { self.random.below(60) });
        let fields = [field("x-long", &long), field("x-same", "same")];
        let line = RequestLine { method: "POST", ..GET };
        let Peer { connection, out, .. } = &mut self.client.peer;
        let id = connection.send_request(&line, fields.into_iter(), total == 0, out).unwrap();
        self.requests.insert(id.get());
        self.meant.insert((id.get(), HeadKindOf::Request), total);
        if total > 0 {
            self.client.outgoing.insert(id.get(), Outgoing { sent: 0, total, trailers });
            connection.want_to_send(id, true);
        }
    }

    fn answer(&mut self) {
        if self.server.unanswered.is_empty() {
            return;
        }
        let at = self.random.below(self.server.unanswered.len());
        let id = self.server.unanswered.swap_remove(at);
        let total = if self.random.one_in(3) { 0 } else { self.random.below(4000) };
        let trailers = total > 0 && self.random.one_in(4);
        let Peer { connection, out, .. } = &mut self.server.peer;
        if self.random.one_in(5) {
            connection.send_interim(stream(id), 103, std::iter::empty::<Field<'_>>(), out).unwrap();
        }
        let fields = [field("server", "ringate"), field("x-same", "same")];
        connection.send_response(stream(id), 200, fields.into_iter(), total == 0, out).unwrap();
        self.meant.insert((id, HeadKindOf::Response), total);
        if total > 0 {
            self.server.outgoing.insert(id, Outgoing { sent: 0, total, trailers });
            connection.want_to_send(stream(id), true);
        }
    }

    /// Moves bytes from one end to the other.
    fn carry(&mut self, from: Role, bytes: usize) {
        let (sender, receiver, of) = match from {
            Role::Client => (&mut self.client, &mut self.server, HeadKindOf::Request),
            Role::Server => (&mut self.server, &mut self.client, HeadKindOf::Response),
        };
        sender.wire.append(&mut sender.peer.out);
        let bytes = bytes.min(sender.wire.len());
        let carried: Vec<u8> = sender.wire.drain(..bytes).collect();
        let End { peer, outgoing, incoming, owed, unanswered, .. } = receiver;
        let (meant, whole, not_processed) = (&self.meant, &mut self.whole, &mut self.not_processed);
        let mut closed = Vec::new();
        let mut end = |id: u32, incoming: &BTreeMap<u32, usize>| {
            assert_eq!(incoming.get(&id).copied().unwrap_or_default(), meant[&(id, of)], "stream {id}");
            whole.insert((id, of));
        };
        let result = peer.each(&carried, |peer, event, input| match event {
            Event::Head { stream, kind, end_stream } => {
                assert_eq!(peer.fields.get(b"x-same"), (*kind != HeadKind::Interim).then_some(&b"same"[..]));
                if *kind == HeadKind::Request {
                    unanswered.push(stream.get());
                }
                if *end_stream {
                    end(stream.get(), incoming);
                }
            }
            Event::Data { stream, data, end_stream } => {
                let at = incoming.entry(stream.get()).or_default();
                for byte in &input[data.clone()] {
                    assert_eq!(*byte, pattern(stream.get(), *at));
                    *at += 1;
                }
                owed.push((stream.get(), data.len()));
                if *end_stream {
                    end(stream.get(), incoming);
                }
            }
            Event::Trailers { stream } => {
                assert_eq!(peer.fields.get(b"check"), Some(&b"sum"[..]));
                end(stream.get(), incoming);
            }
            Event::Reset { stream, cause } => {
                match cause {
                    ResetCause::NotProcessed => {
                        not_processed.insert(stream.get());
                    }
                    ResetCause::Peer(code) => {
                        assert!([ErrorCode::CANCEL, ErrorCode::REFUSED_STREAM].contains(code), "{code}");
                    }
                    ResetCause::Violation(violation) => panic!("{violation}"),
                }
                outgoing.remove(&stream.get());
                closed.push(stream.get());
            }
            Event::HeadTooLarge { .. } => panic!("within the bounds"),
            _ => {}
        });
        result.unwrap();
        for id in closed {
            receiver.forget(id);
        }
    }

    fn end(&mut self, role: Role) -> &mut End {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    fn consume(&mut self, role: Role) {
        let part = self.random.one_in(2);
        let aside = if self.random.one_in(3) { self.random.below(2000) } else { 0 };
        let end = self.end(role);
        let Some((id, bytes)) = end.owed.pop() else { return };
        let now = if part { bytes / 2 } else { bytes };
        let Peer { connection, out, .. } = &mut end.peer;
        // What is granted to other streams is not granted to them twice.
        connection.set_aside(stream(id), aside, out);
        connection.consume(stream(id), now, out);
        if now < bytes {
            end.owed.insert(0, (id, bytes - now));
        }
    }

    fn reset(&mut self, role: Role) {
        let ids: Vec<u32> = self.end(role).peer.connection.stream_ids().map(StreamId::get).collect();
        if !ids.is_empty() {
            let id = ids[self.random.below(ids.len())];
            self.end(role).reset(id);
        }
    }

    /// Sets the window that `role` has for new content to something else for a while.
    fn shrink_windows(&mut self, role: Role, to: u32) {
        let payload = [&4u16.to_be_bytes()[..], &to.to_be_bytes()].concat();
        let end = self.end(role);
        if end.peer.input.is_empty() && end.peer.connection.is_between_frames() {
            end.peer.each(&frame(SETTINGS, 0, 0, &payload), |_, _, _| {}).unwrap();
            // The peer did not send it and would not expect the answer, which is the last thing written.
            let ack = frame(SETTINGS, ES, 0, &[]);
            assert!(end.peer.out.ends_with(&ack));
            end.peer.out.truncate(end.peer.out.len() - ack.len());
            end.made_up += 1;
        }
    }

    fn step(&mut self) {
        let now = self.client.peer.now + 20;
        (self.client.peer.now, self.server.peer.now) = (now, now);
        let role = if self.random.one_in(2) { Role::Client } else { Role::Server };
        match self.random.below(100) {
            0..15 => self.open(),
            15..25 => self.answer(),
            25..55 => {
                let bytes = 1 + self.random.below(3000);
                self.carry(role, bytes);
            }
            55..75 => {
                let turns = 1 + self.random.below(5);
                let mut random = Random(self.random.0);
                self.end(role).send(&mut random, turns);
                self.random = random;
            }
            75..95 => self.consume(role),
            95 | 96 => self.reset(role),
            97 | 98 => {
                let to = self.random.below(self.window as usize) as u32;
                self.shrink_windows(role, to);
            }
            _ => self.shrink_windows(role, self.window),
        }
    }

    /// Runs all that was begun to its end.
    fn finish(&mut self) {
        for role in [Role::Client, Role::Server] {
            self.carry(role, usize::MAX);
        }
        self.shrink_windows(Role::Client, self.window);
        self.shrink_windows(Role::Server, self.window);
        for _ in 0..20_000 {
            self.answer();
            for role in [Role::Client, Role::Server] {
                let mut random = Random(self.random.0);
                self.end(role).send(&mut random, 10);
                self.carry(role, usize::MAX);
                self.consume(role);
            }
            let quiet = |end: &End| {
                end.outgoing.is_empty()
                    && end.owed.is_empty()
                    && end.unanswered.is_empty()
                    && end.peer.out.is_empty()
                    && end.wire.is_empty()
            };
            if quiet(&self.client) && quiet(&self.server) {
                return;
            }
        }
        panic!("no end: {:?}", self.client.outgoing.keys().chain(self.server.outgoing.keys()));
    }
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    let steps = 2000 + world.random.below(2000);
    let goaway = world.random.one_in(3).then(|| world.random.below(steps));
    for step in 0..steps {
        if goaway == Some(step) {
            let Peer { connection, out, .. } = &mut world.server.peer;
            connection.shut_down(out);
        }
        world.step();
    }
    world.finish();
    for end in [&world.client, &world.server] {
        let left: Vec<_> = end.peer.connection.stream_ids().collect();
        assert!(left.is_empty(), "seed {seed}: {left:?} are left");
    }
    let (client_sends, client_grants, client_holds) = world.client.peer.connection.windows();
    let (server_sends, server_grants, server_holds) = world.server.peer.connection.windows();
    assert_eq!((client_sends, server_sends), (server_grants, client_grants), "seed {seed}");
    for whole in [client_grants + client_holds as usize, server_grants + server_holds as usize] {
        assert_eq!(whole, 70_000, "seed {seed}");
    }
    if goaway.is_some() {
        assert!(world.client.peer.connection.is_finished() && world.server.peer.connection.is_finished());
        assert!(world.not_processed.is_empty(), "a shutdown in two steps loses no request");
    }
    world
}

#[test]
fn two_connections_agree_whatever_happens_between_them() {
    let (mut requests, mut whole) = (0, 0);
    for seed in 0..24 {
        let world = run(seed);
        requests += world.requests.len();
        whole += world.whole.iter().filter(|(_, of)| *of == HeadKindOf::Response).count();
    }
    assert!(requests > 1_500 && whole > requests / 3, "{requests} requests, {whole} responses");
}
