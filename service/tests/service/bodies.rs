//! JSON bodies: what is read, what is refused and where, and what has equal fingerprints.

use serde::Deserialize;
use service::json::{canonical, fingerprint, read_json};
use service::problem::Problem;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    table_id: String,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    product_id: String,
    quantity: u32,
}

fn refused(body: &[u8]) -> Problem {
    read_json::<Order>(body).expect_err("must be refused")
}

fn code_of(body: &[u8]) -> (u16, &'static str) {
    let problem = refused(body);
    (problem.status().as_u16(), problem.code())
}

fn blamed(body: &str) -> (String, String) {
    let problem = refused(body.as_bytes());
    assert_eq!(problem.status().as_u16(), 422, "{problem:?}");
    (problem.errors()[0].pointer.clone(), problem.errors()[0].detail.clone())
}

#[test]
fn given_a_well_formed_body_when_read_then_it_is_typed() {
    let order: Order =
        read_json(br#" {"table_id": "t\u00e9", "items": [{"product_id": "p", "quantity": 2}]} "#).unwrap();
    assert_eq!(order.table_id, "té");
    assert_eq!(order.items[0].quantity, 2);
}

#[test]
fn given_bytes_that_are_no_json_when_read_then_400_says_so() {
    let malformed: [&[u8]; 14] = [
        b"",
        b"  ",
        b"{",
        b"{} {}",
        b"{'a': 1}",
        b"{\"a\": 01}",
        b"{\"a\": NaN}",
        b"[1,]",
        b"{\"a\":1,}",
        b"// x\n{}",
        b"\xef\xbb\xbf{}",
        b"\"\\ud800\"",
        b"{\"\\udc00\": 1}",
        b"{\"a\": \"line\nbreak\"}",
    ];
    for body in malformed {
        assert_eq!(
            code_of(body),
            (400, "malformed_json"),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    assert_eq!(code_of(b"{\"table_id\": \"\xff\"}"), (400, "invalid_utf8"));
    assert_eq!(code_of(b"\xc0\xae"), (400, "invalid_utf8"));
    assert_eq!(code_of("[".repeat(100_000).as_bytes()), (400, "malformed_json"));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(code_of(deep.as_bytes()), (400, "malformed_json"));
}

#[test]
fn given_a_key_twice_when_read_then_400_points_at_it() {
    let problem = refused(br#"{"table_id": "t", "items": [{"product_id": "p", "quantity": 1, "quantity": 9}]}"#);
    assert_eq!((problem.status().as_u16(), problem.code()), (400, "duplicate_key"));
    assert_eq!(problem.errors()[0].pointer, "/items/0/quantity");
    // Spelled differently, but the same key.
    assert_eq!(
        code_of(br#"{"table_id": "t", "table\u005fid": "u"}"#),
        (400, "duplicate_key")
    );
}

#[test]
fn given_json_of_another_shape_when_read_then_422_points_at_the_part() {
    assert_eq!(blamed("[]").0, "");
    assert_eq!(
        blamed(r#"{"items": []}"#),
        (String::new(), "missing field `table_id`".to_owned())
    );
    let (pointer, detail) = blamed(
        r#"{"table_id": "t", "items": [{"product_id": "p", "quantity": 1}, {"product_id": "p", "quantity": "two"}]}"#,
    );
    assert_eq!(pointer, "/items/1/quantity");
    assert!(
        detail.contains("string \"two\"") && !detail.contains("line"),
        "{detail}"
    );
    assert_eq!(
        blamed(r#"{"table_id": "t", "items": [{"product_id": "p", "quantity": -1}]}"#).0,
        "/items/0/quantity"
    );
    assert_eq!(
        blamed(r#"{"table_id": "t", "items": [{"product_id": "p", "quantity": 1e3}]}"#).0,
        "/items/0/quantity"
    );
    let (pointer, detail) = blamed(r#"{"table_id": "t", "a/b~c": 1}"#);
    assert_eq!(pointer, "/a~1b~0c");
    assert!(detail.starts_with("unknown field"), "{detail}");
}

#[test]
fn given_one_value_spelled_in_many_ways_when_fingerprinted_then_equal() {
    let spellings = [
        r#"{"a":[1,2.50,{"y":null,"x":true}],"b":"é\n"}"#,
        "{ \"b\" : \"\\u00e9\\n\",\r\n\t\"a\" : [ 1 , 2.50 , { \"x\" : true , \"y\" : null } ] }",
        r#"{"\u0061":[1,2.50,{"\u0079":null,"x":true}],"b":"\u00E9\u000a"}"#,
    ];
    for spelling in spellings {
        assert_eq!(
            canonical(spelling.as_bytes()).unwrap(),
            r#"{"a":[1,2.50,{"x":true,"y":null}],"b":"é\n"}"#
        );
    }
    assert_eq!(
        fingerprint(b" [ ] ").unwrap(),
        "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
        "SHA-256 of `[]`; stored fingerprints must never change"
    );
}

#[test]
fn given_different_values_when_fingerprinted_then_different() {
    let values = [
        "{}",
        "[]",
        "[[]]",
        "null",
        "\"null\"",
        "1",
        "1.0",
        "1e0",
        "-1",
        "\"1\"",
        "[1,2]",
        "[2,1]",
        "{\"a\":1}",
        "{\"a\":\"1\"}",
    ];
    let distinct: std::collections::BTreeSet<_> = values
        .iter()
        .map(|value| fingerprint(value.as_bytes()).unwrap())
        .collect();
    assert_eq!(distinct.len(), values.len());
    let long = "123456789012345678901234567890.123456789";
    assert_eq!(canonical(long.as_bytes()).unwrap(), long, "no digit is lost");
}

#[test]
fn given_nesting_up_to_the_limit_when_read_then_it_is_accepted_and_one_more_is_not() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(canonical(nested(127).as_bytes()).is_ok());
    assert!(canonical(nested(128).as_bytes()).is_err());
}
