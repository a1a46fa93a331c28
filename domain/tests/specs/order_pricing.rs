use domain::order::pricing::{
    CatalogueEntry, Market, PricingError, PricingProblem, RequestedItem, RequestedModifier, price,
};
use domain::order::{Modifier, PricedItem};
use domain::product::{ProductDefined, ProductModifier, ProductState};
use domain::{Amount, Currency, EstablishmentId, Money, ProductId, Refusal, Sequence};

use crate::support::{text, usd};

fn pizza() -> ProductState {
    ProductState {
        defined: ProductDefined {
            product_id: "pizza".parse().expect("an id"),
            name: text("Pizza"),
            price: Money {
                amount: Amount(900),
                currency: usd(),
            },
            establishment_id: None,
            category: None,
            modifiers: vec![ProductModifier {
                id: "olives".parse().expect("an id"),
                name: text("Olives"),
                price: Amount(75),
            }],
        },
        available: true,
    }
}

fn asked(product: &str) -> RequestedItem {
    RequestedItem {
        line_id: None,
        product_id: Some(product.parse().expect("an id")),
        name: None,
        unit_price: None,
        quantity: 1,
        modifiers: vec![],
        note: None,
    }
}

fn open_item(currency: Currency) -> RequestedItem {
    let unit_price = Some(Money {
        amount: Amount(500),
        currency,
    });
    RequestedItem {
        product_id: None,
        name: Some(text("Special")),
        unit_price,
        ..asked("none")
    }
}

fn priced(product: &ProductState, items: Vec<RequestedItem>) -> Result<Vec<PricedItem>, Vec<PricingError>> {
    let here = EstablishmentId::new("here").expect("an id");
    let market = Market {
        establishment_id: &here,
        currency: usd(),
    };
    let lookup = |id: &ProductId| {
        (*id == product.defined.product_id).then_some(CatalogueEntry {
            product,
            version: Sequence(7),
        })
    };
    price(items, market, lookup)
}

fn problem(product: &ProductState, item: RequestedItem) -> PricingProblem {
    priced(product, vec![item]).expect_err("refused").remove(0).problem
}

#[test]
fn a_catalogue_item_takes_name_price_and_version_from_the_catalogue() {
    let items = priced(&pizza(), vec![asked("pizza")]).expect("priced");
    assert_eq!(items[0].name, text("Pizza"));
    assert_eq!(items[0].unit_price, Amount(900));
    assert_eq!(items[0].catalogue_version, Some(Sequence(7)));
    assert_eq!(items[0].line_id.as_str(), "1");
}

#[test]
fn a_modifier_of_the_product_is_named_by_id_and_priced_by_the_catalogue() {
    let olives = RequestedModifier {
        id: Some("olives".parse().expect("an id")),
        name: None,
        price: None,
    };
    let items = priced(
        &pizza(),
        vec![RequestedItem {
            modifiers: vec![olives],
            ..asked("pizza")
        }],
    )
    .expect("priced");
    let expected = Modifier {
        modifier_id: Some("olives".parse().expect("an id")),
        name: text("Olives"),
        price: Amount(75),
    };
    assert_eq!(items[0].modifiers, vec![expected]);
}

#[test]
fn an_open_item_keeps_its_own_name_and_price() {
    let item = open_item(usd());
    assert!(item.sets_own_price());
    let items = priced(&pizza(), vec![item]).expect("priced");
    assert_eq!((items[0].unit_price, items[0].catalogue_version), (Amount(500), None));
}

#[test]
fn every_item_that_cannot_be_priced_is_named() {
    let errors = priced(&pizza(), vec![asked("pasta"), asked("pizza"), asked("soup")]).expect_err("refused");
    let pointers: Vec<_> = errors.iter().filter_map(Refusal::pointer).collect();
    assert_eq!(pointers, ["/items/0/product_id", "/items/2/product_id"]);
    assert_eq!(errors[0].code(), "unknown_product");
}

#[test]
fn a_product_that_is_off_sale_or_sold_elsewhere_is_refused() {
    let id: ProductId = "pizza".parse().expect("an id");
    let off = ProductState {
        available: false,
        ..pizza()
    };
    assert_eq!(problem(&off, asked("pizza")), PricingProblem::Unavailable(id.clone()));
    let mut elsewhere = pizza();
    elsewhere.defined.establishment_id = Some("elsewhere".parse().expect("an id"));
    assert_eq!(problem(&elsewhere, asked("pizza")), PricingProblem::NotSoldHere(id));
}

#[test]
fn a_price_in_another_currency_is_refused() {
    let euro = Currency::new("EUR").expect("a currency");
    let expected = PricingProblem::Currency {
        found: euro,
        expected: usd(),
    };
    assert_eq!(problem(&pizza(), open_item(euro)), expected);
    let mut abroad = pizza();
    abroad.defined.price.currency = euro;
    assert_eq!(problem(&abroad, asked("pizza")), expected);
}

#[test]
fn half_an_open_item_is_refused() {
    let unnamed = RequestedItem {
        name: None,
        ..open_item(usd())
    };
    assert_eq!(problem(&pizza(), unnamed), PricingProblem::IncompleteOpenItem);
    let unpriced = RequestedItem {
        unit_price: None,
        ..open_item(usd())
    };
    assert_eq!(problem(&pizza(), unpriced), PricingProblem::IncompleteOpenItem);
    assert_eq!(
        problem(
            &pizza(),
            RequestedItem {
                product_id: None,
                ..asked("x")
            }
        ),
        PricingProblem::NothingNamed
    );
}

#[test]
fn an_unknown_modifier_is_refused() {
    let ham = RequestedModifier {
        id: Some("ham".parse().expect("an id")),
        name: None,
        price: None,
    };
    let item = RequestedItem {
        modifiers: vec![ham],
        ..asked("pizza")
    };
    let (pizza_id, ham_id) = ("pizza".parse().expect("an id"), "ham".parse().expect("an id"));
    assert_eq!(
        problem(&pizza(), item),
        PricingProblem::UnknownModifier(pizza_id, ham_id)
    );
}
