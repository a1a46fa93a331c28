use domain::{Amount, Currency, MoneyError, OrderId, StreamId, TaxMode, TaxRate, TaxRule, TenantId, Text, TextError};

#[test]
fn scaling_rounds_half_up() {
    for (amount, numerator, denominator, expected) in [
        (5, 1, 2, 3),
        (4, 1, 3, 1),
        (5, 1, 3, 2),
        (0, 7, 9, 0),
        (2_800, 88_750, 1_000_000, 249),
    ] {
        assert_eq!(
            Amount(amount).scaled(numerator, denominator),
            Ok(Amount(expected)),
            "{amount}"
        );
    }
}

#[test]
fn the_smallest_and_largest_amounts_hold_and_their_neighbours_do_not() {
    assert_eq!(Amount::MAX.checked(), Ok(Amount::MAX));
    assert_eq!(Amount::MAX.plus(Amount(1)), Err(MoneyError::TooLarge));
    assert_eq!(Amount::ZERO.minus(Amount(1)), Err(MoneyError::Negative));
    assert_eq!(Amount(i64::MAX).times(u32::MAX), Err(MoneyError::TooLarge));
}

#[test]
fn a_currency_is_one_of_iso_4217_and_knows_its_minor_unit() {
    for (code, exponent) in [("USD", 2), ("JPY", 0), ("KWD", 3)] {
        assert_eq!(Currency::new(code).expect("known").exponent(), exponent);
    }
    for code in ["usd", "ABC", "", "US", "EURO"] {
        assert_eq!(Currency::new(code), Err(MoneyError::UnknownCurrency), "{code}");
    }
}

#[test]
fn a_full_inclusive_rate_is_half_of_the_price() {
    let rule = TaxRule {
        mode: TaxMode::Inclusive,
        rate_ppm: TaxRate::from_ppm(1_000_000).expect("a rate"),
    };
    assert_eq!(rule.tax_on(Amount(101)), Ok(Amount(51)));
    assert!(TaxRate::from_ppm(1_000_001).is_none());
}

#[test]
fn text_that_postgresql_cannot_hold_is_refused() {
    assert_eq!(Text::new("a\0b"), Err(TextError::Nul));
    assert_eq!(Text::new("  "), Err(TextError::Empty));
    assert_eq!(Text::new("x".repeat(2_001)), Err(TextError::TooLong));
}

#[test]
fn a_stream_belongs_to_its_tenant_by_name() {
    let tenant = TenantId::new("acme").expect("an id");
    let order = OrderId::derived(&tenant, "key");
    let stream = StreamId::order(&tenant, order);
    assert_eq!(stream.aggregate_id(), format!("acme/{order}"));
    assert_eq!(StreamId::from_stored("order", stream.aggregate_id()), Some(stream));
    assert!(TenantId::new("a/b").is_err());
    assert_eq!(StreamId::from_stored("order", "no-slash"), None);
}

#[test]
fn an_order_id_derived_from_a_key_never_changes() {
    let tenant = TenantId::new("acme").expect("an id");
    assert_eq!(
        OrderId::derived(&tenant, "key-1").to_string(),
        "fe95f10c-22fb-5c09-8487-ba0c3a3825d5"
    );
    let other = TenantId::new("acme2").expect("an id");
    assert_ne!(OrderId::derived(&tenant, "key-1"), OrderId::derived(&other, "key-1"));
}
