use cqrs_es::test::TestFramework;
use domain::product::{
    Product, ProductAvailabilityChanged, ProductCommand, ProductDefined, ProductError, ProductEvent, ProductModifier,
};
use domain::{Amount, Money, MoneyError, ProductId};

use crate::support::{text, usd};

fn id() -> ProductId {
    "pizza".parse().expect("an id")
}

fn pizza(price: i64) -> ProductDefined {
    ProductDefined {
        product_id: id(),
        name: text("Pizza"),
        price: Money {
            amount: Amount(price),
            currency: usd(),
        },
        establishment_id: None,
        category: None,
        modifiers: vec![],
    }
}

fn off_sale() -> ProductEvent {
    ProductEvent::ProductAvailabilityChanged(ProductAvailabilityChanged {
        product_id: id(),
        available: false,
    })
}

#[test]
fn given_nothing_when_a_product_is_defined_then_the_event_carries_it_whole() {
    TestFramework::<Product>::with(())
        .given_no_previous_events()
        .when(ProductCommand::Define(Box::new(pizza(900))))
        .then_expect_events(vec![ProductEvent::ProductDefined(pizza(900))]);
}

#[test]
fn given_a_product_off_sale_when_it_is_redefined_then_it_stays_off_sale() {
    let mut product = Product::default();
    for event in [
        ProductEvent::ProductDefined(pizza(900)),
        off_sale(),
        ProductEvent::ProductDefined(pizza(950)),
    ] {
        product.evolve(&event);
    }
    let state = product.state().expect("defined");
    assert_eq!((state.available, state.defined.price.amount), (false, Amount(950)));
}

#[test]
fn the_availability_of_an_unknown_product_cannot_change() {
    TestFramework::<Product>::with(())
        .given_no_previous_events()
        .when(ProductCommand::ChangeAvailability {
            product_id: id(),
            available: false,
        })
        .then_expect_error(ProductError::NotFound);
}

#[test]
fn given_a_product_when_it_goes_off_sale_then_it_is_said() {
    TestFramework::<Product>::with(())
        .given(vec![ProductEvent::ProductDefined(pizza(900))])
        .when(ProductCommand::ChangeAvailability {
            product_id: id(),
            available: false,
        })
        .then_expect_events(vec![off_sale()]);
}

#[test]
fn a_negative_price_is_refused() {
    TestFramework::<Product>::with(())
        .given_no_previous_events()
        .when(ProductCommand::Define(Box::new(pizza(-1))))
        .then_expect_error(ProductError::Price(MoneyError::Negative));
}

#[test]
fn two_modifiers_of_one_id_are_refused() {
    let olives = ProductModifier {
        id: "olives".parse().expect("an id"),
        name: text("Olives"),
        price: Amount(75),
    };
    let product = ProductDefined {
        modifiers: vec![olives.clone(), olives],
        ..pizza(900)
    };
    TestFramework::<Product>::with(())
        .given_no_previous_events()
        .when(ProductCommand::Define(Box::new(product)))
        .then_expect_error(ProductError::DuplicateModifier {
            index: 1,
            id: "olives".parse().expect("an id"),
        });
}
