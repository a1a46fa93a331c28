//! Which parked streams an operator means.

use domain::TenantId;

use crate::generation::Generation;

/// Parked streams by what they have in common; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub read_model: Option<String>,
    pub generation: Option<i32>,
    pub tenant: Option<TenantId>,
    /// A stream by its whole name (`order:tenant/id`), without its kind, or by its id alone.
    pub stream: Option<String>,
}

impl Selection {
    /// Whether the read model is meant.
    pub(crate) fn names(&self, read_model: &str) -> bool {
        self.read_model.as_deref().is_none_or(|only| only == read_model)
    }

    pub(crate) fn covers(&self, generation: &Generation) -> bool {
        self.names(generation.read_model) && self.generation.is_none_or(|only| only == generation.number)
    }

    pub(crate) fn tenant_text(&self) -> Option<&str> {
        self.tenant.as_ref().map(TenantId::as_str)
    }
}
