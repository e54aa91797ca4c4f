//! What routes may ask for.

use super::*;

#[test]
#[rustfmt::skip] // a table: one line a case
fn a_fixed_response_is_checked() {
    refused(
        "[[route]]",
        &[
            ("respond = {}\nupstream = 'app'", "3:1", "the route already has `route.respond`"),
            ("respond = 'ok'", "2:11", "expected a table"),
            ("respond = { status = 199 }", "2:22", "199 is not between 200 and 599"),
            ("respond = { status = 204, body = 'x' }", "2:34", "a response of status 204 has no body"),
            ("respond = { body = 1 }", "2:20", "expected a string"),
            ("respond = { contents = 'x' }", "2:13", "unknown key `contents`"),
            ("respond = { content_type = \"text/html\\r\\nA: b\" }", "2:28", "it has a line end"),
            ("respond = { content_type = 'text/html ' }", "2:28", "did you mean \"text/html\"?"),
        ],
    );
    let route = plan(&with("[[route]]", "respond = { status = 503, body = 'later' }")).routes.remove(0);
    let expected = Respond {
        status: 503,
        body: "later".into(),
        content_type: "text/plain; charset=utf-8".into(),
    };
    assert_eq!(route.to, Destination::Respond(expected));
    assert_eq!(route.upstreams().count(), 0);
}
