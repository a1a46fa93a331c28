//! The committed schema is the one that is served.

#[test]
fn given_the_types_then_the_committed_schema_says_the_same() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");
    let generated = query_api::sdl();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == generated,
        "query-api/schema.graphql is not what the code serves; run UPDATE_GENERATED=1 cargo test -p query-api"
    );
}

/// Clients rely on these; more may be added, none renamed.
#[test]
fn given_the_fixed_core_then_every_field_has_its_type() {
    let sdl: String = query_api::sdl().lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let of = |name: &str| {
        let start = sdl
            .find(&format!("\ntype {name} {{"))
            .or_else(|| sdl.find(&format!("\ntype {name} implements")));
        let rest = &sdl[start.unwrap_or_else(|| panic!("{name}"))..];
        rest[..rest.find("\n}").unwrap()].to_owned()
    };
    for (name, fields) in [
        ("Money", "amount: BigInt!, currency: String!"),
        (
            "Order",
            "id: ID!, key: ID!, number: Int!, reference: String, businessDate: Date!, establishmentId: ID!, \
             status: OrderStatus!, total: Money!, itemCount: Int!, tableId: String, customer: Customer, \
             placedAt: DateTime!, updatedAt: DateTime!, version: Int!, items: [OrderItem!]!, timeline: [OrderEvent!]!",
        ),
        (
            "OrderItem",
            "id: ID!, productId: ID, name: String!, quantity: Int!, unitPrice: Money!, lineTotal: Money!, note: String",
        ),
        (
            "DailySales",
            "date: Date!, orders: Int!, sales: Money!, averageTicket: Money!, uniqueCustomers: Int!",
        ),
    ] {
        let text = of(name);
        for field in fields.split(", ") {
            assert!(text.lines().any(|line| line == field.trim()), "{name}.{field}\n{text}");
        }
    }
    for status in [
        "PLACED",
        "ACCEPTED",
        "PREPARING",
        "READY",
        "OUT_FOR_DELIVERY",
        "COMPLETED",
        "REJECTED",
        "CANCELLED",
    ] {
        assert!(sdl.lines().any(|line| line == status), "{status}");
    }
}

/// Nobody should have to guess a unit or a meaning.
#[test]
fn given_any_type_or_field_then_it_is_described() {
    let sdl = query_api::sdl();
    let (mut previous, mut describing) = ("", false);
    let mut undescribed = Vec::new();
    for line in sdl.lines() {
        let text = line.trim();
        if text == "\"\"\"" {
            describing = !describing;
        } else if !describing && declares(text) && previous != "\"\"\"" {
            undescribed.push(text);
        }
        previous = text;
    }
    undescribed.retain(|text| !text.starts_with("scalar ") || !is_builtin(text));
    assert!(undescribed.is_empty(), "{undescribed:#?}");
}

/// Whether a line outside descriptions declares a type, field or enum value.
fn declares(text: &str) -> bool {
    let keyword = text.split(' ').next().unwrap_or_default();
    !text.is_empty() && text != "}" && !text.starts_with(')') && !matches!(keyword, "schema" | "query:" | "directive")
}

fn is_builtin(text: &str) -> bool {
    ["Boolean", "Float", "ID", "Int", "String"]
        .iter()
        .any(|name| text == format!("scalar {name}"))
}

#[test]
fn given_any_error_code_then_the_documentation_says_what_to_do() {
    let page = include_str!("../../../docs/graphql.md");
    for code in query_api::Code::ALL {
        assert!(
            page.contains(&format!("\n| `{}` |", code.as_str())),
            "{}",
            code.as_str()
        );
    }
}
