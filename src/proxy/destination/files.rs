//! A file in answer to a request: which one, by its path, and what of it, by its fields (RFC 9110 §13, §14).
//!
//! ```text
//! head ─► FileRequest ─► root and file are opened ─► preconditions, ranges ─► FileAnswer, or a Reply
//! ```
//!
//! What must be known of the head is kept in a [`FileRequest`], since the file is opened once the head is gone. Opening blocks for
//! as long as the file system does, a bounded number of times: see [`crate::io::file`].
//!
//! Paths and fields are written into the worker's memory for heads: a file, or one part of it, is sent without an allocation.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use httpdate::HttpDate;

use crate::base::sample::sampled;
use crate::config::plan::ResponseRate;
use crate::http::conditional::{self, EntityTag, Validators, Verdict};
use crate::http::range::{self, Multipart, Selection};
use crate::http::{Coding, Method, RequestHead, Version, put_line, put_text_line, rank, read_lines};
use crate::io::file::{FileBody, Found, OpenFile, Root};
use crate::proxy::head_buffers::HeadBuffers;
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
    /// What follows, one behind the other.
    text: Vec<u8>,
    /// Where in that the path below the root is, decoded. `None`: it names nothing that is served.
    path: Option<Range<usize>>,
    /// Path and query as they came, the path normalised and with a slash behind it. `None`: the path below the root has that.
    with_slash: Option<Range<usize>>,
    /// Its preconditions and its range, as field lines.
    fields: Range<usize>,
    /// Encoded files that the client takes, best first.
    codings: [Option<Coding>; 3],
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

/// A media type, with a charset or without one.
#[derive(Clone, Copy, Debug)]
struct MediaType<'f> {
    name: &'static str,
    charset: Option<&'f str>,
}

