//! The secret of sticky sessions: from a file of the config, or kept in the store.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{Assembly, Builder};
use crate::certs::Store;
use crate::certs::store::read_secret;
use crate::config::plan;

/// The fewest bytes of a secret.
const MIN_SECRET_BYTES: usize = 16;

/// What tokens are signed with.
#[derive(Clone)]
pub(super) struct SessionSecret(Arc<Zeroizing<Vec<u8>>>);

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret")
    }
}

impl SessionSecret {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.to_vec())))
    }

    fn random() -> Result<Self, String> {
        let mut bytes = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
        Ok(Self(Arc::new(Zeroizing::new(HEXLOWER.encode(&*bytes).into_bytes()))))
    }
}

impl Builder<'_> {
    /// The secret of an upstream's sessions; a change of it is noted. `None`: it can't be read, which has been said.
    pub(super) fn session_secret(&mut self, sticky: &plan::At<plan::Sticky>) -> Option<SessionSecret> {
        let secret = match &sticky.secret_file {
            Some(file) => self.secret_of_file(file),
            None => self.secret_of_store(&sticky.span),
        }?;
        self.note(secret.bytes());
        Some(secret)
    }

    fn secret_of_file(&mut self, file: &plan::At<std::path::PathBuf>) -> Option<SessionSecret> {
        let read = read_secret(file);
        let content = self.good(&file.span, read)?;
        let secret = content.trim_ascii_end();
        if secret.len() < MIN_SECRET_BYTES {
            let title = format!("{}: the secret has fewer than {MIN_SECRET_BYTES} bytes", file.display());
            let help = "make one with `openssl rand -hex 32`";
            self.wrong(&file.span, title, Some(help));
            return None;
        }
        Some(SessionSecret(Arc::new(Zeroizing::new(secret.to_vec()))))
    }

    /// The one that is kept, or that runs, or a new one, which is kept when the snapshot runs.
    fn secret_of_store(&mut self, span: &std::ops::Range<usize>) -> Option<SessionSecret> {
        if let Some(known) = &self.session_secret {
            return Some(known.clone());
        }
        let kept = self.store(span).and_then(|store| store.session_secret());
        let kept = self.good(span, kept)?;
        let runs = || self.previous.and_then(|previous| previous.made.session_secret.clone());
        let kept = kept.map(|kept| SessionSecret(Arc::new(kept)));
        let secret = match kept.or_else(runs).or_else(|| self.inherited.clone()) {
            Some(secret) => secret,
            None => self.good(span, SessionSecret::random())?,
        };
        self.session_secret = Some(secret.clone());
        Some(secret)
    }
}

impl Assembly {
    /// Keeps the secret of sessions in the store, if it is not there yet: sessions outlive a restart.
    pub(crate) fn keep_session_secret(&self, store: &Path) {
        let Some(secret) = &self.made.session_secret else { return };
        let kept = Store::open(store).and_then(|store| store.keep_session_secret(secret.bytes()));
        if let Err(error) = kept {
            tracing::warn!(
                "sticky sessions will end with this process, as their secret can't be kept in the store ({error}): let it write \
                 there, or set `sticky.secret_file`"
            );
        }
    }
}
