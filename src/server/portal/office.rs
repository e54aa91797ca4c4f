//! Takes forms of the pages for consumers over from the workers, within bounds, and carries them out, one after the other, on a
//! thread of its own.
//!
//! ```text
//! worker: admit (rate) ─► content read ─► submit ─► queue ─► this thread: store, index published, page ─► worker: answer
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::json;

use super::answers;
use super::fields::Fields;
use crate::base::limits::PORTAL_FORMS;
use crate::certs::consumers::claim::ClaimRequest;
use crate::certs::consumers::order::{CredentialInfo, Issue};
use crate::certs::consumers::{ConsumerError, Definition};
use crate::config::plan::{LimitBy, RateLimit};
use crate::proxy::destination::portal::{Action, AnswerSlot, Clerk, Form};
use crate::proxy::reply::Reply;
use crate::proxy::rules::Limit;
use crate::server::Deployment;
use crate::server::audit::Entry;

/// How many times as many requests all clients may make together as one.
const ALL_TO_ONE: u32 = 10;
/// How often a client may look at a request, or collect one, in an hour; and at once.
const LOOKS: (u32, u32) = (600, 60);
const HOUR: Duration = Duration::from_secs(3600);

/// What a page offers.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(super) title: String,
    /// The kinds of credentials that can be requested there.
    pub(super) definitions: Vec<Definition>,
    pub(super) gateway_keys: bool,
    /// Most requests that wait.
    pub(super) pending: usize,
    /// Field lines of its answers.
    pub(super) fields: Vec<u8>,
}

/// The queue to the thread, and what must not begin anew at a reload: how many requests clients have made.
#[derive(Debug)]
pub(crate) struct Office {
    jobs: SyncSender<Job>,
    /// Until the thread takes it.
    inbox: Mutex<Option<Receiver<Job>>>,
    /// By `hourly`.
    limits: Mutex<Vec<(u32, Arc<Limits>)>>,
}

#[derive(Debug)]
struct Job {
    form: Form,
    offer: Arc<Offer>,
    answer: AnswerSlot,
}

#[derive(Debug)]
struct Limits {
    client: Limit,
    all: Limit,
    looks: Limit,
}

impl Limits {
    fn new(hourly: u32) -> Self {
        let limit = |count: u32, burst: u32, by| RateLimit { count, period: HOUR, burst, by };
        let (client, all) = (LimitBy::Client, LimitBy::All);
        let together = hourly.saturating_mul(ALL_TO_ONE);
        let cause = "too many forms of the page for consumers";
        Self {
            client: Limit::new(&limit(hourly, hourly, client.clone()), cause),
            all: Limit::new(&limit(together, together, all), cause),
            looks: Limit::new(&limit(LOOKS.0, LOOKS.1, client), cause),
        }
    }
}

impl Default for Office {
    fn default() -> Self {
        let (jobs, inbox) = sync_channel(PORTAL_FORMS);
        Self { jobs, inbox: Mutex::new(Some(inbox)), limits: Mutex::default() }
    }
}

impl Office {
    /// The limits of pages with this `hourly`: those that run already, if there are any.
    fn limits(&self, hourly: u32) -> Arc<Limits> {
        let mut all = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(known, limits)| *known == hourly || Arc::strong_count(limits) > 1);
        if let Some((_, limits)) = all.iter().find(|(known, _)| *known == hourly) {
            return Arc::clone(limits);
        }
        let limits = Arc::new(Limits::new(hourly));
        all.push((hourly, Arc::clone(&limits)));
        limits
    }
}

/// Takes the forms of one page over.
#[derive(Debug)]
pub(super) struct PageClerk {
    jobs: SyncSender<Job>,
    offer: Arc<Offer>,
    limits: Arc<Limits>,
}

impl PageClerk {
    pub(super) fn new(office: &Office, offer: Offer, hourly: u32) -> Self {
        Self { jobs: office.jobs.clone(), offer: Arc::new(offer), limits: office.limits(hourly) }
    }
}

impl Clerk for PageClerk {
    fn admit(&self, action: Action, address: &str) -> Result<(), Reply> {
        let Limits { client, all, looks } = &*self.limits;
        let admitted = match action {
            Action::Request => client.take_for(address).and_then(|()| all.take_for(address)),
            Action::State | Action::Collect => looks.take_for(address),
        };
        admitted.map_err(|mut reply| {
            reply.counter = Some(|counters| &counters.portal_limited);
            reply
        })
    }

    fn submit(&self, form: Form, answer: AnswerSlot) -> Result<(), Reply> {
        let job = Job { form, offer: Arc::clone(&self.offer), answer };
        self.jobs.try_send(job).map_err(|_| {
            let mut reply = Reply::refusal(503, "as many forms of the page for consumers wait as may");
            reply.fields.extend_from_slice(b"Retry-After: 5\r\n");
            reply.counter = Some(|counters| &counters.portal_limited);
            reply
        })
    }
}

/// Carries forms out until the deployment is gone.
pub(crate) fn run(deployment: &Weak<Deployment>) {
    let Some(office) = deployment.upgrade().map(|it| Arc::clone(&it.made().portal)) else { return };
    let inbox = office.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(office);
    for Job { form, offer, answer } in inbox.into_iter().flatten() {
        let Some(deployment) = deployment.upgrade() else { return };
        // What strangers send must not end the thread, whatever a parser makes of it.
        let done = catch_unwind(AssertUnwindSafe(|| carry_out(&deployment, &offer, form)));
        answer
            .give(done.unwrap_or_else(|_| Reply::refusal(500, "carrying out a form panicked: see the log")));
    }
}

