//! The examples of RFC 7541, Appendix C.

use super::peer::hex;
use crate::http2::{Decoder, Encoder, FieldLimits, FieldList};

const LIMITS: FieldLimits = FieldLimits { bytes: 1 << 20, fields: 1000 };

fn bytes(digits: &str) -> Vec<u8> {
    let digits: String = digits.split_whitespace().collect();
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
    let mut fields = FieldList::new();
    fields.clear(LIMITS);
    decoder.decode(block, &mut fields).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    fields.all().map(|field| (text(field.name), text(field.value))).collect()
}

/// One header block of the appendix.
struct Example {
    block: &'static str,
    fields: &'static [(&'static str, &'static str)],
    /// The dynamic table behind it.
    table: &'static [(&'static str, &'static str)],
    size: usize,
}

fn check(decoder: &mut Decoder, prefix: &[u8], examples: &[Example]) {
    for (number, example) in examples.iter().enumerate() {
        let prefix = if number == 0 { prefix } else { &[] };
        let found = decode(decoder, &[prefix, &bytes(example.block)].concat());
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>()
        };
        assert_eq!(found, owned(example.fields), "{number}");
        assert_eq!(decoder.entries(), owned(example.table), "{number}");
        assert_eq!(decoder.table_size(), example.size, "{number}");
    }
}

#[test]
fn single_fields() {
    // C.2.1 to C.2.4
    const CUSTOM: &[(&str, &str)] = &[("custom-key", "custom-header")];
    check(
        &mut Decoder::default(),
        &[],
        &[Example {
            block: "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            fields: CUSTOM,
            table: CUSTOM,
            size: 55,
        }],
    );
    check(
        &mut Decoder::default(),
        &[],
        &[
            Example {
                block: "040c 2f73 616d 706c 652f 7061 7468",
                fields: &[(":path", "/sample/path")],
                table: &[],
                size: 0,
            },
            Example {
                block: "1008 7061 7373 776f 7264 0673 6563 7265 74",
                fields: &[("password", "secret")],
                table: &[],
                size: 0,
            },
            Example { block: "82", fields: &[(":method", "GET")], table: &[], size: 0 },
        ],
    );
}

/// C.3 and C.4: the fields and tables are the same.
fn requests(blocks: [&'static str; 3]) -> [Example; 3] {
    [
        Example {
            block: blocks[0],
            fields: &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "www.example.com"),
            ],
            table: &[(":authority", "www.example.com")],
            size: 57,
        },
        Example {
            block: blocks[1],
            fields: &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "www.example.com"),
                ("cache-control", "no-cache"),
            ],
            table: &[("cache-control", "no-cache"), (":authority", "www.example.com")],
            size: 110,
        },
        Example {
            block: blocks[2],
            fields: &[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/index.html"),
                (":authority", "www.example.com"),
                ("custom-key", "custom-value"),
            ],
            table: &[
                ("custom-key", "custom-value"),
                ("cache-control", "no-cache"),
                (":authority", "www.example.com"),
            ],
            size: 164,
        },
    ]
}

#[test]
fn requests_without_huffman() {
    let blocks = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    check(&mut Decoder::default(), &[], &requests(blocks));
}

#[test]
fn requests_with_huffman() {
    let blocks = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    check(&mut Decoder::default(), &[], &requests(blocks));
}

