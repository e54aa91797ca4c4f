//! The commands' way to a running instance: its admin address.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::explain;
use crate::admin::Problem;
use crate::base::percent::percent_encoded;
use crate::config::plan::{Admin, AdminAddress, At};
use crate::server::{load, unix_socket};

/// The longest wait for an answer: a reload resolves names.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an instance has to answer that it is alive, which takes it no work.
const ALIVE: Duration = Duration::from_secs(5);
const HEALTH: &str = "/healthz";

/// Where an instance would answer.
pub(super) struct Instance {
    address: AdminAddress,
    token: Option<String>,
    /// The longest wait for an answer.
    patience: Duration,
}

/// Why there is no answer of the expected kind.
pub(super) enum CallError {
    /// No process listens there.
    NotRunning(String),
    /// The instance refuses, with its reason.
    Refused(Box<Problem>),
    /// Something else, in words.
    Broken(String),
}

impl From<CallError> for String {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotRunning(text) | CallError::Broken(text) => text,
            CallError::Refused(problem) => problem.detail,
        }
    }
}

/// The address that commands use of several: a Unix socket, which needs no token, else the first.
fn reached(admin: &Admin) -> AdminAddress {
    let unix = |at: &&At<AdminAddress>| matches!(at.value, AdminAddress::Unix(_));
    admin.addresses().find(unix).unwrap_or(&admin.listen).value.clone()
}