fn carry_out(deployment: &Deployment, offer: &Offer, form: Form) -> Reply {
    let Form { action, address, media_type, content } = form;
    let Some(fields) = Fields::read(&media_type, content) else {
        return answers::refused(offer, 422, "The form can't be read.");
    };
    let done = match action {
        Action::Request => request(deployment, offer, &fields, &address),
        Action::State => state(deployment, offer, &fields),
        Action::Collect => collect(deployment, offer, &fields, &address),
    };
    done.unwrap_or_else(|error| answers::failed(offer, &error))
}

fn request(
    deployment: &Deployment,
    offer: &Offer,
    fields: &Fields,
    address: &str,
) -> Result<Reply, ConsumerError> {
    let wanted = fields.text("definition");
    let Some(definition) = offer.definitions.iter().find(|it| it.name == wanted) else {
        return Err(ConsumerError::Invalid("There is no such kind of credential here.".to_owned()));
    };
    let origins: Vec<String> = fields
        .text("origins")
        .split(|character: char| character.is_whitespace() || character == ',')
        .filter(|origin| !origin.is_empty())
        .map(str::to_owned)
        .collect();
    if !origins.is_empty() && !definition.javascript_origins {
        return Err(ConsumerError::Invalid(
            "This kind of credential has no origins: leave them out.".to_owned(),
        ));
    }
    let asked = ClaimRequest {
        definition: definition.name.clone(),
        name: fields.text("name").to_owned(),
        contact: fields.text("contact").to_owned(),
        description: fields.text("description").to_owned(),
        origins,
        given: given(fields, definition)?,
        most: offer.pending,
    };
    let (code, claimed) = deployment.at_desk(true, |desk| desk.claim(asked))?;
    note(deployment, "requested", address, &claimed.credential);
    Ok(answers::requested(offer, &code, &claimed))
}

fn state(deployment: &Deployment, offer: &Offer, fields: &Fields) -> Result<Reply, ConsumerError> {
    let code = fields.text("code");
    let claimed = deployment.at_desk(false, |desk| Ok(desk.claimed(code)))?;
    let unknown = || ConsumerError::NotFound { kind: "request", name: String::new(), similar: Vec::new() };
    claimed.map(|claimed| answers::state(offer, code, &claimed)).ok_or_else(unknown)
}

fn collect(
    deployment: &Deployment,
    offer: &Offer,
    fields: &Fields,
    address: &str,
) -> Result<Reply, ConsumerError> {
    let code = fields.text("code");
    let claimed = deployment.at_desk(false, |desk| Ok(desk.claimed(code)))?;
    let named = claimed.map(|claimed| claimed.credential.definition).unwrap_or_default();
    let definition = offer.definitions.iter().find(|it| it.name == named);
    let (given, make_key) = match definition {
        // Of another page, or of no request: nothing is given, and the desk says what is wrong.
        None => (Issue::default(), false),
        Some(definition) => {
            let wished = fields.text("make_key") == "yes";
            let may = offer.gateway_keys && definition.issuer.is_some();
            if wished && !may {
                return Err(ConsumerError::Invalid(
                    "No keys are made here: make one, and give its CSR.".to_owned(),
                ));
            }
            (given(fields, definition)?, wished)
        }
    };
    if make_key && (given.csr.is_some() || given.certificate.is_some()) {
        return Err(ConsumerError::Invalid(
            "Give either a CSR or a certificate, or let the key be made.".to_owned(),
        ));
    }
    let collected = deployment.at_desk(true, |desk| desk.collect(code, given, make_key))?;
    note(deployment, "collected", address, &collected.issued.credential);
    Ok(answers::collected(offer, &collected))
}

/// The CSR or the certificate of a form, pasted or as a file.
fn given(fields: &Fields, definition: &Definition) -> Result<Issue, ConsumerError> {
    let pasted = fields.text("pem");
    let text = if pasted.is_empty() { fields.text("file") } else { pasted };
    let invalid = |text: &str| Err(ConsumerError::Invalid(text.to_owned()));
    if text.is_empty() {
        return Ok(Issue::default());
    }
    if !definition.mtls {
        return invalid("This kind of credential has no certificate: leave it out.");
    }
    if !text.contains("CERTIFICATE REQUEST-----") {
        return Ok(Issue { csr: None, certificate: Some(text.to_owned()) });
    }
    if definition.issuer.is_none() {
        return invalid("No CSRs are signed for this kind of credential: bring your own certificate.");
    }
    Ok(Issue { csr: Some(text.to_owned()), certificate: None })
}

/// Lets those know that watch, and the audit log: names and states alone.
fn note(deployment: &Deployment, what: &str, address: &str, it: &CredentialInfo) {
    tracing::info!(
        credential = it.name,
        consumer = it.consumer,
        client = address,
        "{what} by the page for consumers"
    );
    deployment.tell_credential(it);
    if let Some(audit) = &deployment.audit {
        let who = json!({ "by": "portal", "address": address });
        let mut entry = Entry::new(who, format!("portal: {what}"), format!("credential {}", it.name));
        entry.after = serde_json::to_value(it).unwrap_or_default();
        drop(audit.note(entry));
    }
}
