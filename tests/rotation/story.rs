//! The whole story of a gateway that makes its own client certificates: generate, export, trust it at the backend, try,
//! activate, remove the old one at the backend, delete the old one. Production and development hold different ones.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ringate::certs::generate::self_signed;
use ringate::certs::{GenerateRequest, Meta, Origin, Store};
use serde_json::Value;

use super::kit::*;
use crate::support::*;

/// A gateway with two environments, each with a certificate, a backend and a listener.
struct Gateway {
    dir: tempfile::TempDir,
    pki: Pki,
}

impl Gateway {
    fn store(&self) -> PathBuf {
        self.dir.path().join("certs")
    }

    /// Generates a certificate, or its next generation, and exports it. Returns the public file.
    fn generate(&self, name: &str, common_name: &str) -> PathBuf {
        let now = SystemTime::now();
        let made = self_signed(&GenerateRequest::new(common_name), now).unwrap();
        let meta = Meta { description: None, origin: Origin::Generated, now };
        let store = Store::open(self.store()).unwrap();
        match store.get(name) {
            Ok(_) => drop(store.stage(name, &made.bundle, &meta).unwrap()),
            Err(_) => drop(store.create(name, &made.bundle, &meta).unwrap()),
        }
        let public = self.dir.path().join(format!("{common_name}.pem"));
        std::fs::write(&public, made.bundle.chain_pem()).unwrap();
        public
    }

    fn start(&self, production: &Judge, development: &Judge) -> Ringate {
        let tls = |name: &str, address| {
            format!(
                "[upstream.{name}]\nendpoints = [\"{address}\"]\ntimeouts = {{ connect = \"15s\" }}\n\
                 [upstream.{name}.tls]\nserver_name = \"localhost\"\ntrust = [{:?}]\ncertificate = \"gateway-{name}\"\n",
                self.pki.file("ca.pem")
            )
        };
        let listener = |name: &str| format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n");
        let route = |name: &str| format!("[[route]]\nlistener = \"{name}\"\nupstream = \"{name}\"\n");
        let text = format!(
            "[runtime]\nworkers = 2\n[admin]\n[store]\npath = {:?}\n{}{}{}{}{}{}",
            self.store(),
            listener("production"),
            listener("development"),
            route("production"),
            route("development"),
            tls("production", production.address()),
            tls("development", development.address()),
        );
        Ringate::start(&text)
    }
}

fn obey(ringate: &Ringate, name: &str, what: &str) -> Value {
    let (status, answer) = call(ringate, "POST", &format!("/v1/certificates/{name}/{what}"), "");
    assert_eq!(status, 200, "{what}: {answer:#}");
    answer
}

fn get(ringate: &Ringate, listener: &str) -> Response {
    let mut client = Client::connect(ringate.address_of(listener));
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").response()
}

#[test]
fn generate_export_trust_try_activate_and_let_the_old_one_go() {
    for version in VERSIONS {
        let gateway = Gateway { dir: tempfile::tempdir().unwrap(), pki: Pki::new() };
        let production_1 = gateway.generate("gateway-production", "production-1");
        let development_1 = gateway.generate("gateway-development", "development-1");
        let trusting = |files: &[&Path]| Judge::start(&gateway.pki, version, files);
        let (production, development) = (trusting(&[&production_1]), trusting(&[&development_1]));
        let ringate = gateway.start(&production, &development);
        let address = ringate.address_of("production");
        let load = Load::with(32, address, Client::connect, true);
        load.await_more(200);
        assert_eq!(get(&ringate, "development").text(), "development-1");

        let production_2 = gateway.generate("gateway-production", "production-2");
        // The backend does not know it yet: the trial says so, and nothing changes.
        let trial = obey(&ringate, "gateway-production", "trial");
        assert_eq!((&trial["passed"], &trial["endpoints"][0]["outcome"]), (&false.into(), &"refused".into()));
        assert_eq!(trial["endpoints"].as_array().unwrap().len(), 1, "the other environment is not asked");
        let (status, _) = call(&ringate, "POST", "/v1/certificates/gateway-production/activate", "");
        assert_eq!(status, 409);
        // Trust it there, try, activate.
        production.trust(&[&production_1, &production_2]);
        assert_eq!(obey(&ringate, "gateway-production", "trial")["passed"], true);
        obey(&ringate, "gateway-production", "activate");
        load.await_more(200);
        eventually("the old one being safe to revoke", || {
            let (_, report) = call(&ringate, "GET", "/v1/certificates/gateway-production/rotation", "");
            (report["safe_to_revoke"]["safe"] == true).then_some(())
        });
        // Remove the old one there, delete it here.
        production.trust(&[&production_2]);
        assert_eq!(obey(&ringate, "gateway-production", "retire")["retired"], 1);
        production.forget();
        load.await_more(200);
        load.finish(&ringate);
        assert_eq!(production.asked("production-1").requests, 0);
        assert!(production.asked("production-2").requests > 100);
        assert_eq!(
            get(&ringate, "development").text(),
            "development-1",
            "the other environment never noticed"
        );
        assert!(!gateway.store().join("gateway-production/000001/key.pem").exists(), "its key is gone");
        let (status, _) = call(&ringate, "POST", "/v1/certificates/gateway-production/rollback", "");
        assert_eq!(status, 409, "and nothing brings it back");
    }
}
