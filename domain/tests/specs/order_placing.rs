use cqrs_es::test::TestFramework;
use domain::order::{
    MAX_ITEMS, MAX_QUANTITY, Modifier, Order, OrderCommand, OrderError, OrderEvent, PlaceOrder, Totals,
};
use domain::{Amount, BusinessDate, MoneyError, StoredEvent, TaxMode, TaxRate, TaxRule};

use crate::support::{item, place, text, time, trattoria};

fn given_nothing() -> cqrs_es::test::AggregateTestExecutor<Order> {
    TestFramework::<Order>::with(()).given_no_previous_events()
}

fn created(place: PlaceOrder) -> domain::order::OrderCreated {
    let events = given_nothing()
        .when(OrderCommand::Place(Box::new(place)))
        .inspect_result()
        .expect("accepted");
    match &events[..] {
        [OrderEvent::OrderCreated(created)] => created.as_ref().clone(),
        other => panic!("one OrderCreated expected, not {other:?}"),
    }
}

fn refused(place: PlaceOrder) -> OrderError {
    given_nothing()
        .when(OrderCommand::Place(Box::new(place)))
        .inspect_result()
        .expect_err("refused")
}

#[test]
fn given_nothing_when_an_order_is_placed_then_it_is_totalled_with_additive_tax() {
    let created = created(place(trattoria().terms(), vec![item("1", 2, 1_250), item("2", 1, 300)]));
    // 28.00 at 8.875 % is 2.485, half a cent rounds up.
    let expected = Totals {
        subtotal: Amount(2_800),
        discount: Amount::ZERO,
        tax: Amount(249),
        tip: Amount::ZERO,
        total: Amount(3_049),
    };
    assert_eq!(created.totals, expected);
    assert_eq!(created.items[0].line_total, Amount(2_500));
}

#[test]
fn given_inclusive_tax_then_the_total_is_the_listed_price_and_the_tax_is_inside() {
    let mut terms = trattoria().terms();
    terms.tax = TaxRule {
        mode: TaxMode::Inclusive,
        rate_ppm: TaxRate::from_ppm(220_000).expect("a rate"),
    };
    let created = created(place(terms, vec![item("1", 1, 1_220)]));
    assert_eq!((created.totals.tax, created.totals.total), (Amount(220), Amount(1_220)));
}

#[test]
fn given_modifiers_then_they_are_charged_per_unit() {
    let mut line = item("1", 3, 1_000);
    line.modifiers = vec![Modifier {
        modifier_id: None,
        name: text("extra cheese"),
        price: Amount(150),
    }];
    let created = created(place(trattoria().terms(), vec![line]));
    assert_eq!(created.totals.subtotal, Amount(3_450));
}

#[test]
fn the_business_date_is_the_day_on_the_establishments_calendar() {
    let created = created(place(trattoria().terms(), vec![item("1", 1, 100)]));
    // 03:30 UTC on 1 March is still 28 February in New York.
    let february = BusinessDate("2026-02-28".parse().expect("a date"));
    assert_eq!(created.business_date, february);
    let numbering = OrderEvent::OrderCreated(Box::new(created))
        .numbering()
        .expect("numbered");
    assert_eq!(numbering.business_date, february);
}

#[test]
fn given_an_order_when_it_is_placed_again_then_it_is_refused() {
    let first = place(trattoria().terms(), vec![item("1", 1, 100)]);
    let event = OrderEvent::OrderCreated(Box::new(created(first.clone())));
    TestFramework::<Order>::with(())
        .given(vec![event])
        .when(OrderCommand::Place(Box::new(first)))
        .then_expect_error(OrderError::AlreadyPlaced);
}

#[test]
fn an_order_without_items_is_refused() {
    assert_eq!(refused(place(trattoria().terms(), vec![])), OrderError::NoItems);
}

#[test]
fn an_order_of_too_many_items_is_refused() {
    let items = (0..=MAX_ITEMS).map(|n| item(&n.to_string(), 1, 1)).collect();
    assert_eq!(refused(place(trattoria().terms(), items)), OrderError::TooManyItems);
}

#[test]
fn a_quantity_of_none_or_of_absurdly_many_is_refused_at_its_line() {
    for quantity in [0, MAX_QUANTITY + 1, u32::MAX] {
        let items = vec![item("1", 1, 100), item("2", quantity, 100)];
        assert_eq!(
            refused(place(trattoria().terms(), items)),
            OrderError::Quantity { index: 1 }
        );
    }
}

#[test]
fn two_lines_of_one_id_are_refused() {
    let items = vec![item("a", 1, 100), item("a", 1, 100)];
    let expected = OrderError::DuplicateLine {
        index: 1,
        line_id: "a".parse().expect("an id"),
    };
    assert_eq!(refused(place(trattoria().terms(), items)), expected);
}

#[test]
fn totals_that_no_json_reader_keeps_exactly_are_refused() {
    let items = vec![item("1", 1, Amount::MAX.0), item("2", 1, 1)];
    assert_eq!(
        refused(place(trattoria().terms(), items)),
        OrderError::Amount(MoneyError::TooLarge)
    );
    let items = vec![item("1", MAX_QUANTITY, i64::MAX)];
    assert_eq!(
        refused(place(trattoria().terms(), items)),
        OrderError::Amount(MoneyError::TooLarge)
    );
}

#[test]
fn a_negative_price_is_refused() {
    let items = vec![item("1", 1, -1)];
    assert_eq!(
        refused(place(trattoria().terms(), items)),
        OrderError::Amount(MoneyError::Negative)
    );
}

#[test]
fn a_device_clock_may_run_five_minutes_ahead_and_no_more() {
    let mut order = place(trattoria().terms(), vec![item("1", 1, 100)]);
    order.received_at = time("2026-03-01T03:25:00Z");
    created(order.clone());
    order.received_at = time("2026-03-01T03:24:59.999999Z");
    assert_eq!(refused(order), OrderError::PlacedInFuture);
}
