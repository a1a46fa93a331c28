//! Examples of the document. They tell one story, and a test sends it: the establishment is opened,
//! the product defined, the order placed, and the answer is the example's.

use serde_json::{Value, json};

/// The order of all examples; the document's path parameters name it.
const ORDER_ID: &str = "0198c0de-0000-7000-8000-000000000001";

pub(crate) fn order_id() -> &'static str {
    ORDER_ID
}

fn eur(amount: i64) -> Value {
    json!({"amount": amount, "currency": "EUR"})
}

pub(crate) fn put_establishment() -> Value {
    json!({"name": "Roma", "time_zone": "Europe/Rome", "currency": "EUR",
           "tax": {"mode": "inclusive", "rate_ppm": 100_000}})
}

pub(crate) fn establishment() -> Value {
    json!({"id": "roma", "name": "Roma", "time_zone": "Europe/Rome", "currency": "EUR",
           "tax": {"mode": "inclusive", "rate_ppm": 100_000}, "kind": "restaurant", "version": 1})
}

pub(crate) fn put_product() -> Value {
    json!({"name": "Espresso", "price": eur(150), "category": "Coffee",
           "modifiers": [{"id": "oat-milk", "name": "Oat milk", "price": eur(50)}]})
}

pub(crate) fn product() -> Value {
    json!({"id": "espresso", "name": "Espresso", "price": eur(150), "category": "Coffee",
           "modifiers": [{"id": "oat-milk", "name": "Oat milk", "price": eur(50)}], "available": true, "version": 1})
}

pub(crate) fn set_availability() -> Value {
    json!({"available": false})
}

pub(crate) fn place_order() -> Value {
    json!({"id": ORDER_ID, "establishment_id": "roma", "table_id": "t4", "placed_at": "2026-01-31T12:00:00Z",
           "items": [{"product_id": "espresso", "quantity": 2}]})
}

pub(crate) fn place_orders() -> Value {
    json!({"orders": [
        {"idempotency_key": "till-1/4711", "order": {"establishment_id": "roma", "placed_at": "2026-01-31T12:00:00Z",
                                                     "items": [{"product_id": "espresso", "quantity": 2}]}},
    ]})
}

pub(crate) fn order() -> Value {
    json!({
        "id": ORDER_ID, "number": 1, "establishment_id": "roma", "business_date": "2026-01-31", "status": "placed",
        "service_type": "dine_in", "table_id": "t4",
        "items": [{"id": "1", "product_id": "espresso", "catalogue_version": 1, "name": "Espresso", "quantity": 2,
                   "unit_price": eur(150), "line_total": eur(300)}],
        "subtotal": eur(300), "discount": eur(0), "tax": eur(27), "tip": eur(0), "total": eur(300),
        "placed_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.123456Z", "version": 1,
    })
}

pub(crate) fn change_status() -> Value {
    json!({"status": "accepted"})
}
