//! Configs of several files, and values from outside of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::edit::{self, Place, TableChange};
use super::sources::{Outside, Sources};
use super::{Diagnostics, Plan, parse_all};

/// Files and variables of a test. A pattern with `*` matches by its beginning and its end.
#[derive(Default)]
struct Fixed {
    files: BTreeMap<PathBuf, String>,
    variables: BTreeMap<String, String>,
}

impl Outside for Fixed {
    fn expand(&self, pattern: &Path) -> Result<Vec<PathBuf>, String> {
        let text = pattern.to_str().unwrap();
        let Some((start, end)) = text.split_once('*') else { return Ok(vec![pattern.to_owned()]) };
        let matches = |path: &&PathBuf| {
            let path = path.to_str().unwrap();
            path.starts_with(start) && path.ends_with(end)
        };
        Ok(self.files.keys().filter(matches).cloned().collect())
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        self.files.get(path).cloned().ok_or_else(|| "there is no such file".to_owned())
    }

    fn identity(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.variables.get(name).cloned())
    }

    fn value(&self, path: &Path) -> Result<String, String> {
        self.read(path)
    }
}

fn outside(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Fixed {
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let files = owned(files).into_iter().map(|(name, text)| (Path::new("/etc/r").join(name), text)).collect();
    Fixed { files, variables: owned(variables).into_iter().collect() }
}

fn sources(main: &str, outside: &Fixed) -> Sources {
    Sources::gather("r.toml", Path::new("/etc/r/r.toml"), main, outside)
}

fn parsed(main: &str, outside: &Fixed) -> Result<Plan, Diagnostics> {
    parse_all(&sources(main, outside), Path::new("/etc/r"), outside)
}

const MAIN: &str = "include = ['conf.d/*.toml']\n[[listener]]\nname = 'web'\naddress = '127.0.0.1:80'\n\
                    [limits]\nheaders = 50\n";
const APP: &str = "[[route]]\npath = '/a'\nupstream = 'a'\n[upstream.a]\nendpoints = ['127.0.0.1:1']\n";
const OTHER: &str = "[limits]\nhead_bytes = '8KiB'\n[[route]]\npath = '/b'\nupstream = 'b'\n\
                     [upstream.b]\nendpoints = ['127.0.0.1:2']\n";

#[test]
fn tables_of_included_files_are_merged_in_the_order_of_their_names() {
    let outside = outside(&[("conf.d/b.toml", OTHER), ("conf.d/a.toml", APP), ("conf.d/x.txt", "= no")], &[]);
    let plan = parsed(MAIN, &outside).unwrap_or_else(|errors| panic!("{errors}"));
    let paths: Vec<_> = plan.routes.iter().map(|route| route.path.value.path().to_owned()).collect();
    assert_eq!(paths, ["/a", "/b"]);
    assert_eq!((plan.limits.headers, plan.limits.head_bytes), (50, 8192));
    // No file is fine.
    let none = MAIN.replace("conf.d", "none") + APP;
    assert!(parsed(&none, &outside).is_ok());
}

#[test]
fn a_name_in_two_files_is_an_error_that_names_both() {
    let again = format!("# first line\n{APP}");
    let files = outside(&[("conf.d/a.toml", APP), ("conf.d/b.toml", &again.replace("'/a'", "'/c'"))], &[]);
    let shown = parsed(MAIN, &files).unwrap_err().to_string();
    assert!(shown.contains("[upstream.a] stands in two files"), "{shown}");
    assert!(shown.contains("--> /etc/r/conf.d/b.toml:5:"), "{shown}");
    assert!(shown.contains("here and at /etc/r/conf.d/a.toml:4"), "{shown}");
    let listener = "[[listener]]\nname = 'web'\naddress = '127.0.0.1:81'\n";
    let shown = parsed(&format!("{MAIN}\n{APP}"), &outside(&[("conf.d/l.toml", listener)], &[]))
        .unwrap_err()
        .to_string();
    assert!(shown.contains("two listeners called `web`, here and at r.toml:3"), "{shown}");
    assert!(shown.contains("--> /etc/r/conf.d/l.toml:2:"), "{shown}");
    let shown =
        parsed(MAIN, &outside(&[("conf.d/a.toml", "limits.headers = 9\n")], &[])).unwrap_err().to_string();
    assert!(shown.contains("`limits.headers` stands in two files"), "{shown}");
}

#[test]
fn a_mistake_is_shown_in_the_file_that_has_it() {
    let wrong = APP.replace("endpoints", "endpoint");
    for text in [wrong.as_str(), "a = = 1\n\n", "[[route]]\npath = '/a'\nupstream = 'nowhere'\n"] {
        let errors =
            parsed(MAIN, &outside(&[("conf.d/a.toml", text), ("conf.d/b.toml", OTHER)], &[])).unwrap_err();
        let found: Vec<_> = errors.iter().map(|one| one.file.to_owned()).collect();
        assert!(found.iter().all(|file| file == "/etc/r/conf.d/a.toml"), "{found:?}: {errors}");
    }
}

#[test]
fn includes_are_bounded_and_have_no_circle() {
    let circle = outside(&[("a.toml", "include = ['b.toml']"), ("b.toml", "include = ['a.toml']")], &[]);
    let shown = parsed("include = ['a.toml']\n", &circle).unwrap_err().to_string();
    assert!(shown.contains("includes itself"), "{shown}");
    assert!(shown.contains("--> /etc/r/b.toml:1:"), "{shown}");
    let own = parsed("include = ['r.toml']\n", &outside(&[("r.toml", "")], &[])).unwrap_err().to_string();
    assert!(own.contains("includes itself"), "{own}");
    let texts: Vec<(String, String)> =
        (0..20).map(|n| (format!("{n}.toml"), format!("include = ['{}.toml']", n + 1))).collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let deep = parsed("include = ['0.toml']\n", &outside(&files, &[])).unwrap_err().to_string();
    assert!(deep.contains("at a depth of more than 8"), "{deep}");
    let missing = parsed("include = ['none.toml', 5]\n", &outside(&[], &[])).unwrap_err().to_string();
    assert!(
        missing.contains("none.toml` can't be read") && missing.contains("a list of patterns"),
        "{missing}"
    );
}

#[test]
fn references_stand_for_texts_numbers_and_booleans() {
    let outside = outside(
        &[("token", "s3cret-token")],
        &[("PORT", "8080"), ("COUNT", "7"), ("SPLICE", "false"), ("HOST", "10.0.0.1")],
    );
    let text = "[runtime]\nworkers = '${COUNT}'\nsplice = '${SPLICE}'\n[[listener]]\nname = 'web'\n\
                address = '127.0.0.1:${PORT}'\n[[route]]\nupstream = 'a'\n\
                headers.request.set = { X-A = '$${{PORT}}', Authorization = 'Bearer ${file:token}' }\n\
                [upstream.a]\nendpoints = ['${HOST}:1']\n";
    let plan = parsed(text, &outside).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((plan.runtime.workers, plan.runtime.splice), (Some(7), false));
    assert_eq!(plan.listeners[0].addresses[0].value.to_string(), "127.0.0.1:8080");
    assert_eq!(plan.upstreams[0].endpoints[0].address, "10.0.0.1:1");
    assert!(format!("{:?}", plan.routes).contains("Bearer s3cret-token"));
    assert!(
        format!("{:?}", plan.routes).contains("${PORT}"),
        "a doubled dollar, and braces as header rules have them"
    );
    assert_eq!(plan.secrets, ["s3cret-token"]);
    // Without a reference a number is no text.
    assert!(parsed(&text.replace("${COUNT}", "7"), &outside).is_err());
}

#[test]
fn what_is_not_set_is_an_error_at_its_key_and_secrets_are_not_shown() {
    let files = outside(&[("secret", "very-secret-value")], &[]);
    let shown =
        parsed(&format!("{MAIN}[runtime]\nworkers = '${{NONE}}'\n{APP}"), &files).unwrap_err().to_string();
    assert!(shown.contains("`runtime.workers`: the environment variable `NONE` is not set"), "{shown}");
    assert!(shown.contains("--> r.toml:8:11"), "{shown}");
    for key in ["runtime.workers", "runtime.driver", "runtime.drain", "store.grace", "resolver.servers"] {
        let value = if key == "resolver.servers" { "['${file:secret}']" } else { "'${file:secret}'" };
        let errors = parsed(&format!("{key} = {value}\n{MAIN}{APP}"), &files).unwrap_err();
        assert!(errors.to_string().contains(key), "{errors}");
        for part in ["very", "secret-v", "value-"] {
            assert!(!errors.to_string().contains(part), "{errors}");
        }
    }
}

#[test]
fn a_change_is_made_in_the_file_that_has_the_section() {
    let outside = outside(&[("conf.d/a.toml", APP), ("conf.d/b.toml", OTHER)], &[]);
    let own = format!("{MAIN}[[route]]\npath = '/own'\nupstream = 'a'\n");
    let before = sources(&own, &outside);
    let patch = serde_json::json!({ "endpoints": ["127.0.0.1:9"] });
    let after = edit::upstream(&before, "b", None, patch.as_object().unwrap()).unwrap();
    let changed: Vec<_> =
        before.files().iter().zip(after.files()).filter(|(a, b)| a.text != b.text).collect();
    assert_eq!(changed.len(), 1);
    assert!(changed[0].1.name.ends_with("b.toml") && changed[0].1.text.contains("127.0.0.1:9"));
    // Routes are numbered over all files: the last one is that of b.toml.
    let removed = edit::table(&before, &Place::Route(2), TableChange::Remove).unwrap();
    assert!(!removed.files()[2].text.contains("[[route]]") && removed.files()[1] == before.files()[1]);
    assert!(edit::table(&before, &Place::Route(3), TableChange::Remove).is_err());
    // New sections stand in the named file, and no name is used twice.
    let added =
        edit::table(&before, &Place::Upstream("c".into()), TableChange::Add(patch.as_object().unwrap()))
            .unwrap();
    assert!(added.first().text.contains("[upstream.c]"));
    let again =
        edit::table(&before, &Place::Upstream("a".into()), TableChange::Add(patch.as_object().unwrap()));
    assert!(matches!(again, Err(edit::EditError::Exists { .. })));
    assert_eq!(edit::own_routes(&before), 1);
    let all = edit::section(&before, &Place::Routes).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);
}

