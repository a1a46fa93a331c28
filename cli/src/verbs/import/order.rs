//! An order as it is sent, and whether the one that stands there already says the same.

use domain::order::MAX_ITEMS;
use domain::{Amount, CustomerId, EstablishmentId, OrderId, TableId, TenantId, Text, Timestamp};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::group::Group;
use super::line::Item;

/// The namespace of imported orders' ids. Never changes: an import repeated years later must still
/// meet the orders that it first created.
const NAMESPACE: Uuid = Uuid::from_u128(0x3d6f_0f0a_71c2_4a57_8d0b_5be2_5f0e_94c6);

/// Where imported orders come from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) tenant: TenantId,
    pub(crate) establishment: EstablishmentId,
    pub(crate) source: String,
}

impl Origin {
    /// The order that this origin's order id names.
    pub(crate) fn order_id(&self, order: &Text) -> OrderId {
        // No part but the last can hold a line feed, so no two orders share a name.
        let name = format!("{}\n{}\n{}\n{order}", self.tenant, self.establishment, self.source);
        OrderId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

/// The body of `POST /v1/orders`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct NewOrder {
    pub(crate) id: OrderId,
    establishment_id: EstablishmentId,
    /// The order's id in the file, so that people find it again.
    reference: Text,
    channel: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    placed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table_id: Option<TableId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<Customer>,
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Customer {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<CustomerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Text>,
}

/// An order on its way, with what the file says of it.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) body: NewOrder,
    /// Whether the file, not `--date`, tells the time.
    pub(crate) own_time: bool,
    pub(crate) first_line: u64,
    pub(crate) last_line: u64,
    pub(crate) lines: u64,
    pub(crate) units: u64,
    pub(crate) amount: Option<Amount>,
}

impl Outgoing {
    pub(crate) fn new(group: Group, origin: &Origin, date: Option<Timestamp>) -> Self {
        let head = group.head;
        let has_customer = head.customer_id.is_some() || head.customer_name.is_some();
        Self {
            own_time: head.placed_at.is_some(),
            first_line: group.first_line,
            last_line: group.last_line,
            lines: group.lines,
            units: group.units,
            amount: group.amount,
            body: NewOrder {
                id: origin.order_id(&group.order),
                establishment_id: origin.establishment.clone(),
                reference: group.order,
                channel: "import",
                placed_at: head.placed_at.or(date),
                table_id: head.table_id,
                customer: has_customer.then_some(Customer {
                    id: head.customer_id,
                    name: head.customer_name,
                }),
                items: group.items,
            },
        }
    }

    /// The order's id in the file.
    pub(crate) fn reference(&self) -> &Text {
        &self.body.reference
    }

    /// Repeats of the request, by this run or a later one, are one command.
    pub(crate) fn idempotency_key(&self) -> String {
        format!("import-{}", self.body.id)
    }

    pub(crate) fn is_too_long(&self) -> bool {
        self.body.items.len() > MAX_ITEMS
    }