/// C.5 and C.6: a table of 256 bytes, from which entries are evicted.
fn responses(blocks: [&'static str; 3]) -> [Example; 3] {
    const DATE: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    const LATER: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
    const LOCATION: (&str, &str) = ("location", "https://www.example.com");
    const COOKIE: (&str, &str) = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
    [
        Example {
            block: blocks[0],
            fields: &[(":status", "302"), ("cache-control", "private"), DATE, LOCATION],
            table: &[LOCATION, DATE, ("cache-control", "private"), (":status", "302")],
            size: 222,
        },
        Example {
            block: blocks[1],
            fields: &[(":status", "307"), ("cache-control", "private"), DATE, LOCATION],
            table: &[(":status", "307"), LOCATION, DATE, ("cache-control", "private")],
            size: 222,
        },
        Example {
            block: blocks[2],
            fields: &[
                (":status", "200"),
                ("cache-control", "private"),
                LATER,
                LOCATION,
                ("content-encoding", "gzip"),
                COOKIE,
            ],
            table: &[COOKIE, ("content-encoding", "gzip"), LATER],
            size: 215,
        },
    ]
}

/// A table size update to 256 bytes, in place of the setting that the appendix takes for granted.
const SIZE_256: [u8; 3] = [0x3f, 0xe1, 0x01];

#[test]
fn responses_without_huffman() {
    let blocks = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 \
         474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 \
         666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 \
         3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    check(&mut Decoder::default(), &SIZE_256, &responses(blocks));
}

#[test]
fn responses_with_huffman() {
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    check(&mut Decoder::default(), &SIZE_256, &responses(blocks));
}

fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.field(name.as_bytes(), value.as_bytes(), false, &mut out);
    }
    out
}

#[test]
fn all_fields_of_a_head_are_indexed_the_third_time() {
    let names: Vec<_> = (0..24).map(|number| format!("x-field-{number}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "a value of some length")).collect();
    let mut encoder = Encoder::new(4096);
    encode(&mut encoder, &fields);
    encode(&mut encoder, &fields);
    assert_eq!(encode(&mut encoder, &fields).len(), fields.len());
}

#[test]
fn a_field_is_indexed_the_second_time_that_it_is_sent() {
    let mut encoder = Encoder::new(4096);
    let fields = [(":method", "GET"), ("Custom-Key", "custom-value")];
    let first = encode(&mut encoder, &fields);
    assert_eq!(hex(&first), "8200 8825 a849 e95b a97d 7f89 25a8 49e9 5bb8 e8b4 bf".replace(' ', ""));
    assert_eq!(encoder.table_size(), 0);
    let second = encode(&mut encoder, &fields);
    assert_eq!(hex(&second), "8240 8825 a849 e95b a97d 7f89 25a8 49e9 5bb8 e8b4 bf".replace(' ', ""));
    assert_eq!(encoder.table_size(), 54);
    assert_eq!(hex(&encode(&mut encoder, &fields)), "82be");
    // Its name alone.
    assert_eq!(hex(&encode(&mut encoder, &[("custom-key", "~")])), "0f2f017e");
}

#[test]
fn credentials_are_in_no_table() {
    let mut encoder = Encoder::new(4096);
    for name in ["authorization", "proxy-authorization", "cookie", "Set-Cookie"] {
        let blocks = [0, 1, 2].map(|_| encode(&mut encoder, &[(name, "secret")]));
        assert_eq!((&blocks[0], &blocks[0]), (&blocks[1], &blocks[2]));
        assert_eq!(blocks[0][0] & 0xf0, 0x10, "never indexed (RFC 7541 §6.2.3)");
        let mut fields = FieldList::new();
        fields.clear(LIMITS);
        Decoder::default().decode(&blocks[0], &mut fields).unwrap();
        assert!(fields.all().all(|field| field.never_indexed));
    }
    assert_eq!(encoder.table_size(), 0);
}

#[test]
fn changes_of_the_table_begin_the_next_block() {
    let mut encoder = Encoder::new(2048);
    assert_eq!(hex(&encode(&mut encoder, &[])), "3fe10f", "smaller than the default");
    assert_eq!(hex(&encode(&mut encoder, &[])), "");
    encoder.set_limit(65_536);
    assert_eq!(hex(&encode(&mut encoder, &[])), "");
    encoder.set_limit(0);
    encoder.set_limit(100);
    assert_eq!(hex(&encode(&mut encoder, &[])), "203f45");
    encoder.set_limit(0);
    let fields = [("custom-key", "custom-value")];
    let blocks = [0, 1, 2].map(|_| encode(&mut encoder, &fields));
    assert_eq!((blocks[0][0], &blocks[0][1..], &blocks[1]), (0x20, &blocks[1][..], &blocks[2]));
}
