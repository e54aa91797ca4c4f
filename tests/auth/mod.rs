//! Who a client is, by routes that ask: passwords, signed tokens, and services that are asked about each request.

mod passwords;
mod services;
mod tokens;
