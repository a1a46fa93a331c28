use cqrs_es::test::TestFramework;
use domain::Currency;
use domain::establishment::{
    Establishment, EstablishmentCommand, EstablishmentDefined, EstablishmentError, EstablishmentEvent,
};

use crate::support::{text, trattoria, usd};

fn defined(definition: EstablishmentDefined) -> EstablishmentEvent {
    EstablishmentEvent::EstablishmentDefined(definition)
}

fn define(definition: EstablishmentDefined) -> EstablishmentCommand {
    EstablishmentCommand::Define(Box::new(definition))
}

#[test]
fn given_nothing_when_an_establishment_is_defined_then_the_event_carries_it_whole() {
    TestFramework::<Establishment>::with(())
        .given_no_previous_events()
        .when(define(trattoria()))
        .then_expect_events(vec![defined(trattoria())]);
}

#[test]
fn given_an_establishment_when_its_name_and_zone_change_then_it_is_redefined() {
    let moved = EstablishmentDefined {
        name: text("Osteria"),
        time_zone: "Europe/Rome".parse().expect("a zone"),
        ..trattoria()
    };
    TestFramework::<Establishment>::with(())
        .given(vec![defined(trattoria())])
        .when(define(moved.clone()))
        .then_expect_events(vec![defined(moved)]);
}

#[test]
fn given_an_establishment_when_its_currency_would_change_then_it_is_refused() {
    let euro = EstablishmentDefined {
        currency: Currency::new("EUR").expect("a currency"),
        ..trattoria()
    };
    TestFramework::<Establishment>::with(())
        .given(vec![defined(trattoria())])
        .when(define(euro))
        .then_expect_error(EstablishmentError::CurrencyFixed { current: usd() });
}
