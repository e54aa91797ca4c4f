//! Two commands at once: each result is one of theirs, and none is lost silently.

use std::process::Output;

use serde_json::Value;

use super::{Shop, states};

/// Runs these commands at the same time.
fn at_once(shop: &Shop, commands: &[String]) -> Vec<Output> {
    std::thread::scope(|scope| {
        let running: Vec<_> =
            commands.iter().map(|words| scope.spawn(move || shop.cert(&format!("{words} --json")))).collect();
        running.into_iter().map(|command| command.join().unwrap()).collect()
    })
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn each_staged_generation_says_which_one_it_replaced() {
    let shop = Shop::new();
    shop.did("generate gateway --common-name gateway");
    let commands = vec!["stage gateway --generate".to_owned(); 6];
    let answers: Vec<Value> = at_once(&shop, &commands).iter().map(answer).collect();
    let mut numbers: Vec<u64> = answers.iter().map(|made| made["generation"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7], "each has a number of its own");
    // The last one waits; each other one was named by the one that took its place.
    let shown = shop.json("show gateway");
    assert_eq!(states(&shown), [Some(1), Some(7), None]);
    let mut replaced: Vec<u64> = answers.iter().filter_map(|made| made["replaced"].as_u64()).collect();
    replaced.sort_unstable();
    assert_eq!(replaced, [2, 3, 4, 5, 6]);
    let last = answers.iter().find(|made| made["generation"] == 7).unwrap();
    assert_eq!(last["pem"], shop.json("export gateway --part staged")["content"]);
}

#[test]
fn one_of_two_takes_a_name_and_the_other_is_told() {
    let shop = Shop::new();
    let commands = ["one", "two"].map(|name| format!("generate gateway --common-name {name}"));
    let outputs = at_once(&shop, &commands);
    let (won, lost): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
    assert_eq!((won.len(), lost.len()), (1, 1));
    let said = String::from_utf8_lossy(&lost[0].stderr);
    assert!(said.contains("there is a certificate \"gateway\" already"), "{said}");
    let shown = shop.json("show gateway");
    assert_eq!(shown["generations"][0]["subject"], answer(won[0])["subject"]);
    assert_eq!(shown["pem"], answer(won[0])["pem"]);
}

#[test]
fn commands_on_different_matters_all_happen() {
    let shop = Shop::new();
    shop.did("generate gateway --common-name gateway");
    shop.did("generate old --common-name old");
    shop.did("stage gateway --generate");
    let commands = [
        "describe gateway orders",
        "activate gateway",
        "generate other --common-name other",
        "generate third --common-name third --csr",
        "delete old",
    ];
    // The answers are of different kinds; that of a request is the request.
    for (words, output) in commands.iter().zip(at_once(&shop, &commands.map(str::to_owned))) {
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let shown = shop.json("show gateway");
    assert_eq!((&shown["description"], states(&shown)), (&"orders".into(), [Some(2), None, Some(1)]));
    let listed = shop.json("list");
    let names: Vec<&str> =
        listed["certificates"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["gateway", "other", "third"]);
}
