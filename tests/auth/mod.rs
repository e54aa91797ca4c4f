//! Who a client is: passwords and signed tokens, by routes that ask for them.

mod passwords;
mod tokens;
