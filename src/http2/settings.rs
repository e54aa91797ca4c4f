//! SETTINGS (RFC 9113 §6.5, RFC 8441 §3, RFC 9218 §2.1).

use super::error::Violation;
use super::frame::{MAX_MAX_FRAME_BYTES, MIN_MAX_FRAME_BYTES};
use super::hpack::DEFAULT_TABLE_BYTES;

/// Window of both sides until SETTINGS change it, in bytes (§6.9.2).
pub(super) const DEFAULT_WINDOW_BYTES: u32 = 65_535;
/// The largest window, in bytes (§6.9.1).
pub(super) const MAX_WINDOW_BYTES: u32 = (1 << 31) - 1;

pub(super) const HEADER_TABLE_SIZE: u16 = 0x1;
pub(super) const ENABLE_PUSH: u16 = 0x2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
pub(super) const MAX_FRAME_SIZE: u16 = 0x5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
pub(super) const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// What the peer has set. Until its first SETTINGS: the RFC's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// SETTINGS_HEADER_TABLE_SIZE in bytes.
    pub header_table_bytes: u32,
    /// SETTINGS_MAX_CONCURRENT_STREAMS. `None`: without a bound.
    pub max_concurrent_streams: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE in bytes.
    pub initial_window: u32,
    /// SETTINGS_MAX_FRAME_SIZE in bytes.
    pub max_frame_bytes: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE in bytes. `None`: without a bound.
    pub header_list_bytes: Option<u32>,
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL.
    pub connect_protocol: bool,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            header_table_bytes: DEFAULT_TABLE_BYTES,
            max_concurrent_streams: None,
            initial_window: DEFAULT_WINDOW_BYTES,
            max_frame_bytes: MIN_MAX_FRAME_BYTES,
            header_list_bytes: None,
            connect_protocol: false,
        }
    }
}

impl PeerSettings {
    /// Takes one setting in. Unknown ones are passed over (§6.5.2). `from_server`: the peer is a server.
    ///
    /// # Errors
    /// The value is not a valid one.
    pub(super) fn set(&mut self, id: u16, value: u32, from_server: bool) -> Result<(), Violation> {
        match id {
            HEADER_TABLE_SIZE => self.header_table_bytes = value,
            ENABLE_PUSH if value > u32::from(!from_server) => return Err(Violation::SettingEnablePush),
            MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = Some(value),
            INITIAL_WINDOW_SIZE if value > MAX_WINDOW_BYTES => return Err(Violation::SettingInitialWindow),
            INITIAL_WINDOW_SIZE => self.initial_window = value,
            MAX_FRAME_SIZE if !(MIN_MAX_FRAME_BYTES..=MAX_MAX_FRAME_BYTES).contains(&value) => {
                return Err(Violation::SettingMaxFrame);
            }
            MAX_FRAME_SIZE => self.max_frame_bytes = value,
            MAX_HEADER_LIST_SIZE => self.header_list_bytes = Some(value),
            ENABLE_CONNECT_PROTOCOL if value > 1 || self.connect_protocol && value == 0 => {
                return Err(Violation::SettingConnectProtocol);
            }
            ENABLE_CONNECT_PROTOCOL => self.connect_protocol = value == 1,
            NO_RFC7540_PRIORITIES if value > 1 => return Err(Violation::SettingNoPriorities),
            _ => {}
        }
        Ok(())
    }
}

/// The settings of a payload: identifiers and values.
///
/// # Errors
/// Its length is no multiple of six.
pub(super) fn parse(payload: &[u8]) -> Result<impl Iterator<Item = (u16, u32)> + '_, Violation> {
    let (settings, rest) = payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(Violation::FrameLength);
    }
    Ok(settings
        .iter()
        .map(|&[a, b, c, d, e, f]| (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))))
}
