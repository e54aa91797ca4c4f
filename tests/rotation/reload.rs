//! A generation that is moved while a config is read and published.

use std::time::{Duration, SystemTime};

use ringate::internals::certs::Store;

use super::kit::*;
use crate::support::*;

/// What runs is what the store says, however a rotation and a change of the config meet.
#[test]
fn a_rotation_between_what_a_reload_reads_and_what_it_publishes_is_not_undone() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    // Upstreams whose trust takes a while to read: after the certificate's own, which comes first by its name.
    let bundle = kit.store().parent().unwrap().join("many.pem");
    std::fs::write(&bundle, std::fs::read_to_string(kit.ours.file()).unwrap().repeat(200)).unwrap();
    let others: String = (0..12)
        .map(|number| {
            format!(
                "[upstream.slow-{number}]\nendpoints = [\"127.0.0.1:9\"]\n[upstream.slow-{number}.tls]\n\
                 server_name = \"localhost\"\ntrust = [{bundle:?}]\n"
            )
        })
        .collect();
    let setup = kit.setup(&[judge.address()]);
    let ringate = Ringate::start(&format!("{}{others}", setup.text()));
    let associate = |name: &str| {
        let (status, answer) = call(
            &ringate,
            "PATCH",
            "/v1/upstreams/app",
            &format!("{{\"tls\": {{\"certificate\": {name}}}}}"),
        );
        assert_eq!(status, 200, "{answer:#}");
    };
    let begun = std::time::Instant::now();
    associate("null");
    let takes = begun.elapsed();
    for part in 0..8 {
        kit.stage(&format!("generation-{part}"));
        std::thread::scope(|scope| {
            // Nothing that runs uses the certificate, until this is published.
            let change = scope.spawn(|| associate(&format!("{NAME:?}")));
            // Not to wait for anything, but to meet it at different moments.
            std::thread::sleep(Duration::from_millis(1) + takes * part / 8);
            order(&ringate, "activate", FORCE);
            change.join().unwrap();
        });
        let stored = Store::open(kit.store()).unwrap().describe(NAME, SystemTime::now()).unwrap().active;
        assert_eq!(report(&ringate)["active"].as_u64(), stored.map(u64::from), "round {part}");
        assert_eq!(ringate.get("/").text(), format!("generation-{part}"));
        associate("null");
    }
}
