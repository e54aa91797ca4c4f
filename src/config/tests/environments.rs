//! Environments: an upstream once more, with an overlay's keys before its own.

use super::*;
use crate::proxy_protocol::Version;

const BOTH: &str = "\
[[listener]]
name = 'prod'
address = '127.0.0.1:8080'
environment = 'production'
[[listener]]
name = 'plain'
address = '127.0.0.1:8081'
[[route]]
listener = ['prod', 'plain']
upstream = 'app'
[upstream.app]
endpoints = ['127.0.0.1:9000']
timeouts = { connect = '5s', idle = '7s' }
tls.certificate = 'gateway'
tls.server_name = 'app.internal'
[upstream.app.environment.production]
tls.certificate = 'gateway-prod'
timeouts.idle = '9s'
";

#[test]
fn an_overlay_goes_before_and_what_it_leaves_out_stays() {
    let plan = plan(BOTH);
    let [app, production] = &plan.upstreams[..] else { panic!("{:?}", plan.upstreams) };
    assert_eq!((app.name.as_str(), production.name.as_str()), ("app", "app@production"));
    assert_eq!((production.base_name(), &app.environment), ("app", &None));
    assert_eq!(production.endpoints, app.endpoints);
    assert_eq!(
        (production.connect_timeout, app.connect_timeout),
        (Duration::from_secs(5), Duration::from_secs(5))
    );
    assert_eq!((production.idle_timeout, app.idle_timeout), (Duration::from_secs(9), Duration::from_secs(7)));
    let tls = |upstream: &Upstream| upstream.tls.clone().unwrap();
    let named = |name: &str| Some(CertificateRef::Store(name.to_owned()));
    assert_eq!(tls(app).certificate.map(|at| at.value), named("gateway"));
    assert_eq!(tls(production).certificate.map(|at| at.value), named("gateway-prod"));
    assert_eq!(tls(production).server_name, tls(app).server_name);
    assert_eq!(plan.in_environment(0, Some("production")), 1);
    assert_eq!(plan.in_environment(0, Some("staging")), 0);
    assert_eq!(plan.in_environment(0, None), 0);
    assert!(warnings("f", BOTH, &plan).is_empty());
}

#[test]
fn an_overlay_may_turn_the_proxy_protocol_on_and_off() {
    let sent = |text: &str| -> Vec<_> { plan(text).upstreams.iter().map(|one| one.proxy_protocol).collect() };
    let on = BOTH.replace("timeouts.idle = '9s'", "proxy_protocol = 'v1'");
    assert_eq!(sent(&on), [None, Some(Version::V1)]);
    let off = on.replace("'v1'", "'off'").replace("endpoints =", "proxy_protocol = 'v2'\nendpoints =");
    assert_eq!(sent(&off), [Some(Version::V2), None]);
}

#[test]
fn a_file_of_two_keys_is_replaced_whole() {
    let pair = BOTH.replace("'gateway'", "{ cert = 'a.pem', key = 'a.key' }");
    let plan = plan(&pair.replace("'gateway-prod'", "'./b.pem'"));
    let certificate = plan.upstreams[1].tls.clone().unwrap().certificate.unwrap().value;
    assert_eq!(certificate, CertificateRef::File("/etc/ringate/./b.pem".into()));
}

#[test]
fn errors_are_said_once_and_of_their_place() {
    for (from, to, place, said) in [
        ("idle = '7s' }", "idle = 7 }", "13:37", "did you mean \"7s\"?"),
        ("timeouts.idle = '9s'", "timeouts.idel = '9s'", "18:10", "did you mean `idle`?"),
        ("timeouts.idle = '9s'", "environment = {}", "18:1", "unknown key `environment`"),
        ("upstream = 'app'\n", "upstream = 'app@production'\n", "10:12", "there is no upstream"),
        ("endpoints = ['127.0.0.1:9000']", "endpoint = ['127.0.0.1:9000']", "12:1", "unknown key `endpoint`"),
    ] {
        assert!(BOTH.contains(from));
        let errors = read(&BOTH.replace(from, to)).unwrap_err();
        let all: Vec<_> = errors.iter().collect();
        assert_eq!(all.len(), 1, "{errors}");
        assert_eq!(format!("{}:{}", all[0].line, all[0].column), place, "{errors}");
        assert!(format!("{} {}", all[0].message, all[0].help.unwrap_or_default()).contains(said), "{errors}");
    }
}

#[test]
fn a_listener_declares_its_environment_by_naming_it() {
    let warned = |environment: &str| -> Vec<(String, Option<String>)> {
        let text = BOTH.replace("environment = 'production'", environment);
        let found = warnings("f", &text, &plan(&text));
        found.iter().map(|one| (one.message.to_owned(), one.help.map(str::to_owned))).collect()
    };
    let unused = ("no listener is in the environment `production`".to_owned(), None);
    assert_eq!(warned("environment = 'staging'"), [unused]);
    let near = &warned("environment = 'prodution'")[0];
    assert_eq!(near.0, "no upstream has an overlay for the environment `prodution`");
    assert_eq!(near.1.as_deref(), Some("did you mean \"production\"?"));
    let none = "[[listener]]\nname = 'a'\naddress = '127.0.0.1:1'\nenvironment = 'staging'\n[[route]]\n\
                upstream = 'b'\n[upstream.b]\nendpoints = ['127.0.0.1:2']";
    assert!(warnings("f", none, &plan(none)).is_empty());
}

#[test]
fn an_overlay_that_nobody_uses_is_warned_of() {
    let text = BOTH.replace(
        "[upstream.app.environment.production]",
        "[upstream.app.environment.production]\n[upstream.app.environment.producton]",
    );
    let plan = plan(&text);
    let found = warnings("f", &text, &plan);
    let said: Vec<_> = found.iter().map(|entry| (entry.message, entry.help)).collect();
    assert_eq!(said, [("no listener is in the environment `producton`", Some("did you mean `production`?"))]);
}
