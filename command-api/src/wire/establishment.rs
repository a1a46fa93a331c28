//! Establishments: how they are defined and how they are shown.

use domain::establishment::{Establishment, EstablishmentDefined, EstablishmentKind};
use domain::{Currency, EstablishmentId, Sequence, TaxMode, TaxRate, TaxRule, Text, TimeZone};
use serde::{Deserialize, Serialize};
use service::problem::Problem;
use utoipa::ToSchema;

use super::checks::{Checks, incomplete};
use super::object::objects_only;
use super::schema::{EstablishmentKindName, FreeText, Id};
use crate::openapi::examples;

objects_only!(PutEstablishment, TaxRequest);

/// An establishment's whole definition.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = examples::put_establishment)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PutEstablishment {
    #[schema(value_type = FreeText)]
    name: String,
    /// IANA time zone; decides which business day an order belongs to.
    #[schema(max_length = 64, example = "Europe/Rome")]
    time_zone: String,
    /// ISO 4217 code; never changes once set.
    #[schema(pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: String,
    /// No tax when left out.
    tax: Option<TaxRequest>,
    /// `restaurant` when left out.
    #[schema(value_type = Option<EstablishmentKindName>)]
    kind: Option<EstablishmentKind>,
}

/// How tax is charged.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "PutTax", as = PutTax)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct TaxRequest {
    mode: Mode,
    /// Parts per million: 8.875 % is 88750.
    #[schema(minimum = 0, maximum = 1_000_000, example = 220_000)]
    rate_ppm: u32,
}

/// How tax is charged.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Tax", as = Tax)]
pub(crate) struct TaxView {
    mode: Mode,
    /// Parts per million: 8.875 % is 88750.
    #[schema(minimum = 0, maximum = 1_000_000, example = 220_000)]
    rate_ppm: u32,
}

/// Whether prices contain the tax or it is added at the end.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[schema(as = TaxMode)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Inclusive,
    Additive,
}

impl PutEstablishment {
    /// # Errors
    /// 422 naming every fault.
    pub(crate) fn into_domain(self, establishment_id: EstablishmentId) -> Result<EstablishmentDefined, Problem> {
        let mut checks = Checks::default();
        let name = checks.text("/name", self.name);
        let time_zone = checks.parse::<TimeZone>("/time_zone", &self.time_zone);
        let currency = checks.parse::<Currency>("/currency", &self.currency);
        let tax = self.tax.map_or(Some(TaxRule::default()), |tax| tax.check(&mut checks));
        checks.finish()?;
        let (Some(name), Some(time_zone), Some(currency), Some(tax)) = (name, time_zone, currency, tax) else {
            return Err(incomplete());
        };
        Ok(EstablishmentDefined {
            establishment_id,
            name,
            time_zone,
            currency,
            tax,
            kind: self.kind.unwrap_or_default(),
        })
    }
}

impl TaxRequest {
    fn check(self, checks: &mut Checks) -> Option<TaxRule> {
        let rate_ppm = checks.keep("/tax/rate_ppm", TaxRate::try_from(self.rate_ppm))?;
        let mode = match self.mode {
            Mode::Inclusive => TaxMode::Inclusive,
            Mode::Additive => TaxMode::Additive,
        };
        Some(TaxRule { mode, rate_ppm })
    }
}

impl From<TaxRule> for TaxView {
    fn from(rule: TaxRule) -> Self {
        let mode = match rule.mode {
            TaxMode::Inclusive => Mode::Inclusive,
            TaxMode::Additive => Mode::Additive,
        };
        Self {
            mode,
            rate_ppm: rule.rate_ppm.ppm(),
        }
    }
}

/// An establishment as it stands at one version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Establishment", as = Establishment, example = examples::establishment)]
pub(crate) struct EstablishmentView {
    #[schema(value_type = Id)]
    id: EstablishmentId,
    #[schema(value_type = FreeText)]
    name: Text,
    #[schema(value_type = String, example = "Europe/Rome")]
    time_zone: TimeZone,
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: Currency,
    tax: TaxView,
    #[schema(value_type = EstablishmentKindName)]
    kind: EstablishmentKind,
    /// Counts the establishment's changes; also its `ETag`.
    #[schema(value_type = i64, minimum = 1)]
    version: Sequence,
}

impl EstablishmentView {
    pub(crate) fn of(establishment: &Establishment, version: Sequence) -> Option<Self> {
        let defined = establishment.state()?;
        Some(Self {
            id: defined.establishment_id.clone(),
            name: defined.name.clone(),
            time_zone: defined.time_zone,
            currency: defined.currency,
            tax: defined.tax.into(),
            kind: defined.kind,
            version,
        })
    }
}
