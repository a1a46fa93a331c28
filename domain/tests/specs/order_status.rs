use cqrs_es::test::TestFramework;
use domain::establishment::EstablishmentKind::{self, Restaurant, Retail};
use domain::order::OrderStatus::{Accepted, Cancelled, Completed, OutForDelivery, Placed, Preparing, Ready, Rejected};
use domain::order::{
    ChangeStatus, Order, OrderCommand, OrderError, OrderEvent, OrderStatus, OrderStatusChanged, Reason, decide,
};

use crate::support::{item, order_id, place, time, trattoria};

fn placed(kind: EstablishmentKind) -> OrderEvent {
    let mut terms = trattoria().terms();
    terms.kind = kind;
    let command = OrderCommand::Place(Box::new(place(terms, vec![item("1", 1, 100)])));
    decide(&Order::default(), command).expect("accepted").remove(0)
}

fn changed(from: OrderStatus, to: OrderStatus, reason: Option<Reason>) -> OrderEvent {
    let changed_at = time("2026-03-01T04:00:00Z");
    OrderEvent::OrderStatusChanged(OrderStatusChanged {
        order_id: order_id(),
        from,
        to,
        reason,
        changed_at,
    })
}

fn change(to: OrderStatus, reason: Option<Reason>) -> OrderCommand {
    OrderCommand::ChangeStatus(ChangeStatus {
        to,
        reason,
        at: time("2026-03-01T04:00:00Z"),
    })
}

/// An order brought to `status`; the way there does not matter to the rules.
fn order_in(status: OrderStatus, kind: EstablishmentKind) -> Vec<OrderEvent> {
    match status {
        Placed => vec![placed(kind)],
        other => vec![placed(kind), changed(Placed, other, None)],
    }
}

fn open_from(status: OrderStatus, kind: EstablishmentKind) -> Vec<OrderStatus> {
    OrderStatus::ALL
        .iter()
        .copied()
        .filter(|to| {
            TestFramework::<Order>::with(())
                .given(order_in(status, kind))
                .when(change(*to, Some(Reason::Other)))
                .inspect_result()
                .is_ok()
        })
        .collect()
}

#[test]
fn the_transitions_of_a_restaurant_are_exactly_these() {
    let table = [
        (Placed, vec![Accepted, Rejected, Cancelled]),
        (Accepted, vec![Preparing, Cancelled]),
        (Preparing, vec![Ready, Cancelled]),
        (Ready, vec![Preparing, OutForDelivery, Completed, Cancelled]),
        (OutForDelivery, vec![Completed]),
        (Completed, vec![]),
        (Rejected, vec![]),
        (Cancelled, vec![]),
    ];
    for (from, expected) in table {
        assert_eq!(open_from(from, Restaurant), expected, "from {from}");
        assert_eq!(from.is_terminal(), expected.is_empty(), "{from} is terminal");
    }
}

#[test]
fn a_shop_may_have_an_accepted_order_ready_without_preparing_it() {
    assert_eq!(open_from(Accepted, Retail), vec![Preparing, Ready, Cancelled]);
}

#[test]
fn given_a_placed_order_when_accepted_then_the_event_says_from_and_to() {
    TestFramework::<Order>::with(())
        .given(order_in(Placed, Restaurant))
        .when(change(Accepted, None))
        .then_expect_events(vec![changed(Placed, Accepted, None)]);
}

#[test]
fn an_illegal_transition_says_where_the_order_stands_and_what_is_open() {
    TestFramework::<Order>::with(())
        .given(order_in(Preparing, Restaurant))
        .when(change(Completed, None))
        .then_expect_error(OrderError::IllegalTransition {
            current: Preparing,
            requested: Completed,
            allowed: vec![Ready, Cancelled],
        });
}

#[test]
fn a_recall_needs_a_reason() {
    let ready = || TestFramework::<Order>::with(()).given(order_in(Ready, Restaurant));
    ready()
        .when(change(Preparing, None))
        .then_expect_error(OrderError::ReasonRequired);
    let reason = Some(Reason::Customer);
    ready()
        .when(change(Preparing, reason))
        .then_expect_events(vec![changed(Ready, Preparing, reason)]);
}

#[test]
fn an_order_that_was_never_placed_cannot_change() {
    TestFramework::<Order>::with(())
        .given_no_previous_events()
        .when(change(Accepted, None))
        .then_expect_error(OrderError::NotFound);
}

#[test]
fn rejected_and_cancelled_orders_are_no_sales() {
    let no_sales: Vec<_> = OrderStatus::ALL
        .iter()
        .filter(|status| !status.counts_as_sale())
        .collect();
    assert_eq!(no_sales, [&Rejected, &Cancelled]);
}
