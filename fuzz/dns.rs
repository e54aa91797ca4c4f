//! Responses of name servers.

use ringate::internals::dns::{Data, Kind, Reply, parse};

/// A response to a question for `app.test`, of the type that the first byte says.
pub fn dns_message(input: &[u8]) {
    let Some((&kind, message)) = input.split_first() else { return };
    let kind = [Kind::A, Kind::Aaaa, Kind::Srv][usize::from(kind) % 3];
    let Some(&[high, low]) = message.first_chunk::<2>() else { return };
    let id = u16::from_be_bytes([high, low]);
    assert_eq!(parse(message, id ^ 1, "app.test", kind), None, "of another question");
    let Some(Reply::Records(records, _)) = parse(message, id, "app.test", kind) else { return };
    let answers = usize::from(u16::from_be_bytes([message[6], message[7]]));
    assert!((1..=answers).contains(&records.len()), "{} of {answers}", records.len());
    for record in records {
        match (record, kind) {
            (Data::Address(address), Kind::A) => assert!(address.is_ipv4()),
            (Data::Address(address), Kind::Aaaa) => assert!(address.is_ipv6()),
            (Data::Service(service), Kind::Srv) => {
                let is_plain = |label: &str| {
                    (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic())
                };
                let target = service.target;
                assert!(
                    target.is_empty() || target.len() < 255 && target.split('.').all(is_plain),
                    "{target:?}"
                );
                assert_eq!(target, target.to_ascii_lowercase());
            }
            (record, kind) => panic!("{record:?} is none of {kind:?}"),
        }
    }
}
