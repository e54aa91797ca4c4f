//! A file in answer to a request: which one, by its path, and what of it, by its fields (RFC 9110 §13, §14).
//!
//! ```text
//! head ─► FileRequest ─► root and file are opened ─► preconditions, ranges ─► FileAnswer, or a Reply
//! ```
//!
//! What must be known of the head is kept in a [`FileRequest`], since the file is opened once the head is gone. Opening blocks for
//! as long as the file system does, a bounded number of times: see [`crate::io::file`].

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use crate::base::sample::sampled;
use crate::config::plan::ResponseRate;
use crate::http::conditional::{self, Validators, Verdict};
use crate::http::range::{self, Multipart, Selection};
use crate::http::{Coding, Method, RequestHead, Version, put_line, rank, read_lines};
use crate::io::file::{FileBody, Found, OpenFile, Root};
use crate::proxy::reply::{Reply, ReplyBody};
use crate::route::{Attempt, FilePath, Files, decode_path};

/// The media type of files whose names do not show one.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// A request for a file.
#[derive(Debug)]
pub(crate) struct FileRequest {
    files: Arc<Files>,
    method: Kind,
    /// Its version.
    pub(crate) version: Version,
    /// The path below the root, decoded. `None`: it names nothing that is served.
    path: Option<Vec<u8>>,
    /// That path, before it was decoded, does not end with a slash.
    lacks_slash: bool,
    /// Path and query as they came, the path normalised.
    target: Target,
    /// Encoded files that the client takes, best first.
    codings: [Option<Coding>; 3],
    /// Its preconditions and its range, as field lines.
    fields: Vec<u8>,
    /// A number of its own.
    number: u64,
    /// How fast the file goes out at most.
    pub(crate) rate: Option<ResponseRate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Get,
    Head,
    Other,
}

#[derive(Debug)]
struct Target {
    path: Box<str>,
    query: Option<Box<str>>,
}

/// A response with a file, or about one.
#[derive(Debug)]
pub(crate) struct FileAnswer {
    /// 200, 206 or 304.
    pub(crate) status: u16,
    /// Its field lines, each ended by CRLF, but for Content-Length.
    pub(crate) fields: Vec<u8>,
    /// Content-Length; `None`: there is none.
    pub(crate) length: Option<u64>,
    /// What is sent; `None`: nothing, as for HEAD.
    pub(crate) body: Option<FileBody>,
}

