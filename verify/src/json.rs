//! JSON columns: one spelling, and where two of them differ.

use serde_json::Value;

use crate::report::ColumnDifference;

/// The one spelling of a JSON text, keys sorted. Text that is no JSON is left as it is.
pub(crate) fn canonical(text: &str) -> String {
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |value| spelled(&value))
}

/// The one spelling of a value, keys sorted.
pub(crate) fn spelled(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(spelled).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            let field = |(name, value): (&String, &Value)| format!("{}:{}", Value::from(name.as_str()), spelled(value));
            format!("{{{}}}", fields.into_iter().map(field).collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Where the two texts of a column differ: by path, such as `items[0].unit_price`.
pub(crate) fn differences(column: &str, expected: &str, found: &str) -> Vec<ColumnDifference> {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    let mut differences = vec![];
    walk(
        column.to_owned(),
        parsed(expected).as_ref(),
        parsed(found).as_ref(),
        &mut differences,
    );
    differences
}

fn walk(path: String, expected: Option<&Value>, found: Option<&Value>, out: &mut Vec<ColumnDifference>) {
    match (expected, found) {
        (Some(expected), Some(found)) if expected == found => {}
        (Some(Value::Array(expected)), Some(Value::Array(found))) => {
            for index in 0..expected.len().max(found.len()) {
                walk(format!("{path}[{index}]"), expected.get(index), found.get(index), out);
            }
        }
        (Some(Value::Object(expected)), Some(Value::Object(found))) => {
            let mut names: Vec<&String> = expected.keys().chain(found.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                walk(format!("{path}.{name}"), expected.get(name), found.get(name), out);
            }
        }
        (expected, found) => out.push(ColumnDifference {
            column: path,
            expected: expected.map(spelled),
            found: found.map(spelled),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_makes_no_difference() {
        assert_eq!(
            canonical(r#"{"b": 1, "a": [true, null]}"#),
            r#"{"a":[true,null],"b":1}"#
        );
        assert_eq!(canonical("not json"), "not json");
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        let found = differences(
            "items",
            r#"[{"name":"Tea","price":300}]"#,
            r#"[{"name":"Tea","price":301},{"name":"Cake"}]"#,
        );
        let told: Vec<_> = found
            .into_iter()
            .map(|it| (it.column, it.expected.unwrap_or_default(), it.found.unwrap_or_default()))
            .collect();
        let named =
            |column: &str, expected: &str, found: &str| (column.to_owned(), expected.to_owned(), found.to_owned());
        assert_eq!(
            told,
            [
                named("items[0].price", "300", "301"),
                named("items[1]", "", r#"{"name":"Cake"}"#)
            ]
        );
    }
}
