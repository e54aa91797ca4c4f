//! The pages that answer forms. Whatever a stranger or an operator has typed is text in them.

use std::fmt::Write as _;

use data_encoding::BASE64;

use super::STYLE;
use super::office::Offer;
use crate::certs::consumers::claim::{Claimed, Collected, kept_days};
use crate::certs::consumers::order::CredentialInfo;
use crate::certs::consumers::{ConsumerError, Standing};
use crate::proxy::destination::portal::escaped;
use crate::proxy::reply::{Reply, ReplyBody};

/// The fields by which a certificate, or the request for one, is given.
pub(super) const CERTIFICATE_FIELDS: &str = "<p><label>A certificate request (CSR) or your own certificate, in PEM, where the kind has a \
     certificate; it can be given later, too <textarea name=\"pem\" placeholder=\"-----BEGIN CERTIFICATE REQUEST-----\" \
     spellcheck=\"false\"></textarea></label></p>\
     <p><label>Or its file <input type=\"file\" name=\"file\" accept=\".pem,.csr,.crt,.cer\"></label></p>";

/// An answer of this page.
pub(super) fn page(offer: &Offer, status: u16, heading: &str, content: &str) -> Reply {
    let title = escaped(&offer.title);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{heading} · {title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<h1>{heading}</h1>\n{content}\n<p><a href=\"?\">Back to {title}</a></p>\n</main>\n</body>\n</html>\n"
    );
    Reply {
        status,
        fields: offer.fields.clone(),
        body: ReplyBody::Own {
            media_type: "text/html; charset=utf-8".into(),
            bytes: text.into_bytes().into(),
        },
        cause: (status >= 400).then(|| "a form of the page for consumers was refused".into()),
        counter: None,
        error: None,
    }
}

/// What was given can't be used: why, in words that are text.
pub(super) fn refused(offer: &Offer, status: u16, why: &str) -> Reply {
    page(offer, status, "This does not work", &format!("<p class=\"no\">{}</p>", escaped(why)))
}

/// The same of an error.
pub(super) fn failed(offer: &Offer, error: &ConsumerError) -> Reply {
    let (status, why) = match error {
        ConsumerError::NotFound { kind: "request", .. } => {
            (404, "There is no request with this code. Check it: a request that is neither decided nor collected is deleted after a while.".to_owned())
        }
        ConsumerError::State { is, .. } => (409, format!("The credential is {is}: it can be collected once, after its approval.")),
        ConsumerError::TooMany { .. } => {
            (503, "As many requests wait as may. Try it again in a few days, or write to the operator.".to_owned())
        }
        ConsumerError::Replaced => (503, "This was not carried out. Try it again now.".to_owned()),
        ConsumerError::Invalid(_) | ConsumerError::Generate(_) | ConsumerError::Name(_) => (422, error.to_string()),
        _ => {
            tracing::error!("a form of the page for consumers was not carried out: {error}");
            (500, "This was not carried out. Try it again later, or write to the operator.".to_owned())
        }
    };
    refused(offer, status, &why)
}

/// A request was taken in.
pub(super) fn requested(offer: &Offer, code: &str, claimed: &Claimed) -> Reply {
    let mut content = format!(
        "<p>Keep this code. It is shown this once, and all that is needed to collect the credential:</p>\n<pre>{code}</pre>\n\
         <p><a href=\"?#{code}\">A link to your request</a>, to be kept as a bookmark. A request that is neither decided nor \
         collected is deleted after {} days.</p>\n",
        kept_days(),
        code = escaped(code)
    );
    state_of(offer, code, claimed, &mut content);
    page(offer, 201, "Your request was sent", &content)
}

/// What has become of a request.
pub(super) fn state(offer: &Offer, code: &str, claimed: &Claimed) -> Reply {
    let mut content = String::new();
    state_of(offer, code, claimed, &mut content);
    page(offer, 200, "Your request", &content)
}