    /// Where the stored order differs from this one, as JSON pointers; empty where they say the
    /// same. A time that `--date` gave does not count.
    pub(crate) fn differences(&self, stored: &Value) -> Result<Vec<String>, serde_json::Error> {
        let mut sent = serde_json::to_value(&self.body)?;
        if let (false, Some(fields)) = (self.own_time, sent.as_object_mut()) {
            fields.remove("placed_at");
        }
        let mut differences = Vec::new();
        compare("", &sent, stored, &mut differences);
        Ok(differences)
    }
}

/// What an order has only where it was sent. Everything else that the server adds (numbers,
/// totals, names and prices from the catalogue) is its own.
const SENT_OR_ABSENT: [&str; 7] = [
    "table_id",
    "customer",
    "note",
    "product_id",
    "modifiers",
    "name",
    "contact",
];

fn compare(pointer: &str, sent: &Value, stored: &Value, differences: &mut Vec<String>) {
    match (sent, stored) {
        (Value::Object(sent_fields), Value::Object(stored_fields)) => {
            for (name, value) in sent_fields {
                let stored = stored_fields.get(name).unwrap_or(&Value::Null);
                compare(&format!("{pointer}/{name}"), value, stored, differences);
            }
            // An item without a name is named by the catalogue.
            let catalogue = sent_fields.contains_key("product_id") && !sent_fields.contains_key("name");
            let added = SENT_OR_ABSENT.iter().filter(|name| {
                !sent_fields.contains_key(**name)
                    && stored_fields.contains_key(**name)
                    && !(catalogue && **name == "name")
            });
            differences.extend(added.map(|name| format!("{pointer}/{name}")));
        }
        (Value::Array(sent), Value::Array(stored)) if sent.len() == stored.len() => {
            for (index, (sent, stored)) in sent.iter().zip(stored).enumerate() {
                compare(&format!("{pointer}/{index}"), sent, stored, differences);
            }
        }
        _ if sent == stored => {}
        _ => differences.push(pointer.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use domain::Money;
    use serde_json::json;

    use super::super::line::Head;
    use super::*;

    fn origin(source: &str) -> Origin {
        Origin {
            tenant: TenantId::new("dev").unwrap(),
            establishment: EstablishmentId::new("main").unwrap(),
            source: source.to_owned(),
        }
    }

    fn text(text: &str) -> Text {
        Text::new(text).unwrap()
    }

    fn outgoing(head: Head, date: Option<&str>) -> Outgoing {
        let group = Group {
            order: text("17"),
            first_line: 2,
            last_line: 3,
            lines: 2,
            bad_lines: 0,
            units: 3,
            amount: None,
            head,
            items: vec![
                Item {
                    product_id: None,
                    name: Some(text("Bowl")),
                    quantity: 1,
                    unit_price: Some(Money {
                        amount: Amount(849),
                        currency: "USD".parse().unwrap(),
                    }),
                    note: Some(text("[Rice]")),
                },
                Item {
                    product_id: Some("soda".parse().unwrap()),
                    name: None,
                    quantity: 2,
                    unit_price: None,
                    note: None,
                },
            ],
        };
        Outgoing::new(group, &origin("import"), date.map(|time| time.parse().unwrap()))
    }

    fn stored() -> Value {
        json!({
            "id": origin("import").order_id(&text("17")), "number": 4, "reference": "17", "establishment_id": "main",
            "business_date": "2026-07-01", "status": "completed", "service_type": "dine_in", "channel": "import",
            "placed_at": "2026-07-01T16:00:00.000000Z", "total": {"amount": 1067, "currency": "USD"}, "version": 5,
            "items": [
                {"id": "1", "name": "Bowl", "quantity": 1, "unit_price": {"amount": 849, "currency": "USD"},
                 "note": "[Rice]", "line_total": {"amount": 849, "currency": "USD"}},
                {"id": "2", "product_id": "soda", "catalogue_version": 1, "name": "Soda", "quantity": 2,
                 "unit_price": {"amount": 109, "currency": "USD"}, "line_total": {"amount": 218, "currency": "USD"}},
            ],
        })
    }

    #[test]
    fn given_the_same_row_again_then_the_order_has_the_same_id() {
        assert_eq!(
            origin("import").order_id(&text("17")),
            origin("import").order_id(&text("17"))
        );
        assert_eq!(
            origin("import").order_id(&text("17")).to_string(),
            "d2a8762c-506c-5577-8cfa-27080c73b58c"
        );
    }

    #[test]
    fn given_another_source_or_order_then_the_id_is_another() {
        let ids = [
            origin("a").order_id(&text("17")),
            origin("b").order_id(&text("17")),
            origin("a").order_id(&text("18")),
        ];
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
    }

    #[test]
    fn given_an_equal_order_of_another_date_then_it_is_the_same() {
        assert_eq!(
            outgoing(Head::default(), Some("2026-01-01T17:00:00Z"))
                .differences(&stored())
                .unwrap(),
            [""; 0]
        );
    }

    #[test]
    fn given_a_time_of_its_own_then_another_time_is_a_difference() {
        let head = Head {
            placed_at: Some("2026-01-01T17:00:00Z".parse().unwrap()),
            ..Head::default()
        };
        assert_eq!(outgoing(head, None).differences(&stored()).unwrap(), ["/placed_at"]);
    }

    #[test]
    fn given_an_order_that_says_something_else_then_the_differences_are_named() {
        let order = outgoing(Head::default(), None);
        for (pointer, value) in [
            ("/items/0/unit_price/amount", json!(850)),
            ("/items/0/note", json!("[Beans]")),
            ("/items/1/quantity", json!(3)),
            ("/items/1/product_id", json!("beer")),
            ("/establishment_id", json!("other")),
        ] {
            let mut other = stored();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_eq!(order.differences(&other).unwrap(), [pointer]);
        }
        for (at, key, value) in [("", "table_id", json!("7")), ("/items/1", "note", json!("no ice"))] {
            let mut other = stored();
            other
                .pointer_mut(at)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .insert(key.to_owned(), value);
            assert_eq!(order.differences(&other).unwrap(), [format!("{at}/{key}")]);
        }
        let mut shorter = stored();
        shorter["items"].as_array_mut().unwrap().pop();
        assert_eq!(order.differences(&shorter).unwrap(), ["/items"]);
    }

    #[test]
    fn given_a_known_customer_then_name_and_id_are_sent() {
        let head = Head {
            customer_id: Some("c-1".parse().unwrap()),
            customer_name: Some(text("Ada")),
            table_id: Some("7".parse().unwrap()),
            ..Head::default()
        };
        let body = serde_json::to_value(outgoing(head, None).body).unwrap();
        assert_eq!(body["customer"], json!({"id": "c-1", "name": "Ada"}));
        assert_eq!(body["table_id"], json!("7"));
    }
}
