//! Writes from memory of the caller's.

use std::io;

use monoio::buf::IoBuf;
use monoio::io::AsyncWriteRent;

use super::{StreamError, Writer};

impl Writer {
    /// Writes bytes of the caller's memory, which is returned: those of many messages at once.
    pub async fn write_gathered(&mut self, mut bytes: Vec<u8>) -> (Result<(), StreamError>, Vec<u8>) {
        if self.tls.is_some() {
            return (self.seal_and_send(&bytes).await, bytes);
        }
        let mut from = 0;
        while from < bytes.len() {
            let (result, slice) = self.socket.tcp_mut().write(bytes.slice(from..)).await;
            bytes = slice.into_inner();
            match result {
                Ok(0) => return (Err(io::Error::from(io::ErrorKind::WriteZero).into()), bytes),
                Ok(n) => from += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.socket.note_failure(&error);
                    return (Err(error.into()), bytes);
                }
            }
        }
        (Ok(()), bytes)
    }
}