fn state_of(offer: &Offer, code: &str, claimed: &Claimed, out: &mut String) {
    let it = &claimed.credential;
    let (name, kind) = (escaped(&it.name), escaped(title_of(offer, it)));
    let _ = write!(
        out,
        "<p>Credential <b>{name}</b> of the kind {kind}: <b>{}</b> since {}.</p>",
        it.state, it.since
    );
    if !it.reason.is_empty() {
        let _ = write!(out, "<p>The operator’s reason: {}</p>", escaped(&it.reason));
    }
    match it.state {
        Standing::Requested => out.push_str("<p>It waits for the operator’s decision.</p>"),
        Standing::Approved => collecting(offer, code, claimed, out),
        Standing::Denied => out.push_str("<p class=\"no\">The request was refused.</p>"),
        Standing::Active => {
            match (claimed.collected, it.api_key) {
                (Some(at), Some(_)) => {
                    let _ = write!(
                        out,
                        "<p>It was collected at {at}. Its key was shown then, and is not kept.</p>"
                    );
                }
                (None, Some(_)) => {
                    out.push_str("<p>The operator has issued it, and has its key: ask for it.</p>")
                }
                _ => {}
            }
            ends(it, out);
            certificate(it, out);
        }
        Standing::Suspended => out.push_str("<p class=\"no\">It does not count for a while.</p>"),
        Standing::Expired => {
            out.push_str("<p class=\"no\">It has expired: ask the operator to renew it.</p>")
        }
        Standing::Revoked => out.push_str("<p class=\"no\">It was revoked: request another one.</p>"),
    }
}

fn title_of<'o>(offer: &'o Offer, it: &'o CredentialInfo) -> &'o str {
    let definition = offer.definitions.iter().find(|definition| definition.name == it.definition);
    definition.map_or(&it.definition, |definition| &definition.title)
}

/// The form by which what was approved is collected.
fn collecting(offer: &Offer, code: &str, claimed: &Claimed, out: &mut String) {
    let definition = offer.definitions.iter().find(|it| it.name == claimed.credential.definition);
    let may_make = offer.gateway_keys && definition.is_some_and(|it| it.issuer.is_some());
    let _ = write!(
        out,
        "<p class=\"yes\">It was approved.</p>\n<form method=\"post\" action=\"?collect\" enctype=\"multipart/form-data\">\n\
         <input type=\"hidden\" name=\"code\" value=\"{}\">\n",
        escaped(code)
    );
    if claimed.lacks_certificate {
        out.push_str("<p>It needs a client certificate, which is still missing.</p>\n");
        out.push_str(CERTIFICATE_FIELDS);
        if may_make {
            out.push_str(
                "<p><label class=\"line\"><input type=\"checkbox\" name=\"make_key\" value=\"yes\"> <span>I have neither: make the key for \
                 me. It is shown once, with its certificate in a PKCS#12 file, and not kept. A key that you make yourself has never \
                 been on another machine.</span></label></p>\n",
            );
        }
    }
    out.push_str(
        "<p><button>Collect the credential</button></p>\n</form>\n\
         <p>What is secret of it is shown once, on the page that follows: be ready to store it.</p>\n",
    );
}

/// What was collected, this once.
pub(super) fn collected(offer: &Offer, collected: &Collected) -> Reply {
    let it = &collected.issued.credential;
    let mut out = format!(
        "<p>Credential <b>{}</b>. Store what follows now: it is not shown again.</p>\n",
        escaped(&it.name)
    );
    if let Some(key) = &collected.issued.key {
        let _ = write!(out, "<h2>API key</h2>\n<pre id=\"key\">{}</pre>\n", escaped(key));
    }
    if let Some((container, passphrase)) = &collected.container {
        let _ = write!(
            out,
            "<h2>Key and certificate</h2>\n<p><a id=\"p12\" download=\"{name}.p12\" href=\"data:application/x-pkcs12;base64,{}\">{name}.p12</a>, \
             a PKCS#12 file with this passphrase:</p>\n<pre id=\"passphrase\">{}</pre>\n\
             <p>The key was made here and is forgotten with this page.</p>\n",
            BASE64.encode(container),
            escaped(passphrase),
            name = escaped(&it.name)
        );
    }
    ends(it, &mut out);
    certificate(it, &mut out);
    for warning in &collected.issued.warnings {
        let _ = write!(out, "<p>{}</p>", escaped(warning));
    }
    page(offer, 200, "Your credential", &out)
}

fn ends(it: &CredentialInfo, out: &mut String) {
    if let Some(expires) = it.expires {
        let _ = writeln!(out, "<p>It is valid until {expires}.</p>");
    }
}

/// The certificate, which is no secret.
fn certificate(it: &CredentialInfo, out: &mut String) {
    let Some(last) = it.certificates.first().filter(|last| !last.pem.is_empty()) else { return };
    let _ = write!(
        out,
        "<h2>Certificate</h2>\n<p>Valid until {}. <a id=\"certificate\" download=\"{}.crt\" href=\"data:application/x-pem-file;base64,{}\">Download \
         it</a>; the page of the APIs says how to install it.</p>\n<pre>{}</pre>\n",
        last.not_after,
        escaped(&it.name),
        BASE64.encode(last.pem.as_bytes()),
        escaped(&last.pem)
    );
}
