//! What a command brings beside what it asks: whom it comes from, which stream it targets, and what
//! makes repeating it safe.

use domain::metadata::key;
use domain::{EstablishmentId, Metadata, StreamId, Timestamp};
use service::auth::Principal;
use service::problem::Problem;

use crate::error::Missing;
use crate::http::caller::{Caller, require_all_establishments};
use crate::http::headers::{self, IdempotencyKey, Precondition};

/// The commands of this API, as stored: half of an idempotency key's scope. Names never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateOrder,
    ChangeOrderStatus,
    PutEstablishment,
    PutProduct,
    SetProductAvailability,
}

impl Operation {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CreateOrder => "create_order",
            Self::ChangeOrderStatus => "change_order_status",
            Self::PutEstablishment => "put_establishment",
            Self::PutProduct => "put_product",
            Self::SetProductAvailability => "set_product_availability",
        }
    }
}

/// Where a command meets its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meets {
    /// It opens the stream: nothing is read first. `named` says whether the client could have sent
    /// it before, by naming the order or sending a key; otherwise the id is fresh and nothing can
    /// be stored under it.
    Nothing { named: bool },
    /// It acts on something that must be there.
    Existing(Missing),
    /// It acts on whatever is there, or nothing.
    Whatever,
}

/// Which establishment an event is filed under, so that readers can filter without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FiledUnder {
    /// The command says so.
    Stated(Option<EstablishmentId>),
    /// Where the stream's last event was.
    Unchanged,
}

/// One command's circumstances.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub principal: &'a Principal,
    pub operation: Operation,
    pub stream: StreamId,
    pub meets: Meets,
    pub filed_under: FiledUnder,
    pub key: Option<IdempotencyKey>,
    pub fingerprint: String,
    pub precondition: Precondition,
    /// When it happened, by the device's clock where the device says so.
    pub occurred_at: Timestamp,
    pub correlation_id: &'a str,
}

impl<'a> Call<'a> {
    /// A command with what the request says beside its body.
    ///
    /// # Errors
    /// 400 where a header cannot be read.
    pub(crate) fn of(
        caller: &'a Caller,
        operation: Operation,
        stream: StreamId,
        meets: Meets,
        fingerprint: String,
    ) -> Result<Self, Problem> {
        Ok(Self {
            principal: &caller.principal,
            operation,
            stream,
            meets,
            filed_under: FiledUnder::Unchanged,
            key: headers::idempotency_key(&caller.headers)?,
            fingerprint,
            precondition: Precondition::of(&caller.headers)?,
            occurred_at: service::edge::now(),
            correlation_id: caller.context.correlation_id(),
        })
    }

    /// The metadata of this command's events; `before` is that of the stream's last event.
    pub(crate) fn metadata(&self, before: Option<&Metadata>) -> Metadata {
        let mut metadata = Metadata::from([
            (key::TENANT_ID.to_owned(), self.stream.tenant().to_string()),
            (key::ACTOR.to_owned(), self.principal.actor().to_string()),
            (key::OPERATION.to_owned(), self.operation.as_str().to_owned()),
            (key::FINGERPRINT.to_owned(), self.fingerprint.clone()),
            (key::OCCURRED_AT.to_owned(), self.occurred_at.to_string()),
            (key::CORRELATION_ID.to_owned(), self.correlation_id.to_owned()),
        ]);
        let establishment = match &self.filed_under {
            FiledUnder::Stated(id) => id.as_ref().map(ToString::to_string),
            FiledUnder::Unchanged => before.and_then(|before| before.get(key::ESTABLISHMENT_ID).cloned()),
        };
        metadata.extend(establishment.map(|id| (key::ESTABLISHMENT_ID.to_owned(), id)));
        metadata.extend(
            self.key
                .as_ref()
                .map(|id| (key::IDEMPOTENCY_KEY.to_owned(), id.to_string())),
        );
        metadata
    }

    /// Whether the token may change what the stream holds so far.
    ///
    /// # Errors
    /// 403 where it belongs to an establishment that the token does not name, or to all.
    pub(crate) fn may_change(&self, last: Option<&Metadata>) -> Result<(), Problem> {
        match last {
            None => Ok(()),
            Some(last) if last.contains_key(key::ESTABLISHMENT_ID) => may_see(self.principal, last),
            Some(_) => require_all_establishments(self.principal),
        }
    }
}

/// Whether the token reaches an event filed like this.
///
/// # Errors
/// 403 where it belongs to an establishment that the token does not name.
pub(crate) fn may_see(principal: &Principal, metadata: &Metadata) -> Result<(), Problem> {
    let id = metadata
        .get(key::ESTABLISHMENT_ID)
        .and_then(|id| EstablishmentId::new(id).ok());
    id.map_or(Ok(()), |id| principal.require_establishment(&id))
}
