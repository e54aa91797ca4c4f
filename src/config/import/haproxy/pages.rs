//! `errorfile`, `errorloc` and `http-error` become pages of listeners, and those of backends pages of routes.

use std::path::Path;

use super::super::draft::{Section, quoted};
use super::parse::{Block, Item};
use super::{HaProxy, Proxy};
use crate::base::limits::MAX_PAGE_BYTES;

impl<'b> HaProxy<'_, 'b> {
    /// The pages of a frontend, those of its defaults among them.
    pub(super) fn pages(&mut self, listener: &mut Section, proxy: &Proxy<'b>) {
        let of_defaults = proxy.defaults.map_or(&[][..], |defaults| &defaults.items);
        for item in of_defaults.iter().chain(&proxy.block.items) {
            self.page(listener, item);
        }
        Self::unreachable(listener);
    }

    /// HAProxy has 503 for a backend that can't be reached, and Ringate 502: the page of the one is that of the other, too.
    fn unreachable(section: &mut Section) {
        if let Some(page) = section.get("error_pages.503").filter(|_| !section.has("error_pages.502")) {
            let page = page.to_owned();
            section.set("error_pages.502", page, section.line());
        }
    }

    /// The pages of a backend, for a route that leads to it. Those of its defaults go before its frontend's own.
    pub(super) fn pages_of_backend(
        &mut self,
        route: &mut Section,
        backend: &Proxy<'b>,
        frontend: &Proxy<'b>,
    ) {
        let same = |one: Option<&Block>, other: Option<&Block>| match (one, other) {
            (Some(one), Some(other)) => std::ptr::eq(one, other),
            (None, None) => true,
            _ => false,
        };
        let differs = !same(backend.defaults, frontend.defaults);
        let of_frontend: Vec<&str> = frontend.block.items.iter().filter_map(status_of).collect();
        let of_defaults = backend.defaults.map_or(&[][..], |defaults| &defaults.items);
        let of_defaults = of_defaults
            .iter()
            .filter(|item| status_of(item).is_some_and(|status| differs || of_frontend.contains(&status)));
        for item in of_defaults.chain(&backend.block.items) {
            self.page(route, item);
        }
        Self::unreachable(route);
    }

    /// The page of a line, if it has one.
    fn page(&mut self, section: &mut Section, item: &Item) {
        let page = match item.word(0) {
            "errorfile" => self.error_file(item),
            "errorloc" | "errorloc302" => error_location(item, 302),
            "errorloc303" => error_location(item, 303),
            "http-error" => self.http_error(item),
            _ => return,
        };
        match page {
            Ok((status, page)) => {
                section.set(&format!("error_pages.{status}"), page, item.line);
                self.report.done(item.line);
            }
            Err(why) => self.report.missing(item.line, why, Some("route.error_pages")),
        }
    }

    /// `errorfile STATUS FILE`: the file has a whole response, of which the body is the page.
    fn error_file(&mut self, item: &Item) -> Result<(u16, String), String> {
        let (status, file) = (status(item.word(1))?, item.word(2));
        let text = self.outside.read(&self.folder.join(file));
        let text = text.map_err(|error| format!("{file} could not be read: {error}"))?;
        let ends = ["\r\n\r\n", "\n\n"].map(|end| text.find(end).map(|at| (at, at + end.len())));
        let Some((head, body)) = ends.into_iter().flatten().min() else {
            return Err(format!("{file} is no response: it has no empty line"));
        };
        if (text.len() - body) as u64 > MAX_PAGE_BYTES {
            return Err(format!("{file} has more than {MAX_PAGE_BYTES} bytes"));
        }
        let (head, body) = (&text[..head], &text[body..]);
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let fields: Vec<(&str, &str)> = fields.map(|(name, value)| (name.trim(), value.trim())).collect();
        let known = ["content-type", "content-length", "connection", "cache-control"];
        if fields.iter().any(|(name, _)| !known.iter().any(|known| name.eq_ignore_ascii_case(known))) {
            self.report.note(item.line, "of its header fields Content-Type alone is sent");
        }
        let media_type = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let media_type = media_type.map_or("text/html", |(_, value)| value);
        Ok((status, format!("{{ text = {}, content_type = {} }}", quoted(body), quoted(media_type))))
    }

    /// `http-error status STATUS content-type TYPE file FILE`, or `string TEXT`.
    fn http_error(&mut self, item: &Item) -> Result<(u16, String), String> {
        let status = status(item.after("status").unwrap_or_default())?;
        let (file, text) = (item.after("file"), item.after("string"));
        let source = match (file, text) {
            (Some(file), None) => {
                let file = self.folder.join(Path::new(file)).display().to_string();
                format!("file = {}", quoted(&file))
            }
            (None, Some(text)) => format!("text = {}", quoted(text)),
            _ => return Err("a page is a file or a text without variables".to_owned()),
        };
        if item.has("hdr") {
            self.report.note(item.line, "of its header fields Content-Type alone is sent");
        }
        let media_type = item.after("content-type").map(|kind| format!(", content_type = {}", quoted(kind)));
        Ok((status, format!("{{ {source}{} }}", media_type.unwrap_or_default())))
    }
}

/// The status that a line has a page for, as it is written.
fn status_of(item: &Item) -> Option<&str> {
    match item.word(0) {
        "errorfile" | "errorloc" | "errorloc302" | "errorloc303" => Some(item.word(1)),
        "http-error" => item.after("status"),
        _ => None,
    }
}

/// `errorloc STATUS URL`: the client is sent there.
fn error_location(item: &Item, redirect: u16) -> Result<(u16, String), String> {
    let status = status(item.word(1))?;
    Ok((status, format!("{{ redirect = {}, status = {redirect} }}", quoted(item.word(2)))))
}

/// A status that can have a page.
fn status(word: &str) -> Result<u16, String> {
    let status = word.parse().ok().filter(|status| (400..=599).contains(status));
    status.ok_or_else(|| format!("{word} is no status of an error"))
}
