use super::upstream_in as upstream;
use super::*;

const TEXT: &str = "\
# Ours.
[[listener]]
name = \"web\" # the one

# Orders.
[upstream.orders]
endpoints = [\"127.0.0.1:1\"] # one for now
timeouts = { connect = \"2s\" } # short
[upstream.orders.tls]
# presented when asked
certificate = \"old\" # since May
trust = [\"ca\"]

[upstream.other]
endpoints = [\"127.0.0.1:2\"]
";

fn edit(environment: Option<&str>, patch: serde_json::Value) -> String {
    let serde_json::Value::Object(patch) = patch else { panic!("an object") };
    upstream(TEXT, "orders", environment, &patch).unwrap()
}

#[test]
fn a_value_is_replaced_and_all_else_stays() {
    let edited =
        edit(None, serde_json::json!({ "tls": { "certificate": "new" }, "timeouts": { "connect": "3s" } }));
    let expected = TEXT.replace("\"old\"", "\"new\"").replace("\"2s\"", "\"3s\"");
    assert_eq!(edited, expected);
}

#[test]
fn keys_come_and_go() {
    let edited = edit(
        None,
        serde_json::json!({ "tls": { "trust": null }, "pool": { "idle_per_worker": 3 },
            "endpoints": ["127.0.0.1:1", { "address": "127.0.0.1:3", "weight": 2 }] }),
    );
    let expected = TEXT
        .replace("trust = [\"ca\"]\n", "")
        .replace("[\"127.0.0.1:1\"] #", "[\"127.0.0.1:1\", { address = \"127.0.0.1:3\", weight = 2 }] #")
        .replace("# short\n", "# short\npool.idle_per_worker = 3\n");
    assert_eq!(edited, expected);
}

#[test]
fn an_overlay_is_made_and_changed() {
    let edited = edit(Some("production"), serde_json::json!({ "tls": { "certificate": "prod" } }));
    let overlay = "\n[upstream.orders.environment.production]\ntls.certificate = \"prod\"\n";
    assert!(edited.contains(overlay), "{edited}");
    assert!(edited.find(overlay) < edited.find("[upstream.other]"), "{edited}");
    assert_eq!(edited.replace(overlay, ""), TEXT);
    let serde_json::Value::Object(patch) = serde_json::json!({ "tls": { "certificate": "next" } }) else {
        panic!()
    };
    let again = upstream(&edited, "orders", Some("production"), &patch).unwrap();
    assert_eq!(again, edited.replace("\"prod\"", "\"next\""));
}

#[test]
fn what_is_not_there_is_said_with_what_is_near() {
    let error = upstream(TEXT, "order", None, &Map::new()).unwrap_err();
    assert_eq!(error.to_string(), "there is no upstream called `order`; did you mean `orders`?");
    assert!(matches!(upstream("a = = 1", "orders", None, &Map::new()), Err(EditError::Syntax(_))));
}

/// The text before, the patch, the text after.
type Case = (&'static str, serde_json::Value, &'static str);

fn cases() -> Vec<Case> {
    use serde_json::json;
    vec![
        // An empty table is written: its presence has a meaning.
        ("[upstream.a]\nk = 1\n", json!({ "tls": {} }), "[upstream.a]\nk = 1\ntls = {}\n"),
        ("[upstream.a]\nk = 1\n", json!({ "tls": { "x": null } }), "[upstream.a]\nk = 1\ntls = {}\n"),
        ("[upstream.a]\nk = 1\n", json!({ "tls": { "r": {} } }), "[upstream.a]\nk = 1\ntls.r = {}\n"),
        ("[upstream.a]\ntls.c = 1\n", json!({ "tls": { "c": null } }), "[upstream.a]\ntls = {}\n"),
        ("[upstream.a]\ntls = { c = 1 }\n", json!({ "tls": { "c": null } }), "[upstream.a]\ntls = {}\n"),
        ("[upstream.a.tls]\nc = 1\n", json!({ "tls": { "c": null } }), "[upstream.a.tls]\n"),
        ("[upstream.a.tls.r]\nn = 1\n", json!({ "tls": { "r": null } }), "[upstream.a.tls]\n"),
        ("upstream.a.k = 1\n", json!({ "k": null }), "upstream.a = {}\n"),
        ("upstream.a.k = 1\n", json!({ "tls": {} }), "upstream.a.k = 1\nupstream.a.tls = {}\n"),
        ("upstream = { a = { k = 1 } }\n", json!({ "tls": {} }), "upstream = { a = { k = 1, tls = {} } }\n"),
        ("[upstream]\na = { k.l = 1 }\n", json!({ "k": { "l": null } }), "[upstream]\na = { k = {} }\n"),
        ("[upstream]\na = {}\n", json!({ "k": { "l": 1 } }), "[upstream]\na = { k = { l = 1 } }\n"),
        // Lists of tables, and values that become tables or end to be some.
        (
            "[upstream.a]\n[[upstream.a.e]]\nx = 1\n[[upstream.a.e]]\nx = 2\n",
            json!({ "e": [] }),
            "[upstream.a]\ne = []\n",
        ),
        ("[[upstream.a.e]]\nx = 1\n", json!({ "e": { "x": 2 } }), "[upstream.a]\ne.x = 2\n"),
        ("[upstream.a]\nc = 1 # c\n", json!({ "c": { "d": 2 } }), "[upstream.a]\nc = { d = 2 } # c\n"),
        ("[upstream.a]\nc.d = 1\n", json!({ "c": 2 }), "[upstream.a]\nc = 2\n"),
        ("[upstream.a.c]\nd = 1\n", json!({ "c": 2 }), "[upstream.a]\nc = 2\n"),
        ("[upstream.a]\nc = { d.e = 1 }\n", json!({ "c": { "d": 2 } }), "[upstream.a]\nc = { d = 2 }\n"),
        // What stays equal stays as it is written.
        (
            "[upstream.a]\nk = 0x10 # 16\nl = [ 'a', # b\n]\n",
            json!({ "k": 16, "l": ["a"] }),
            "[upstream.a]\nk = 0x10 # 16\nl = [ 'a', # b\n]\n",
        ),
        ("[ upstream . \"a\" ]\n\"k\"  =  1\n", json!({ "k": 2 }), "[ upstream . \"a\" ]\n\"k\"  =  2\n"),
        ("[upstream.a]\nk = 1", json!({ "x y": "#" }), "[upstream.a]\nk = 1\n\"x y\" = \"#\"\n"),
        // Line ends and a byte order mark.
        (
            "# c\r\n[upstream.a]\r\nk = 1 # d\r\n\r\n# e\r\n",
            json!({ "k": 2, "l": 3 }),
            "# c\r\n[upstream.a]\r\nk = 2 # d\r\nl = 3\r\n\r\n# e\r\n",
        ),
        ("# c\n[upstream.a]\r\nk = 1\r\nm = 0\n", json!({ "k": 2 }), "# c\n[upstream.a]\r\nk = 2\r\nm = 0\n"),
        ("\u{feff}[upstream.a]\nk = 1\n", json!({ "k": 2 }), "\u{feff}[upstream.a]\nk = 2\n"),
        // A removed key takes its own comment along, and no other one.
        (
            "[upstream.a]\n# top\n\n# own\nk = 1 # own\nl = 2\n",
            json!({ "k": null }),
            "[upstream.a]\n# top\n\nl = 2\n",
        ),
        (
            "[upstream.a]\nk = 1\n# top\n\n# own\nl = 2\n# next\n[x]\n",
            json!({ "l": null }),
            "[upstream.a]\nk = 1\n# top\n\n# next\n[x]\n",
        ),
        (
            "[upstream.a]\nk = 1\n# top\n\n# own\n[upstream.a.tls]\nc = 2 # c\n\n# end\n",
            json!({ "tls": null }),
            "[upstream.a]\nk = 1\n# top\n\n\n# end\n",
        ),
        (
            "[upstream.a]\n# old: tls.c = 1\n\n[upstream.a.tls]\nc = 2\n# b\n[upstream.b]\n",
            json!({ "tls": null }),
            "[upstream.a]\n# old: tls.c = 1\n\n# b\n[upstream.b]\n",
        ),
    ]
}

#[test]
fn what_is_written_is_what_was_asked_for() {
    let wrong: Vec<String> = cases()
        .into_iter()
        .filter_map(|(before, patch, after)| {
            let edited = upstream(before, "a", None, patch.as_object().unwrap());
            (edited.as_deref() != Ok(after)).then(|| format!("{before:?} {patch}: {edited:?}, not {after:?}"))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.join(
            "
"
        )
    );
}

#[test]
fn an_overlay_is_made_in_each_form_of_file() {
    let patch = serde_json::json!({ "tls": {} });
    for (before, after) in [
        ("[upstream.a]\n", "[upstream.a]\n\n[upstream.a.environment.p]\ntls = {}\n"),
        (
            "[upstream.a]\nenvironment.q.k = 1\n",
            "[upstream.a]\nenvironment.q.k = 1\nenvironment.p.tls = {}\n",
        ),
        ("upstream.a.k = 1\n[x]\n", "upstream.a.k = 1\nupstream.a.environment.p.tls = {}\n[x]\n"),
        ("upstream.a = {}\n", "upstream.a = { environment = { p = { tls = {} } } }\n"),
        ("[upstream.a.environment.p]\nk = 1\n", "[upstream.a.environment.p]\nk = 1\ntls = {}\n"),
    ] {
        let edited = upstream(before, "a", Some("p"), patch.as_object().unwrap());
        assert_eq!(edited.as_deref(), Ok(after), "{before}");
    }
    let edited = upstream("[upstream.a]\nk = 1\n", "a", Some("p"), &Map::new()).unwrap();
    assert_eq!(edited, "[upstream.a]\nk = 1\n\n[upstream.a.environment.p]\n");
}

#[test]
fn what_toml_can_not_hold_is_refused() {
    for (patch, key) in [
        (serde_json::json!({ "k": [null] }), "k"),
        (serde_json::json!({ "k": [{ "l": null }] }), "l"),
        (serde_json::json!({ "k": u64::MAX }), "k"),
        (serde_json::json!({ "k": { "l": u64::MAX } }), "l"),
    ] {
        let error = upstream("[upstream.a]\n", "a", None, patch.as_object().unwrap()).unwrap_err();
        assert!(matches!(&error, EditError::Value { key: named, .. } if named == key), "{error}");
    }
    assert!(upstream("upstream.a = 1\n", "a", None, &Map::new()).is_err());
}

/// Decisions, from bytes.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn roll(&mut self, sides: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % sides)
    }

    /// A JSON value; null only where it may be.
    fn value(&mut self, depth: u8, null: bool) -> serde_json::Value {
        match self.roll(6) {
            0 if null => serde_json::Value::Null,
            1 => serde_json::json!([self.roll(9), "x"]),
            2 => serde_json::json!([{ "n": self.roll(9) }, {}]),
            3 | 4 if depth > 0 => self.object(depth, null),
            _ => self.roll(9).into(),
        }
    }

    fn object(&mut self, depth: u8, null: bool) -> serde_json::Value {
        let keys = ["k", "l.m", "n"].iter().filter(|_| self.roll(3) > 0).collect::<Vec<_>>();
        keys.into_iter().map(|key| ((*key).to_owned(), self.value(depth - 1, null))).collect()
    }

    /// `value` at `path` as TOML, in one of its forms: lines for under the header above, and those with a header.
    fn toml(&mut self, header: &str, path: &str, value: &serde_json::Value) -> (String, String) {
        match value {
            serde_json::Value::Object(entries) if !entries.is_empty() && self.roll(3) > 0 => {
                let as_header = path.is_empty() || self.roll(2) == 0;
                let (mut own, mut below) = (String::new(), String::new());
                let full = [header, path].join(if path.is_empty() || header.is_empty() { "" } else { "." });
                for (key, value) in entries {
                    let inner = if as_header { format!("{key:?}") } else { format!("{path}.{key:?}") };
                    let (lines, sections) = self.toml(if as_header { &full } else { header }, &inner, value);
                    own.push_str(&lines);
                    below.push_str(&sections);
                }
                match as_header {
                    true if own.is_empty() && !below.is_empty() && self.roll(2) == 0 => (own, below),
                    true => (String::new(), format!("# {full}\n[{full}] # h\n{own}# end\n{below}")),
                    false => (own, below),
                }
            }
            serde_json::Value::Array(list) if list.iter().all(|one| one.is_object()) && self.roll(2) == 0 => {
                let tables = list.iter().map(|one| {
                    let entries = one.as_object().into_iter().flatten();
                    let lines: String =
                        entries.map(|(key, value)| format!("{key} = {value} # t\n")).collect();
                    format!("[[{header}.{path}]]\n{lines}")
                });
                (String::new(), tables.collect())
            }
            plain => {
                let value = convert("", plain).unwrap();
                (format!("# above\n{path} = {value} # behind\n"), String::new())
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_change_of_any_layout_is_exact(bytes in proptest::collection::vec(0u8.., 0..120), which in 0..3usize) {
        let mut dice = Dice(bytes.iter());
        let value = serde_json::json!({ "a": dice.object(3, false), "b": { "k": 1 } });
        let environment = ["", "k", "e"][which];
        let environment = Some(environment).filter(|name| !name.is_empty());
        let (lines, sections) = dice.toml("", "upstream", &value);
        let text = format!("# top\nx = 1\n{lines}{sections}\n# other\n[y]\nz = 1\n# bottom\n");
        proptest::prop_assume!(text.parse::<toml::Table>().is_ok());
        let patch = dice.object(3, true);
        let edited = upstream(&text, "a", environment, patch.as_object().unwrap());
        proptest::prop_assert!(edited.is_ok(), "{}\n{text}{patch}", edited.unwrap_err());
        let edited = edited.unwrap();
        for kept in ["# top\n", "# other\n[y]\n", "# bottom\n"] {
            proptest::prop_assert!(edited.contains(kept), "{edited}");
        }
    }
}

#[test]
fn a_header_that_is_made_precedes_those_of_its_parts() {
    let text = "[[listener]]\nname = \"a\"\n\n[log]\nlevel = \"info\"\n\n[[listener]]\nname = \"b\"\n\n\
                [upstream.orders.tls]\ntrust = \"system\"\n";
    let serde_json::Value::Object(patch) = serde_json::json!({ "http": "2" }) else { panic!() };
    let edited = upstream(text, "orders", None, &patch).unwrap();
    assert_eq!(
        edited,
        text.replace("[upstream.orders.tls]", "[upstream.orders]\nhttp = \"2\"\n\n[upstream.orders.tls]")
    );
}
