//! Flow control of the connection and of each stream (RFC 9113 §5.2 and §6.9).

use super::settings::MAX_WINDOW_BYTES;

/// A window would grow beyond 2^31 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// The peer sent more than its window allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded;

/// What we may send. Negative after the peer has lowered SETTINGS_INITIAL_WINDOW_SIZE (§6.9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendWindow(i32);

impl SendWindow {
    pub(super) fn new(bytes: u32) -> Self {
        Self(bytes.min(MAX_WINDOW_BYTES) as i32)
    }

    /// Bytes that may be sent now.
    pub(super) fn available(self) -> usize {
        self.0.max(0) as usize
    }

    /// WINDOW_UPDATE, or the difference that a new initial size makes.
    pub(super) fn change(&mut self, by: i64) -> Result<(), Overflow> {
        let changed = i64::from(self.0) + by;
        // It cannot fall below -(2^31 - 1): what was sent fit a window, and no initial size is below 0.
        self.0 = i32::try_from(changed).map_err(|_| Overflow)?;
        Ok(())
    }

    /// Bytes were sent: no more than are available.
    pub(super) fn take(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.available());
        self.0 -= bytes as i32;
    }
}

/// What the peer may send, and what it is to be allowed anew.
///
/// Bytes are in one of four places: `available` to the peer, received but not `release`d yet by the caller,
/// `released` but not announced yet, or announced, which is `available` again. Together they are the window's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiveWindow {
    /// Negative after our own SETTINGS_INITIAL_WINDOW_SIZE took effect on a stream that was used before.
    available: i32,
    released: u32,
}

impl ReceiveWindow {
    pub(super) fn new(bytes: u32) -> Self {
        Self { available: bytes.min(MAX_WINDOW_BYTES) as i32, released: 0 }
    }

    /// DATA of so many bytes was received, padding included.
    pub(super) fn take(&mut self, bytes: u32) -> Result<(), Exceeded> {
        if i64::from(bytes) > i64::from(self.available) && bytes > 0 {
            return Err(Exceeded);
        }
        self.available -= bytes as i32;
        Ok(())
    }

    /// Bytes are used up. Returns the increment to announce: a window of `size` is announced in halves, so that no frame
    /// is sent for each piece of data.
    pub(super) fn release(&mut self, bytes: u32, size: u32) -> Option<u32> {
        self.released = self.released.saturating_add(bytes);
        if self.released == 0 || self.released < size / 2 {
            return None;
        }
        let increment = std::mem::take(&mut self.released);
        self.available = self.available.saturating_add_unsigned(increment);
        Some(increment)
    }

    /// Our new initial size is in force.
    pub(super) fn change(&mut self, by: i64) {
        let changed = i64::from(self.available) + by;
        self.available = changed.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    }

    #[cfg(test)]
    pub(super) fn released(self) -> u32 {
        self.released
    }

    /// Bytes that the peer may send before it needs another increment.
    #[cfg(test)]
    pub(super) fn available(self) -> usize {
        self.available.max(0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_may_be_negative_and_never_beyond_31_bits() {
        let mut window = SendWindow::new(65_535);
        window.take(65_535);
        window.change(-65_535).unwrap();
        assert_eq!((window.0, window.available()), (-65_535, 0));
        window.change(65_536).unwrap();
        assert_eq!(window.available(), 1);
        assert_eq!(window.change(i64::from(MAX_WINDOW_BYTES)), Err(Overflow));
        assert_eq!(window.change(i64::from(MAX_WINDOW_BYTES) - 1), Ok(()));
    }

    #[test]
    fn a_receive_window_is_announced_in_halves() {
        let mut window = ReceiveWindow::new(100);
        assert_eq!(window.take(101), Err(Exceeded));
        window.take(100).unwrap();
        assert_eq!(window.take(1), Err(Exceeded));
        assert_eq!(window.take(0), Ok(()));
        assert_eq!(window.release(49, 100), None);
        assert_eq!(window.release(1, 100), Some(50));
        assert_eq!(window.release(0, 100), None);
        assert_eq!(window.available(), 50);
        window.change(-60);
        assert_eq!((window.available(), window.take(1)), (0, Err(Exceeded)));
    }
}
