//! What documents weigh, and which are refused.

use super::*;
use crate::error::code_of;
use async_graphql::parser::parse_query;
use service::settings::QuerySettings;

fn measured(document: &str) -> Result<Measured, ServerError> {
    measured_with(document, Variables::default())
}

fn measured_with(document: &str, variables: Variables) -> Result<Measured, ServerError> {
    let document = parse_query(document).unwrap();
    let question = Question {
        document: &document,
        operation_name: None,
        variables: &variables,
    };
    measure(&question, &Limits::new(&QuerySettings::default()))
}

fn exceeds(document: &str, limit: &str) {
    let error = measured(document).unwrap_err();
    let extensions = error.extensions.clone().unwrap();
    assert_eq!(code_of(&error), Some("LIMIT_EXCEEDED"), "{error:?}");
    assert_eq!(extensions.get("limit"), Some(&Value::from(limit)), "{error:?}");
}

#[test]
fn the_cost_counts_objects_by_page_size() {
    let cost = |document| measured(document).unwrap().cost;
    assert_eq!(cost("{ __typename }"), 0);
    assert_eq!(cost("{ order(id: 1) { id number } }"), 1);
    assert_eq!(cost("{ order(id: 1) { total { amount } items { name } } }"), 1 + 1 + 5);
    assert_eq!(cost("{ orders(first: 10) { nodes { id } } }"), 1 + 10);
    assert_eq!(cost("{ orders { edges { cursor node { id } } } }"), 1 + 20 * 2);
    assert_eq!(
        cost("{ orders(first: 10) { totalCount nodes { id total { amount } } } }"),
        1 + 50 + 10 * 2
    );
    assert_eq!(
        cost("{ orders(first: 10) { ...P } } fragment P on OrderConnection { nodes { id } }"),
        1 + 10
    );
    assert_eq!(cost("query($n: Int = 7) { orders(first: $n) { nodes { id } } }"), 1 + 7);
    assert_eq!(
        cost("{ dailySales(from: \"2026-01-01\", to: \"2026-01-31\") { sales { amount } } }"),
        31 * 2
    );
}

#[test]
fn given_variables_then_they_decide_the_page_size() {
    let variables = Variables::from_json(serde_json::json!({ "n": 50 }));
    let cost = measured_with("query($n: Int) { orders(first: $n) { nodes { id } } }", variables)
        .unwrap()
        .cost;
    assert_eq!(cost, 51);
}

#[test]
fn given_everything_of_the_largest_page_then_it_is_allowed() {
    let order = "id number total{amount} subtotal{amount} discount{amount} tax{amount} tip{amount} customer{name} \
                 items{name unitPrice{amount} lineTotal{amount} modifiers{name price{amount}}} timeline{status}";
    assert!(
        measured(&format!(
            "{{ orders(first: 100) {{ edges {{ node {{ {order} }} }} }} }}"
        ))
        .is_ok()
    );
    let twice = format!(
        "{{ a: orders(first: 100) {{ edges {{ node {{ {order} }} }} }} \
                          b: orders(first: 100) {{ edges {{ node {{ {order} }} }} }} }}"
    );
    exceeds(&twice, "cost");
}

#[test]
fn given_fragments_that_double_then_the_bomb_is_measured_without_going_off() {
    let mut document = String::from("{ ...F0 }");
    for index in 0..29 {
        let next = index + 1;
        document.push_str(&format!(
            " fragment F{index} on Query {{ {} }}",
            format!("...F{next} ").repeat(9)
        ));
    }
    document.push_str(" fragment F29 on Query { __typename }");
    exceeds(&document, "fields");
    exceeds(
        &document.replace("fragment F29 on Query { __typename }", &chain(29..40)),
        "fragmentNesting",
    );
}

fn chain(range: std::ops::Range<u32>) -> String {
    let links = range.map(|index| format!("fragment F{index} on Query {{ ...F{} }} ", index + 1));
    links.collect::<String>() + "fragment F40 on Query { __typename }"
}

#[test]
fn given_a_fragment_that_contains_itself_then_it_is_refused() {
    let error = measured("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }").unwrap_err();
    assert_eq!(code_of(&error), Some("GRAPHQL_VALIDATION_FAILED"));
}

#[test]
fn given_too_much_of_anything_then_the_limit_is_named() {
    let many = |text: &str, count: usize| format!("{{ {} }}", text.repeat(count));
    exceeds(&many("a { b } ", 21), "rootFields");
    exceeds(
        &format!(
            "{{ a {{ {} }} }}",
            (0..51).map(|i| format!("x{i}: b ")).collect::<String>()
        ),
        "aliases",
    );
    exceeds(&format!("{{ a {} }}", "@skip(if: false) ".repeat(51)), "directives");
    exceeds(&format!("{{ a {{ {} }} }}", "b ".repeat(2_000)), "fields");
    exceeds(&format!("{}{}", "{ a ".repeat(13), "}".repeat(13)), "depth");
    let nested = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }";
    exceeds(nested, "introspectionLists");
}

#[test]
fn given_several_operations_then_the_named_one_is_measured_and_all_are_counted() {
    let document = parse_query("query A { order(id: 1) { id } } query B { __typename }").unwrap();
    let variables = Variables::default();
    let with = |operation_name| {
        let question = Question {
            document: &document,
            operation_name,
            variables: &variables,
        };
        measure(&question, &Limits::new(&QuerySettings::default()))
    };
    assert_eq!(with(Some("A")).unwrap().models, [ReadModel::Orders]);
    assert!(with(Some("B")).unwrap().models.is_empty());
    assert_eq!(
        code_of(&with(Some("C")).unwrap_err()),
        Some("OPERATION_RESOLUTION_FAILURE")
    );
    assert_eq!(code_of(&with(None).unwrap_err()), Some("OPERATION_RESOLUTION_FAILURE"));
}

#[test]
fn given_a_required_variable_without_a_value_then_the_request_is_refused() {
    let query = "query($id: ID!) { order(id: $id) { id } }";
    for variables in [serde_json::json!({}), serde_json::json!({ "id": null })] {
        let error = measured_with(query, Variables::from_json(variables)).unwrap_err();
        assert_eq!(code_of(&error), Some("GRAPHQL_VALIDATION_FAILED"));
    }
    assert!(measured_with(query, Variables::from_json(serde_json::json!({ "id": "x" }))).is_ok());
}

#[test]
fn timelines_and_further_root_fields_need_one_snapshot() {
    assert!(
        !measured("{ orders { nodes { id items { name } } } }")
            .unwrap()
            .several_statements
    );
    let timeline = measured("{ order(id: 1) { timeline { status } } }").unwrap();
    assert!(timeline.several_statements);
    assert_eq!(timeline.models, [ReadModel::Orders, ReadModel::OrderTimeline]);
    assert!(
        measured("{ order(id: 1) { id } dailySales { date } }")
            .unwrap()
            .several_statements
    );
}