impl FileRequest {
    /// Of this head; `path` is where the file is, `asked` the path that the client sees, both normalised.
    pub(crate) fn new(
        files: &Arc<Files>,
        head: &RequestHead<'_, '_>,
        (path, asked): (&str, &str),
        (number, rate): (u64, Option<ResponseRate>),
    ) -> Self {
        let method = match head.method {
            Method::Get => Kind::Get,
            Method::Head => Kind::Head,
            _ => Kind::Other,
        };
        let mut fields = Vec::new();
        for field in head.fields.iter() {
            if conditional::FIELDS.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
                put_line(field.name, field.value, &mut fields);
            }
        }
        let target = Target { path: asked.into(), query: head.target.query.map(Into::into) };
        Self {
            files: Arc::clone(files),
            method,
            version: head.version,
            path: decode_path(path, files.dot_files).filter(|_| path != "*"),
            lacks_slash: !path.ends_with('/'),
            target,
            codings: rank(head.fields.all("accept-encoding"), &files.precompressed),
            fields,
            number,
            rate,
        }
    }

    /// Opens what is asked for.
    ///
    /// # Errors
    /// The response without a file: there is none, it may not be read, or the preconditions do not hold.
    pub(crate) fn answer(&self) -> Result<FileAnswer, Reply> {
        if self.method == Kind::Other {
            let mut reply = Reply::refusal(405, "files are only read");
            put_line("Allow", b"GET, HEAD", &mut reply.fields);
            return Err(reply);
        }
        let path = self.path.as_deref().ok_or_else(missing)?;
        let root = Root::open(&self.files.root).map_err(|error| self.refused(&error))?;
        let (file, path) = self.find(&root, path)?;
        self.describe(self.variant(&root, &path, file), &path)
    }

    /// The first of what is tried that is there.
    fn find(&self, root: &Root, path: &[u8]) -> Result<(OpenFile, FilePath), Reply> {
        for attempt in &self.files.attempts {
            let pattern = match attempt {
                Attempt::Path(pattern) => pattern,
                Attempt::Status(status) => return Err(Reply::refusal(*status, "none of try_files is there")),
            };
            let Some(candidate) = pattern.expand(path) else { continue };
            if candidate.is_folder() {
                if self.there(root.has_folder(candidate.as_bytes(), self.files.links))?.is_none() {
                    continue;
                }
                if self.lacks_slash && pattern.is_own() {
                    return Err(self.with_slash());
                }
                return self.index(root, &candidate);
            }
            if let Some(Found::File(file)) = self.there(root.find(candidate.as_bytes(), self.files.links))? {
                return Ok((file, candidate));
            }
        }
        Err(missing())
    }

    /// The index file of a folder.
    fn index(&self, root: &Root, folder: &FilePath) -> Result<(OpenFile, FilePath), Reply> {
        for name in &self.files.index {
            let candidate = folder.with_name(name);
            if let Some(Found::File(file)) = self.there(root.find(candidate.as_bytes(), self.files.links))? {
                return Ok((file, candidate));
            }
        }
        Err(Reply::refusal(403, "the folder has no index file, and is not listed"))
    }

    /// The encoded file beside a file that the client likes best, or the file itself.
    fn variant(&self, root: &Root, path: &FilePath, file: OpenFile) -> (OpenFile, Option<Coding>) {
        for coding in self.codings.into_iter().flatten() {
            let beside = path.with_suffix(coding.suffix());
            // Whatever is wrong with it, the file itself is here.
            if let Ok(Found::File(encoded)) = root.find(beside.as_bytes(), self.files.links) {
                return (encoded, Some(coding));
            }
        }
        (file, None)
    }

    /// What is sent of a file, by the preconditions and the range.
    fn describe(
        &self,
        (file, coding): (OpenFile, Option<Coding>),
        path: &FilePath,
    ) -> Result<FileAnswer, Reply> {
        let length = file.length;
        let tag = conditional::entity_tag(file.modified, length);
        let validators = Validators { tag: tag.as_bytes(), modified: file.modified.0 };
        let range = match conditional::evaluate(read_lines(&self.fields), validators) {
            Verdict::Send(range) => range.filter(|_| self.method == Kind::Get),
            Verdict::NotModified => {
                let mut fields = Vec::with_capacity(256);
                self.put_common(&file, &tag, &mut fields);
                return Ok(FileAnswer { status: 304, fields, length: None, body: None });
            }
            Verdict::Failed => {
                return Err(Reply::refusal(412, "the file is not the one that the client means"));
            }
        };
        let media_type = media_type(path);
        let selection = range.map_or(Selection::Whole, |range| range::select(range, length));
        let mut fields = Vec::with_capacity(512);
        let (status, length, body) = match selection {
            Selection::Unsatisfiable => {
                let mut reply = Reply::refusal(416, "nothing of the range is in the file");
                put_line("Content-Range", range::unsatisfied(length).as_bytes(), &mut reply.fields);
                return Err(reply);
            }
            Selection::Whole => {
                put_line("Content-Type", media_type.as_bytes(), &mut fields);
                self.put_common(&file, &tag, &mut fields);
                (200, length, FileBody::part(file, 0..length))
            }
            Selection::One(part) => {
                put_line("Content-Type", media_type.as_bytes(), &mut fields);
                put_line("Content-Range", range::content_range(&part, length).as_bytes(), &mut fields);
                self.put_common(&file, &tag, &mut fields);
                (206, part.end - part.start, FileBody::part(file, part))
            }
            Selection::Several(parts) => {
                self.put_common(&file, &tag, &mut fields);
                let (length, body) = several(file, parts, &media_type, self.number, &mut fields);
                (206, length, body)
            }
        };
        if let Some(coding) = coding {
            put_line("Content-Encoding", coding.name().as_bytes(), &mut fields);
        }
        put_line("Accept-Ranges", b"bytes", &mut fields);
        let body = (self.method == Kind::Get).then_some(body);
        Ok(FileAnswer { status, fields, length: Some(length), body })
    }

    /// The fields that a 304 has as well (RFC 9110 §15.4.5).
    fn put_common(&self, file: &OpenFile, tag: &str, fields: &mut Vec<u8>) {
        put_line("Date", httpdate::fmt_http_date(SystemTime::now()).as_bytes(), fields);
        if let Some(date) = conditional::http_date(file.modified.0) {
            put_line("Last-Modified", date.as_bytes(), fields);
        }
        put_line("ETag", tag.as_bytes(), fields);
        if !self.files.precompressed.is_empty() {
            put_line("Vary", b"Accept-Encoding", fields);
        }
        if let Some(value) = &self.files.cache_control {
            put_line("Cache-Control", value.as_bytes(), fields);
        }
    }

    /// What was found; `None`: there is nothing.
    fn there<T>(&self, found: io::Result<T>) -> Result<Option<T>, Reply> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// The response where a file can't be opened.
    fn refused(&self, error: &io::Error) -> Reply {
        let root = self.files.root.to_str().unwrap_or("root");
        match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => {
                Reply::refusal(403, format!("a file may not be read: {error}"))
            }
            Some(libc::EXDEV) => Reply::refusal(403, "a symbolic link leads out of the root"),
            Some(libc::ELOOP) => {
                Reply::refusal(403, "a symbolic link is not followed (symlinks), or there are too many")
            }
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN) => {
                sampled!(warn, Exchange of root, {}, "a file below {root} could not be opened: {error}; raise LimitNOFILE (`ulimit -n`)");
                let mut reply = Reply::refusal(503, format!("a file could not be opened: {error}"));
                put_line("Retry-After", b"1", &mut reply.fields);
                reply
            }
            _ if is_missing(error) => {
                sampled!(warn, Exchange of root, {}, "the root {root} can't be opened: {error}");
                missing()
            }
            _ => {
                sampled!(warn, Exchange of root, {}, "a file below {root} could not be opened: {error}");
                Reply::refusal(500, format!("a file could not be opened: {error}"))
            }
        }
    }

    /// The client is sent to the folder's own path, in which relative links lead where they are meant to.
    fn with_slash(&self) -> Reply {
        let Target { path, query } = &self.target;
        let (mark, query) = query.as_ref().map_or(("", ""), |query| ("?", &**query));
        let mut fields = Vec::new();
        put_line("Location", format!("{path}/{mark}{query}").as_bytes(), &mut fields);
        Reply { status: 301, fields, body: ReplyBody::Standard, cause: None, counter: None, error: None }
    }
}

/// Several parts of a file as one body, and its length.
fn several(
    file: OpenFile,
    parts: Vec<Range<u64>>,
    media_type: &str,
    number: u64,
    fields: &mut Vec<u8>,
) -> (u64, FileBody) {
    let body = Multipart::new(parts, file.length, media_type, number);
    put_line("Content-Type", body.media_type().as_bytes(), fields);
    let length = body.length();
    let (text, parts) = body.into_parts();
    (length, FileBody::parts(file, text, parts))
}

/// Whether there is nothing at a path, or no file that can be opened by it.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ENXIO))
}

fn missing() -> Reply {
    Reply::refusal(404, "there is no such file")
}

/// The media type of a file by its name. Text is UTF-8: what is not has its type set by a header rule.
fn media_type(path: &FilePath) -> String {
    let known = path.extension().and_then(|extension| mime_guess::from_ext(extension).first_raw());
    let known = known.unwrap_or(UNKNOWN_TYPE);
    if known.starts_with("text/") { format!("{known}; charset=utf-8") } else { known.to_owned() }
}
