use super::*;
use crate::http1::{self, HeadLimits, Parsed};

fn line(format: &str, hidden: &[&str], request: Option<&str>, outcome: &Outcome<'_>) -> String {
    let mut format = Format::parse(format).unwrap();
    format.redact(&["authorization".to_owned()], hidden.iter().map(|&key| key.to_owned()).collect());
    let client = ClientFacts::new("192.0.2.7".into(), None);
    let mut record = Record::new(&Rc::new(format));
    let limits = HeadLimits { head_bytes: 8192, headers: 50, target_bytes: 8192 };
    let mut slots = http1::header_slots();
    match request.map(|request| http1::parse_request(request.as_bytes(), &mut slots, &limits).unwrap()) {
        None => record.begin("web", &client, None, None),
        Some(Parsed::Complete(head)) => record.begin("web", &client, Some(&head), Some("id-1")),
        Some(Parsed::Partial) => panic!("not whole"),
    }
    let mut out = Vec::new();
    record.render(outcome, &Clock::default(), &mut out);
    String::from_utf8(out).unwrap()
}

const SERVED: Outcome<'_> = Outcome {
    status: 200,
    bytes: 1234,
    duration: Duration::from_micros(5_678),
    first_byte: Some(Duration::from_micros(1_002)),
    upstream: Some("app"),
    endpoint: Some("127.0.0.1:9000"),
    tries: 1,
    relay: None,
    failure: None,
    error: None,
    grpc_status: Some(14),
};

const REQUEST: &str = "GET /a?token=x&q=%22 HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer s\r\n\
    Referer: http://h/?token=y\r\nUser-Agent: \"é\r\n\r\n";

#[test]
fn a_line_says_what_its_format_asks_for() {
    let format = "{client.address} {client.scheme} {listener} \"{request.method} {request.target} {request.version}\" \
        {request.path} {request.query} {request.host} {request.id} {response.status} {response.bytes} {duration} \
        {duration.us} {first_byte} {first_byte.us} {upstream} {endpoint} {failure} {request.header.referer} \
        {request.header.authorization} {request.header.x-none} {request.header.user-agent} {grpc.status}";
    assert_eq!(
        line(format, &["token"], Some(REQUEST), &SERVED),
        "192.0.2.7 http web \"GET /a?token=[redacted]&q=%22 HTTP/1.1\" /a token=[redacted]&q=%22 h:1 id-1 200 1234 \
         5.678 5678 1.002 1002 app 127.0.0.1:9000 - http://h/?token=[redacted] [redacted] - \\x22\\xc3\\xa9 14"
    );
    assert_eq!(
        line("{request.query} {request.target}", &[], Some(REQUEST), &SERVED),
        "token=x&q=%22 /a?token=x&q=%22"
    );
}

#[test]
fn what_could_not_be_understood_has_a_line_too() {
    let failure = "a \"bad\" one\n";
    let outcome = Outcome {
        status: 400,
        first_byte: None,
        upstream: None,
        endpoint: None,
        failure: Some(&failure),
        error: Some("http_request_error"),
        grpc_status: None,
        ..SERVED
    };
    let text = line(
        "{client.address} {request.target} {response.status} {first_byte} \"{failure}\" {failure.type}",
        &[],
        None,
        &outcome,
    );
    assert_eq!(text, "192.0.2.7 - 400 - \"a \\x22bad\\x22 one\\x0a\" http_request_error");
    let json: serde_json::Value = serde_json::from_str(&line("json", &[], None, &outcome)).unwrap();
    assert_eq!(json["failure"], failure);
    assert!(json["target"].is_null() && json["first_byte_us"].is_null() && json["grpc_status"].is_null());
}

#[test]
fn json_lines_are_json_whatever_is_in_them() {
    let json: serde_json::Value = serde_json::from_str(&line("json", &[], Some(REQUEST), &SERVED)).unwrap();
    assert_eq!(json["target"], "/a?token=x&q=%22");
    assert_eq!(json["duration_us"], 5678);
    assert_eq!((&json["client"], &json["grpc_status"]), (&"192.0.2.7".into(), &14.into()));
    assert!(json["time"].as_str().unwrap().ends_with('Z'));
    let format = Format::object([("agent \"q\"", Variable::RequestHeader("user-agent".into()))]);
    assert_eq!(format.style, Style::Json);
}
