//! Any sequence of commands keeps the invariants; totals always reconcile.

use crate::support::{item, place, text, time, trattoria};
use domain::establishment::EstablishmentKind;
use domain::order::{
    ChangeStatus, Modifier, Order, OrderCommand, OrderEvent, OrderStatus, PricedItem, Reason, Terms, decide,
};
use domain::{Amount, Event, TaxMode, TaxRate, TaxRule};
use proptest::prelude::*;

fn items() -> impl Strategy<Value = Vec<PricedItem>> {
    let line = (1_u32..50, 0_i64..1_000_000, prop::collection::vec(0_i64..5_000, 0..3));
    prop::collection::vec(line, 1..8).prop_map(|lines| {
        let item = |(index, (quantity, price, extras)): (usize, (u32, i64, Vec<i64>))| PricedItem {
            modifiers: extras
                .into_iter()
                .map(|price| Modifier {
                    modifier_id: None,
                    name: text("extra"),
                    price: Amount(price),
                })
                .collect(),
            ..item(&index.to_string(), quantity, price)
        };
        lines.into_iter().enumerate().map(item).collect()
    })
}

fn terms() -> impl Strategy<Value = Terms> {
    (any::<bool>(), any::<bool>(), 0_u32..=1_000_000).prop_map(|(inclusive, retail, ppm)| Terms {
        tax: TaxRule {
            mode: if inclusive {
                TaxMode::Inclusive
            } else {
                TaxMode::Additive
            },
            rate_ppm: TaxRate::from_ppm(ppm).expect("a rate"),
        },
        kind: if retail {
            EstablishmentKind::Retail
        } else {
            EstablishmentKind::Restaurant
        },
        ..trattoria().terms()
    })
}

fn command() -> impl Strategy<Value = OrderCommand> {
    let change = (
        prop::sample::select(OrderStatus::ALL),
        prop::option::of(prop::sample::select(Reason::ALL)),
    )
        .prop_map(|(to, reason)| {
            OrderCommand::ChangeStatus(ChangeStatus {
                to,
                reason,
                at: time("2026-03-01T04:00:00Z"),
            })
        });
    let placed = (terms(), items()).prop_map(|(terms, items)| OrderCommand::Place(Box::new(place(terms, items))));
    prop_oneof![1 => placed, 6 => change]
}

/// The exact tax as a fraction, to hold the rounded one against.
fn tax_error_in_half_units(subtotal: i64, tax: i64, rule: TaxRule) -> i128 {
    let rate = i128::from(rule.rate_ppm.ppm());
    let denominator = match rule.mode {
        TaxMode::Additive => 1_000_000,
        TaxMode::Inclusive => 1_000_000 + rate,
    };
    (2 * (i128::from(tax) * denominator - i128::from(subtotal) * rate)).abs() - denominator
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants(commands in prop::collection::vec(command(), 1..40)) {
        let mut order = Order::default();
        let mut history: Vec<OrderEvent> = vec![];
        for command in commands {
            let before = order.clone();
            match decide(&order, command) {
                Ok(events) => {
                    prop_assert!(!events.is_empty(), "an accepted command stores at least one event");
                    for event in events {
                        order.evolve(&event);
                        history.push(event);
                    }
                    prop_assert!(!before.state().is_some_and(|order| order.status.is_terminal()));
                }
                Err(_) => prop_assert_eq!(&before, &order),
            }
        }
        let mut status = None;
        for (index, event) in history.iter().enumerate() {
            match event {
                OrderEvent::OrderCreated(_) => prop_assert_eq!(index, 0),
                OrderEvent::OrderStatusChanged(changed) => prop_assert_eq!(Some(changed.from), status),
            }
            status = Some(match event {
                OrderEvent::OrderCreated(_) => OrderStatus::Placed,
                OrderEvent::OrderStatusChanged(changed) => changed.to,
            });
        }
        prop_assert_eq!(order.state().map(|order| order.status), status);
    }

    #[test]
    fn totals_always_reconcile(terms in terms(), items in items()) {
        let rule = terms.tax;
        let command = OrderCommand::Place(Box::new(place(terms, items)));
        let events = decide(&Order::default(), command).expect("accepted");
        let [OrderEvent::OrderCreated(created)] = &events[..] else { panic!("one event") };
        let totals = created.totals;
        let lines: i64 = created.items.iter().map(|item| item.line_total.0).sum();
        prop_assert_eq!(totals.subtotal.0, lines);
        for item in &created.items {
            let extras: i64 = item.modifiers.iter().map(|modifier| modifier.price.0).sum();
            prop_assert_eq!(item.line_total.0, i64::from(item.quantity) * (item.unit_price.0 + extras));
        }
        let added = if rule.mode == TaxMode::Additive { totals.tax.0 } else { 0 };
        prop_assert_eq!(totals.total.0, totals.subtotal.0 - totals.discount.0 + added + totals.tip.0);
        prop_assert!(tax_error_in_half_units(lines, totals.tax.0, rule) <= 0, "tax is off by more than half a unit");
    }

    #[test]
    fn every_event_reads_back_as_it_was_stored(terms in terms(), items in items()) {
        let command = OrderCommand::Place(Box::new(place(terms, items)));
        let event = decide(&Order::default(), command).expect("accepted").remove(0);
        let stored = serde_json::to_value(&event).expect("serialises");
        let kind = event.kind();
        prop_assert_eq!(Event::decode(kind.as_str(), kind.version(), stored), Ok(Event::Order(event)));
    }
}
