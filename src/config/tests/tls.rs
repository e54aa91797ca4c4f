//! Cipher suites, groups and usages in the config.

use super::*;

/// A listener with these lines of TLS.
fn listener(lines: &str) -> String {
    format!("name = 'web'\naddress = '127.0.0.1:1'\ntls.certificates = ['a']\n{lines}")
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn what_tls_of_a_listener_negotiates_is_checked() {
    let cases = [
        ("tls.cipher_suites = ['ECDHE-RSA-AES128-GCM-SHA256']", "5:22", "did you mean \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"?"),
        ("tls.cipher_suites = ['HIGH']", "5:22", "the suites are TLS13_AES_128_GCM_SHA256, "),
        ("tls.cipher_suites = ['TLS_AES_128_GCM_SHA256']", "5:21", "none of these suites is of TLS 1.2, which is enabled"),
        ("tls.cipher_suites = ['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256']", "5:21", "write `versions = [\"1.2\"]`"),
        ("tls.versions = ['1.3']\ntls.cipher_suites = ['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256']", "6:21", "TLS 1.3, the only version enabled"),
        ("tls.cipher_order = 'servers'", "5:20", "did you mean \"server\"?"),
        ("tls.groups = ['prime256v1']", "5:15", "did you mean \"secp256r1\"?"),
        ("tls.groups = ['X448']", "5:15", "the groups are X25519MLKEM768, X25519, secp256r1, secp384r1"),
        ("tls.groups = ['X25519MLKEM768']", "5:14", "none of these groups is of TLS 1.2, which is enabled"),
        ("tls.client_usage = 'any'", "5:5", "has no effect while no certificate is requested"),
        ("tls.client_auth = 'required'\ntls.client_trust = ['a']\ntls.client_usage = 'server'", "7:20", "\"client\" or \"any\""),
    ];
    for (lines, place, fragment) in cases {
        refused("[[listener]]", &[(&listener(lines), place, fragment)]);
    }
    let upstream = "endpoints = ['a:1']\ntls.versions = ['1.2', '1.3']\ntls.cipher_suites = ['TLS_AES_128_GCM_SHA256']";
    refused("[upstream.app]", &[(upstream, "4:21", "none of these suites is of TLS 1.2, which is enabled")]);
}

#[test]
fn what_tls_of_a_listener_negotiates_is_read() {
    let lines = "tls.cipher_suites = ['TLS_AES_128_GCM_SHA256', 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256']\n\
                 tls.cipher_order = 'client'\ntls.groups = ['secp384r1', 'X25519']";
    let plan = plan(&with("[[listener]]", &listener(lines)));
    let tls = plan.listeners[0].tls.as_ref().unwrap();
    let suites: Vec<_> =
        tls.cipher_suites.iter().flatten().map(|suite| cipher_suite_name(suite.value)).collect();
    assert_eq!(suites, ["TLS13_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    assert_eq!(tls.cipher_order, crate::tls::CipherOrder::Client);
    let groups: Vec<_> = tls.groups.iter().flatten().map(|group| group.name()).collect();
    assert_eq!(groups, ["secp384r1", "X25519"]);
    // Without `versions`, suites of one version leave an upstream that version alone.
    let upstream = "endpoints = ['a:1']\ntls.cipher_suites = ['TLS_AES_128_GCM_SHA256']";
    super::plan(&with("[upstream.app]", upstream));
}
