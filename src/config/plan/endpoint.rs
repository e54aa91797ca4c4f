//! `upstream.endpoints`

/// One of `upstream.endpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// As written: `10.0.0.1:8443`, `[::1]:80`, `name:port`, which is resolved when a snapshot is built, or `unix:PATH`
    /// with the path resolved against the config file's folder; `dns:NAME:PORT`, `srv:NAME` and `file:PATH`, which are looked
    /// up again and again.
    pub address: String,
    /// `weight`, 1 to 1000. Default 1.
    pub weight: u32,
    /// `backup`: whether it is used only where no other one can be. Default false.
    pub backup: bool,
    /// `drain`: whether it gets no new requests, but for those of sessions at it. Default false.
    pub drain: bool,
}
