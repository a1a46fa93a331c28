//! Who a verified token speaks for.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::{ActorId, EstablishmentId, TenantId, Timestamp};
use http::StatusCode;
use http::header::{HeaderValue, WWW_AUTHENTICATE};

use super::Scope;
use crate::problem::{Problem, code};

/// The tenant whose data a caller may reach.
///
/// Only verifying a token makes one, so a query or command that asks for it cannot be built for a
/// tenant that nobody proved to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantScope(TenantId);

impl TenantScope {
    pub(super) fn new(tenant: TenantId) -> Self {
        Self(tenant)
    }

    pub fn tenant(&self) -> &TenantId {
        &self.0
    }
}

/// A caller: tenant, actor, establishments and rights. Cheap to clone.
///
/// As an extractor it answers 401 where the request carries no acceptable token.
#[derive(Debug, Clone)]
pub struct Principal(Arc<Facts>);

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) tenant: TenantScope,
    pub(super) actor: ActorId,
    /// `None` means all of the tenant's.
    pub(super) establishments: Option<BTreeSet<EstablishmentId>>,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) validity: Validity,
}

/// When a token counts, in seconds since 1970 as the token says (fractions are allowed there).
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    pub(super) not_before: Option<f64>,
    pub(super) expires: f64,
}

impl Principal {
    pub(super) fn new(facts: Facts) -> Self {
        Self(Arc::new(facts))
    }

    pub(super) fn validity(&self) -> Validity {
        self.0.validity
    }

    pub fn tenant(&self) -> &TenantScope {
        &self.0.tenant
    }

    /// Who acts: the token's `sub`.
    pub fn actor(&self) -> &ActorId {
        &self.0.actor
    }

    pub fn has(&self, scope: Scope) -> bool {
        self.0.scopes.contains(&scope)
    }

    /// When the token ceases to count; what outlives a request (a subscription) ends with it.
    pub fn expires_at(&self) -> Timestamp {
        // Beyond what a timestamp can hold a token is as good as endless.
        let micros = (self.0.validity.expires * 1e6).clamp(0.0, 8.0e18) as i64;
        let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC);
        Timestamp::new(time)
    }

    /// # Errors
    /// 403 `missing_scope`.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        let challenge = format!("Bearer realm=\"comanda\", error=\"insufficient_scope\", scope=\"{scope}\"");
        let challenge = HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer"));
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            code::MISSING_SCOPE,
            format!("The token lacks the scope `{scope}`."),
        )
        .with("scope", scope.as_str())
        .with_header(WWW_AUTHENTICATE, challenge))
    }

    pub fn may_use_establishment(&self, establishment: &EstablishmentId) -> bool {
        self.0
            .establishments
            .as_ref()
            .is_none_or(|allowed| allowed.contains(establishment))
    }

    /// # Errors
    /// 403 `establishment_forbidden`.
    pub fn require_establishment(&self, establishment: &EstablishmentId) -> Result<(), Problem> {
        if self.may_use_establishment(establishment) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            code::ESTABLISHMENT_FORBIDDEN,
            format!("The token is not for the establishment `{establishment}`."),
        )
        .with("establishment_id", establishment.as_str()))
    }

    /// The establishment that a request means where it names none: the token's only one.
    pub fn only_establishment(&self) -> Option<&EstablishmentId> {
        self.0
            .establishments
            .as_ref()
            .filter(|allowed| allowed.len() == 1)?
            .first()
    }

    /// The establishments the token is limited to; `None` means all of the tenant's.
    pub fn establishments(&self) -> Option<&BTreeSet<EstablishmentId>> {
        self.0.establishments.as_ref()
    }
}
