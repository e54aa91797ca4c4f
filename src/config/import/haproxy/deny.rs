//! `deny` and `reject`: of all requests of some clients, of those over a rate, or of some requests.

use super::super::draft::texts;
use super::super::values;
use super::conditions::{Acls, Conjunction, Literal, Test};
use super::frontend::Whole;
use super::parse::Item;
use super::rules::{Rule, Target};
use super::{HaProxy, Proxy};

/// What is said of a refusal that is not in the result.
const OPEN: &str = "these requests are NOT refused";

impl<'b> HaProxy<'_, 'b> {
    pub(super) fn deny(
        &mut self,
        item: &Item,
        action: &[&str],
        condition: &[&str],
        acls: &Acls,
        proxy: &Proxy<'b>,
        whole: &mut Whole<'b>,
    ) {
        let found = match acls.condition(condition) {
            Ok(found) => found,
            Err(why) => {
                return self.report.missing(item.line, format!("{OPEN}: {why}"), Some("route.deny"));
            }
        };
        let status = action.windows(2).find(|pair| matches!(pair[0], "status" | "deny_status"));
        let status = status.map_or("403", |pair| pair[1]);
        for tests in found {
            if self.refusal(&tests, status, item, proxy, whole).is_none() {
                let why = format!("{OPEN}: the condition can't be asked by a route");
                self.report.missing(item.line, why, Some("route.deny"));
            } else {
                self.report.done(item.line);
                self.used(acls, condition);
            }
        }
    }

    /// One alternative of a refusal. `None`: it can't be written.
    fn refusal(
        &mut self,
        tests: &[Literal],
        status: &str,
        item: &Item,
        proxy: &Proxy<'b>,
        whole: &mut Whole<'b>,
    ) -> Option<()> {
        let (special, plain): (Vec<&Literal>, Vec<&Literal>) =
            tests.iter().partition(|literal| is_special(literal));
        let plain: Conjunction = plain.into_iter().cloned().collect();
        let rule = |tests, target| Rule { tests, target, guards: Vec::new(), line: item.line };
        let one = match &special[..] {
            [] => {
                let answer = Target::Answer("respond", format!("{{ status = {status} }}"));
                whole.rules.push(rule(plain, answer));
                return Some(());
            }
            [one] => *one,
            _ => return None,
        };
        if one.test == Test::Login {
            whole.closed = Some(item.line);
            return None;
        }
        let (key, value) = self.restriction(one, item, proxy)?;
        let is_listener_s = key == "limits.connections_per_client";
        match (&one.test, key) {
            (_, _) if !plain.is_empty() && is_listener_s => return None,
            (_, "require_client_certificate") => whole.rules.push(rule(plain, Target::Guard(key, value))),
            (_, _) if !plain.is_empty() => whole.rules.push(rule(plain, Target::Guard(key, value))),
            (Test::Source(networks), "deny") => {
                whole.denied.extend(networks.iter().map(|network| (network.clone(), item.line)));
            }
            // Two lists of networks that may pass can't both hold.
            _ if whole.keys.iter().any(|(known, ..)| *known == key) => return None,
            _ => whole.keys.push((key, value, item.line)),
        }
        Some(())
    }

    /// The key that refuses what a test matches.
    fn restriction(
        &mut self,
        literal: &Literal,
        item: &Item,
        proxy: &Proxy<'b>,
    ) -> Option<(&'static str, String)> {
        match (&literal.test, literal.negated) {
            (Test::Source(networks), true) => Some(("allow", texts(networks))),
            (Test::Source(networks), false) => Some(("deny", texts(networks))),
            (Test::Certificate, true) => Some(("require_client_certificate", "true".to_owned())),
            (Test::Rate(most), false) => Some(("rate_limit", self.rate(*most, item, proxy)?)),
            (Test::Connections(most), false) => Some(("limits.connections_per_client", most.to_string())),
            _ => None,
        }
    }

    /// So many requests in the period of the stick table.
    fn rate(&mut self, most: u64, item: &Item, proxy: &Proxy<'b>) -> Option<String> {
        let tables =
            self.backends.values().flat_map(|backend| &backend.block.items).chain(&proxy.block.items);
        let table = tables.filter(|item| item.word(0) == "stick-table").find_map(|item| {
            let mut words = item.words.iter().flat_map(|word| word.split(','));
            let period = words.find_map(|word| word.strip_prefix("http_req_rate(")?.strip_suffix(')'))?;
            Some((period.to_owned(), item.line))
        });
        let (period, line) = table?;
        self.report.done(line);
        let period = values::duration(&period, "ms")?;
        let number = |unit: char| period.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok());
        let minutes = || Some(number('m')?.saturating_mul(60));
        let hours = || Some(number('h')?.saturating_mul(3600));
        let seconds = number('s').or_else(minutes).or_else(hours).filter(|seconds| *seconds > 0)?;
        let (rate, unit) = match most / seconds {
            0 => ((most.saturating_mul(3600) / seconds).max(1), "h"),
            _ if most.is_multiple_of(seconds) => (most / seconds, "s"),
            _ => ((most.saturating_mul(60) / seconds).max(1), "m"),
        };
        self.report.note(item.line, "the refusal is 429; a token bucket takes the place of a sliding rate");
        Some(format!("{{ rate = \"{rate}/{unit}\", burst = {}, by = \"client\" }}", most.max(1)))
    }
}

/// Whether a test is no match of a route, but a rule of its own.
fn is_special(literal: &Literal) -> bool {
    let is_rule = matches!(
        literal.test,
        Test::Source(_) | Test::Rate(_) | Test::Connections(_) | Test::Login | Test::Certificate
    );
    is_rule || literal.negated && literal.test != Test::Tls
}