#[test]
fn references_stay_as_they_are_written_by_a_change() {
    let outside = outside(&[], &[("HOST", "10.0.0.1")]);
    let text = "[[listener]]\nname = 'web'\naddress = '127.0.0.1:80'\n[[route]]\nupstream = 'a'\n\
                [upstream.a]\nendpoints = ['${HOST}:1']\n";
    let patch = serde_json::json!({ "slow_start": "5s" });
    let after = edit::upstream(&sources(text, &outside), "a", None, patch.as_object().unwrap()).unwrap();
    assert!(after.first().text.contains("endpoints = ['${HOST}:1']\nslow_start"), "{}", after.first().text);
}

#[test]
fn old_names_of_keys_work_with_a_warning_and_removed_keys_are_ignored_with_one() {
    let none = outside(&[], &[]);
    let text =
        format!("{MAIN}{APP}slow_begin = '9s'\npool.warm = 3\n").replace("include = ['conf.d/*.toml']\n", "");
    let plan = parsed(&text, &none).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(plan.upstreams[0].slow_start.as_secs(), 9);
    let warnings = super::warnings_of(&sources(&text, &none), &plan);
    let said: Vec<(String, usize)> = warnings.iter().map(|one| (one.message.to_owned(), one.line)).collect();
    let line = text.lines().position(|line| line.starts_with("slow_begin")).unwrap() + 1;
    assert_eq!(said[0], ("`slow_begin` is called `slow_start` now".to_owned(), line));
    assert!(said[1].0.contains("`warm` has no effect any more: `pool.min_idle`"), "{said:?}");
    // Elsewhere, or beside the new name, it is an error.
    let both = parsed(&format!("{text}slow_start = '1s'\n"), &none).unwrap_err().to_string();
    assert!(both.contains("`slow_begin` is the old name of `slow_start`, which is here, too"), "{both}");
    let elsewhere = parsed(&text.replace("slow_begin", "tls.slow_begin"), &none).unwrap_err().to_string();
    assert!(elsewhere.contains("unknown key `slow_begin`"), "{elsewhere}");
    assert!(super::schema_errors(&text).iter().all(|error| !error.contains("slow_begin")));
}