impl Instance {
    /// The instance that runs from the config file at `path`. All that counts of the file is its `[admin]`: what
    /// else is wrong with it is no reason not to find an instance.
    ///
    /// # Errors
    /// The file can't be read, or has no admin address; in words.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        let text = load::read(path).map_err(|error| explain(&error))?;
        let admin = load::admin(&text);
        let admin = admin.map_err(|problems| super::render(&problems))?;
        let Some(admin) = admin else {
            return Err(format!(
                "{}: without an [admin] section its instance has no address for commands; add one, or use signals: SIGHUP \
                 reloads, SIGTERM drains",
                path.display()
            ));
        };
        let address = reached(&admin);
        let token = match &address {
            AdminAddress::Unix(_) => None,
            AdminAddress::Tcp { token_file, .. } => {
                let text = std::fs::read_to_string(token_file)
                    .map_err(|error| format!("{}: {error}", token_file.display()))?;
                Some(text.trim().to_owned())
            }
        };
        Ok(Self { address, token, patience: PATIENCE })
    }

    /// The same, if the config has an admin address, and an instance answers there.
    ///
    /// # Errors
    /// It is unknown whether one runs, so it must not be reported that none does; in words.
    pub(super) fn running(path: &Path) -> Result<Option<Self>, String> {
        let Ok(text) = load::read(path) else { return Ok(None) };
        let admin = load::admin(&text);
        let Ok(Some(admin)) = admin else { return Ok(None) };
        // Where none runs yet, there may be no token yet either.
        let unknown = Self { address: reached(&admin), token: None, patience: PATIENCE };
        match unknown.bytes(Method::GET, HEALTH, None::<&()>) {
            Ok(_) => Self::of(path).map(Some).map_err(|error| format!("error: {error}")),
            Err(CallError::NotRunning(_)) => Ok(None),
            Err(error) => Err(format!(
                "error: {}\nnothing was done: an instance may run there, and would not learn of it",
                String::from(error)
            )),
        }
    }

    /// The same, whose answers may take so long.
    pub(super) fn waiting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Whether no other user can listen in its place, nor read along.
    pub(super) fn is_private(&self) -> bool {
        matches!(self.address, AdminAddress::Unix(_))
    }

    /// Whether what is sent to it stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        match &self.address {
            AdminAddress::Unix(_) => true,
            AdminAddress::Tcp { address, .. } => address.ip().is_loopback(),
        }
    }

    /// One call. `body` is sent as JSON, and so is the answer.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CallError> {
        let bytes = self.bytes(method, path, body)?;
        serde_json::from_slice(&bytes).map_err(|error| CallError::Broken(format!("{self}: {error}")))
    }

    /// One call whose answer is not JSON.
    pub(super) fn bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, CallError> {
        let broken = |error: &dyn std::fmt::Display| CallError::Broken(format!("{self}: {error}"));
        let body = match body {
            None => Bytes::new(),
            Some(body) => serde_json::to_vec(body).map_err(|error| broken(&error))?.into(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::USER_AGENT, concat!("ringate/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|error| broken(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (ok, bytes) = runtime.map_err(|error| broken(&error))?.block_on(self.answer(request, path))?;
        if ok {
            return Ok(bytes);
        }
        Err(match serde_json::from_slice(&bytes) {
            Ok(problem) => CallError::Refused(Box::new(problem)),
            Err(_) => broken(&String::from_utf8_lossy(&bytes)),
        })
    }

    /// The answer to a request for `path`. What listens there and is silent is no instance that works, and is not waited for
    /// as long as one that is busy.
    async fn answer(&self, request: Request<Full<Bytes>>, path: &str) -> Result<(bool, Bytes), CallError> {
        let silent = |time: Duration| {
            move |_| Err(CallError::Broken(format!("{self}: no answer within {} seconds", time.as_secs())))
        };
        if path != HEALTH {
            let alive = Request::get(HEALTH).header(header::HOST, "localhost").body(Full::default());
            let alive = alive.map_err(|error| CallError::Broken(format!("{self}: {error}")))?;
            tokio::time::timeout(ALIVE, self.exchange(alive)).await.unwrap_or_else(silent(ALIVE))?;
        }
        let patience = if path == HEALTH { ALIVE } else { self.patience };
        tokio::time::timeout(patience, self.exchange(request)).await.unwrap_or_else(silent(patience))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(bool, Bytes), CallError> {
        let absent = |error: std::io::Error| match error.kind() {
            kind @ (ErrorKind::NotFound | ErrorKind::ConnectionRefused) => self.absent(kind),
            ErrorKind::PermissionDenied => CallError::Broken(format!(
                "{self}: {error}; speak to it as the user that ringate runs as, or as root"
            )),
            _ => CallError::Broken(format!("{self}: {error}")),
        };
        match &self.address {
            AdminAddress::Unix(path) => {
                self.speak(UnixStream::connect(path).await.map_err(absent)?, request).await
            }
            AdminAddress::Tcp { address, .. } => {
                self.speak(TcpStream::connect(address).await.map_err(absent)?, request).await
            }
        }
    }

    /// Why nothing answers, as far as that is known. The socket of an instance that runs may have lost its file; what is not in
    /// this network namespace is not found so.
    fn absent(&self, kind: ErrorKind) -> CallError {
        match &self.address {
            AdminAddress::Unix(path) if unix_socket::is_listed(path) => CallError::Broken(format!(
                "nothing answers on {self}, and an instance runs: the file of its socket was removed. SIGHUP makes it \
                 anew: `kill -HUP PID`, or `systemctl kill -s HUP ringate`"
            )),
            AdminAddress::Unix(_) if kind == ErrorKind::NotFound => CallError::NotRunning(format!(
                "no instance runs, or the file of its socket was removed (SIGHUP makes it anew): nothing answers on {self}"
            )),
            _ => CallError::NotRunning(format!("no instance runs: nothing answers on {self}")),
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<(bool, Bytes), CallError> {
        let broken = |error: hyper::Error| CallError::Broken(format!("{self}: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(broken)?;
        let ok = response.status().is_success();
        Ok((ok, response.into_body().collect().await.map_err(broken)?.to_bytes()))
    }
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            AdminAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            AdminAddress::Tcp { address, .. } => address.fmt(f),
        }
    }
}

/// A segment of a path, percent-encoded (RFC 3986 §2.1).
pub(super) fn segment(text: &str) -> String {
    percent_encoded(text, |byte| byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn what_is_not_plain_in_a_path_is_encoded() {
        assert_eq!(segment("127.0.0.1:80"), "127.0.0.1:80");
        assert_eq!(segment("unix:run/a b?.sock"), "unix:run%2Fa%20b%3F.sock");
        assert_eq!(segment("[::1]:80"), "%5B::1%5D:80");
    }
}
