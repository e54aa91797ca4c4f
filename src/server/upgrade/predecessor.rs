//! The successor's side of an upgrade.

use std::io;
use std::time::Duration;

use super::{FORMAT, FromPredecessor, FromSuccessor, MARK, guardian};
use crate::io::inherit::Channel;
use crate::server::build::heritage::Heritage;
use crate::server::inherited::Inherited;

/// How long the predecessor may take for a message, which costs it no work.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process whose place this one is to take.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: Channel,
}

impl Predecessor {
    /// The predecessor, if this process was started by one.
    ///
    /// # Errors
    /// Its socket pair is not there, in words.
    pub(crate) fn find() -> Result<Option<Self>, String> {
        if std::env::var_os(MARK).is_none() {
            return Ok(None);
        }
        guardian::stand_between()?;
        let channel = Channel::from_standard_input().and_then(|channel| {
            channel.set_patience(PATIENCE)?;
            Ok(channel)
        });
        let channel = channel.map_err(|error| {
            format!("error: {MARK} is set, and {error}: unset it to start without a predecessor")
        })?;
        Ok(Some(Self { channel }))
    }

    /// Its sockets, and what it knows.
    ///
    /// # Errors
    /// It is gone, or sends something else; in words.
    pub(crate) fn receive(&self) -> Result<(Inherited, Heritage), String> {
        self.send(&FromSuccessor::Begun).map_err(lost)?;
        let (text, fds) = self.channel.receive().map_err(lost)?;
        let text = zeroize::Zeroizing::new(text);
        match serde_json::from_slice(&text) {
            Ok(FromPredecessor::Hello { format: FORMAT, sockets, heritage, .. })
                if sockets.len() == fds.len() =>
            {
                let sockets = sockets.into_iter().zip(fds).collect();
                Ok((Inherited::of_predecessor(sockets), Heritage::read(heritage)))
            }
            Ok(FromPredecessor::Hello { format, .. }) => Err(format!(
                "the previous process hands over in form {format}, and this one expects {FORMAT}: restart instead of upgrading"
            )),
            Ok(_) => Err("the previous process did not introduce itself".to_owned()),
            Err(error) => Err(format!("the message of the previous process can't be read: {error}")),
        }
    }

    /// All is there to serve, and these sockets are not needed for it. Returns when this process may.
    ///
    /// # Errors
    /// The predecessor serves on, in words.
    pub(crate) fn ready(&self, unused: &[usize]) -> Result<(), String> {
        let (pid, unused) = (std::process::id(), unused.to_vec());
        self.send(&FromSuccessor::Ready { pid, unused }).map_err(lost)?;
        match self.answer().map_err(lost)? {
            FromPredecessor::Serve => Ok(()),
            _ => Err("the previous process serves on".to_owned()),
        }
    }

    /// This process serves. Returns when the service manager knows, if there is one.
    pub(crate) fn serving(self) {
        guardian::release();
        // Whatever becomes of the predecessor now, this process has its place.
        let _ = self.send(&FromSuccessor::Serving).and_then(|()| self.answer());
    }

    /// This process does not come to serve.
    pub(crate) fn failed(&self, reason: &str) {
        let _ = self.send(&FromSuccessor::Failed { reason: reason.to_owned() });
    }

    fn send(&self, message: &FromSuccessor) -> io::Result<()> {
        self.channel.send(&serde_json::to_vec(message)?, &[])
    }

    fn answer(&self) -> io::Result<FromPredecessor> {
        Ok(serde_json::from_slice(&self.channel.receive()?.0)?)
    }
}

fn lost(error: io::Error) -> String {
    format!("the previous process does not answer: {error}")
}
