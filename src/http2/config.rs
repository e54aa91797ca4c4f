//! What one side of a connection allows its peer.

use super::fields::FieldLimits;
use super::flood::Floods;
use super::frame::{MAX_MAX_FRAME_BYTES, MIN_MAX_FRAME_BYTES};
use super::hpack::DEFAULT_TABLE_BYTES;
use super::settings::{self, DEFAULT_WINDOW_BYTES, MAX_WINDOW_BYTES};
use crate::base::limits;

/// Which side of the connection is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The peer sends requests.
    Server,
    /// We send requests.
    Client,
}

/// What a connection allows its peer. Connections share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most streams of the peer at a time (SETTINGS_MAX_CONCURRENT_STREAMS); servers only.
    pub max_concurrent_streams: u32,
    /// Bounds of a head and of a trailer section. The bytes are SETTINGS_MAX_HEADER_LIST_SIZE.
    pub fields: FieldLimits,
    /// SETTINGS_HEADER_TABLE_SIZE in bytes: what the peer's encoder may make us keep. 65,535 at most.
    pub decoder_table_bytes: u32,
    /// What our encoder keeps, in bytes, where the peer allows as much.
    pub encoder_table_bytes: u32,
    /// SETTINGS_INITIAL_WINDOW_SIZE in bytes: what a stream may send before it is consumed.
    pub stream_window: u32,
    /// The connection's window in bytes; 65,535 at least.
    pub connection_window: u32,
    /// SETTINGS_MAX_FRAME_SIZE in bytes; 16,384 at least. A frame but for DATA has to fit the caller's buffer whole.
    pub max_frame_bytes: u32,
    /// Offers extended CONNECT (RFC 8441); servers only.
    pub connect_protocol: bool,
    /// Bounds against floods.
    pub floods: Floods,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent_streams: limits::HTTP2_STREAMS,
            fields: FieldLimits { bytes: limits::HTTP2_HEADER_LIST_BYTES, fields: limits::MAX_HEADERS },
            decoder_table_bytes: DEFAULT_TABLE_BYTES,
            encoder_table_bytes: limits::HTTP2_ENCODER_TABLE_BYTES,
            stream_window: limits::HTTP2_STREAM_WINDOW,
            connection_window: limits::HTTP2_CONNECTION_WINDOW,
            max_frame_bytes: MIN_MAX_FRAME_BYTES,
            connect_protocol: false,
            floods: Floods::default(),
        }
    }
}

impl Config {
    /// SETTINGS_INITIAL_WINDOW_SIZE within its range.
    pub(super) fn stream_window(&self) -> u32 {
        self.stream_window.min(MAX_WINDOW_BYTES)
    }

    /// The connection's window within its range.
    pub(super) fn connection_window(&self) -> u32 {
        self.connection_window.clamp(DEFAULT_WINDOW_BYTES, MAX_WINDOW_BYTES)
    }

    /// SETTINGS_MAX_FRAME_SIZE within its range.
    pub(super) fn max_frame_bytes(&self) -> u32 {
        self.max_frame_bytes.clamp(MIN_MAX_FRAME_BYTES, MAX_MAX_FRAME_BYTES)
    }

    /// Our SETTINGS: those that differ from the RFC's defaults.
    pub(super) fn settings(&self, role: Role) -> impl Iterator<Item = (u16, u32)> {
        let server = role == Role::Server;
        let list = u32::try_from(self.fields.bytes).unwrap_or(u32::MAX);
        [
            (
                settings::HEADER_TABLE_SIZE,
                self.decoder_table_bytes,
                self.decoder_table_bytes != DEFAULT_TABLE_BYTES,
            ),
            (settings::ENABLE_PUSH, 0, !server),
            (settings::MAX_CONCURRENT_STREAMS, self.max_concurrent_streams, server),
            (
                settings::INITIAL_WINDOW_SIZE,
                self.stream_window(),
                self.stream_window() != DEFAULT_WINDOW_BYTES,
            ),
            (settings::MAX_FRAME_SIZE, self.max_frame_bytes(), self.max_frame_bytes() != MIN_MAX_FRAME_BYTES),
            (settings::MAX_HEADER_LIST_SIZE, list, true),
            (settings::ENABLE_CONNECT_PROTOCOL, 1, server && self.connect_protocol),
            (settings::NO_RFC7540_PRIORITIES, 1, server),
        ]
        .into_iter()
        .filter_map(|(id, value, sent)| sent.then_some((id, value)))
    }

    /// Most bytes of an encoded header block: a list that is somewhat too long is decoded and refused on its stream, and
    /// beyond that the connection ends.
    pub(super) fn max_block_bytes(&self) -> usize {
        self.fields.bytes.saturating_mul(2)
    }
}