/// Status, Content-Length and body of a [`FileAnswer`].
type Answered = (u16, Option<u64>, Option<FileBody>);

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
    /// Of this head; `path` is where the file is, `asked` the path that the client sees, both normalised. `text` is empty.
    pub(crate) fn new(
        files: &Arc<Files>,
        head: &RequestHead<'_, '_>,
        (path, asked): (&str, &str),
        (number, rate): (u64, Option<ResponseRate>),
        mut text: Vec<u8>,
    ) -> Self {
        let method = match head.method {
            Method::Get => Kind::Get,
            Method::Head => Kind::Head,
            _ => Kind::Other,
        };
        let decoded = decode_path(path, files.dot_files, &mut text).filter(|()| path != "*");
        let path_end = text.len();
        let with_slash = (!path.ends_with('/')).then(|| {
            put_with_slash(asked, head.target.query, &mut text);
            path_end..text.len()
        });
        let fields_start = text.len();
        for field in head.fields.iter() {
            if conditional::FIELDS.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
                put_line(field.name, field.value, &mut text);
            }
        }
        Self {
            files: Arc::clone(files),
            method,
            version: head.version,
            path: decoded.map(|()| 0..path_end),
            with_slash,
            fields: fields_start..text.len(),
            text,
            codings: rank(head.fields.all("accept-encoding"), &files.precompressed),
            number,
            rate,
        }
    }

    /// Opens what is asked for.
    ///
    /// # Errors
    /// The response without a file: there is none, it may not be read, or the preconditions do not hold.
    pub(crate) fn answer(self, memory: &HeadBuffers) -> Result<FileAnswer, Reply> {
        let (mut path, mut fields) = (FilePath::root(memory.take()), memory.take());
        let answered = self.open(&mut path, &mut fields);
        memory.give(path.into_memory());
        memory.give(self.text);
        match answered {
            Ok((status, length, body)) => Ok(FileAnswer { status, fields, length, body }),
            Err(reply) => {
                memory.give(fields);
                Err(reply)
            }
        }
    }

    /// The same with the fields in `fields`, and with `path` as memory for what is tried.
    fn open(&self, path: &mut FilePath, fields: &mut Vec<u8>) -> Result<Answered, Reply> {
        if self.method == Kind::Other {
            let mut reply = Reply::refusal(405, "files are only read");
            put_line("Allow", b"GET, HEAD", &mut reply.fields);
            return Err(reply);
        }
        let asked = self.path.clone().ok_or_else(missing)?;
        let root = Root::open(&self.files.root).map_err(|error| self.refused(&error))?;
        let file = self.find(&root, &self.text[asked], path)?;
        let variant = self.variant(&root, path, file);
        self.describe(variant, media_type(path, &self.files), fields)
    }

    /// The first of what is tried that is there, whose path `candidate` becomes.
    fn find(&self, root: &Root, path: &[u8], candidate: &mut FilePath) -> Result<OpenFile, Reply> {
        for attempt in &self.files.attempts {
            let pattern = match attempt {
                Attempt::Path(pattern) => pattern,
                Attempt::Status(status) => return Err(Reply::refusal(*status, "none of try_files is there")),
            };
            if !pattern.expand(path, candidate) {
                continue;
            }
            if candidate.is_folder() {
                if self.there(root.has_folder(candidate.as_bytes(), self.files.links))?.is_none() {
                    continue;
                }
                return match &self.with_slash {
                    Some(target) if pattern.is_own() => Err(moved(&self.text[target.clone()])),
                    _ => self.index(root, candidate),
                };
            }
            if let Some(Found::File(file)) = self.there(root.find(candidate.as_bytes(), self.files.links))? {
                return Ok(file);
            }
        }
        Err(missing())
    }

    /// The index file of a folder, which `folder` becomes.
    fn index(&self, root: &Root, folder: &mut FilePath) -> Result<OpenFile, Reply> {
        for name in &self.files.index {
            let cut = folder.push_name(name);
            if let Some(Found::File(file)) = self.there(root.find(folder.as_bytes(), self.files.links))? {
                return Ok(file);
            }
            folder.cut(cut);
        }
        Err(Reply::refusal(403, "the folder has no index file, and is not listed"))
    }

    /// The encoded file beside a file that the client likes best, or the file itself.
    fn variant(&self, root: &Root, path: &mut FilePath, file: OpenFile) -> (OpenFile, Option<Coding>) {
        for coding in self.codings.into_iter().flatten() {
            let cut = path.push_suffix(coding.suffix());
            let found = root.find(path.as_bytes(), self.files.links);
            path.cut(cut);
            // Whatever is wrong with it, the file itself is here.
            if let Ok(Found::File(encoded)) = found {
                return (encoded, Some(coding));
            }
        }
        (file, None)
    }

    /// What is sent of a file, by the preconditions and the range.
    fn describe(
        &self,
        (file, coding): (OpenFile, Option<Coding>),
        media_type: MediaType<'_>,
        fields: &mut Vec<u8>,
    ) -> Result<Answered, Reply> {
        let length = file.length;
        let tag = EntityTag::of(file.modified, length);
        let validators = Validators { tag: tag.as_bytes(), modified: file.modified.0 };
        let conditions = read_lines(&self.text[self.fields.clone()]);
        let range = match conditional::evaluate(conditions, validators) {
            Verdict::Send(range) => range.filter(|_| self.method == Kind::Get),
            Verdict::NotModified => {
                self.put_common(&file, &tag, fields);
                return Ok((304, None, None));
            }
            Verdict::Failed => {
                return Err(Reply::refusal(412, "the file is not the one that the client means"));
            }
        };
        let selection = range.map_or(Selection::Whole, |range| range::select(range, length));
        let (status, length, body) = match selection {
            Selection::Unsatisfiable => {
                let mut reply = Reply::refusal(416, "nothing of the range is in the file");
                put_text_line("Content-Range", range::unsatisfied(length), &mut reply.fields);
                return Err(reply);
            }
            Selection::Whole => {
                put_text_line("Content-Type", media_type, fields);
                self.put_common(&file, &tag, fields);
                (200, length, FileBody::part(file, 0..length))
            }
            Selection::One(part) => {
                put_text_line("Content-Type", media_type, fields);
                put_text_line("Content-Range", range::content_range(&part, length), fields);
                self.put_common(&file, &tag, fields);
                (206, part.end - part.start, FileBody::part(file, part))
            }
            Selection::Several(parts) => {
                self.put_common(&file, &tag, fields);
                let (length, body) = several(file, parts, media_type, self.number, fields);
                (206, length, body)
            }
        };
        if let Some(coding) = coding {
            put_line("Content-Encoding", coding.name().as_bytes(), fields);
        }
        put_line("Accept-Ranges", b"bytes", fields);
        let body = (self.method == Kind::Get).then_some(body);
        Ok((status, Some(length), body))
    }

    /// The fields that a 304 has as well (RFC 9110 §15.4.5).
    fn put_common(&self, file: &OpenFile, tag: &EntityTag, fields: &mut Vec<u8>) {
        put_text_line("Date", HttpDate::from(SystemTime::now()), fields);
        if let Some(date) = conditional::http_date(file.modified.0) {
            put_text_line("Last-Modified", date, fields);
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
}

/// Appends a path with a slash behind it, and the query.
fn put_with_slash(path: &str, query: Option<&str>, text: &mut Vec<u8>) {
    text.extend_from_slice(path.as_bytes());
    text.push(b'/');
    if let Some(query) = query {
        text.push(b'?');
        text.extend_from_slice(query.as_bytes());
    }
}

/// The client is sent to the folder's own path, in which relative links lead where they are meant to.
fn moved(target: &[u8]) -> Reply {
    let mut fields = Vec::new();
    put_line("Location", target, &mut fields);
    Reply { status: 301, fields, body: ReplyBody::Standard, cause: None, counter: None, error: None }
}

/// Several parts of a file as one body, and its length.
fn several(
    file: OpenFile,
    parts: Vec<Range<u64>>,
    media_type: MediaType<'_>,
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

/// The media type of a file by its name, that of text with its charset.
fn media_type<'f>(path: &FilePath, files: &'f Files) -> MediaType<'f> {
    let known = path.extension().and_then(|extension| mime_guess::from_ext(extension).first_raw());
    let name = known.unwrap_or(UNKNOWN_TYPE);
    MediaType { name, charset: files.charset.as_deref().filter(|_| name.starts_with("text/")) }
}

impl fmt::Display for MediaType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.charset.map_or(Ok(()), |charset| write!(f, "; charset={charset}"))
    }
}
