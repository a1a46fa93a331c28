//! The SQL of every query, each statement in the function that runs it.
//!
//! A read takes the session (which holds the tenant's scope), a typed selection of columns, and
//! arguments that are already checked. It knows nothing of GraphQL.

pub(crate) mod daily_sales;
pub(crate) mod establishments;
pub(crate) mod order_row;
pub(crate) mod orders;
pub(crate) mod page;
pub(crate) mod products;
pub(crate) mod timeline;

use domain::EstablishmentId;
use service::Principal;

use crate::error::{Code, Error};
use crate::sql::Statement;

/// Refuses an establishment that the token is not for. It says nothing of whether it exists.
pub(crate) fn require_establishment(principal: &Principal, establishment: &EstablishmentId) -> Result<(), Error> {
    if principal.may_use_establishment(establishment) {
        return Ok(());
    }
    Err(Error::refused(
        Code::EstablishmentForbidden,
        format!("The token is not for the establishment {establishment}."),
    ))
}

/// The condition that confines rows to the token's establishments, where it names any.
/// `or_everywhere` lets rows pass that belong to no establishment.
pub(crate) fn of_establishments(
    principal: &Principal,
    statement: &mut Statement,
    or_everywhere: bool,
) -> Result<String, Error> {
    let Some(establishments) = principal.establishments() else {
        return Ok(String::new());
    };
    let names: Vec<String> = establishments.iter().map(ToString::to_string).collect();
    let bind = statement.bind(names)?;
    let everywhere = if or_everywhere {
        "page.establishment_id IS NULL OR "
    } else {
        ""
    };
    Ok(format!(" AND ({everywhere}page.establishment_id = ANY({bind}))"))
}
