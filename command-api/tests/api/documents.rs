//! What is published about the API is what it does.

use std::path::Path;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::Platform;

#[test]
fn the_committed_openapi_document_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let generated = command_api::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "openapi.json differs from the code: run the tests with UPDATE_GENERATED=1"
    );
}

#[tokio::test]
async fn given_no_token_then_the_documents_are_served_all_the_same() {
    let api = Platform::start().await.api().await;
    let client = api.client("acme").anonymous();
    let document = client.get("/openapi.json").await;
    assert_eq!(document.status, 200);
    assert_eq!(document.json()["openapi"], "3.1.0");
    let page = client.get("/docs/").await;
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    assert!(!page.text.contains("https://"), "nothing is loaded from elsewhere");
    assert_eq!(client.get("/docs/swagger-ui-bundle.js").await.status, 200);
    assert!(client.get("/docs/errors").await.text.contains("illegal_transition"));
}

/// The requests of the document in the order of its story, each from the examples alone.
const STORY: [(Method, &str, u16); 11] = [
    (Method::PUT, "/v1/establishments/{id}", 201),
    (Method::PUT, "/v1/products/{id}", 201),
    (Method::POST, "/v1/orders/quote", 200),
    (Method::POST, "/v1/orders", 201),
    (Method::POST, "/v1/orders/batch", 200),
    (Method::GET, "/v1/establishments/{id}", 200),
    (Method::GET, "/v1/products/{id}", 200),
    (Method::GET, "/v1/orders/{id}", 200),
    (Method::POST, "/v1/orders/{id}/status", 200),
    (Method::GET, "/v1/orders/{id}/events", 200),
    (Method::POST, "/v1/products/{id}/availability", 200),
];

#[tokio::test]
async fn given_the_examples_then_they_work_as_they_say() {
    let api = Platform::start().await.api().await;
    let client = api.client("acme");
    let document = serde_json::to_value(command_api::openapi()).unwrap();
    for (method, path, status) in STORY {
        let operation = &document["paths"][path][method.as_str().to_lowercase()];
        let mut parameters = operation["parameters"].as_array().into_iter().flatten();
        let id = parameters
            .find(|parameter| parameter["in"] == "path")
            .map(|parameter| &parameter["example"]);
        let url = path.replace("{id}", id.and_then(Value::as_str).unwrap_or("no example"));
        let body = schema(&document, &operation["requestBody"])["example"].clone();
        let answer = if body.is_null() {
            client.send(method.clone(), &url, &[], Body::empty()).await
        } else {
            client.with(method.clone(), &url, &[], &body).await
        };
        assert_eq!(answer.status.as_u16(), status, "{method} {url}: {}", answer.text);

        let described = &operation["responses"][status.to_string()];
        for header in described["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            let optional = header == "Idempotent-Replayed";
            assert!(optional || answer.header(header).is_some(), "{method} {url}: {header}");
        }
        let example = schema(&document, described)["example"].clone();
        if status == 201 {
            let mut shown = answer.json();
            if shown.get("updated_at").is_some() {
                shown["updated_at"] = example["updated_at"].clone();
            }
            assert_eq!(shown, example, "{method} {url}");
        }
    }
}

/// The schema that a request or answer refers to.
fn schema<'a>(document: &'a Value, described: &Value) -> &'a Value {
    let reference = &described["content"]["application/json"]["schema"]["$ref"];
    let pointer = reference
        .as_str()
        .unwrap_or_default()
        .trim_start_matches('#')
        .to_owned();
    if pointer.is_empty() {
        &Value::Null
    } else {
        document.pointer(&pointer).unwrap()
    }
}

#[test]
fn every_operation_describes_the_refusals_that_it_can_meet() {
    let document = serde_json::to_value(command_api::openapi()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let mut expected = vec!["400", "401", "403", "405", "429", "500", "503"];
            if operation.get("requestBody").is_some() {
                expected.extend(["413", "415", "422"]);
            }
            if path.contains("{id}") && method != "put" {
                expected.push("404");
            }
            for status in expected {
                let pointer = operation["responses"][status]["$ref"].as_str().unwrap_or_default();
                let response = document
                    .pointer(pointer.trim_start_matches('#'))
                    .unwrap_or(&Value::Null);
                let schema = &response["content"]["application/problem+json"]["schema"];
                assert_eq!(
                    schema,
                    &json!({"$ref": "#/components/schemas/Problem"}),
                    "{method} {path} {status}"
                );
            }
        }
    }
}
